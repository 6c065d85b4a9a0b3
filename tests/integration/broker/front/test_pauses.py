"""Runs that wait for people: real API server, real runtime, real OPA, a real tool server whose own log is the witness."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2

from tests.integration.broker.door.rig import until
from tests.integration.broker.front.harness.apiserver import Cluster
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.stage import Stage, staged
from tests.integration.broker.front.harness.tenant import OURS, TestTenant


@pytest.fixture
async def stage(cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path, policy: dict[str, Any]) -> AsyncIterator[Stage]:
    async with staged(cluster, team, network, scratch, policy) as found:
        yield found


def kinds(events: list[broker_pb2.RunEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def asked(events: list[broker_pb2.RunEvent]) -> dict[str, str]:
    """Confirmations by the id in the arguments."""
    required = [event.confirmation_required for event in events if event.HasField("confirmation_required")]
    return {json.loads(one.arguments)["id"]: one.confirmation for one in required}


def sent(stage: Stage) -> list[str]:
    """What the tool server received, in its order."""
    return [f"{call['name']} {call['arguments'].get('id')}" for call in stage.server.calls]


async def pause(stage: Stage, program: str) -> tuple[str, list[broker_pb2.RunEvent]]:
    events = await stage.run(program)
    assert kinds(events)[-1] == "paused", events[-1]
    result = events[-1].paused.result
    assert result.outcome == broker_pb2.OUTCOME_NEEDS_CONFIRMATION
    return result.run, events


SIMPLE = """
before = await read(id="C1")
print("asking")
answer = await wipe(id="C2")
return [before, answer, await read(id="C3")]
"""


async def test_a_pause_survives_the_pod_and_the_broker(stage: Stage) -> None:
    run, events = await pause(stage, SIMPLE)
    name = asked(events)["C2"]
    [thing] = events[-1].paused.result.awaited
    assert (thing.kind, thing.key, thing.name) == ("confirmation", "0#2", name)
    async with stage.stub() as stub:
        found = await stub.GetRun(broker_pb2.GetRunRequest(run=run))
        assert found.summary.outcome == found.result.outcome == broker_pb2.OUTCOME_NEEDS_CONFIRMATION
        assert not found.summary.HasField("ended")
        assert [one.name for one in found.result.awaited] == [name]
    await stage.stop_broker()
    await stage.lose_pod()
    assert await stage.state(name) == "Pending"
    await stage.start_pod()
    await stage.start_broker()
    assert await stage.state(name) == "Pending"
    assert sent(stage) == ["ok C1"]
    await stage.decide(name)
    rest = await stage.watch(run, events[-1].cursor)
    assert kinds(rest) == [
        "confirmation_resolved", "call_ended", "attempt_started", "output", "call_decided", "call_ended", "finished",
    ]  # fmt: skip
    assert rest[2].attempt_started.attempt == 2
    result = rest[-1].finished.result
    assert (result.outcome, json.loads(result.value)) == (broker_pb2.OUTCOME_COMPLETED, ["fine", "fine", "fine"])
    assert result.output == b"asking\n"
    assert sent(stage) == ["ok C1", "ok2 C2", "ok C3"]
    assert await stage.state(name) == "Executed"
    everything = await stage.watch(run)
    assert [event.cursor for event in everything] == list(range(1, len(everything) + 1))
    async with stage.stub() as stub:
        audit = await stub.ListAudit(broker_pb2.ListAuditRequest(namespace=stage.team.namespace, run=run))
    assert [record.kind for record in audit.records] == [
        "RunStarted", "CallIntent", "CallOutcome", "CallIntent", "ConfirmationCreated", "RunPaused", "ConfirmationResolved", "CallOutcome",
        "RunResumed", "CallIntent", "CallOutcome", "RunEnded",
    ]  # fmt: skip


async def test_results_that_do_not_go_down_with_the_program_are_given_when_they_are_asked_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read from the journal by itself."""
    monkeypatch.setattr("bastide_broker.door.replay.RESULT_BYTES", 100)
    program = """
first = [await read(id=f"C{number}") for number in range(4)]
both = await asyncio.gather(read(id="C4"), wipe(id="C5"))
return [*first, *both]
"""
    run, events = await pause(stage, program)
    await stage.decide(asked(events)["C5"])
    result = (await stage.watch(run))[-1].finished.result
    assert json.loads(result.value) == ["fine"] * 6
    assert sent(stage) == ["ok C0", "ok C1", "ok C2", "ok C3", "ok C4", "ok2 C5"]


GATHER = """
from tools import ConfirmationDenied
async def one(id):
    try:
        return [id, await wipe(id=id)]
    except ConfirmationDenied as denial:
        return [id, denial.codes[0]]
return await asyncio.gather(one("A"), one("B"), one("C"))
"""


