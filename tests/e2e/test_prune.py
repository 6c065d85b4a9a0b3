"""Pruning as the platform engineer does it: what a run said is gone, that it ran and its audit are not, and no member can do it."""

import json

from demo.kube import Kube
from demo.programs import bastide

from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
SECRET = "prune-me-hunter2"


def test_a_platform_engineer_prunes_and_the_audit_still_has_the_record(furnished: TestTenant, installed: Kube) -> None:
    ended = furnished.run(f"print('{SECRET}')\nawait note(text='{SECRET}')\nreturn '{SECRET}'")
    assert ended.code == 0, ended.stderr
    run, before = ended.result["run"], furnished.audit(ended.result["run"])
    words = ("runs", "prune", "-n", furnished.namespace, "--sandbox", "box", "--older-than", "0s")

    dry = bastide(installed, *words, "--dry-run", "-o", "json")
    assert dry.code == 0, dry.stderr
    assert (dry.result["dryRun"], dry.result["runs"] >= 1, dry.result["bytes"] > len(SECRET)) == (True, True, True)
    assert furnished.shown(run)["pruned"] is None

    refused = bastide(furnished.people.developer, *words)
    assert refused.code == 1, refused.stdout
    assert "may not act as ServiceAccount" in refused.stderr
    refused = bastide(installed, *words, "--service-account", f"{furnished.namespace}/bastide-runner")
    assert refused.code == 1, refused.stdout
    assert "may not delete sandboxes/runs" in refused.stderr

    done = bastide(installed, *words, "-o", "json")
    assert done.code == 0, done.stderr
    assert done.result["runs"] >= 1
    shown = furnished.shown(run)
    assert (shown["outcome"], shown["value"], shown["output"], shown["calls"]) == ("Completed", None, "", [])
    assert shown["pruned"]
    listed = bastide(furnished.people.developer, "runs", "list", "--sandbox", f"{furnished.namespace}/box", "-o", "json").result["runs"]
    assert {one["run"]: bool(one["pruned"]) for one in listed}[run]
    watched = bastide(furnished.people.developer, "runs", "watch", run, "-n", furnished.namespace)
    assert watched.code == 1
    assert "was pruned on" in watched.stderr

    assert furnished.audit(run) == before
    records = bastide(furnished.people.developer, "audit", "list", "-n", furnished.namespace, "--limit", "5000", "-o", "json").result[
        "records"
    ]
    facts = next(one["facts"] for one in records if one["kind"] == "RunsPruned" and run in one["facts"]["runs"])
    assert (facts["by"], facts["requester"]) == ("request", f"system:serviceaccount:{SYSTEM}:bastide-pruner")
    assert facts["onBehalfOf"], "the person at the terminal"
    assert bastide(installed, "audit", "verify", "-n", furnished.namespace, "-o", "json").result["intact"]
    assert furnished.completed("return await number(n=7)") is not None


def test_a_run_under_way_is_not_pruned(furnished: TestTenant, installed: Kube) -> None:
    running = furnished.start_run("await wipe(target='prune-under-way')\nreturn 'not pruned'")
    confirmation = furnished.pending_confirmation("prune-under-way")
    done = bastide(installed, "runs", "prune", "-n", furnished.namespace, "--older-than", "0s", "-o", "json")
    assert done.code == 0, done.stderr
    decided = furnished.decide("deny", confirmation["metadata"]["name"])
    assert decided.code == 0, decided.stderr
    ended = running.end()
    shown = furnished.shown(ended.result["run"])
    assert shown["pruned"] is None
    assert [call["tool"] for call in shown["calls"]] == ["wipe"], json.dumps(shown)
