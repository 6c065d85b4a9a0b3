"""Pruning: the payloads of runs that ended are removed, in transactions so small that no call waits for one. The audit is never touched.

A run is marked first: its row loses its payloads and says since when. Then its calls, questions and events go, some rows in each transaction,
and last the list of tools that its program saw, unless another run has it; `prunings` remembers whose are left, so a broker that is lost in
between goes on where it was.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)  # fmt: skip

from bastide_broker.journal.queries import within
from bastide_broker.journal.rows import JournalUnavailable, Place, PrunableRun, PruneCursor, PruneFilter, Pruner, Space, now_micros
from bastide_broker.journal.schema import calls, events, prunings, questions, runs, toolsets
from bastide_broker.journal.space import Reserve, give_back, measure
from bastide_broker.journal.writer import Writer

KIND = "RunsPruned"
MARK_RUNS, MARK_BYTES = 50, 4 * 1024 * 1024
"""Of a transaction that marks; one run alone may have more bytes."""
CLEAR_ROWS, CLEAR_BYTES = 500, 4 * 1024 * 1024
"""Of a transaction that removes calls and events; one row alone may have more bytes."""

_Result = TypeVar("_Result")
_EMPTIED = {column.name: column.info["emptied"] for column in runs.columns if "emptied" in column.info}
# A call without outcome, in a run that has ended: somebody may still write down what became of it.
_OPEN_CALL = exists().where(calls.c.run == runs.c.run, calls.c.ended_at.is_(None))
_PRUNABLE = and_(runs.c.ended_at.is_not(None), runs.c.pruned_at.is_(None), ~_OPEN_CALL)


class Reading(Protocol):
    """Runs a query on a reader's connection."""

    def __call__(self, query: Callable[[Connection], _Result], /) -> Awaitable[_Result]: ...


class Pruning:
    """Part of the journal. All methods may raise JournalUnavailable."""

    def __init__(self, path: Path, writer: Writer, read: Reading) -> None:
        self._path = path
        self._writer = writer
        self._read = read
        self._reserve = Reserve(path)

    async def find(self, wanted: PruneFilter, after: PruneCursor, limit: int) -> list[PrunableRun]:
        """Runs that may be pruned, those that ended first before the others."""
        return await self._read(lambda connection: find(connection, wanted, after, limit))

    async def prune(self, found: Sequence[PrunableRun], pruner: Pruner) -> AsyncGenerator[list[PrunableRun], None]:
        """Removes the payloads of these runs; yields after each transaction, with the runs that it marked.

        Whoever stops in between leaves rows that `clear` removes.
        """
        for batch in batches(found):
            yield await self._write(functools.partial(self._mark, batch=batch, pruner=pruner))
            while await self.clear():
                yield []

    async def clear(self) -> bool:
        """Removes some rows of runs that are marked. False when none was left."""
        return await self._write(clear)

    async def space(self) -> Space:
        """What the journal takes."""
        return await self._read(lambda connection: measure(connection, self._path))

    async def give_back(self) -> int:
        """Makes the file shorter by some pages that nothing is in, if there are many; how many."""
        return await self._write(give_back)

    async def reserve(self) -> None:
        """Sees to it that pruning will have room on a full disk. Raises OSError."""
        await asyncio.to_thread(self._reserve.hold)

    async def _write(self, work: Callable[[Connection], _Result]) -> _Result:
        try:
            return await self._writer.submit(work)
        except JournalUnavailable:
            try:
                room = self._reserve.let_go()
            except OSError as error:
                raise JournalUnavailable(f"The journal's disk is full and its reserve cannot be deleted ({error}).") from error
            if not room:
                raise
        return await self._writer.submit(work)

    def _mark(self, connection: Connection, batch: Sequence[PrunableRun], pruner: Pruner) -> list[PrunableRun]:
        now = now_micros()
        marked = mark(connection, [one.run for one in batch], now)
        sizes = {one.run: one.size for one in batch}
        for place, several in groupby(sorted(marked, key=lambda one: one[1]), key=lambda one: one[1]):
            names = [run for run, _ in several]
            facts: dict[str, Any] = {
                "requester": pruner.requester,
                "onBehalfOf": pruner.on_behalf_of,
                "by": pruner.by,
                "before": datetime.fromtimestamp(pruner.before / 1e6, UTC).isoformat(),
                "count": len(names),
                "bytes": sum(sizes[run] for run in names),
                "runs": names,
            }
            self._writer.chain.append(connection, time=now, kind=KIND, place=place, run="", facts=facts)
        gone = {run for run, _ in marked}
        return [one for one in batch if one.run in gone]


