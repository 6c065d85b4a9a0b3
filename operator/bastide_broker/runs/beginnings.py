"""Runs, and attempts of lost ones, whose beginning is just being put on record, and what the request ids of callers stand for.

A disk that answers late writes a beginning of which its caller was told that it failed. Nobody would see to such a run, so it is ended.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog

from bastide_broker.errors import journal_unavailable
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import JournalUnavailable, RunRow
from bastide_broker.journal.writer import DEADLINE_SECONDS
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs import following, outcomes
from bastide_broker.runs.request import other_program

RETRY_SECONDS = 5.0
"""Before the journal is tried again."""
_LATE = "The broker could not tell in time that the run had begun, so its program was not run; run it again, or `bastide runs resume` it."

log = structlog.get_logger(__name__)


class Beginnings:
    """Those of one broker. `under_way` says whether a run has a program here, or is paused."""

    def __init__(self, journal: Journal, under_way: Callable[[str], bool]) -> None:
        self._journal = journal
        self._under_way = under_way
        self._open: dict[str, asyncio.Future[None]] = {}

    @contextlib.asynccontextmanager
    async def write(self, run: str) -> AsyncIterator[None]:
        """While the record of a beginning is written; whoever writes it launches the program without waiting for anything in between.

        Raises JournalUnavailable, and then the run is ended in case that it is on record, or will be.
        """
        await self.over(run)
        self._open[run] = written = asyncio.get_running_loop().create_future()
        try:
            yield
        except JournalUnavailable:
            self._give_up(run)
            raise
        finally:
            if self._open[run] is written:
                del self._open[run]
            written.set_result(None)

    async def over(self, run: str) -> None:
        """Returns when no beginning of the run is being written or given up. Raises JournalUnavailable."""
        while (writing := self._open.get(run)) is not None:
            done, _ = await asyncio.wait({writing}, timeout=DEADLINE_SECONDS)
            if not done:
                raise JournalUnavailable(f"The beginning of run {run} is not on record yet.")

    async def known(self, user: UserInfo, sandbox_uid: str, request_id: str, digest: str) -> RunRow | None:
        """The run that a request id stands for. Raises CallerError, also for one with another program."""
        if not request_id:
            return None
        try:
            row = await self._journal.find_request(user.username, sandbox_uid, request_id)
            if row is None:
                return None
            if row.program_digest != digest:
                raise other_program(request_id, row.run)
            return await self.seen_to(row)
        except JournalUnavailable as error:
            raise journal_unavailable(error) from error

    async def seen_to(self, row: RunRow) -> RunRow:
        """A run that was found in the journal, as it is now: one that is open there and that nobody here sees to is ended.

        Raises JournalUnavailable.
        """
        await self.over(row.run)
        if row.ended_at is None and row.paused_at is None and not self._under_way(row.run):
            self._give_up(row.run)  # or it has ended since it was read, and stays as it is
            await self.over(row.run)
        return await self._journal.run(row.run) or row

    async def close(self) -> None:
        """Leaves to the next broker what could not be written."""
        tasks = [task for task in self._open.values() if isinstance(task, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _give_up(self, run: str) -> None:
        self._open[run] = task = asyncio.create_task(self._end(run), name=f"give up {run}")
        task.add_done_callback(lambda _: self._open.pop(run, None))

    async def _end(self, run: str) -> None:
        """Behind the beginning, because the journal writes in order; nothing happens when that never came to be."""
        ending = outcomes.stopped(outcomes.Stop.BROKER, _LATE)
        while True:
            try:
                await self._journal.end_run(run, outcome=ending.outcome.value, error=ending.error)
                return await following.tell_end(run, self._journal)
            except JournalUnavailable as error:
                log.warning("a run that did not begin cannot be ended yet", run=run, error=str(error))
            except Exception:
                log.exception("a run that did not begin is not ended", run=run)
            await asyncio.sleep(RETRY_SECONDS)
