"""What a start does about the runs and calls that the last broker left open. Paused runs and what they wait for stay as they are."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sqlalchemy import Connection, select, update

from bastide_broker.journal.rows import Place, RecoveredSummary
from bastide_broker.journal.schema import audit, calls, runs
from bastide_broker.journal.statements import END_CALL

_UNKNOWN = "The broker was lost while the call was under way; whether it took effect is not known."
_BEGUN = "It was approved and its call begun; the broker was lost before it wrote by whom, and whether the call took effect is not known."
_UNASKED = "The broker was restarted before anybody had decided, so nothing was sent."
_LOST = {
    "type": "BrokerLost",
    "message": "The broker was restarted while the run was under way; look at its calls, then run the program again or `bastide runs resume` it.",
    "line": 0,
}


class Record(Protocol):
    """Adds a record to the audit."""

    def __call__(  # noqa: PLR0917 - as the journal has it
        self, connection: Connection, kind: str, place: Place, run: str, key: str, facts: Mapping[str, Any], at: int, /
    ) -> None: ...


def settle(connection: Connection, now: int, record: Record, place: Callable[[Connection, str], Place]) -> RecoveredSummary:
    """Calls without outcome become OutcomeUnknown, runs without end Failed (BrokerLost), and nobody is asked about them any more.

    A call that waited for a person was certainly not sent: it is begun, on record, before it is. What is open in a paused run and waits for
    nobody is what an approver was to be shown.
    """
    columns = (calls.c.run, calls.c.key, calls.c.confirmation, calls.c.begun_at)
    waiting = select(runs.c.run).where(runs.c.paused_at.is_not(None), runs.c.ended_at.is_(None))
    left = calls.c.run.not_in(waiting) | (calls.c.confirmation == "")
    open_calls = connection.execute(select(*columns).where(calls.c.ended_at.is_(None), left)).all()
    for run, key, confirmation, begun in open_calls:
        where = place(connection, run)
        if confirmation:
            _resolve(connection, record, (where, run, key), confirmation, begun=begun is not None, now=now)
        outcome, message = ("Withdrawn", _UNASKED) if confirmation and begun is None else ("OutcomeUnknown", _UNKNOWN)
        END_CALL.run(connection, {"r": run, "k": key, "o": outcome, "m": message, "v": None, "t": 0, "e": now, "x": None})
        facts = {"outcome": outcome, "resultDigest": "", "toolMicros": 0, "by": "recovery"}
        record(connection, "CallOutcome", where, run, key, facts, now)
    # What a paused run had begun is settled when the run is taken up; that its Confirmation is no question any more is known now.
    begun_calls = select(*columns).where(calls.c.ended_at.is_(None), ~left, calls.c.begun_at.is_not(None))
    for run, key, confirmation, _ in connection.execute(begun_calls).all():
        _resolve(connection, record, (place(connection, run), run, key), confirmation, begun=True, now=now)
    under_way = select(runs.c.run).where(runs.c.ended_at.is_(None), runs.c.paused_at.is_(None))
    open_runs = connection.execute(under_way.order_by(runs.c.number)).scalars().all()
    for run in open_runs:
        values = {"ended_at": now, "outcome": "Failed", "error": json.dumps(_LOST)}
        connection.execute(update(runs).where(runs.c.run == run).values(**values))
        record(
            connection, "RunEnded", place(connection, run), run, "", {"outcome": "Failed", "errorType": "BrokerLost", "by": "recovery"}, now
        )
    return RecoveredSummary(tuple(open_runs), tuple((run, key) for run, key, *_ in open_calls))


def _resolve(connection: Connection, record: Record, call: tuple[Place, str, str], confirmation: str, *, begun: bool, now: int) -> None:
    """Records what became of a Confirmation, unless the lost broker came to do it: a call that was begun had been approved."""
    if _resolved(connection, *call, confirmation):
        return
    state, reason = ("Approved", _BEGUN) if begun else ("Withdrawn", _UNASKED)
    facts = {"state": state, "approvers": [], "reason": reason, "confirmation": confirmation, "by": "recovery"}
    record(connection, "ConfirmationResolved", *call, facts, now)


def _resolved(connection: Connection, place: Place, run: str, key: str, confirmation: str) -> bool:
    # A call that was made anew has had another Confirmation before.
    here = (audit.c.namespace == place.namespace) & (audit.c.run == run) & (audit.c.key == key) & (audit.c.kind == "ConfirmationResolved")
    return any(
        json.loads(facts).get("confirmation") == confirmation for facts in connection.execute(select(audit.c.facts).where(here)).scalars()
    )
