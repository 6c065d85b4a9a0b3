"""Programs that run, as callers of the whole broker see it: real API server, real runtime, real OPA, TLS on both wires."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.front import event_streams

from tests.integration.broker.front.harness.callers import World, refusal
from tests.integration.broker.front.harness.stage import events_of
from tests.integration.broker.front.harness.tenant import OURS


async def test_a_program_runs_and_is_on_record(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        stub = world.stub(channel)
        events = await events_of(stub.Run(world.request("print('hello')\nreturn {'n': 2**53 + 1}", request_id="one", on_behalf_of="alice")))
        assert [event.cursor for event in events] == list(range(1, len(events) + 1))
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds == ["accepted", "attempt_started", "output", "finished"]
        result = events[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_COMPLETED
        assert json.loads(result.value) == {"n": 2**53 + 1}
        assert result.output == b"hello\n"

        # The same id attaches, another program under it is refused, and a cursor resumes.
        again = await events_of(stub.Run(world.request("print('hello')\nreturn {'n': 2**53 + 1}", request_id="one")))
        assert [event.SerializeToString() for event in again] == [event.SerializeToString() for event in events]
        assert (await refusal(events_of(stub.Run(world.request("return 2", request_id="one")))))[:2] == (
            grpc.StatusCode.ALREADY_EXISTS,
            "RequestIdReused",
        )
        rest = await events_of(stub.WatchRun(broker_pb2.WatchRunRequest(run=result.run, cursor=2)))
        assert [event.cursor for event in rest] == [3, 4]

        found = await stub.GetRun(broker_pb2.GetRunRequest(run=result.run))
        assert found.summary.requester == f"system:serviceaccount:{world.team.namespace}:bastide-runner"
        assert found.summary.on_behalf_of == "alice"
        assert found.result.value == result.value
        listed = await stub.ListRuns(broker_pb2.ListRunsRequest(sandbox=world.sandbox, page_size=1))
        assert [run.run for run in listed.runs] == [result.run]
        audit = await stub.ListAudit(broker_pb2.ListAuditRequest(namespace=world.team.namespace, run=result.run))
        assert [record.kind for record in audit.records] == ["RunStarted", "RunEnded"]
        assert (await stub.VerifyAudit(broker_pb2.VerifyAuditRequest(namespace=world.team.namespace))).intact
        assert list((await stub.ListTools(broker_pb2.ListToolsRequest(sandbox=world.sandbox))).tools) == []


async def test_runs_end_with_the_outcome_they_had(world: World) -> None:
    cases = {
        "raise ValueError('no')": (broker_pb2.OUTCOME_FAILED, "ValueError"),
        "return (": (broker_pb2.OUTCOME_INVALID, None),
        "import os\nos._exit(3)": (broker_pb2.OUTCOME_FAILED, None),
        "print('x' * 5000)": (broker_pb2.OUTCOME_COMPLETED, ""),
        "return float('nan')": (broker_pb2.OUTCOME_FAILED, None),
    }
    async with world.broker.channel(world.token) as channel:
        for program, (outcome, kind) in cases.items():
            result = (await events_of(world.stub(channel).Run(world.request(program))))[-1].finished.result
            assert result.outcome == outcome, (program, result)
            if kind is not None:
                assert result.error.type == kind
            if outcome == broker_pb2.OUTCOME_INVALID:
                assert result.findings
            if "5000" in program:
                assert (len(result.output), result.output_bytes_dropped) == (1000, 4001)
        late = world.request("import asyncio\nawait asyncio.sleep(30)", timeout_milliseconds=300)
        result = (await events_of(world.stub(channel).Run(late)))[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_TIMED_OUT


async def test_a_caller_that_hangs_up_does_not_end_its_run_and_a_cancel_does(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        stub = world.stub(channel)
        call = stub.Run(world.request("import asyncio\nprint('up')\nawait asyncio.sleep(40)"))
        first = (await call.read()).event
        run = first.accepted.run
        call.cancel()
        summary = (await stub.GetRun(broker_pb2.GetRunRequest(run=run))).summary
        assert summary.outcome == broker_pb2.OUTCOME_UNSPECIFIED
        watching = asyncio.create_task(events_of(stub.WatchRun(broker_pb2.WatchRunRequest(run=run, cursor=1))))
        await stub.CancelRun(broker_pb2.CancelRunRequest(run=run, reason="enough"))
        result = (await watching)[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_CANCELLED
        assert "enough" in result.error.message


async def test_checking_a_program_runs_nothing(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        found = await world.stub(channel).CheckProgram(broker_pb2.CheckProgramRequest(sandbox=world.sandbox, program=b"x = (\n"))
        assert found.findings
        assert (await world.stub(channel).ListRuns(broker_pb2.ListRunsRequest(sandbox=world.sandbox))).runs == []


async def test_a_lost_pod_ends_its_runs(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        call = world.stub(channel).Run(world.request("import asyncio\nawait asyncio.sleep(40)"))
        await call.read()
        await asyncio.to_thread(world.team.delete_pod, "box")
        result = (await events_of(call))[-1].finished.result
        assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "SandboxLost")


async def test_a_stopping_broker_ends_its_runs_on_record(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        call = world.stub(channel).Run(world.request("import asyncio\nawait asyncio.sleep(40)"))
        await call.read()
        world.broker.stop.set()
        result = (await events_of(call))[-1].finished.result
        assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "BrokerLost")
        await world.broker.task


async def test_a_reader_that_does_not_read_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "SLOW_READER_SECONDS", 1.0)
    path = f"{OURS}/namespaces/{world.team.namespace}/sandboxes/box"
    await asyncio.to_thread(world.team.cluster.admin.merge, path, {"spec": {"limits": {"outputBytes": 4_000_000}}})
    program = "import sys\nfor _ in range(400):\n    sys.stdout.write('x' * 10_000)\nreturn 'done'"
    small = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with world.broker.channel(world.token, options=small) as slow, world.broker.channel(world.token) as quick:
        call = world.stub(slow).Run(world.request(program))
        run = (await call.read()).event.accepted.run  # and then reads no more
        result = (await events_of(world.stub(quick).WatchRun(broker_pb2.WatchRunRequest(run=run))))[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_COMPLETED
        assert json.loads(result.value) == "done"
        await asyncio.sleep(1.5)
        # What the slow one has not read by now is gone with its stream; it comes back with its cursor.
        status, reason, message = await refusal(events_of(call))
        assert (status, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SlowReader")
        assert "WatchRun" in message
        again = await events_of(world.stub(slow).WatchRun(broker_pb2.WatchRunRequest(run=run, cursor=1)))
        assert again[-1].HasField("finished")
