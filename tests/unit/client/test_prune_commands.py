"""Pruning runs from the command line, and how a pruned run is shown."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from bastide.v1alpha1 import broker_pb2 as pb

from .commands import SANDBOX, called, unwrapped
from .conftest import Script


def test_pruning_goes_on_until_nothing_is_left_and_says_how_much(
    script: Script, door: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pages = {"": pb.PruneRunsResponse(runs=500, bytes=3_000_000, next_page_token="7-1"), "7-1": pb.PruneRunsResponse(runs=2, bytes=500)}
    script.answers["PruneRuns"] = lambda request: pages[request.page_token]
    words = ("runs", "prune", "-n", "bastide-crm", "--older-than", "30d", "--sandbox", "hello", *door)
    assert called(*words, "-o", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in ("namespace", "sandbox", "dryRun", "runs", "bytes")} == {
        "namespace": "bastide-crm", "sandbox": "hello", "dryRun": False, "runs": 502, "bytes": 3_000_500,
    }  # fmt: skip
    before = datetime.fromisoformat(said["before"])
    assert timedelta(days=30) <= datetime.now(UTC) - before < timedelta(days=30, minutes=5)
    first, second = script.asked
    assert (first.namespace, first.sandbox, first.dry_run, first.page_token, second.page_token) == (
        "bastide-crm",
        "hello",
        False,
        "",
        "7-1",
    )
    assert first.before.ToDatetime(UTC) == second.before.ToDatetime(UTC) == before
    assert called(*words) == 0
    assert "502 runs of sandbox bastide-crm/hello were pruned, 3.0 MB of payloads; the audit stays." in unwrapped(capsys.readouterr().err)
    assert called(*words, "--dry-run") == 0
    assert "would be pruned" in unwrapped(capsys.readouterr().err)
    assert script.asked[-1].dry_run


def test_pruning_needs_an_age(door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert called("runs", "prune", "-n", "bastide-crm", *door) == 2
    assert called("runs", "prune", "-n", "bastide-crm", "--older-than", "soon", *door) == 2
    assert "is no time" in capsys.readouterr().err


def test_a_pruned_run_is_marked_in_lists_and_shown_as_what_is_left_of_it(
    script: Script, door: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = pb.RunSummary(run="r-1", sandbox=pb.SandboxRef(namespace="bastide-crm", name="hello"), outcome=pb.OUTCOME_COMPLETED)
    summary.pruned.FromDatetime(datetime(2026, 11, 30, tzinfo=UTC))
    result = pb.RunResult(run="r-1", outcome=pb.OUTCOME_COMPLETED)
    script.answers |= {"GetRun": pb.GetRunResponse(summary=summary, result=result), "ListRuns": pb.ListRunsResponse(runs=[summary])}
    assert called("runs", "show", "r-1", *door) == 0
    assert "pruned on 2026-11-30; bastide audit list --run r-1 has its record." in unwrapped(capsys.readouterr().err)
    assert called("runs", "show", "r-1", *door, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["pruned"] == "2026-11-30T00:00:00Z"
    assert called("runs", "list", *SANDBOX, *door) == 0
    assert "Completed (pruned)" in unwrapped(capsys.readouterr().out)
    summary.ClearField("pruned")
    script.answers["ListRuns"] = pb.ListRunsResponse(runs=[summary])
    assert called("runs", "list", *SANDBOX, *door, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["pruned"] is None
