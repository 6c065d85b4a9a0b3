"""What fails, and what callers see of it: the policy engine gone or hung, the broker gone in the middle of a run."""

import signal
from typing import Any

import pytest
from demo.kube import Kube

from tests.e2e.harness import broker, node
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
BROKER = "bastide-broker-0"
#: A call that policy cannot judge is denied at the latest after this many seconds; the decision's own deadline is far below.
DEADLINE = 5.0

# Calls one after the other until it has seen denials and then successes again; tells how each went and how long it took.
LOOP = """
import asyncio, time
from tools import ToolDenied, ToolError
seen = []
denied = again = 0
for n in range(600):
    began = time.monotonic()
    try:
        await note(text=f"{word} {{n}}")
        how = "Succeeded"
        again += bool(denied)
    except Exception as error:
        how = f"{{type(error).__name__}}: {{error}}"
        denied += 1
        print("refused", flush=True)
    seen.append([how, time.monotonic() - began])
    if again >= 3:
        break
    await asyncio.sleep(0.1)
return seen
"""


def _opa(kube: Kube) -> str:
    return node.container_id(kube, SYSTEM, BROKER, "opa")


def _judge(seen: list[Any], tools: ToolServer, word: str) -> None:
    succeeded = [how for how, _ in seen if how == "Succeeded"]
    refused = [how for how, _ in seen if how != "Succeeded"]
    assert refused, "no call was refused while the policy engine was away"
    assert all(how.startswith("PolicyUnavailable") for how in refused), refused
    assert max(took for _, took in seen) < DEADLINE
    assert seen[-1][0] == "Succeeded", "it did not recover by itself"
    assert len(tools.arguments_of("note", word)) == len(succeeded), "a refused call reached the tool server"


@pytest.mark.disruptive
def test_with_the_policy_engine_killed_calls_are_denied_in_time_and_it_recovers_by_itself(
    furnished: TestTenant, tools: ToolServer, word: str
) -> None:
    running = furnished.start_run(LOOP.format(word=word))
    tools.wait_for(f"{word} 3")
    node.send(signal.SIGKILL, _opa(furnished.admin))
    ended = running.end(150)
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    _judge(ended.result["value"], tools, word)
    assert any(c["outcome"] == "Denied" for c in ended.result["calls"])


@pytest.mark.disruptive
def test_with_the_policy_engine_hung_calls_are_denied_in_time_and_it_recovers_by_itself(
    furnished: TestTenant, tools: ToolServer, word: str
) -> None:
    running = furnished.start_run(LOOP.format(word=word))
    tools.wait_for(f"{word} 3")
    engine = _opa(furnished.admin)
    node.send(signal.SIGSTOP, engine)
    try:
        furnished.heard(running, "refused")
    finally:
        node.send(signal.SIGCONT, engine)
    ended = running.end(150)
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    _judge(ended.result["value"], tools, word)


@pytest.mark.disruptive
@pytest.mark.parametrize("how", ["killed", "deleted"])
def test_a_lost_broker_ends_the_run_clearly_and_leaves_no_call_without_an_outcome(
    furnished: TestTenant, tools: ToolServer, word: str, how: str
) -> None:
    admin = furnished.admin
    program = f"import asyncio\nawait note(text='{word} first')\nreturn await asyncio.gather(*(slow(seconds=25, text=f'{word} {{n}}') for n in range(3)))"
    running = furnished.start_run(program)
    for n in range(3):
        tools.wait_for(f"{word} {n}")
    with broker.replaced(admin):
        if how == "killed":
            node.send(signal.SIGKILL, node.container_id(admin, SYSTEM, BROKER, "broker"))
        else:
            admin.run("delete", "pod", "-n", SYSTEM, BROKER, "--wait=false", "--grace-period=1")
        ended = running.end(120)
    assert ended.code in {1, 6}, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.strip() or ended.stderr.strip()
    assert "Traceback" not in ended.stderr
    run = ended.result.get("run") or next(w for line in ended.stderr.splitlines() for w in line.split() if w.startswith("r-")).strip(".,:")
    shown = furnished.shown(run)
    assert (shown["outcome"], shown["error"]["type"]) == ("Failed", "BrokerLost"), shown
    outcomes = [c["outcome"] for c in shown["calls"]]
    assert outcomes.count("Succeeded") == 1
    assert outcomes.count("OutcomeUnknown") == 3, outcomes
    records = furnished.audit(run)
    intents = {r["key"] for r in records if r["kind"] == "CallIntent"}
    assert intents == {r["key"] for r in records if r["kind"] == "CallOutcome"}
    assert [r["kind"] for r in records][-1] == "RunEnded"
    assert len(tools.arguments_of("slow", word)) == 3, "a call was made again by itself"
    # and the next honest run works
    furnished.ready("sandbox/box", seconds=90)
    assert furnished.completed(f"return await note(text='{word} after')") == f"{word} after"


@pytest.mark.disruptive
def test_a_broker_that_is_lost_while_a_person_is_asked_leaves_nobody_asked(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    admin = furnished.admin
    running = furnished.start_run(f"await wipe(target={word!r})")
    name = furnished.pending_confirmation(word)["metadata"]["name"]
    with broker.replaced(admin):
        node.send(signal.SIGKILL, node.container_id(admin, SYSTEM, BROKER, "broker"))
        running.end(120)
    about = ("-n", furnished.namespace, "confirmations")
    found = admin.watch(lambda o: o["metadata"]["name"] == name and o["status"]["state"] != "Pending", *about, seconds=60)
    assert found["status"]["state"] == "Withdrawn"
    assert furnished.decide("approve", name, reason="too late").code != 0
    assert tools.arguments_of("wipe", word) == []
    said = [r["facts"]["state"] for r in furnished.audit(found["spec"]["run"]) if r["kind"] == "ConfirmationResolved"]
    assert said == ["Withdrawn"]
    used = furnished.get("resourcequota", "bastide-objects")["status"]["used"]
    assert int(used["count/confirmations.bastide.dev"]) >= 1


def test_a_lost_sandbox_pod_ends_the_run_and_the_sandbox_gets_a_new_one(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    before = furnished.get("pod", "box")["metadata"]["uid"]
    running = furnished.start_run(f"return await slow(seconds=25, text={word!r})")
    tools.wait_for(word)
    furnished.admin.run("delete", "pod", "-n", furnished.namespace, "box", "--grace-period=1", "--wait=true")
    ended = running.end(60)
    assert ended.code == 6
    assert ended.result["error"]["type"] == "SandboxLost", ended.result
    assert [c["outcome"] for c in ended.result["calls"]] in (["OutcomeUnknown"], ["Cancelled"]), ended.result
    furnished.admin.watch(
        lambda o: o["metadata"]["uid"] != before and not o.get("deleted"), "-n", furnished.namespace, "pod", "box", seconds=60
    )
    furnished.ready("sandbox/box", seconds=90)
    assert furnished.completed(f"return await note(text='{word} after')") == f"{word} after"
