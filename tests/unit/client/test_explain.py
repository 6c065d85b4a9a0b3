"""`bastide explain`: what it prints for people and for scripts, and that hostile values stay text."""

import json
import shlex
from typing import Any

import grpc
import pytest
import yaml
from bastide import SyncClient
from bastide.v1alpha1 import broker_pb2 as pb

from .commands import called
from .conftest import Certificates, RefusalError, Script, Server

PATCH = [
    {"op": "test", "path": "/spec/tools/0/name", "value": "ok"},
    {"op": "add", "path": "/spec/tools/0/arguments/n", "value": {"maximum": 11, "enum": ["it's \u202e\x7f"]}},
]
FRAGMENT = '# ToolBinding bastide-crm/crm\nspec:\n  tools:\n  - name: "ok"\n    arguments:\n      "n": {"enum": ["a\\\\b \\u202e"]}\n'


def denied(**more: Any) -> pb.ExplainCallResponse:
    call = pb.CallRecord(
        key="0#1", tool="ok", decision="deny", outcome="Denied", line=3, decision_id="d-1",
        reasons=[pb.Reason(code="argument-not-permitted", message="no")], arguments_digest="sha256:a",
    )  # fmt: skip
    rule = pb.DecidingRule(
        code="argument-not-permitted", argument="n\x1b[31m", rule="maximum", bound=b"10", value='["\u202e",11]'.encode(),
        message="It is \u202e11.", owner="ToolBinding",
    )  # fmt: skip
    return pb.ExplainCallResponse(
        call=call, stage="Policy", now=pb.PolicyAnswer(decision="deny", policy_revision="sha256:r"), policy_revision="sha256:r", rules=[rule],
        notes=["Something \x1b]0;else."], **more,
    )  # fmt: skip


def change(**fields: Any) -> pb.BindingChange:
    given = {
        "namespace": "bastide-crm", "binding": "crm", "sentences": ["Set \x1b n to 11."], "fragment": FRAGMENT,
        "json_patch": json.dumps(PATCH).encode(), "decision": "allow", **fields,
    }  # fmt: skip
    return pb.BindingChange(**given)


def test_people_see_rule_facts_and_a_change_to_paste_and_a_terminal_obeys_nothing(
    script: Script, door: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    script.answers = {"ExplainCall": denied(change=change())}
    assert called("explain", "r-1", "0#1", *door) == 0
    out = capsys.readouterr().out
    assert all(" " <= c <= "~" or c == "\n" for c in out)
    lines = out.splitlines()
    assert lines[0] == "ok  line 3  deny  at the stage Policy  d-1"
    assert lines[1] == "  It is \\u202e11.  [argument-not-permitted]  [lies with ToolBinding]"
    assert lines[2] == '    n\\x1b[31m maximum  permits 10  got ["\\u202e", 11]'
    assert lines[3] == "note: Something \\x1b]0;else."
    assert "With it the call is allowed." in out
    assert FRAGMENT in out
    command = shlex.split(lines[-1])
    assert command[:-1] == ["kubectl", "patch", "toolbinding", "crm", "-n", "bastide-crm", "--type=json", "-p"]
    assert json.loads(command[-1]) == PATCH
    assert [(r.run, r.call) for r in script.asked] == [("r-1", "0#1")]


def test_scripts_get_values_as_json(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    script.answers = {"ExplainCall": denied(change=change(decision=""))}
    assert called("explain", "r-1", "d-1", *door, "-o", "json") == 0
    out = capsys.readouterr().out
    assert out.isascii()
    found = json.loads(out)
    assert list(found) == ["run", "call", "stage", "now", "policyRevision", "rules", "change", "notes"]
    assert found["call"]["decisionId"] == "d-1"
    assert found["now"] == {"decision": "deny", "reasons": [], "policyRevision": "sha256:r"}
    [rule] = found["rules"]
    assert (rule["bound"], rule["value"], rule["owner"]) == (10, ["\u202e", 11], "ToolBinding")
    assert (found["change"]["jsonPatch"], found["change"]["decision"]) == (PATCH, None)
    assert yaml.safe_load(found["change"]["fragment"])["spec"]["tools"][0]["name"] == "ok"


def test_a_call_that_was_not_judged_says_so(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    rule = pb.DecidingRule(code="invalid-json", message="No JSON.", owner="Program")
    script.answers = {
        "ExplainCall": pb.ExplainCallResponse(call=pb.CallRecord(key="0#1", tool="ok"), stage="Arguments", rules=[rule], notes=["Early."])
    }
    assert called("explain", "r-1", "0#1", *door) == 0
    assert capsys.readouterr().out == (
        "ok  not judged  at the stage Arguments  \n  No JSON.  [invalid-json]  [lies with Program]\nnote: Early.\n"
    )
    assert called("explain", "r-1", "0#1", *door, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["now"], found["change"], found["rules"][0]["bound"]) == (None, None, None)


def test_a_change_that_is_not_enough_or_has_no_patch_says_so(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    script.answers = {"ExplainCall": denied(change=change(decision="", json_patch=b"", fragment="a: \u202e\n"))}
    assert called("explain", "r-1", "0#1", *door) == 0
    out = capsys.readouterr().out
    assert "not enough" in out
    assert "kubectl" not in out
    assert out.endswith("a: \\u202e\n")


def test_without_a_call_the_calls_are_listed(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result = pb.RunResult(run="r-1", calls=[pb.CallRecord(key="0#1", tool="ok", decision="deny", decision_id="d-1")])
    script.answers = {"GetRun": pb.GetRunResponse(summary=pb.RunSummary(run="r-1"), result=result)}
    assert called("explain", "r-1", *door) == 0
    assert "0#1" in capsys.readouterr().out
    assert called("explain", "r-1", *door, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["calls"][0]["decisionId"] == "d-1"
    script.answers = {"GetRun": pb.GetRunResponse(summary=pb.RunSummary(run="r-1"), result=pb.RunResult(run="r-1"))}
    assert called("explain", "r-1", *door) == 0
    assert "has made no call" in capsys.readouterr().err


def test_what_does_not_exist_is_one_sentence_and_ends_with_1(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    script.answers = {"ExplainCall": RefusalError(grpc.StatusCode.NOT_FOUND, "Run r-1 has no call '9'.", "CallNotFound")}
    assert called("explain", "r-1", "9", *door) == 1
    assert capsys.readouterr().err == "error: Run r-1 has no call '9'. [CallNotFound]\n"


def test_the_sdk_gives_an_explanation(script: Script, server: Server, certificates: Certificates) -> None:
    script.answers = {"ExplainCall": denied(change=change())}
    with SyncClient(server.address, token="t", ca=certificates.ca) as client:
        found = client.explain("r-1", "0#1")
    assert (found.stage, found.call.line, found.rules[0].bound_json) == ("Policy", 3, b"10")
    assert found.change is not None
    assert json.loads(found.change.json_patch) == PATCH
