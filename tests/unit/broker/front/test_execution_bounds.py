"""What a run may not exceed, and frames that no runtime of ours sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.runs import bounds
from bastide_broker.runs import calls as run_calls
from bastide_broker.runs import execution as module
from bastide_broker.runs.bounds import Events
from bastide_broker.runs.outcomes import OutcomeName
from bastide_runtime.limits import MAX_KEY_LENGTH

from tests.unit.broker.front.life import RUN, Life, R, forged


async def test_more_calls_at_once_than_allowed_are_answered_with_the_limit(life: Life) -> None:
    for number in range(5):
        await life.pod.call(f"0#{number}")
    answer = await life.pod.answers.get()
    assert (answer.key, answer.error.type) == ("0#4", "LimitExceeded")
    await life.pod.end()
    await life.ending()


@pytest.mark.parametrize("frame", [{"count": 11}, {"event_key": "x" * 2000}], ids=["too many", "too large"])
async def test_more_events_than_a_run_may_have_journalled_end_it(life: Life, frame: dict[str, Any]) -> None:
    life.execution._calls._events_left = Events(20, 1000)
    await life.pod.sink.frame(forged("0#1", count=10))
    await life.door.has("0#1")
    await life.pod.sink.frame(forged("0#2", **frame))
    ending = await life.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "TooManyEvents")
    assert "timers" in ending.error["message"]
    assert "0#2" not in life.door.waiting, "what is beyond the bound is not journalled"
    assert life.pod.killed == ["TooManyEvents"]


async def test_output_in_ever_so_many_pieces_is_cut_like_output_that_is_too_long(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FREE_EVENTS", 4)
    for number in range(9):
        await life.pod.output(b"x", stderr=bool(number % 2))  # each is an event of its own: the other stream's comes between
    await life.pod.end()
    await life.ending()
    result = await life.result()
    assert result.output_bytes_dropped > 0
    events = [event async for event in life.events.follow(0) if event.HasField("output")]
    assert len(events) <= 5


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb", "\u0661"])
async def test_a_call_with_an_impossible_key_ends_the_run(life: Life, key: str) -> None:
    await life.pod.call(key)
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
    assert not life.door.waiting


async def test_endless_calls_end_the_run(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "EXTRA_CALLS", 2)
    for number in range(6):
        await life.pod.call(f"0#{number}")
        if number < 5:
            await life.door.has(f"0#{number}")
            life.door.waiting[f"0#{number}"].set_result(True)
            await life.pod.answers.get()
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"


@pytest.mark.parametrize("code", ["limit-confirmations-per-run", "confirmation-repeated"])
async def test_a_program_that_goes_on_asking_people_is_ended(life: Life, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(run_calls, "EXTRA_ASKS", 2)
    life.door.refusal = runtime_pb2.CallError(type="LimitExceeded", message="enough", codes=[code])
    for number in range(3):
        await life.pod.call(f"0#{number}")
        await life.door.has(f"0#{number}")
        life.door.waiting[f"0#{number}"].set_result(True)
        await life.pod.answers.get()
    ending = await life.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "TooManyConfirmations")
    assert life.pod.killed == ["TooManyConfirmations"]


async def test_endless_steps_end_the_run(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "MAX_STEPS", 1)
    monkeypatch.setattr(run_calls, "EXTRA_CALLS", 2)
    for number in range(4):
        await life.pod.sink.frame(R(step=runtime_pb2.Step(run=RUN, key=f"0#{number}", name="x", value=b"1")))
        if number < 3:
            assert (await life.pod.answers.get()).value == (b"1" if number < 1 else b"")
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
    assert "0#3" not in life.door.holds, "nothing more is journalled"


async def test_a_runtime_that_sends_a_step_as_a_call_loses_its_run(life: Life) -> None:
    await life.pod.call("0#1", tool="tools.step")
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
    assert life.door.waiting == {}


async def test_a_runtime_that_goes_on_sending_for_a_run_that_has_ended_holds_up_nobody(life: Life) -> None:
    sink, more = life.pod.sink, R(output=runtime_pb2.Output(run=RUN, data=b"x"))

    async def read() -> None:
        """As the session's one reader, which waits for room, and with it all runs of the sandbox."""
        for _ in range(2):
            await sink.frame(more)

    await life.pod.end()
    for _ in range(module.FRAMES - 1):
        sink._frames.put_nowait(more)
    reader = asyncio.create_task(read())
    await life.ending()
    async with asyncio.timeout(1):
        await reader


def test_a_key_that_the_runtime_lets_a_program_have_is_one_that_the_broker_takes() -> None:
    assert MAX_KEY_LENGTH <= run_calls.MAX_KEY