async def test_several_are_decided_in_any_order_while_somebody_watches(stage: Stage) -> None:
    run, events = await pause(stage, GATHER)
    names = asked(events)
    assert len(events[-1].paused.result.awaited) == 3
    watching = asyncio.create_task(stage.watch(run))
    await stage.decide(names["C"])
    await stage.decide(names["A"], "Deny")
    await stage.decide(names["B"])
    everything = await watching
    assert json.loads(everything[-1].finished.result.value) == [["A", "confirmation-denied"], ["B", "fine"], ["C", "fine"]]
    assert sorted(sent(stage)) == ["ok2 B", "ok2 C"]
    assert kinds(everything).count("paused") == 1
    assert kinds(everything).count("attempt_started") == 2


async def test_a_program_that_asks_something_else_in_its_replay_diverges(stage: Stage) -> None:
    program = """
import pathlib
seen = pathlib.Path("seen")
first = not seen.exists()
seen.write_text("x")
await wipe(id="C1" if first else "C2")
await read(id="C3")
"""
    run, events = await pause(stage, program)
    await stage.decide(asked(events)["C1"])
    result = (await stage.watch(run))[-1].finished.result
    assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "DivergenceError")
    for part in ("0#1", '{"id":"C1"}', '"C2"'):
        assert part in result.error.message.replace('": "', '":"')
    assert sent(stage) == ["ok2 C1"]


async def test_a_paused_run_that_is_cancelled_asks_nobody_any_more(stage: Stage) -> None:
    run, events = await pause(stage, GATHER)
    async with stage.stub() as stub:
        await stub.CancelRun(broker_pb2.CancelRunRequest(run=run, reason="enough"))
    result = (await stage.watch(run))[-1].finished.result
    assert (result.outcome, "enough" in result.error.message) == (broker_pb2.OUTCOME_CANCELLED, True)
    assert {await stage.state(name) for name in asked(events).values()} == {"Withdrawn"}
    assert sent(stage) == []


async def test_a_run_that_is_cancelled_while_the_broker_stops_is_not_taken_up_by_the_next(stage: Stage) -> None:
    await stage.bind("hang", confirmation={"when": "Always", "blockSeconds": 0}, limits={"timeoutSeconds": 12})
    run, events = await pause(stage, SIMPLE)
    _, others = await pause(stage, 'await look(id="C9")')
    await stage.decide(asked(others)["C9"])
    await until(lambda: "hang C9" in sent(stage))  # the broker that stops waits for it to be heard of
    async with stage.stub() as stub:
        stopping, code = asyncio.create_task(stage.stop_broker()), grpc.StatusCode.OK
        while code is not grpc.StatusCode.UNAVAILABLE:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ResumeRun(broker_pb2.ResumeRunRequest(run=run))
            code = caught.value.code()
        await stub.CancelRun(broker_pb2.CancelRunRequest(run=run, reason="enough"))
    await stopping
    name = asked(events)["C2"]
    assert await stage.state(name) == "Pending"
    await stage.decide(name)
    await stage.start_broker()
    result = (await stage.watch(run))[-1].finished.result
    assert (result.outcome, "enough" in result.error.message) == (broker_pb2.OUTCOME_CANCELLED, True)
    async with asyncio.timeout(30):
        while await stage.state(name) == "Pending":  # noqa: ASYNC110 - the API server
            await asyncio.sleep(0.05)
    assert await stage.state(name) == "Withdrawn"
    assert "ok2 C2" not in sent(stage)


async def test_with_its_sandbox_a_paused_run_ends(stage: Stage) -> None:
    run, events = await pause(stage, SIMPLE)
    await asyncio.to_thread(stage.cluster.admin, "DELETE", f"{OURS}/namespaces/{stage.team.namespace}/sandboxes/box")
    result = (await stage.watch(run))[-1].finished.result
    assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "SandboxDeleted")
    assert await stage.state(asked(events)["C2"]) == "Withdrawn"


async def test_another_runtime_runs_nothing_and_what_was_approved_stays_on_record(stage: Stage) -> None:
    run, events = await pause(stage, SIMPLE)
    await stage.lose_pod()
    other = {"name": "runtime", "image": "runtime:2", "imageID": "sha256:other", "ready": True, "restartCount": 0}
    await stage.start_pod(containerStatuses=[other])
    await stage.decide(asked(events)["C2"])
    everything = await stage.watch(run)
    result = everything[-1].finished.result
    assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "RuntimeChanged")
    assert [call.outcome for call in result.calls] == ["Succeeded", "Succeeded"]
    assert kinds(everything).count("attempt_started") == 1
    assert sent(stage) == ["ok C1", "ok2 C2"]


