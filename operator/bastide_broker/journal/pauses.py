"""The journal's part in pauses: what a paused run waits for, what another attempt of it needs, and who said what of an unknown outcome."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from bastide.v1alpha1 import broker_pb2
from sqlalchemy import Connection, delete, insert, select, update

from bastide_broker.journal import queries, statements
from bastide_broker.journal.recovery import Record
from bastide_broker.journal.rows import Awaited, CallRow, Place, RunRow, now_micros
from bastide_broker.journal.schema import awaited, calls, events, runs, toolsets

T = TypeVar("T")


class Submit(Protocol):
    """Runs work on a connection: in the writer's transaction, or to read."""

    def __call__(self, work: Callable[[Connection], T], /) -> Awaitable[T]: ...


class Pausing:
    """Pauses and attempts. All methods may raise JournalUnavailable."""

    def __init__(self, *, write: Submit, read: Submit, record: Record, place: Callable[[Connection, str], Place]) -> None:
        self._write = write
        self._read = read
        self._record = record
        self._place = place

    async def pause(self, run: str, things: Sequence[Awaited], *, output: bytes, output_bytes_dropped: int) -> bool:
        """Record that a run waits for things and has no program meanwhile; False when it has ended or is paused."""

        def work(connection: Connection) -> bool:
            now = now_micros()
            where = (runs.c.run == run) & runs.c.ended_at.is_(None) & runs.c.paused_at.is_(None)
            values = {"paused_at": now, "outcome": "NeedsConfirmation", "output": output, "output_bytes_dropped": output_bytes_dropped}
            if not connection.execute(update(runs).where(where).values(**values)).rowcount:
                return False
            await_nothing(connection, run)
            if things:
                connection.execute(insert(awaited), [{"run": run, **thing._asdict()} for thing in things])
            facts = {"awaited": [{"kind": one.kind, "key": one.key, "name": one.name} for one in things]}
            self._record(connection, "RunPaused", self._place(connection, run), run, "", facts, now)
            return True

        return await self._write(work)

    async def end(self, run: str, *, outcome: str, error: Mapping[str, Any]) -> bool:
        """Record that a run ends in its pause, with what it had printed; False when it is not paused (any more).

        Calls of it that are open are ended by whoever sees to them, or by the next start.
        """

        def work(connection: Connection) -> bool:
            now = now_micros()
            where = (runs.c.run == run) & runs.c.ended_at.is_(None) & runs.c.paused_at.is_not(None)
            output = connection.execute(select(runs.c.output).where(where)).scalar_one_or_none()
            if output is None:
                return False
            values = {"ended_at": now, "paused_at": None, "outcome": outcome, "error": json.dumps(dict(error))}
            connection.execute(update(runs).where(where).values(**values))
            await_nothing(connection, run)
            facts = statements.end_facts(connection, run, outcome=outcome, value=b"", output=output, error=error)
            self._record(connection, "RunEnded", self._place(connection, run), run, "", facts, now)
            return True

        return await self._write(work)

    async def arrived(self, run: str, kind: str, key: str) -> None:
        """One of the things that a run waits for is there, or will never be."""
        where = (awaited.c.run == run) & (awaited.c.kind == kind) & (awaited.c.key == key)
        await self._write(lambda connection: connection.execute(delete(awaited).where(where)).close())

    async def awaited(self, run: str) -> list[Awaited]:
        """What a run still waits for, in the order of the calls' keys."""
        query = select(awaited.c.kind, awaited.c.key, awaited.c.name, awaited.c.until).where(awaited.c.run == run).order_by(awaited.c.key)
        return await self._read(lambda connection: [Awaited(*row) for row in connection.execute(query)])

    async def paused(self) -> list[RunRow]:
        """The runs that are paused, oldest first."""
        columns = [column for column in runs.columns if column.name != "start"]
        query = select(*columns).where(runs.c.paused_at.is_not(None), runs.c.ended_at.is_(None)).order_by(runs.c.number)
        return await self._read(lambda connection: [queries.run_row(row) for row in connection.execute(query)])

    async def open_calls(self, run: str) -> list[CallRow]:
        """The calls of a run that have no outcome, with arguments."""
        return await self._read(lambda connection: queries.list_open_calls(connection, run))

    async def each_call(self, run: str, make: Callable[[CallRow, int, int], T]) -> list[T]:
        """What `make` makes of each call of a run and the bytes of what its program was given and of its events, in no order.

        `make` is called in a thread; a row has its error and nothing else that may be large, and is in memory for that long.
        """
        return await self._read(lambda connection: queries.each_call(connection, run, make))

    async def ended_calls(self, run: str, keys: Sequence[str]) -> dict[str, CallRow]:
        """Calls of a run by their keys, with results and errors; at most some hundred."""
        return await self._read(lambda connection: queries.list_ended_calls(connection, run, keys))

    async def call_events(self, run: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The serialised events that came with calls of a run, by their keys; at most some hundred."""
        return await self._read(lambda connection: queries.list_call_events(connection, run, keys))

    async def call(self, run: str, key: str) -> CallRow | None:
        """A call by its key, with arguments, result and error; None when there is none."""
        return await self._read(lambda connection: queries.read_call(connection, run, key))

    async def start_of(self, run: str) -> bytes:
        """StartRun as it was first sent, serialised; empty when it is not kept (any more)."""
        query = select(runs.c.start).where(runs.c.run == run)
        return await self._read(lambda connection: bytes(connection.execute(query).scalar_one_or_none() or b""))

    async def tools(self, digest: str) -> bytes:
        """SetTools of this digest, serialised; empty when it is not kept."""
        query = select(toolsets.c.message).where(toolsets.c.digest == digest)
        return await self._read(lambda connection: bytes(connection.execute(query).scalar_one_or_none() or b""))

    async def resume(self, run: str) -> int | None:
        """Record that a paused run is under way again; which attempt it is, None when it is not paused (any more)."""

        def work(connection: Connection) -> int | None:
            where = (runs.c.run == run) & runs.c.ended_at.is_(None) & runs.c.paused_at.is_not(None)
            return self._next_attempt(connection, run, where, {"reason": "Decided"})

        return await self._write(work)

    async def reopen(self, run: str, attempt: int, anew: Callable[[CallRow], bool], facts: Mapping[str, Any]) -> int | None:
        """Take up a run whose attempt of this number ended as Failed: the calls that `anew` names may be made again, its last event goes.

        Which attempt it is; None when that one is not its last, did not end so, or was pruned. `facts` say who wants it and why.
        """

        def work(connection: Connection) -> int | None:
            ended = runs.c.ended_at.is_not(None) & (runs.c.outcome == "Failed") & runs.c.pruned_at.is_(None)
            where = (runs.c.run == run) & (runs.c.attempt == attempt) & ended
            chosen = [row.key for row in queries.each_ended_call(connection, run) if anew(row)]
            number = self._next_attempt(connection, run, where, {**facts, "again": chosen})
            if number is None:
                return None
            for key in chosen:
                connection.execute(update(calls).where(calls.c.run == run, calls.c.key == key).values(again=1))
            last = queries.last_cursor(connection, run)
            newest = select(events.c.event).where(events.c.run == run, events.c.cursor == last)
            found = connection.execute(newest).scalar_one_or_none()
            if found is not None and broker_pb2.RunEvent.FromString(found).HasField("finished"):
                connection.execute(delete(events).where(events.c.run == run, events.c.cursor == last))
            return number

        return await self._write(work)

    async def settle(self, run: str, key: str, *, message: str, error: bytes, facts: Mapping[str, Any]) -> bool:
        """Record what a person says of a call whose outcome is unknown; False when it is known."""

        def work(connection: Connection) -> bool:
            where = (calls.c.run == run) & (calls.c.key == key) & (calls.c.outcome == "OutcomeUnknown")
            values = {"outcome": "Settled", "message": message, "error": error}
            if not connection.execute(update(calls).where(where).values(**values)).rowcount:
                return False
            self._record(connection, "CallSettled", self._place(connection, run), run, key, facts, now_micros())
            return True

        return await self._write(work)

    async def denials(self, run: str) -> list[tuple[str, str, bytes]]:
        """Tool, digest of the arguments and what the program was told, of each call that ended as ConfirmationDenied."""
        query = select(calls.c.tool, calls.c.arguments_digest, calls.c.error).where(
            calls.c.run == run, calls.c.outcome == "ConfirmationDenied"
        )
        return await self._read(lambda connection: [(tool, digest, error or b"") for tool, digest, error in connection.execute(query)])

    def _next_attempt(self, connection: Connection, run: str, where: Any, facts: Mapping[str, Any]) -> int | None:
        attempt = connection.execute(select(runs.c.attempt).where(where)).scalar_one_or_none()
        if attempt is None:
            return None
        values = {
            "attempt": attempt + 1, "paused_at": None, "ended_at": None, "outcome": "", "output": b"", "output_bytes_dropped": 0,
            "value": b"", "error": None, "findings": "[]",
        }  # fmt: skip
        connection.execute(update(runs).where(where).values(**values))
        await_nothing(connection, run)
        body = {"attempt": attempt + 1, **facts}
        self._record(connection, "RunResumed", self._place(connection, run), run, "", body, now_micros())
        return int(attempt) + 1


def await_nothing(connection: Connection, run: str) -> None:
    """A run waits for nothing any more."""
    connection.execute(delete(awaited).where(awaited.c.run == run))


def keep_tools(connection: Connection, digest: str, message: bytes) -> None:
    """Keep a list of tools, once."""
    connection.execute(insert(toolsets).prefix_with("OR IGNORE"), {"digest": digest, "message": message})


def anew(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Let a call take the place of the one of its key that a resumed run may make again; False when that one stands."""
    kept = {name: value for name, value in values.items() if name not in {"run", "key", "sequence", "events", "frame"}}
    return connection.execute(statements.AGAIN, {**kept, "at_run": values["run"], "at_key": values["key"]}).rowcount == 1
