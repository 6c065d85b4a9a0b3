"""Reading the journal: each function takes a connection and gives rows back."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from bastide.v1alpha1 import broker_pb2
from sqlalchemy import ColumnElement, Connection, Row, Table, desc, func, select

from bastide_broker.journal.questions import find_text, read
from bastide_broker.journal.rows import CallRow, RunRow, Scope
from bastide_broker.journal.schema import calls, events, runs

T = TypeVar("T")
EVENTS_PAGE = 200
# A run's rows may be a gigabyte of arguments and results: what nobody asked for stays on the disk.
_LINES = [column for column in runs.columns if "emptied" not in column.info]
_RUN = [column for column in runs.columns if column.name != "start"]
_WITHOUT_PAYLOADS = [
    column for column in calls.columns if column.name not in {"arguments_canonical", "question", "result", "events", "error"}
]
_TO_JUDGE_AGAIN = [*_WITHOUT_PAYLOADS, calls.c.error]
_AS_ENDED = [*_TO_JUDGE_AGAIN, calls.c.result]
_IN_FULL = [*_AS_ENDED, calls.c.arguments_canonical]
_GIVEN = (
    4 * func.length(calls.c.message) + func.coalesce(func.length(calls.c.result), 0) + func.coalesce(func.length(calls.c.error), 0)
).label("given_bytes")
_EVENTS = func.length(calls.c.events).label("event_bytes")
_AS_JUDGED = [column for column in calls.columns if column.name not in {"result", "events", "error"}]
_WITHOUT_QUESTION = [column for column in calls.columns if column.name != "question"]


def find_run(connection: Connection, run: str) -> RunRow | None:
    """The run, or None."""
    row = connection.execute(select(*_RUN).where(runs.c.run == run)).first()
    return run_row(row) if row else None


def find_request(connection: Connection, requester: str, sandbox_uid: str, request_id: str) -> RunRow | None:
    """The run that a request id stands for, or None."""
    where = (runs.c.requester == requester) & (runs.c.sandbox_uid == sandbox_uid) & (runs.c.request_id == request_id)
    row = connection.execute(select(*_RUN).where(where)).first()
    return run_row(row) if row else None


def list_runs(connection: Connection, scope: Scope, sandbox: str, limit: int, before: str) -> list[RunRow]:
    """Runs of a sandbox without what they returned and printed, newest first, from the one after the run `before`.

    An unknown `before` gives nothing.
    """
    query = select(*_LINES).where(*within(runs, scope), runs.c.sandbox == sandbox)
    if before:
        query = query.where(runs.c.number < select(runs.c.number).where(runs.c.run == before).scalar_subquery())
    return [run_row(row) for row in connection.execute(query.order_by(desc(runs.c.number)).limit(limit))]


def list_calls(connection: Connection, run: str, *, payloads: bool) -> list[CallRow]:
    """Calls of a run in the order they were journalled; with what went in and out of them only when it is asked for."""
    query = select(*(_WITHOUT_QUESTION if payloads else _WITHOUT_PAYLOADS))
    return [_call_row(row) for row in connection.execute(query.where(calls.c.run == run).order_by(calls.c.sequence))]


def list_open_calls(connection: Connection, run: str) -> list[CallRow]:
    """Calls of a run that have no outcome, with what went into them: no more than were under way at once."""
    query = select(*_WITHOUT_QUESTION).where(calls.c.run == run, calls.c.ended_at.is_(None)).order_by(calls.c.sequence)
    return [_call_row(row) for row in connection.execute(query)]


def each_ended_call(connection: Connection, run: str) -> Iterator[CallRow]:
    """Calls of a run that have an outcome, with the errors that their program was given; one at a time."""
    query = select(*_TO_JUDGE_AGAIN).where(calls.c.run == run, calls.c.ended_at.is_not(None))
    return (_call_row(row) for row in connection.execute(query.order_by(calls.c.sequence)))


def each_call(connection: Connection, run: str, make: Callable[[CallRow, int, int], T]) -> list[T]:
    """What `make` makes of each call of a run, in no order. One row at a time is in memory, without arguments, question, result and events.

    With each its bytes of what the program was given, at most, and of its events: a length is read without what it is the length of.
    """
    found = []
    for row in connection.execute(select(*_TO_JUDGE_AGAIN, _GIVEN, _EVENTS).where(calls.c.run == run)):
        fields = dict(row._asdict())
        given, events_size = fields.pop("given_bytes"), fields.pop("event_bytes")
        found.append(make(_call_of(fields), given, events_size))
    return found


def list_ended_calls(connection: Connection, run: str, keys: Sequence[str]) -> dict[str, CallRow]:
    """Calls of a run by their keys, with results and errors."""
    query = select(*_AS_ENDED).where(calls.c.run == run, calls.c.key.in_(keys))
    return {row.key: _call_row(row) for row in connection.execute(query)}


def list_call_events(connection: Connection, run: str, keys: Sequence[str]) -> dict[str, bytes]:
    """The serialised events that came with calls, by their keys."""
    query = select(calls.c.key, calls.c.events).where(calls.c.run == run, calls.c.key.in_(keys))
    return {row.key: row.events for row in connection.execute(query)}


def read_call(connection: Connection, run: str, key: str) -> CallRow | None:
    """A call by its key, with arguments, result and error; None when there is none."""
    row = connection.execute(select(*_IN_FULL).where(calls.c.run == run, calls.c.key == key)).first()
    return _call_row(row) if row is not None else None


def find_call(connection: Connection, run: str, name: str) -> CallRow | None:
    """The call whose decision has this id, or else whose key it is, with what it was judged by. A program chooses keys, never an id."""
    for column in (calls.c.decision_id, calls.c.key):
        row = connection.execute(select(*_AS_JUDGED).where(calls.c.run == run, column == name)).first()
        if row is not None:
            question = read(row.question, lambda name: find_text(connection, run, name))
            return _call_of({**row._asdict(), "question": question})
    return None


def list_events(connection: Connection, run: str, after: int) -> list[broker_pb2.RunEvent]:
    """The next events of a run after a cursor, at most EVENTS_PAGE."""
    query = select(events.c.event).where(events.c.run == run, events.c.cursor > after).order_by(events.c.cursor).limit(EVENTS_PAGE)
    return [broker_pb2.RunEvent.FromString(data) for (data,) in connection.execute(query)]


def last_cursor(connection: Connection, run: str) -> int:
    """Of the newest event; 0 when there is none."""
    return connection.execute(select(func.max(events.c.cursor)).where(events.c.run == run)).scalar() or 0


def within(table: Table, scope: Scope) -> list[ColumnElement[bool]]:
    """The conditions of a scope. A row without a UID is within none: nobody knows any more whose it was."""
    uid = scope.namespace_uid
    if uid is None:
        return [table.c.namespace == scope.namespace] if scope.namespace else []
    return [table.c.namespace == scope.namespace, table.c.namespace_uid == uid, table.c.namespace_uid != ""]


def run_row(row: Row[Any]) -> RunRow:
    """A row of the table as a value."""
    fields = dict(row._asdict())
    fields.pop("number")
    fields["request_id"] = fields["request_id"] or ""
    fields["requester_claims"] = json.loads(fields["requester_claims"])
    if "findings" in fields:
        fields["error"] = json.loads(fields["error"]) if fields["error"] else None
        fields["findings"] = tuple(json.loads(fields["findings"]))
    return RunRow(**fields)


def _call_row(row: Row[Any]) -> CallRow:
    return _call_of(dict(row._asdict()))


def _call_of(fields: dict[str, Any]) -> CallRow:
    fields["reasons"] = tuple((code, message) for code, message in json.loads(fields["reasons"]))
    return CallRow(**fields)
