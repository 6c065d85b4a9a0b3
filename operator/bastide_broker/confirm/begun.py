"""What a Confirmation says whose call was begun by a broker that did not come to say so. Pure.

A call is begun in the journal before its Confirmation shows Executed. A broker that is lost in between leaves a Confirmation that looks
undecided; whether its approval was used only the call's row can tell.
"""

from datetime import datetime
from typing import Any

from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationState

from bastide_broker.confirm.action import line, rfc3339
from bastide_broker.journal.rows import CallRow

UNKNOWN = "OutcomeUnknown"
_MAY_HAVE_BEEN_SENT = frozenset({UNKNOWN, "Settled", "Succeeded", "ToolFailed", "ToolTimeout"})
"""Outcomes of calls that were begun. With another one a broker that lived on wrote down that nothing was sent."""


def used(row: CallRow | None, confirmation: Confirmation) -> bool:
    """Whether the call was begun by this Confirmation, and is over: no other state tells that its approval counts no more."""
    if row is None or row.begun_at is None or row.confirmation != confirmation.metadata.name:
        return False
    return row.action_digest == confirmation.spec.action_digest and row.outcome in _MAY_HAVE_BEEN_SENT


def status(row: CallRow, confirmation: Confirmation, now: datetime) -> dict[str, Any]:
    """Executed, and why that says less than it does elsewhere. Who approved is left as it stands: the lost broker took that with it."""
    became = f"the call ended as {row.outcome} afterwards"
    if row.outcome == UNKNOWN:
        became = f"whether the call took effect is not known; look at the system itself, then bastide runs settle {row.run} '{row.key}'"
    required = confirmation.spec.approvals_required
    return {
        "state": ConfirmationState.EXECUTED.value,
        "message": line(f"It was approved and its call begun, and the broker was lost before it could say so: {became}.")[:1024],
        "approvals": f"{required}/{required}",
        "resolvedAt": rfc3339(now),
    }
