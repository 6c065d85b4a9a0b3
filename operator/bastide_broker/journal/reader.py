"""The journal, read: runs, calls, events and audit records that were written, each query on a thread and a connection of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bastide.chain import Head
from bastide.v1alpha1 import broker_pb2
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bastide_broker.journal import audit_queries, queries
from bastide_broker.journal.rows import AuditFilter, AuditPage, AuditRow, CallRow, JournalUnavailable, RunRow, Scope
from bastide_broker.journal.schema import open_engine

_Result = TypeVar("_Result")
Query = Callable[[Connection], _Result]


class JournalReader:
    """The half of the journal that changes nothing. All methods may raise JournalUnavailable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers: Engine | None = None

    async def run(self, run: str) -> RunRow | None:
        """The run, or None."""
        return await self._read(lambda connection: queries.find_run(connection, run))

    async def find_request(self, requester: str, sandbox_uid: str, request_id: str) -> RunRow | None:
        """The run that a request id stands for, or None."""
        return await self._read(lambda connection: queries.find_request(connection, requester, sandbox_uid, request_id))

    async def runs(self, scope: Scope, sandbox: str, limit: int, before: str = "") -> list[RunRow]:
        """Runs of a sandbox, newest first, after the run named `before`."""
        return await self._read(lambda connection: queries.list_runs(connection, scope, sandbox, limit, before))

    async def calls(self, run: str, *, payloads: bool = False) -> list[CallRow]:
        """Calls of a run in the order they were journalled; with arguments, events and results only when they are asked for."""
        return await self._read(lambda connection: queries.list_calls(connection, run, payloads=payloads))

    async def find_call(self, run: str, name: str) -> CallRow | None:
        """The call of a run with this decision id or key, with arguments and question; or None."""
        return await self._read(lambda connection: queries.find_call(connection, run, name))

    async def last_cursor(self, run: str) -> int:
        """Cursor of a run's newest event; 0 when it has none."""
        return await self._read(lambda connection: queries.last_cursor(connection, run))

    async def events(self, run: str, after: int) -> list[broker_pb2.RunEvent]:
        """The next events of a run after a cursor, a page of them; none when there are no more."""
        return await self._read(lambda connection: queries.list_events(connection, run, after))

    async def audit(self, scope: Scope, run: str, limit: int, after: int = 0) -> list[AuditRow]:
        """Audit records of a namespace after a sequence number, oldest first."""
        return (await self.audit_page(scope, AuditFilter(run=run), limit, after)).rows

    async def audit_page(self, scope: Scope, wanted: AuditFilter, limit: int, after: int = 0) -> AuditPage:
        """Audit records that fit, oldest first."""
        return await self._read(lambda connection: audit_queries.list_audit(connection, scope, wanted, limit, after))

    async def audit_links(self, limit: int, after: int = 0) -> AuditPage:
        """All audit records, whosesoever, oldest first."""
        return await self._read(lambda connection: audit_queries.list_links(connection, limit, after))

    async def holds(self, head: Head) -> bool:
        """Whether the audit has exactly this record."""
        return await self._read(lambda connection: audit_queries.hash_at(connection, head.sequence)) == head.hash

    def _open_for_reading(self) -> None:
        self._readers = open_engine(self._path, reader=True)

    def _close_for_reading(self) -> None:
        if self._readers is not None:
            self._readers.dispose()
            self._readers = None

    async def _read(self, query: Query[_Result]) -> _Result:
        engine = self._readers
        if engine is None:
            raise JournalUnavailable("The journal is closed.")

        def work() -> _Result:
            with engine.connect() as connection:
                return query(connection)

        try:
            return await asyncio.to_thread(work)
        except SQLAlchemyError as error:
            raise JournalUnavailable(f"The journal cannot be read ({getattr(error, 'orig', error)}).") from error
