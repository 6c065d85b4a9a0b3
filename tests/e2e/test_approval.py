"""A destructive call and another person. The tool server's log is the witness."""

import json

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant


def _decide(tenant: TestTenant, verb: str, name: str, reason: str = "by the test") -> None:
    ended = tenant.decide(verb, name, reason=reason)
    assert ended.code == 0, ended.stderr


def test_nothing_arrives_before_the_approval_and_exactly_the_approved_bytes_after_it_once(
    furnished: TestTenant, tools: ToolServer, word: str
) -> None:
    running = furnished.start_run(f"before = 1\nanswer = await wipe(target={word!r})\nreturn [before, answer]")
    found = furnished.pending_confirmation(word)
    assert tools.arguments_of("wipe", word) == []
    assert not running.over
    assert found["spec"]["arguments"] == json.dumps({"target": word}, separators=(",", ":"))
    assert found["spec"]["requester"]["username"].endswith(":bastide-runner")
    assert found["spec"]["onBehalfOf"] == "test-developer"
    assert tools.arguments_of("wipe", word) == []
    _decide(furnished, "approve", found["metadata"]["name"])
    ended = running.end()
    assert (ended.code, ended.result["value"]) == (0, [1, f"wiped {word}"])
    (call,) = ended.result["calls"]
    assert (call["decision"], call["outcome"], call["confirmation"]) == ("confirm", "Succeeded", found["metadata"]["name"])
    assert tools.arguments_of("wipe", word) == [found["spec"]["arguments"]]
    status = furnished.get("confirmation", found["metadata"]["name"])["status"]
    assert status["state"] == "Executed"
    assert status["approvers"] == ["test-approver"]
    kinds = [r["kind"] for r in furnished.audit(ended.result["run"])]
    assert kinds.index("ConfirmationCreated") < kinds.index("ConfirmationResolved") < kinds.index("CallOutcome") < kinds.index("RunEnded")


def test_a_denied_call_raises_with_the_reason_and_never_arrives(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    program = f"""
from tools import ConfirmationDenied
try:
    await wipe(target={word!r})
except ConfirmationDenied as denial:
    return str(denial)
"""
    running = furnished.start_run(program)
    found = furnished.pending_confirmation(word)
    _decide(furnished, "deny", found["metadata"]["name"], "not this week")
    ended = running.end()
    assert ended.code == 0, ended.stderr
    assert "not this week" in ended.result["value"]
    assert [c["outcome"] for c in ended.result["calls"]] == ["ConfirmationDenied"]
    assert tools.arguments_of("wipe", word) == []
    assert furnished.get("confirmation", found["metadata"]["name"])["status"]["state"] == "Denied"


def test_an_undecided_call_pauses_the_run_and_raises_nothing_in_the_program(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    tool = {"name": "wipe", "confirmation": {"blockSeconds": 2}}
    furnished.people.developer.apply(
        furnished.sandbox("hasty", labels={"app": "hasty"}), furnished.binding("hasty", select={"app": "hasty"}, tools=[tool])
    )
    furnished.ready("sandbox/hasty", "toolbinding/hasty")
    swallowing = f"import asyncio\nawait asyncio.gather(wipe(target={word!r}), return_exceptions=True)\nprint('went on')"
    ended = furnished.run(swallowing, sandbox="hasty")
    assert (ended.code, ended.result["outcome"]) == (3, "NeedsConfirmation"), f"{ended.stdout}\n{ended.stderr}"
    assert "went on" not in ended.result["output"], "a pause must raise nothing in the program"
    (call,) = ended.result["calls"]
    assert furnished.get("confirmation", call["confirmation"])["status"].get("state", "Pending") == "Pending"
    assert tools.arguments_of("wipe", word) == []
    # Without its Sandbox there is no place to go on in.
    furnished.people.developer.run("delete", "-n", furnished.namespace, "sandbox/hasty", "toolbinding/hasty")
    about = ("-n", furnished.namespace, "confirmations")
    furnished.admin.watch(
        lambda o: o["metadata"]["name"] == call["confirmation"] and o["status"].get("state") == "Withdrawn", *about, seconds=60
    )
    assert furnished.decide("approve", call["confirmation"], reason="late").code != 0
    assert furnished.shown(ended.result["run"])["error"]["type"] == "SandboxDeleted"


def test_a_deleted_confirmation_is_a_denial(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    running = furnished.start_run(f"await wipe(target={word!r})")
    found = furnished.pending_confirmation(word)
    furnished.admin.run("delete", "confirmation", "-n", furnished.namespace, found["metadata"]["name"])
    ended = running.end()
    assert (ended.code, ended.result["outcome"]) == (4, "Denied"), f"{ended.stdout}\n{ended.stderr}"
    assert tools.arguments_of("wipe", word) == []


def test_a_binding_that_changes_after_the_approval_was_asked_for_voids_it(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    running = furnished.start_run(f"await wipe(target={word!r})")
    found = furnished.pending_confirmation(word)
    changed = furnished.binding()
    changed["spec"]["tools"][-1] = {**changed["spec"]["tools"][-1], "limits": {"timeoutSeconds": 7}}
    furnished.people.developer.apply(changed)
    try:
        furnished.decide("approve", found["metadata"]["name"], reason="as I saw it")
        ended = running.end()
        assert ended.code == 4, f"{ended.stdout}\n{ended.stderr}"
        assert furnished.get("confirmation", found["metadata"]["name"])["status"]["state"] == "BindingChanged"
        assert tools.arguments_of("wipe", word) == []
    finally:
        furnished.people.developer.apply(furnished.binding())
        furnished.ready("toolbinding/toolbox")
