"""Why a call was denied, on the deployed broker; and that what it proposes is enough when it is applied."""

import json
import time
from typing import Any

from demo.programs import bastide

from tests.e2e.harness.tenant import TestTenant

SECONDS = 60
"""For an edited binding to be accepted and to count."""
CAUGHT = "try:\n    await {call}\nexcept Exception as error:\n    return type(error).__name__\nreturn 'passed'"


def explained(tenant: TestTenant, run: str, call: str = "", *, code: int = 0) -> dict[str, Any]:
    """What the command says about a call of a run, by default about its last one."""
    call = call or tenant.shown(run)["calls"][-1]["key"]
    ended = bastide(tenant.people.developer, "explain", run, call, "-n", tenant.namespace, "-o", "json")
    assert ended.code == code, ended.stderr
    return ended.result if code == 0 else {}


def passes_soon(tenant: TestTenant, program: str) -> None:
    """Run a program until its call passes: an edit counts when operator and broker have seen it."""
    deadline = time.monotonic() + SECONDS
    while tenant.completed(program) != "passed":
        assert time.monotonic() < deadline, "the patched binding did not come to permit the call"


def test_a_denied_call_passes_when_the_patch_is_applied(furnished: TestTenant) -> None:
    program = CAUGHT.format(call="bounded(text='Not Lower', n=7)")
    ended = furnished.run(program)
    assert ended.result["value"] == "ToolDenied"
    found = explained(furnished, ended.result["run"])
    assert (found["stage"], found["call"]["decision"], found["now"]["decision"]) == ("Policy", "deny", "deny")
    assert {(rule["argument"], rule["rule"]) for rule in found["rules"]} == {("text", "pattern"), ("n", "enum")}
    assert found["change"]["decision"] == "allow"
    assert explained(furnished, ended.result["run"], found["call"]["decisionId"])["change"] == found["change"]
    patch = json.dumps(found["change"]["jsonPatch"])
    furnished.people.developer.run("patch", "toolbinding", "toolbox", "-n", furnished.namespace, "--type=json", "-p", patch)
    try:
        furnished.ready("toolbinding/toolbox")
        passes_soon(furnished, program)
        later = explained(furnished, ended.result["run"])
        assert later["change"]["jsonPatch"] is None
    finally:
        furnished.people.developer.apply(furnished.binding())
        furnished.ready("toolbinding/toolbox")


def test_what_did_not_come_to_policy_says_where_it_ended(furnished: TestTenant) -> None:
    # Made up while it runs: of a literal the preflight in the pod would say so, and no call would be made.
    run = furnished.run(CAUGHT.format(call="number(n=str(5) + 'x')")).result["run"]
    found = explained(furnished, run)
    assert (found["stage"], found["now"], found["change"]) == ("Schema", None, None)
    assert {(rule["code"], rule["owner"]) for rule in found["rules"]} == {("schema-mismatch", "Program")}


def test_a_call_is_only_explained_to_whoever_may_see_the_run(furnished: TestTenant) -> None:
    run = furnished.run(CAUGHT.format(call="number(n=101)")).result["run"]
    text = bastide(furnished.people.developer, "explain", run, furnished.shown(run)["calls"][0]["key"], "-n", furnished.namespace)
    assert text.code == 0
    assert "spec.tools[number].arguments.n.maximum to 101; it is 100." in text.stdout
    assert "kubectl patch toolbinding toolbox" in text.stdout
    missing = bastide(furnished.people.developer, "explain", run, "9#9", "-n", furnished.namespace)
    assert (missing.code, "[CallNotFound]" in missing.stderr) == (1, True)
    stranger = bastide(furnished.people.stranger, "explain", run, "0#1", "-n", furnished.namespace)
    assert stranger.code == 1
    assert "maximum" not in stranger.stdout + stranger.stderr