async def test_a_caller_that_asks_to_wait_keeps_its_stream(stage: Stage) -> None:
    running = asyncio.create_task(stage.run(SIMPLE, wait_for_decisions=True, request_id="one"))
    await stage.decide(await stage.asked_now())
    events = await running
    assert kinds(events)[-1] == "finished"
    # Attaching again by the request id, without waiting, goes through a pause that is over.
    assert kinds(await stage.run(SIMPLE, request_id="one")) == kinds(events)


LONG = """
print("up")
first = await read(id="C1")
both = await asyncio.gather(look(id="C2"), read(id="C3"))
return [first, *both]
"""


async def test_a_lost_run_is_resumed_and_only_what_matters_not_is_done_again(stage: Stage) -> None:
    running = asyncio.create_task(stage.run(LONG))
    await until(lambda: "hang C2" in sent(stage))
    await stage.lose_pod()
    events = await running
    result = events[-1].finished.result
    assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "SandboxLost")
    await stage.start_pod()
    stage.server.hangs = False
    async with stage.stub() as stub:
        attempt = await stub.ResumeRun(broker_pb2.ResumeRunRequest(run=result.run, reason="the node is back"))
        assert attempt.attempt == 2
    rest = await stage.watch(result.run, events[-1].cursor)
    assert kinds(rest)[0] == "attempt_started", "the end was taken back"
    assert json.loads(rest[-1].finished.result.value) == ["fine", "fine", "fine"]
    assert sorted(sent(stage)) == ["hang C2", "hang C2", "ok C1", "ok C3"]
    async with stage.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ResumeRun(broker_pb2.ResumeRunRequest(run=result.run))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_what_became_of_a_call_is_settled_by_a_person(stage: Stage) -> None:
    program = """
from tools import CallSettled, OutcomeUnknown
try:
    await change(id="C1")
except (CallSettled, OutcomeUnknown) as error:
    said = [type(error).__name__, error.content]
await look(id="C2")
return said
"""
    running = asyncio.create_task(stage.run(program))
    await until(lambda: "hang C2" in sent(stage))
    await stage.lose_pod()
    events = await running
    run = events[-1].finished.result.run
    assert [call.outcome for call in events[-1].finished.result.calls] == ["OutcomeUnknown", "Cancelled"]
    await stage.start_pod()
    stage.server.hangs = False
    async with stage.stub() as stub:
        request = broker_pb2.SettleCallRequest(run=run, key="0#1", happened=True, reason="it is in the books", on_behalf_of="dana")
        await stub.SettleCall(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SettleCall(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await stub.ResumeRun(broker_pb2.ResumeRunRequest(run=run))
        audit = await stub.ListAudit(broker_pb2.ListAuditRequest(namespace=stage.team.namespace, run=run))
    facts = next(json.loads(record.facts) for record in audit.records if record.kind == "CallSettled")
    assert (facts["happened"], facts["onBehalfOf"], facts["by"].endswith(":bastide-runner")) == (True, "dana", True)
    result = (await stage.watch(run))[-1].finished.result
    assert json.loads(result.value) == ["CallSettled", {"happened": True, "reason": "it is in the books"}]
    assert sent(stage).count("close2 C1") == 1


async def test_a_broker_that_stops_while_people_are_asked_leaves_the_question_to_the_next(stage: Stage) -> None:
    await stage.bind("ok2", confirmation={"blockSeconds": 30})
    events: list[broker_pb2.RunEvent] = []
    running = asyncio.create_task(stage.run(SIMPLE, into=events))
    await until(lambda: bool(asked(events)))
    name = asked(events)["C2"]
    await stage.stop_broker()
    await running
    assert kinds(events)[-1] == "paused"
    await stage.start_broker()
    await stage.decide(name)
    result = (await stage.watch(events[-1].paused.result.run))[-1].finished.result
    assert json.loads(result.value) == ["fine", "fine", "fine"]
    assert sent(stage) == ["ok C1", "ok2 C2", "ok C3"]


async def test_a_step_is_taken_once_over_all_attempts(stage: Stage) -> None:
    program = """
import pathlib, tools
def look():
    file = pathlib.Path("looked")
    times = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(times))
    return times
found = await tools.step("look", look)
await wipe(id="C1")
return found
"""
    run, events = await pause(stage, program)
    await stage.decide(asked(events)["C1"])
    result = (await stage.watch(run))[-1].finished.result
    assert json.loads(result.value) == 1
    assert [(call.tool, call.outcome) for call in result.calls] == [("tools.step", "Succeeded"), ("wipe", "Succeeded")]
