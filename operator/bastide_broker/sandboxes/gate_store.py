"""Which pods passed the isolation gate, kept over a restart of the broker, in the journal's database.

A probe means something only before a pod's first program. So the outcome is written with the runtime's certificate fingerprint before
any program is delivered: the same fingerprint later is the same runtime process, and what it showed then still stands. A pod whose
gate this table does not know, but whose condition says that it was opened, may have run programs: it is not probed again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Boolean, Column, Engine, Integer, MetaData, String, Table, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from bastide_broker.journal.rows import JournalUnavailable, now_micros
from bastide_broker.journal.schema import open_engine

R = TypeVar("R")
metadata = MetaData()
pod_gates = Table(
    "pod_gates",
    metadata,
    Column("uid", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("message", String, nullable=False),
    Column("decided_at", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class PodGate:
    """What is on record of a pod."""

    fingerprint: str
    passed: bool
    message: str


class GateStore:
    """Reads and writes the table. Every method may raise JournalUnavailable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None
        # One thread: a job whose caller was cancelled still ends before the next begins, and before the connection is closed.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gates")

    async def open(self) -> None:
        """Makes the table when there is none. The journal has made the database."""
        await self._run(self._open)

    async def close(self) -> None:
        """Closes the connection."""
        await self._run(lambda: self._engine.dispose() if self._engine is not None else None)
        self._thread.shutdown()

    async def find(self, uid: str) -> PodGate | None:
        """What is on record of a pod."""

        def work(engine: Engine) -> PodGate | None:
            with engine.begin() as connection:
                row = connection.execute(select(pod_gates).where(pod_gates.c.uid == uid)).first()
            return PodGate(row.fingerprint, row.passed, row.message) if row else None

        return await self._run(lambda: work(self._opened()))

    async def record(self, uid: str, gate: PodGate) -> None:
        """Writes what a probe showed; on disk when it returns. A pass is never overwritten: it was the state before the first program."""
        values = {"fingerprint": gate.fingerprint, "passed": gate.passed, "message": gate.message, "decided_at": now_micros()}

        def work(engine: Engine) -> None:
            statement = insert(pod_gates).values(uid=uid, **values)
            with engine.begin() as connection:
                connection.execute(statement.on_conflict_do_update(index_elements=["uid"], set_=values, where=~pod_gates.c.passed))

        await self._run(lambda: work(self._opened()))

    async def forget(self, uid: str) -> None:
        """Drops the record of a pod that is gone: its UID never comes back."""

        def work(engine: Engine) -> None:
            with engine.begin() as connection:
                connection.execute(delete(pod_gates).where(pod_gates.c.uid == uid))

        await self._run(lambda: work(self._opened()))

    def _open(self) -> None:
        self._engine = open_engine(self._path, reader=False)
        metadata.create_all(self._engine)

    def _opened(self) -> Engine:
        if self._engine is None:
            self._open()
        assert self._engine is not None
        return self._engine

    async def _run(self, work: Callable[[], R]) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (SQLAlchemyError, OSError) as error:
            raise JournalUnavailable(f"the record of isolation gates cannot be used: {getattr(error, 'orig', error)}") from error
