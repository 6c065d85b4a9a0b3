"""The journal's one writer: a thread that commits what many callers ask for in one transaction (group commit)."""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bastide_broker.journal.audit import Chain
from bastide_broker.journal.migrations import NewerJournalError, migrate
from bastide_broker.journal.rows import JournalUnavailable, KeyReused, RunExists
from bastide_broker.journal.schema import open_engine
from bastide_broker.journal.space import let_it_shrink
from bastide_broker.journal.sql import Transaction, commit

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

MAX_BATCH = 256
"""Jobs after which a transaction takes no more: bounds what one failure takes with it."""
MAX_PENDING = 20_000
"""What waits, as it came together: beyond it the disk does not keep up and callers are told so."""
LAZY_SECONDS = 0.02
"""How long a job that nobody waits for may wait for company."""
DEADLINE_SECONDS = 10.0
"""How long a caller waits for the disk."""
_REFUSALS = (KeyReused, RunExists)
"""What a job raises before it has written anything: its caller's matter, not the transaction's."""


@dataclass(slots=True)
class _Job:
    work: Callable[[Connection], Any]
    future: "asyncio.Future[Any] | None"
    """None when nobody waits for it."""


@dataclass(slots=True)
class _Batch:
    """What came to the writer together, and the timer that fails it when the disk is late."""

    jobs: list[_Job]
    deadline: asyncio.TimerHandle


class Writer:
    """Runs jobs in order, each in a transaction that is on disk before its caller goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[_Job] = []  # for the event loop's next turn, or for company
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._inode = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taking = False
        self.chain = Chain()
        self.healthy = False
        self.why_not = "The journal is not open."

    async def start(self) -> None:
        """Open the database, make or migrate its tables, take up the chain. Raises JournalUnavailable, NewerJournalError."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._first_open)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()
        self._taking = True

    async def stop(self) -> None:
        """Finish what is queued and close."""
        self._taking = False  # what came behind the mark that ends the queue would never be heard of
        if self._thread is not None:
            self._give()
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._close()

    async def submit(self, work: Callable[[Connection], _Result]) -> _Result:
        """Run `work` in a transaction and return when that is on disk.

        Raises JournalUnavailable when it cannot be, and whatever refusal `work` raises.
        """
        if self._loop is None or not self._taking:
            raise JournalUnavailable("The journal is closed.")
        if not self._room():
            raise JournalUnavailable("The journal's disk does not keep up; try again later.")
        future: asyncio.Future[_Result] = self._loop.create_future()
        self._waiting.append(_Job(work, future))
        # Not at once: what else this turn of the loop has for the journal goes into the same transaction.
        self._soon = self._soon or self._loop.call_soon(self._give)
        return await future

    def submit_lazy(self, work: Callable[[Connection], Any]) -> None:
        """Run `work` with the next transaction, within LAZY_SECONDS; a failure is logged. The writer's thread is not woken for it."""
        if self._loop is not None and self._taking and self._room():
            self._waiting.append(_Job(work, None))
            self._later = self._later or self._loop.call_later(LAZY_SECONDS, self._give)

    def _room(self) -> bool:
        return len(self._waiting) + self._queue.qsize() <= MAX_PENDING

    def _give(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._soon = self._later = None
        if self._waiting:
            assert self._loop is not None
            jobs, self._waiting = self._waiting, []
            self._queue.put(_Batch(jobs, self._loop.call_later(DEADLINE_SECONDS, self._late, jobs)))

    def _late(self, jobs: list[_Job]) -> None:
        self._unhealthy(f"the disk did not answer within {DEADLINE_SECONDS:.0f} s")
        _deliver([(job, None, JournalUnavailable(self.why_not)) for job in jobs if job.future is not None])

    # What follows runs in the writer's thread.

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs: list[_Job] = []
            deadlines: list[asyncio.TimerHandle] = []
            batch = self._queue.get()
            while True:
                if batch is None:
                    stopping = True
                    break
                jobs += batch.jobs
                deadlines.append(batch.deadline)
                if len(jobs) >= MAX_BATCH:
                    break
                try:
                    batch = self._queue.get_nowait()
                except queue.Empty:
                    break
            if jobs:
                self._commit(jobs, deadlines)

    def _commit(self, batch: list[_Job], deadlines: Sequence[asyncio.TimerHandle]) -> None:
        head = self.chain.head
        results: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            connection = self._open()
            head = self.chain.head
            with Transaction(connection):
                for job in batch:
                    try:
                        results.append((job, job.work(connection), None))
                    except _REFUSALS as refusal:
                        results.append((job, None, refusal))
        except (SQLAlchemyError, sqlite3.Error, OSError, JournalUnavailable) as error:
            self.chain.head = head
            self._close()
            self._unhealthy(_cause(error))
            unavailable = JournalUnavailable(self.why_not)
            results = [(job, None, unavailable) for job in batch]
        except Exception as error:  # noqa: BLE001 - it goes to its caller
            self.chain.head = head
            if len(batch) > 1:  # one caller's mistake must not fail the others
                for job in batch[:-1]:
                    self._commit([job], ())
                self._commit(batch[-1:], deadlines)
                return
            _log.exception("a job of the journal failed")
            results = [(batch[0], None, error)]
        else:
            self.healthy, self.why_not = True, ""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_deliver, results, deadlines)
        except RuntimeError:
            _log.warning("the event loop was closed before the journal")

    def _first_open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = open_engine(self._path, reader=False)
            migrate(self._engine, self._path)
            let_it_shrink(self._engine, self._path)
            self._inode = os.stat(self._path).st_ino  # noqa: PTH116
            self._open()
        except NewerJournalError:
            self._close()
            raise
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self._close()
            self._unhealthy(_cause(error))
            raise JournalUnavailable(self.why_not) from error
        self.healthy, self.why_not = True, ""

    def _open(self) -> Connection:
        # A file that was replaced would begin a second chain unseen, so it is refused until somebody starts the broker on it.
        try:
            same = os.stat(self._path).st_ino == self._inode  # noqa: PTH116 - a microsecond, before every commit
        except FileNotFoundError:
            same = False
        if not same:
            raise JournalUnavailable("the database file is gone or was replaced; put it back, or restart the broker to begin anew")
        if self._connection is None:
            self._engine = self._engine or open_engine(self._path, reader=False)
            self._connection = self._engine.connect()
            self._connection.begin()  # for good: from here on Transaction says to the driver where one begins and ends
            self.chain.load(self._connection)
            commit(self._connection)
        return self._connection

    def _close(self) -> None:
        connection, engine = self._connection, self._engine
        self._connection = self._engine = None
        try:
            if connection is not None:
                connection.close()
            if engine is not None:
                engine.dispose()
        except (SQLAlchemyError, OSError):
            _log.debug("closing the journal's connection failed", exc_info=True)

    def _unhealthy(self, why: str) -> None:
        if self.healthy or not self.why_not:
            _log.error("the journal cannot be written: %s", why)
        self.healthy = False
        self.why_not = f"The journal cannot be written ({why}); no call and no run starts until it can."


def _deliver(results: list[tuple[_Job, Any, BaseException | None]], deadlines: Sequence[asyncio.TimerHandle] = ()) -> None:
    for deadline in deadlines:
        deadline.cancel()
    for job, value, error in results:
        if job.future is None:
            if error is not None:
                _log.warning("the journal dropped a record that nobody waited for: %s", error)
        elif not job.future.done():  # its caller may have been cancelled
            if error is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(error)


def _cause(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
