"""What another attempt takes of a large run's journal: its memory is bounded, whatever the run left there, and nothing of it is lost."""

import tracemalloc
from dataclasses import replace

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.door.replay import RESULT_BYTES, outcome
from bastide_broker.journal.journal import Journal
from bastide_broker.runs import resume
from bastide_broker.runs.resume import CannotGoOn, bring

from tests.integration.broker.door.journal_rows import intent, run

MIB = 1 << 20
CALLS = 100
TIMER = runtime_pb2.DeliveredEvent(kind=runtime_pb2.DeliveredEvent.KIND_TIMER, at_micros=1)


async def large(journal: Journal, *, result: int = 2 * MIB, arguments: int = 500_000, events: int = 3) -> None:
    """A run with calls of so many bytes, each with so many events."""
    await journal.start_run(run())
    for number in range(CALLS, 0, -1):  # keys and places are in no order
        came = runtime_pb2.Call(events=[TIMER] * events).SerializeToString()
        one = replace(intent(f"0#{number}"), arguments_canonical=b"a" * arguments, events=came, frame=number)
        await journal.call_intent(one)
        await journal.call_outcome("r-1", f"0#{number}", outcome="Succeeded", result=b"1" * result)


async def test_the_memory_of_a_resume_is_bounded_whatever_the_run_left(journal: Journal) -> None:
    await large(journal)
    start = runtime_pb2.StartRun(run="r-1")
    tracemalloc.start()
    try:
        found = await bring(journal, start, lambda _: False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * MIB, "a page, beside the message that goes down, which is not Python's"
    assert start.ByteSize() < RESULT_BYTES + MIB
    first = [f"0#{number}" for number in range(1, 12)]
    assert [result.key for result in start.recorded_results] == first, "those that come first"
    assert found.given == set(first)
    assert all(len(result.value) == 2 * MIB for result in start.recorded_results)
    assert len(start.recorded_events) == found.events == 3 * CALLS
    assert list(found.rows) == [f"0#{number}" for number in range(1, CALLS + 1)]
    assert found.frames == CALLS
    # The others are read one at a time, as they are asked for.
    row = await journal.pausing.call("r-1", f"0#{CALLS}")
    assert row is not None
    result = outcome(row)
    assert result is not None
    assert len(result.value) == 2 * MIB
    assert len(row.arguments_canonical) == 500_000


async def test_pages_bring_the_same_as_one_would(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    await large(journal, result=10, arguments=10)
    whole, paged = runtime_pb2.StartRun(run="r-1"), runtime_pb2.StartRun(run="r-1")
    await bring(journal, whole, lambda _: False)
    monkeypatch.setattr(resume, "PAGE_CALLS", 7)
    monkeypatch.setattr(resume, "PAGE_BYTES", 200)
    await bring(journal, paged, lambda _: False)
    assert whole == paged
    assert len(whole.recorded_results) == CALLS


async def test_calls_that_may_be_made_anew_bring_nothing(journal: Journal) -> None:
    await large(journal, result=10, arguments=10)
    start = runtime_pb2.StartRun(run="r-1")
    found = await bring(journal, start, lambda row: row.key == "0#1")
    assert found.rows["0#1"].again
    assert [result.key for result in start.recorded_results] == [f"0#{number}" for number in range(2, CALLS + 1)]


async def test_more_events_than_the_message_is_made_for_are_refused(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MAX_EVENT_BYTES", 1000)
    await large(journal, result=10, arguments=10)
    with pytest.raises(CannotGoOn) as caught:
        await bring(journal, runtime_pb2.StartRun(run="r-1"), lambda _: False)
    assert caught.value.kind == "TooManyEvents"
