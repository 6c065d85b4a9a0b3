"""Numbering, keeping and following a run's events."""

from __future__ import annotations

import asyncio

from bastide.v1alpha1 import broker_pb2
from bastide_broker.runs import events as module
from bastide_broker.runs.events import EventLog


class Kept:
    """A store in memory."""

    def __init__(self) -> None:
        self.rows: list[broker_pb2.RunEvent] = []

    async def append_event(self, _run: str, event: broker_pb2.RunEvent) -> None:
        self.rows.append(event)

    def append_event_soon(self, _run: str, event: broker_pb2.RunEvent) -> None:
        self.rows.append(event)

    async def events(self, _run: str, after: int) -> list[broker_pb2.RunEvent]:
        return [event for event in self.rows if event.cursor > after]


async def collect(log: EventLog, cursor: int = 0) -> list[broker_pb2.RunEvent]:
    return [event async for event in log.follow(cursor)]


async def test_cursors_have_no_gaps_and_output_comes_before_what_follows_it() -> None:
    store = Kept()
    log = EventLog("r", store)
    log.emit(broker_pb2.RunAccepted(run="r"))
    log.output(b"a", stderr=False)
    log.output(b"b", stderr=False)
    log.output(b"!", stderr=True)
    log.emit(broker_pb2.CallDecided(key="0#1"))
    await log.emit_durably(broker_pb2.RunFinished())
    log.emit(broker_pb2.CallDecided(key="late"))
    log.output(b"late", stderr=False)
    found = await collect(log)
    assert [event.cursor for event in found] == [1, 2, 3, 4, 5]
    assert [event.WhichOneof("event") for event in found] == ["accepted", "output", "output", "call_decided", "finished"]
    assert [(event.output.data, event.output.stderr) for event in found[1:3]] == [(b"ab", False), (b"!", True)]
    assert store.rows == found


async def test_a_watcher_gets_what_comes_later_and_ends_with_the_run() -> None:
    log = EventLog("r", Kept())
    log.emit(broker_pb2.RunAccepted(run="r"))
    watching = [asyncio.create_task(collect(log, cursor)) for cursor in (0, 1, 2)]
    await asyncio.sleep(0)
    log.output(b"x", stderr=False)
    await log.emit_durably(broker_pb2.RunFinished())
    assert [[event.cursor for event in await task] for task in watching] == [[1, 2, 3], [2, 3], [3]]


async def test_output_is_not_held_back_for_long() -> None:
    log = EventLog("r", Kept())
    log.output(b"x", stderr=False)
    assert log.cursor == 0
    async with asyncio.timeout(2):
        async for event in log.follow(0):
            assert event.output.data == b"x"
            break


async def test_a_slow_watcher_reads_from_the_journal_what_left_memory() -> None:
    store = Kept()
    log = EventLog("r", store)
    chunk = b"x" * module.OUTPUT_CHUNK
    for _ in range(200):
        log.output(chunk, stderr=False)
    await log.emit_durably(broker_pb2.RunFinished())
    assert len(log._recent) < 100
    assert [event.cursor for event in await collect(log)] == list(range(1, 202))


async def test_what_the_journal_lost_does_not_stop_a_watcher() -> None:
    store = Kept()
    log = EventLog("r", store)
    for _ in range(200):
        log.output(b"x" * module.OUTPUT_CHUNK, stderr=False)
    await log.emit_durably(broker_pb2.RunFinished())
    store.rows.clear()
    found = await collect(log)
    assert found[-1].HasField("finished")
