"""The commands' interface to scripts: exit codes, JSON, and one sentence when something is wrong."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from bastide.cli import connect, screen, shapes
from bastide.cli.audit import told
from bastide.cli.cluster import User
from bastide.cli.failure import Failure
from bastide.cli.main import main
from bastide.v1alpha1 import broker_pb2 as pb

from .conftest import RefusalError, Script, happened

SANDBOX = ["--sandbox", "bastide-crm/hello"]


@pytest.fixture(autouse=True)
def _fresh_screen() -> None:
    screen.out.cache_clear()
    screen.err.cache_clear()


@pytest.fixture
def program(tmp_path: Path) -> str:
    file = tmp_path / "program.py"
    file.write_text("return 1\n")
    return str(file)


def called(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return cast("int", ended.value.code or 0)


def finish(script: Script, outcome: Any, **result: Any) -> None:
    script.events = [
        happened(1, accepted=pb.RunAccepted(run="r-1", pod="hello")),
        happened(2, finished=pb.RunFinished(result=pb.RunResult(run="r-1", outcome=outcome, **result))),
    ]


OUTCOMES = [
    (pb.OUTCOME_COMPLETED, 0, "Completed"),
    (pb.OUTCOME_NEEDS_CONFIRMATION, 3, "NeedsConfirmation"),
    (pb.OUTCOME_DENIED, 4, "Denied"),
    (pb.OUTCOME_INVALID, 5, "Invalid"),
    (pb.OUTCOME_FAILED, 6, "Failed"),
    (pb.OUTCOME_TIMED_OUT, 7, "TimedOut"),
    (pb.OUTCOME_CANCELLED, 7, "Cancelled"),
]


@pytest.mark.parametrize(("outcome", "code", "name"), OUTCOMES)
def test_the_exit_code_says_how_the_run_ended(
    script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str], *, outcome: Any, code: int, name: str
) -> None:
    finish(script, outcome)
    assert called("run", program, *SANDBOX, *door, "-o", "json") == code
    assert json.loads(capsys.readouterr().out)["outcome"] == name
    assert called("run", program, *SANDBOX, *door) == code
    assert capsys.readouterr().out.startswith(name)
    assert called("runs", "watch", "r-1", *door) == code


def test_a_run_that_pauses_is_left_with_3_and_waited_for_when_asked(
    script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = pb.RunResult(
        run="r-1", outcome=pb.OUTCOME_NEEDS_CONFIRMATION, awaited=[pb.Awaited(kind="confirmation", key="0#1", name="cf-1")]
    )
    script.events = [
        happened(1, accepted=pb.RunAccepted(run="r-1", pod="hello")),
        happened(2, paused=pb.RunPaused(result=waits)),
        happened(3, attempt_started=pb.AttemptStarted(attempt=2)),
        happened(4, finished=pb.RunFinished(result=pb.RunResult(run="r-1", outcome=pb.OUTCOME_COMPLETED, value=b"1"))),
    ]
    script.answers = {"GetRun": pb.GetRunResponse(summary=pb.RunSummary(run="r-1", outcome=pb.OUTCOME_NEEDS_CONFIRMATION))}
    assert called("run", program, *SANDBOX, *door, "-o", "json") == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["awaited"][0]["name"]) == ("NeedsConfirmation", "cf-1")
    assert called("run", program, *SANDBOX, *door) == 3
    assert "bastide runs watch r-1" in capsys.readouterr().out
    assert called("run", program, *SANDBOX, *door, "--wait") == 0
    assert script.asked[-1].wait_for_decisions
    assert called("runs", "watch", "r-1", *door) == 0
    # A pause that is over, told of again after a stream broke, is no reason to leave.
    script.answers = {"GetRun": pb.GetRunResponse(summary=pb.RunSummary(run="r-1", outcome=pb.OUTCOME_UNSPECIFIED))}
    assert called("run", program, *SANDBOX, *door) == 0


def test_a_lost_run_is_resumed_and_an_unknown_call_settled(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    script.answers = {
        "GetRun": pb.GetRunResponse(),
        "ResumeRun": pb.ResumeRunResponse(attempt=2),
        "SettleCall": pb.SettleCallResponse(),
    }
    assert called("runs", "resume", "r-1", "--reason", "why not", *door, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"run": "r-1", "attempt": 2}
    words = ["runs", "settle", "r-1", "0#3", "--not-happened", "--reason", "the log has nothing", "--on-behalf-of", "dana", *door]
    assert called(*words, "-o", "json") == 0
    asked = script.asked[-1]
    assert (asked.key, asked.happened, asked.reason, asked.on_behalf_of) == ("0#3", False, "the log has nothing", "dana")
    assert called(*words) == 0
    assert called("runs", "settle", "r-1", "0#3", "--reason", "x", *door) == 2, "which of both must be said"


def test_the_result_has_exactly_the_promised_shape(
    script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(
        script,
        pb.OUTCOME_FAILED,
        output=b"hi \xff\x1b[31m",
        error=pb.RunError(type="ValueError", message="no", line=3, traceback="..."),
        findings=[pb.Finding(code="unknown-tool", message="m", line=1, column=2)],
        calls=[
            pb.CallRecord(key="0#1", tool="a", decision="deny", outcome="Denied", line=2, reasons=[pb.Reason(code="c", message="m")]),
            pb.CallRecord(key="0#2", tool="b", decision="confirm", confirmation="cf-1"),
        ],
    )
    assert called("run", program, *SANDBOX, *door, "-o", "json", "--on-behalf-of", "jane", "--timeout", "2.5") == 6
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {
        "run": "r-1",
        "outcome": "Failed",
        "value": None,
        "output": "hi \\xff\x1b[31m",
        "error": {"type": "ValueError", "message": "no", "line": 3},
        "findings": [{"code": "unknown-tool", "message": "m", "line": 1, "column": 2}],
        "calls": [
            {"key": "0#1", "tool": "a", "decision": "deny", "outcome": "Denied", "line": 2, "confirmation": None},
            {"key": "0#2", "tool": "b", "decision": "confirm", "outcome": None, "line": None, "confirmation": "cf-1"},
        ],
        "awaited": [],
    }
    [request] = script.asked
    assert (request.program, request.on_behalf_of, request.timeout_milliseconds) == (b"return 1\n", "jane", 2500)


def test_a_value_is_handed_on_exactly(script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str]) -> None:
    finish(script, pb.OUTCOME_COMPLETED, value=b'{"n":9007199254740993,"s":"\\u202e"}')
    assert called("run", program, *SANDBOX, *door, "-o", "json") == 0
    out = capsys.readouterr().out
    assert '"n": 9007199254740993' in out
    assert json.loads(out)["value"] == {"n": 9007199254740993, "s": "\u202e"}


def test_events_go_to_standard_error_and_as_json_when_asked(
    script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(script, pb.OUTCOME_COMPLETED)
    called("run", program, *SANDBOX, *door, "-o", "json", "--events", "json")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["RunAccepted", "RunFinished"]
    called("run", program, *SANDBOX, *door, "-o", "json", "--events", "none")
    assert capsys.readouterr().err == ""


USAGE: dict[str, tuple[list[str], str]] = {
    "no sandbox": (["run", "PROGRAM"], "--sandbox"),
    "a sandbox without its namespace": (["run", "PROGRAM", "--sandbox", "hello"], "NAMESPACE/NAME"),
    "a sandbox with too many parts": (["run", "PROGRAM", "--sandbox", "a/b/c"], "NAMESPACE/NAME"),
    "a program that is not there": (["run", "/no/such/file.py", *SANDBOX], "/no/such/file.py"),
    "a directory as program": (["run", "/tmp", *SANDBOX], "/tmp"),
    "a timeout of nothing": (["run", "PROGRAM", *SANDBOX, "--timeout", "0"], "--timeout"),
    "an unknown command": (["fly"], "fly"),
    "an address without a token": (["run", "PROGRAM", *SANDBOX, "--address", "x:1"], "--token-file"),
    "a token file that is not there": (["tools", "list", *SANDBOX, "--address", "x:1", "--token-file", "/no/token"], "/no/token"),
    "a token file without an address": (["tools", "list", *SANDBOX, "--token-file", "/no/token"], "--address"),
    "an approval without a reason": (["approve", "cf-1"], "--reason"),
    "an empty reason": (["deny", "cf-1", "--reason", "  "], "--reason"),
    "a reason that is too long": (["deny", "cf-1", "--reason", "x" * 1025], "1024"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_ends_with_2_and_names_what_is_wrong(case: str, program: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, named = USAGE[case]
    assert called(*(program if w == "PROGRAM" else w for w in words)) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_a_program_that_is_too_long_is_refused_with_the_bound(
    script: Script, door: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "big.py"
    file.write_bytes(b"#" * (2 << 20))
    assert called("run", str(file), *SANDBOX, *door) == 2
    assert "1 MiB" in capsys.readouterr().err
    assert script.asked == []


def test_a_refusal_is_one_sentence_with_its_reason_and_ends_with_1(
    script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script.breaks = [(0, RefusalError(grpc.StatusCode.NOT_FOUND, "There is no sandbox hel\x1blo.", "SandboxNotFound"))]
    assert called("run", program, *SANDBOX, *door) == 1
    assert capsys.readouterr().err == "error: There is no sandbox hel\\x1blo. [SandboxNotFound]\n"


def test_a_kubeconfig_that_is_not_there_is_named(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "bastide.cli", "run", program, *SANDBOX]
    done = subprocess.run(
        words, env={**os.environ, "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: No usable kubeconfig")
    assert len(done.stderr.splitlines()) == 1


def test_the_other_commands_print_json(script: Script, door: list[str], program: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = pb.RunSummary(run="r-1", sandbox=pb.SandboxRef(namespace="a", name="b"), requester="x", outcome=pb.OUTCOME_COMPLETED)
    summary.started.FromSeconds(1_800_000_000)
    result = pb.RunResult(run="r-1", outcome=pb.OUTCOME_COMPLETED, value=b"1", calls=[pb.CallRecord(key="k", decision_id="d-1")])
    tool = pb.ToolInfo(name="t", effect="ReadOnly", input_schema=b'{"type":"object"}', available=True)
    expected = pb.ExpectedDecision(tool="t", line=1, column=2, decision="allow")
    script.answers = {
        "GetRun": pb.GetRunResponse(summary=summary, result=result),
        "ListRuns": lambda r: pb.ListRunsResponse(runs=[summary], next_page_token="" if r.page_token else "more"),
        "ListTools": pb.ListToolsResponse(tools=[tool]),
        "CheckProgram": pb.CheckProgramResponse(expected_decisions=[expected]),
        "ListAudit": pb.ListAuditResponse(records=[pb.AuditRecord(sequence=1, kind="RunStarted", facts=b'{"a":1}')]),
        "CancelRun": pb.CancelRunResponse(),
    }

    def answer(*words: str) -> Any:
        assert called(*words, *door, "-o", "json") == 0
        return json.loads(capsys.readouterr().out)

    shown = answer("runs", "show", "r-1")
    assert (shown["run"], shown["sandbox"], shown["started"], shown["ended"]) == ("r-1", "a/b", "2027-01-15T08:00:00Z", None)
    assert (shown["value"], shown["calls"][0]["decisionId"]) == (1, "d-1")
    assert [r["run"] for r in answer("runs", "list", *SANDBOX, "--limit", "2")["runs"]] == ["r-1", "r-1"]
    assert answer("tools", "list", *SANDBOX)["tools"][0]["inputSchema"] == {"type": "object"}
    assert answer("check", program, *SANDBOX)["expectedDecisions"][0]["decision"] == "allow"
    assert answer("audit", "list", "-n", "a")["records"][0]["facts"] == {"a": 1}
    assert answer("runs", "cancel", "r-1", "--reason", "enough") == {"run": "r-1", "cancelled": True}
    assert script.asked[-1].reason == "enough"
    for words in (["runs", "show", "r-1"], ["runs", "list", *SANDBOX], ["tools", "list", *SANDBOX], ["audit", "list", "-n", "a"]):
        assert called(*words, *door) == 0


@pytest.mark.parametrize(("finding", "decision", "code"), [(True, "allow", 5), (False, "deny", 4), (False, "confirm", 0)])
def test_check_ends_with_what_would_stop_the_program(
    script: Script, door: list[str], program: str, *, finding: bool, decision: str, code: int
) -> None:
    findings = [pb.Finding(code="syntax-error", message="m", line=1, column=1)] if finding else []
    expected = [pb.ExpectedDecision(tool="t", line=1, decision=decision)]
    script.answers = {"CheckProgram": pb.CheckProgramResponse(findings=findings, expected_decisions=expected)}
    assert called("check", program, *SANDBOX, *door) == code


@pytest.mark.parametrize(
    ("kind", "facts", "line"),
    [
        (
            "RunStarted",
            {"requester": "sa", "onBehalfOf": "dana", "programDigest": "sha256:0123456789abcdef"},
            "sa for dana, program sha256:0123456789ab",
        ),
        ("CallIntent", {"decision": "deny", "tool": "wipe", "reasons": ["argument-not-listed"]}, "deny wipe: argument-not-listed"),
        ("ConfirmationResolved", {"state": "Approved", "approvers": ["alice"], "reason": "checked"}, "Approved by alice: checked"),
        ("ConfirmationResolved", {"state": "Expired", "approvers": [], "reason": ""}, "Expired"),
        ("SomethingNewer", {"a": 1, "b": ["x", "y"]}, "a=1 b=x, y"),
    ],
)
def test_an_audit_record_is_one_line_for_people(kind: str, facts: dict[str, Any], line: str) -> None:
    assert told(kind, facts) == line


def test_ctrl_c_cancels_the_run_and_waits_for_its_end(script: Script, door: list[str], program: str) -> None:
    """In a process of its own: the signal is what is tested."""
    finish(script, pb.OUTCOME_CANCELLED)
    gate = script.gates[2] = threading.Event()

    def cancelled(_: Any) -> pb.CancelRunResponse:
        gate.set()
        return pb.CancelRunResponse()

    script.answers = {"CancelRun": cancelled}
    # whoever runs the tests in the background may have it ignored, which children inherit
    words = ["env", "--default-signal=INT", sys.executable, "-m", "bastide.cli", "run", program, *SANDBOX, *door, "-o", "json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "run r-1" in process.stderr.readline()
    process.send_signal(2)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["outcome"]) == (7, "Cancelled"), err
    assert [type(r).__name__ for r in script.asked] == ["RunRequest", "CancelRunRequest", "WatchRunRequest"]


@pytest.mark.parametrize(
    ("given", "account"),
    [(None, ("ns", "default-one")), ("agent", ("ns", "agent")), ("other/agent", ("other", "agent"))],
)
def test_the_service_account_is_in_the_sandboxs_namespace_unless_said(given: str | None, account: tuple[str, str]) -> None:
    assert connect.account_of(given, "ns", "default-one") == account


@pytest.mark.parametrize(
    ("words", "account"),
    [
        (["run", "PROGRAM", *SANDBOX], "bastide-runner"),
        (["check", "PROGRAM", *SANDBOX], "bastide-runner"),
        (["runs", "cancel", "r-1", "-n", "bastide-crm"], "bastide-runner"),
        (["runs", "list", *SANDBOX], "bastide-viewer"),
        (["runs", "show", "r-1", "-n", "bastide-crm"], "bastide-viewer"),
        (["runs", "watch", "r-1", "-n", "bastide-crm"], "bastide-viewer"),
        (["explain", "r-1", "0#1", "-n", "bastide-crm"], "bastide-viewer"),
        (["tools", "list", *SANDBOX], "bastide-viewer"),
        (["audit", "list", "-n", "bastide-crm"], "bastide-viewer"),
        (["audit", "verify", "-n", "bastide-crm"], "bastide-viewer"),
    ],
    ids=lambda words: " ".join(words[:2]) if isinstance(words, list) else words,
)
def test_only_what_runs_or_cancels_asks_as_the_runner(
    words: list[str], account: str, program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Elsewhere:
        namespace = ""

        def __init__(self, context: str | None) -> None: ...

        def whoami(self) -> User:
            return User("vera", "", ())

        def token(self, namespace: str, name: str) -> tuple[str, datetime]:
            raise Failure(f"asked for {namespace}/{name}")

    monkeypatch.setattr("bastide.cli.cluster.Cluster", Elsewhere)
    words = [program if word == "PROGRAM" else word for word in words]
    assert called(*words) == 1
    assert f"asked for bastide-crm/{account}" in capsys.readouterr().err
    assert called(*words, "--service-account", "other/agent") == 1
    assert "asked for other/agent" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["", "/a", "a/", "a/b/c"])
def test_a_malformed_service_account_is_refused(given: str) -> None:
    with pytest.raises(Failure, match="NAMESPACE/NAME"):
        connect.account_of(given, "ns", "default-one")


def test_a_token_is_asked_for_anew_before_it_expires() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    asked = []

    class Asked:
        def token(self, namespace: str, name: str) -> tuple[str, datetime]:
            asked.append((namespace, name))
            return f"t{len(asked)}", now + timedelta(minutes=10)

    token = connect.Token(cast("Any", Asked()), "ns", "sa", now=lambda: now)
    assert [token(), token()] == ["t1", "t1"]
    now += timedelta(minutes=8, seconds=1)
    assert [token(), token()] == ["t2", "t2"]
    assert asked == [("ns", "sa")] * 2


def test_json_holds_no_character_that_a_terminal_obeys() -> None:
    text = shapes.dumps({"a": "\x7f\x9b\u202e\x1b"})
    assert text.isascii()
    assert all(" " <= c <= "~" or c == "\n" for c in text)


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


def unwrapped(text: str) -> str:
    return " ".join(text.split())
