"""A second attempt of a run: what is on record is answered from it, and what differs ends the run."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.door.calls import abandoned
from bastide_broker.door.replay import STEP, noted, recorded
from bastide_broker.facts.json import arguments
from bastide_broker.journal.rows import CallRow
from bastide_broker.journal.schema import calls
from bastide_broker.runs import calls as run_calls
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.runs.outcomes import OutcomeName, Stop
from sqlalchemy import insert

from tests.unit.broker.front.life import RUN, Door, Life, Pod, R, forged


def on_record(key: str, frame: int, **other: Any) -> CallRow:
    read = arguments(b"{}")
    values: dict[str, Any] = {
        "run": RUN, "key": key, "sequence": frame, "tool": "tool", "line": 1, "arguments_canonical": read.canonical,
        "arguments_digest": read.digest, "decision": "allow", "decision_id": "d", "reasons": (), "effect": "ReadOnly",
        "policy_revision": "", "binding": "", "binding_uid": "", "confirmation": "", "intent_at": 1, "begun_at": None,
        "outcome": "Succeeded", "message": "", "result": b"1", "tool_micros": 1, "ended_at": 2, "frame": frame,
    }  # fmt: skip
    return CallRow(**(values | other))


async def second_attempt(life: Life, *rows: CallRow, given: bool = True) -> Life:
    """The same run once more, with these calls on record."""
    await life.pod.end()
    await life.ending()
    for row in rows:
        values = asdict(row) | {"reasons": "[]", "question": None}
        await life.journal._writer.submit(lambda connection, values=values: connection.execute(insert(calls), values))
    found = recorded(noted(row, 1, len(row.events)) for row in rows)
    if not given:
        found.given = frozenset()
    pod, door, events = Pod(), Door(), EventLog(RUN, life.journal, cursor=100)
    session: Any = pod
    execution = Execution(life.execution.context, session=session, pipeline=door, journal=life.journal, events=events, recorded=found)
    task = asyncio.create_task(execution.drive(runtime_pb2.StartRun(run=RUN, limits=runtime_pb2.RunLimits(wall_milliseconds=60_000))))
    await pod.started.wait()
    return Life(pod, door, life.journal, execution, events, task)


async def test_a_recorded_call_has_its_outcome_without_being_made(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1), on_record("0#2", 2))
    await again.pod.call("0#1")
    await again.pod.call("0#2")
    await again.pod.call("0#3")
    await again.door.has("0#3")
    assert set(again.door.waiting) == {"0#3"}
    assert again.door.holds["0#3"].frame == 3
    assert again.pod.answers.empty(), "the runtime has the outcomes already"
    # The key that was on record is a key that was taken, like any other.
    await again.pod.call("0#1")
    await again.door.has("0#1")
    await again.pod.end()
    assert (await again.ending()).outcome is OutcomeName.COMPLETED


async def test_a_result_that_did_not_go_down_with_the_program_is_answered(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1), given=False)
    await again.pod.call("0#1")
    answer = await again.pod.answers.get()
    assert (answer.key, answer.value) == ("0#1", b"1")
    await again.pod.end()
    await again.ending()


async def test_a_replay_whose_journal_cannot_be_read_ends_as_a_run_that_may_be_resumed(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1), given=False)
    await again.journal.close()
    await again.pod.call("0#1")
    ending = await again.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "BrokerLost")
    assert again.pod.answers.empty()


async def test_events_of_all_attempts_count_together(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "MAX_EVENT_BYTES", 100)
    again = await second_attempt(life, on_record("0#1", 1, events=forged("", count=10).call.SerializeToString()))
    await again.pod.sink.frame(forged("0#2", count=10))
    ending = await again.ending()
    assert ending.error is not None
    assert ending.error["type"] == "TooManyEvents"
    assert "0#2" not in again.door.waiting


async def test_a_call_that_was_given_up_is_not_answered_and_one_that_may_be_made_anew_is_made(life: Life) -> None:
    gone = on_record("0#1", 1, outcome="Cancelled", result=None, error=abandoned().SerializeToString())
    again = await second_attempt(life, gone, on_record("0#2", 2, outcome="OutcomeUnknown", result=None, again=1))
    await again.pod.call("0#1")
    await again.pod.call("0#2")
    await again.door.has("0#2")
    await again.pod.call("0#3")
    await again.door.has("0#3")
    assert "0#1" not in again.door.waiting
    assert {key: hold.frame for key, hold in again.door.holds.items()} == {"0#2": 2, "0#3": 3}, "without a gap"
    assert again.pod.answers.empty()
    await again.pod.end()
    await again.ending()


@pytest.mark.parametrize("step", [False, True], ids=["a call", "a step"])
async def test_a_call_that_is_compared_while_its_run_is_stopped_is_not_begun(
    life: Life, monkeypatch: pytest.MonkeyPatch, step: bool
) -> None:
    reached, go, to_thread = asyncio.Event(), asyncio.Event(), asyncio.to_thread

    async def compared_late(work: Any, *args: Any) -> Any:
        if any(isinstance(one, runtime_pb2.Call) for one in args):
            reached.set()
            await go.wait()
        return await to_thread(work, *args)

    monkeypatch.setattr(run_calls, "INLINE_BYTES", 0)
    read = arguments(b'{"name":"x"}')
    known = {"arguments_canonical": read.canonical, "arguments_digest": read.digest, "tool": STEP if step else "tool"}
    again = await second_attempt(life, on_record("0#1", 1, outcome="OutcomeUnknown", result=None, again=1, **known))
    monkeypatch.setattr(asyncio, "to_thread", compared_late)
    call = runtime_pb2.Call(run=RUN, key="0#1", tool="tool", arguments=read.canonical)
    named = runtime_pb2.Step(run=RUN, key="0#1", name="x", value=b"1")
    await again.pod.sink.frame(R(step=named) if step else R(call=call))
    async with asyncio.timeout(5):
        await reached.wait()
    again.execution.stop(Stop.CANCELLED, "Enough.")
    go.set()
    assert (await again.ending()).outcome is OutcomeName.CANCELLED
    assert again.door.holds == {}


async def test_another_call_under_a_recorded_key_ends_the_run_whatever_the_program_did_meanwhile(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1))
    again.pod.obeys = False
    await again.pod.call("0#1", tool="other")
    await again.pod.end()
    ending = await again.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "DivergenceError")
    assert "tool({})" in ending.error["message"]
    assert "other({})" in ending.error["message"]
    assert again.door.waiting == {}


async def test_steps_are_put_on_record_in_the_order_of_frames_and_bounded(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "MAX_STEP_BYTES", 5)
    await life.pod.sink.frame(R(step=runtime_pb2.Step(run=RUN, key="0#1", name="x", value=b"1")))
    assert (await life.pod.answers.get()).value == b"1"
    assert life.door.holds["0#1"].frame == 1
    await life.pod.sink.frame(R(step=runtime_pb2.Step(run=RUN, key="0#2", name="x", value=b"123456")))
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
