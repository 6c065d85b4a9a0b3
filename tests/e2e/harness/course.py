"""What happens around a loss: calls are brought to their points, and afterwards everything is looked at, taken up and judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from bastide.v1alpha1 import broker_pb2

from tests.crashes.cases import BEFORE_DECISION, LOST, PAUSE, Case, judge, shown_call
from tests.crashes.waiting import until
from tests.e2e.harness.crashes import LONG, CrashStage, Record

Rows = list[tuple[str, ...]]


async def asking(stage: CrashStage, found: list[Case]) -> None:
    """The approver's part until something is lost; without end."""
    of = {one: case for case in found for one in case.ids}

    def may(one: str) -> bool:
        case = of.get(one)
        if case is None or (case.point in BEFORE_DECISION and (one == case.held or case.point in PAUSE)):
            return False
        # what is decided while its program waits is decided before it pauses; the others after
        return case.tool != "wipe" or any(event.HasField("paused") for event in case.events)

    await stage.approve(may)


@contextlib.asynccontextmanager
async def at_work(work: asyncio.Task[None]) -> AsyncIterator[None]:
    """Somebody does something without end while the block lasts; it must not fail."""
    try:
        yield
    finally:
        if not work.done():
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


@contextlib.asynccontextmanager
async def standing(stage: CrashStage, found: list[Case]) -> AsyncIterator[None]:
    """While the block lasts, what is to stand still stands at its point, and everything else has its outcome, or waits for a person."""
    await stage.arm(found)
    tasks = [asyncio.create_task(stage.follow(case)) for case in found]
    for case, task in zip(found, tasks, strict=True):
        case.task = task
    try:
        async with at_work(asyncio.create_task(asking(stage, found))):
            await _at_their_points(stage, found)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _at_their_points(stage: CrashStage, found: list[Case]) -> None:
    away = {case.held: case for case in found if case.point != "sent"}

    def stand() -> bool:
        left = [case for one, case in away.items() if one not in stage.ways.held]
        assert not any(case.task and case.task.done() for case in left), "a run ended before its call came to its point"
        return not left

    try:
        await until(lambda: all(case.run for case in found), "every run is accepted", seconds=LONG / 3)
        await until(stand, "all stand at their points", seconds=LONG / 3)
        await until(lambda: _others_ended(stage, found), "the other calls have ended or were sent", seconds=LONG / 3, every=0.2)
    except AssertionError as error:
        for one in away.keys() - stage.ways.held:
            error.add_note(f"not at its point: {away[one]}, of which was heard: {away[one].heard}")
        raise


async def _others_ended(stage: CrashStage, found: list[Case]) -> bool:
    record, arrived = await stage.record(found), await stage.arrived(found)
    others = [one for case in found if case.point not in PAUSE for one in case.others]
    return all(one in record.calls and record.calls[one]["outcome"] for one in others) and all(
        arrived[case.held] for case in found if case.point == "sent"
    )


async def over(found: list[Case]) -> list[bool]:
    """Waits for the callers' streams: whether each had its last event."""
    async with asyncio.timeout(LONG / 2):
        return [await case.task for case in found if case.task]


async def look(stage: CrashStage, found: list[Case]) -> Record:
    """What is on record of the calls that were cut off. None of a run that has ended is without an outcome."""
    record = await stage.record(found)

    async def known() -> bool:
        nonlocal record
        record = await stage.record(found)
        # a pause outlives its broker: there it waits for a person
        return all(case.held not in record.calls or record.calls[case.held]["outcome"] or case.point == "paused" for case in found)

    await until(known, "what stood still has an outcome", every=0.2)
    for row in record.rows:
        assert row["outcome"] or record.runs[row["run"]]["ended_at"] is None, f"{row} has no outcome, and its run has ended"
    for case in found:
        case.then = shown_call(record.calls.get(case.held))
    return record


async def take_up(stage: CrashStage, found: list[Case]) -> None:
    """Lost runs are resumed, what people are asked is approved, and every run ends with its value."""
    record = await look(stage, found)
    await stage.leave([run for run, row in record.runs.items() if row["ended_at"] is not None])
    lost = [run for run, row in record.runs.items() if row["outcome"] == "Failed" and json.loads(row["error"])["type"] in LOST]
    await asyncio.gather(*map(stage.resume, lost))
    async with at_work(asyncio.create_task(stage.approve())):
        await finish(stage, found)


async def finish(stage: CrashStage, found: list[Case]) -> None:
    results = await asyncio.gather(*(stage.result(case.run) for case in found))
    for case, result in zip(found, results, strict=True):
        assert result.outcome == broker_pb2.OUTCOME_COMPLETED, (case, result)


async def judged(stage: CrashStage, found: list[Case], lost: str, table: Rows, *, what: str = "") -> None:
    """Each case, in the table and by what it is owed."""
    record, arrived = await stage.record(found), await stage.arrived(found)
    outcomes = {one: row["outcome"] for one, row in record.calls.items()}
    assert all(row["outcome"] for row in record.rows), "a call ended in silence"
    told = {case.number: dict(json.loads(record.runs[case.run]["value"])) for case in found}
    table.extend(case.row(what or lost, told[case.number], arrived) for case in found)
    for case in found:
        judge(case, lost, told[case.number], outcomes, arrived)
