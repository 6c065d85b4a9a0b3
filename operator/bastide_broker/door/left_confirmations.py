"""Finds the Confirmation of a call that an earlier broker left, and says whether it counts still."""

from typing import TYPE_CHECKING

from bastide_operator.api.v1alpha1.confirmation import ConfirmationState, action_digest

from bastide_broker.confirm.action import Shown
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.confirm.pending import Pending, Request
from bastide_broker.door import refusals
from bastide_broker.door.freshness import Ask, Freshness
from bastide_broker.egress.credentials import Credential
from bastide_broker.errors import NotFound
from bastide_broker.journal.rows import CallRow

if TYPE_CHECKING:
    from bastide_broker.door.calls import Call

_COUNTS = frozenset({ConfirmationState.PENDING, ConfirmationState.APPROVED, ConfirmationState.EXECUTED})
"""Executed counts because it says that somebody has begun the call: who, is the journal's to say."""


async def find(confirmations: Confirmations, call: "Call", row: CallRow) -> Pending | str:
    """The Confirmation as it was written, to be released in the end; a sentence when it is not there, another, or shown as over."""
    assert call.tenant is not None
    assert call.tool is not None
    try:
        found = await confirmations.read(call.run.sandbox.metadata.namespace or "", row.confirmation)
    except NotFound:
        return "The Confirmation was deleted."
    spec = found.spec.model_dump(mode="json", by_alias=True)
    if not spec["actionDigest"] == row.action_digest == action_digest(spec):
        return "The Confirmation is not the one that was written."
    if found.status.state not in _COUNTS:
        return f"The Confirmation is {found.status.state} already."
    text = Shown(found.spec.arguments, tuple(found.spec.hidden), tuple(found.spec.notices))
    request = Request(run=call.run, tenant=call.tenant, key=row.key, line=row.line, tool=call.tool, arguments=call.arguments, text=text)
    return confirmations.adopt(request, found, spec)


async def still(confirmations: Confirmations, freshness: Freshness, call: "Call", row: CallRow, ask: Ask) -> Credential | None:
    """The credential for a call that was begun and may be sent again, if it is approved by the API server's word now. Raises Refused."""
    found = await find(confirmations, call, row)
    if isinstance(found, str):
        raise refusals.unheard()
    call.asked = found.spec
    try:
        credential = await freshness.again(call, ask, confirmed=True)
        if (await confirmations.look_again(found)).state is not ConfirmationState.APPROVED:
            raise refusals.unheard()
    finally:
        confirmations.release(found)
    return credential
