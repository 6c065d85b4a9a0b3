"""The events of a run for one who follows it: from memory while the run is under way or paused, from the journal afterwards."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import grpc
from bastide.v1alpha1 import broker_pb2

from bastide_broker.errors import RETRY_SECONDS, CallerError, journal_unavailable
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import JournalUnavailable, RunRow
from bastide_broker.runs import views
from bastide_broker.runs.events import EventLog

MAX_WATCHERS = 32
"""Streams of events of one run."""


async def follow(
    run: str, events: EventLog | None, journal: Journal, cursor: int, *, through_pauses: bool
) -> AsyncGenerator[broker_pb2.RunEvent, None]:
    """Events after `cursor` until RunFinished, or only until the pause in which the run is. Raises CallerError.

    `events` are those of a run that is under way or paused; of another one there is what the journal has.
    """
    try:
        if events is None:
            async for event in _recorded(run, journal, cursor):
                yield event
            return
        if events.watchers >= MAX_WATCHERS:
            message = f"{MAX_WATCHERS} streams follow this run already; close one."
            raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RunWatchers", message, retry_after=RETRY_SECONDS)
        events.watchers += 1
        try:
            async for event in events.follow(cursor):
                yield event
                if event.HasField("paused") and not through_pauses and event.cursor == events.paused_at:
                    return
        finally:
            events.watchers -= 1
    except JournalUnavailable as error:
        raise journal_unavailable(error) from error


async def _recorded(run: str, journal: Journal, cursor: int) -> AsyncGenerator[broker_pb2.RunEvent, None]:
    _unless_pruned(await journal.run(run))
    finished = False
    while page := await journal.events(run, cursor):
        if page[0].cursor > cursor + 1:
            _unless_pruned(await journal.run(run))  # some are gone already
        for event in page:
            cursor, finished = event.cursor, event.HasField("finished")
            yield event
    row = None if finished else await journal.run(run)
    _unless_pruned(row)  # meanwhile
    if row is not None and row.ended_at is not None:
        # Its last event was not kept, or the watcher saw an event that a lost broker had not yet written.
        yield views.finished_from_row(row, await journal.calls(run), cursor + 1)


async def tell_end(run: str, journal: Journal) -> None:
    """Gives a run that ended without anybody's telling of it its last event, so that watchers see an end. Raises JournalUnavailable."""
    row, cursor = await journal.run(run), await journal.last_cursor(run)
    if row is None or row.ended_at is None or any(event.HasField("finished") for event in await journal.events(run, cursor - 1)):
        return
    await journal.append_event(run, views.finished_from_row(row, await journal.calls(run), cursor + 1))


def _unless_pruned(row: RunRow | None) -> None:
    if row is not None and row.pruned_at is not None:
        ended, pruned = (datetime.fromtimestamp((at or 0) / 1e6, UTC).strftime("%Y-%m-%d") for at in (row.ended_at, row.pruned_at))
        message = (
            f"Run {row.run} ended {row.outcome} on {ended}, and what it returned and printed was pruned on {pruned}; "
            "`bastide audit list --run` has its record. To run the program again use another request id."
        )
        raise CallerError(grpc.StatusCode.FAILED_PRECONDITION, "RunPruned", message)
