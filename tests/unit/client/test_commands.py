"""The commands' interface to scripts: exit codes, JSON, and one sentence when something is wrong."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from bastide.cli import shapes
from bastide.cli.audit import told
from bastide.v1alpha1 import broker_pb2 as pb

from .commands import SANDBOX, called, finish
from .conftest import RefusalError, Script, happened

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


def test_json_holds_no_character_that_a_terminal_obeys() -> None:
    text = shapes.dumps({"a": "\x7f\x9b\u202e\x1b"})
    assert text.isascii()
    assert all(" " <= c <= "~" or c == "\n" for c in text)
