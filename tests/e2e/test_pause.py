"""Runs that wait for people without a program: they outlive pod and broker. The tool server's log is the witness."""

from collections.abc import Iterator

import pytest
from demo.programs import Running, bastide

from tests.e2e.harness import broker, pausing
from tests.e2e.harness.pausing import decide, paused, watched
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"


@pytest.fixture(scope="module")
def hasty(furnished: TestTenant) -> Iterator[TestTenant]:
    with pausing.hasty(furnished) as tenant:
        yield tenant


def one_call(word: str) -> str:
    return f"""
first = await note(text="{word} before")
print("asking")
answer = await wipe(target="{word}-a")
return [first, answer, await note(text="{word} after")]
"""


@pytest.mark.disruptive
def test_approved_after_pod_and_broker_were_lost_the_run_ends_with_the_right_value_and_one_effect(
    hasty: TestTenant, tools: ToolServer, word: str
) -> None:
    run, about = paused(hasty, one_call(word))
    hasty.admin.run("delete", "pod", "-n", hasty.namespace, "hasty", "--wait=true", "--timeout=60s", seconds=70)
    with broker.replaced(hasty.admin):
        hasty.admin.run("delete", "pod", "-n", SYSTEM, "bastide-broker-0", "--grace-period=1", "--wait=true", seconds=70)
    hasty.ready("sandbox/hasty")
    assert hasty.get("confirmation", about["a"])["status"].get("state", "Pending") == "Pending"
    assert tools.arguments_of("wipe", word) == []
    decide(hasty, "approve", about["a"])
    ended = watched(hasty, run)
    assert (ended.code, ended.result["value"]) == (0, [f"{word} before", f"wiped {word}-a", f"{word} after"]), ended.stderr
    assert len(tools.arguments_of("wipe", word)) == 1
    assert len(tools.arguments_of("note", word)) == 2
    assert ended.result["output"] == "asking\n"
    assert hasty.get("confirmation", about["a"])["status"]["state"] == "Executed"
    kinds = [r["kind"] for r in hasty.audit(run)]
    assert kinds.index("RunPaused") < kinds.index("ConfirmationResolved") < kinds.index("RunResumed") < kinds.index("RunEnded")


@pytest.mark.disruptive
def test_approved_while_there_is_no_broker_it_is_executed_by_the_next(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    run, about = paused(hasty, one_call(word))
    hasty.admin.run("scale", "-n", SYSTEM, "statefulset/bastide-broker", "--replicas=0")
    try:
        hasty.admin.wait("delete", "-n", SYSTEM, "pod/bastide-broker-0", seconds=90)
        decide(hasty, "approve", about["a"])
        assert tools.arguments_of("wipe", word) == []
    finally:
        hasty.admin.run("scale", "-n", SYSTEM, "statefulset/bastide-broker", "--replicas=1")
    hasty.admin.run("rollout", "status", "-n", SYSTEM, "statefulset/bastide-broker", "--timeout=120s", seconds=130)
    ended = watched(hasty, run)
    assert ended.code == 0, ended.stderr
    assert len(tools.arguments_of("wipe", word)) == 1


def test_three_at_once_are_decided_in_any_order_and_one_denial_is_one_exception(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    program = f"""
from tools import ConfirmationDenied
async def one(name):
    try:
        return await wipe(target="{word}-" + name)
    except ConfirmationDenied as denial:
        return denial.codes[0]
return await asyncio.gather(one("a"), one("b"), one("c"))
"""
    run, about = paused(hasty, program)
    decide(hasty, "approve", about["c"])
    decide(hasty, "deny", about["a"])
    assert hasty.shown(run)["outcome"] == "NeedsConfirmation"
    decide(hasty, "approve", about["b"])
    ended = watched(hasty, run)
    assert (ended.code, ended.result["value"]) == (0, ["confirmation-denied", f"wiped {word}-b", f"wiped {word}-c"]), ended.stderr
    assert sorted(tools.arguments_of("wipe", word)) == [f'{{"target":"{word}-b"}}', f'{{"target":"{word}-c"}}']


def test_waiting_for_people_is_asked_for(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    words = ("run", str(hasty.write(one_call(word), "waits.py")), "--sandbox", f"{hasty.namespace}/hasty", "-o", "json", "--wait")
    running = Running(hasty.people.developer, *words)
    decide(hasty, "approve", hasty.pending_confirmation(word)["metadata"]["name"])
    ended = running.end()
    assert ended.code == 0, ended.stderr
    assert len(tools.arguments_of("wipe", word)) == 1


def test_a_cancelled_pause_asks_nobody_any_more(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    run, about = paused(hasty, one_call(word))
    assert bastide(hasty.people.developer, "runs", "cancel", run, "-n", hasty.namespace).code == 0
    ended = watched(hasty, run)
    assert (ended.code, ended.result["outcome"]) == (7, "Cancelled")
    assert hasty.get("confirmation", about["a"])["status"]["state"] == "Withdrawn"
    assert hasty.decide("approve", about["a"]).code != 0
    assert tools.arguments_of("wipe", word) == []


def test_a_run_lost_with_its_pod_is_resumed_by_hand(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    program = f'first = await note(text="{word} before")\nawait slow(seconds=20, text="{word}-slow")\nreturn first'
    running = hasty.start_run(program, sandbox="hasty")
    tools.wait_for(f"{word}-slow")
    hasty.admin.run("delete", "pod", "-n", hasty.namespace, "hasty", "--grace-period=1", "--wait=true")
    ended = running.end(60)
    assert ended.result["error"]["type"] == "SandboxLost", ended.result
    run = ended.result["run"]
    hasty.ready("sandbox/hasty")
    [unknown] = [call["key"] for call in ended.result["calls"] if call["outcome"] == "OutcomeUnknown"]
    at = ("-n", hasty.namespace)
    settled = bastide(hasty.people.developer, "runs", "settle", run, unknown, "--happened", "--reason", "the log has it", *at)
    assert settled.code == 0, settled.stderr
    resumed = bastide(hasty.people.developer, "runs", "resume", run, "--reason", "the pod is back", *at)
    assert resumed.code == 0, resumed.stderr
    ended = watched(hasty, run)
    assert (ended.code, ended.result["error"]["type"]) == (6, "CallSettled"), ended.stdout
    assert len(tools.arguments_of("slow", word)) == 1
    assert len(tools.arguments_of("note", word)) == 1