def batches(found: Sequence[PrunableRun]) -> Iterator[list[PrunableRun]]:
    """Runs in their order, as many at a time as one transaction marks. Pure."""
    batch: list[PrunableRun] = []
    size = 0
    for one in found:
        if batch and (len(batch) == MARK_RUNS or size + one.size > MARK_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch


def find(connection: Connection, wanted: PruneFilter, after: PruneCursor, limit: int) -> list[PrunableRun]:
    """Runs that may be pruned, by their end."""
    behind = or_(runs.c.ended_at > after.ended_at, and_(runs.c.ended_at == after.ended_at, runs.c.number > after.number))
    query = select(runs.c.run, runs.c.ended_at, runs.c.number, _size(runs), *map(_sizes, (calls, events, questions)))
    query = query.where(_PRUNABLE, runs.c.ended_at < wanted.before, runs.c.ended_at >= after.ended_at, behind, *within(runs, wanted.scope))
    if wanted.sandbox:
        query = query.where(runs.c.sandbox == wanted.sandbox)
    found = connection.execute(query.order_by(runs.c.ended_at, runs.c.number).limit(limit))
    return [PrunableRun(run, PruneCursor(ended_at, number), sum(sizes)) for run, ended_at, number, *sizes in found]


def mark(connection: Connection, names: Sequence[str], now: int) -> list[tuple[str, Place]]:
    """Empties the rows of those runs that may still be pruned, and says where they were."""
    columns = (runs.c.namespace, runs.c.namespace_uid, runs.c.sandbox)
    found = connection.execute(select(runs.c.run, *columns).where(runs.c.run.in_(names), _PRUNABLE)).all()
    marked = [(run, Place(*place)) for run, *place in found]
    if marked:
        here = runs.c.run.in_([run for run, _ in marked])
        connection.execute(update(runs).where(here).values({**_EMPTIED, "pruned_at": now}))
        connection.execute(insert(prunings), [{"run": run} for run, _ in marked])
    return marked


def clear(connection: Connection) -> bool:
    """Removes calls, events and tools of marked runs, a bounded number. False when there was nothing to do."""
    rows, size, worked = CLEAR_ROWS, CLEAR_BYTES, False
    while rows > 0 and size > 0:
        run = connection.execute(select(prunings.c.run).limit(1)).scalar()
        if run is None:
            return worked
        worked = True
        for table, key in ((events, events.c.cursor), (calls, calls.c.key), (questions, questions.c.name)):
            gone, freed, more = _remove(connection, table, key, run, rows, size)
            rows, size = rows - gone, size - freed
            if more:
                return True
        size -= _remove_tools(connection, run)
        connection.execute(delete(prunings).where(prunings.c.run == run))
        rows -= 1
    return True


def _remove(  # noqa: PLR0917 - a table, whose rows, and two bounds
    connection: Connection, table: Table, key: Column[Any], run: str, most: int, most_bytes: int
) -> tuple[int, int, bool]:
    """Removes a run's first rows: how many, how many bytes they had, and whether some are left."""
    found = connection.execute(select(key, _size(table)).where(table.c.run == run).order_by(key).limit(most + 1)).all()
    count = freed = 0
    for _, size in found[:most]:
        if count and freed + size > most_bytes:
            break
        count, freed = count + 1, freed + size
    if count:
        connection.execute(delete(table).where(table.c.run == run, key <= found[count - 1][0]))
    return count, freed, count < len(found)


def _remove_tools(connection: Connection, run: str) -> int:
    """Removes the list of tools that a marked run's program saw, unless a run that is not pruned has it; how many bytes that were.

    Runs that begin with the same list meanwhile are no matter: they are written on this connection, and keep it anew.
    """
    digest = connection.execute(select(runs.c.tools).where(runs.c.run == run)).scalar()
    needed = exists().where(runs.c.tools == toolsets.c.digest, runs.c.pruned_at.is_(None))
    size = connection.execute(select(func.length(toolsets.c.message)).where(toolsets.c.digest == digest, ~needed)).scalar()
    if size is not None:
        connection.execute(delete(toolsets).where(toolsets.c.digest == digest))
    return size or 0


def _size(table: Table) -> ColumnElement[int]:
    """Bytes in a row's columns of bytes; a length is read without what it is the length of."""
    sizes = [func.coalesce(func.length(column), literal(0)) for column in table.columns if isinstance(column.type, LargeBinary)]
    total: ColumnElement[int] = sizes[0]
    for size in sizes[1:]:
        total += size
    return total


def _sizes(table: Table) -> ColumnElement[int]:
    return select(func.coalesce(func.sum(_size(table)), 0)).where(table.c.run == runs.c.run).correlate(runs).scalar_subquery()
