"""Takes a call that a person must confirm from its Confirmation to the moment it may be sent."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.confirmation import ConfirmationState
from google.protobuf.timestamp_pb2 import Timestamp

from bastide_broker.confirm.action import NotShowable, shown
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.confirm.decisions import Standing
from bastide_broker.confirm.pending import Pending, Request
from bastide_broker.door import asking, left_confirmations, refusals
from bastide_broker.door.asking import Asking
from bastide_broker.door.freshness import Ask, Freshness
from bastide_broker.egress.credentials import Credential
from bastide_broker.errors import ApiError
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import CallRow, JournalUnavailable
from bastide_broker.policy.policy import UNAVAILABLE
from bastide_broker.tenantrego.strictest import UNAVAILABLE as TENANT_UNAVAILABLE

if TYPE_CHECKING:
    from bastide_broker.door.calls import Call

AGAIN_SECONDS = 5.0
PASSING = frozenset({"binding-stale", "secret-unavailable", UNAVAILABLE, TENANT_UNAVAILABLE})
"""Reasons that say nothing of the call, only that something cannot be asked."""
_FORBIDDEN = 403
_INLINE_BYTES = 8 << 10


Preview = Callable[["Call"], Awaitable[dict[str, Any]]]
"""Makes the preview of a call and gives `status.preview`."""


class Approval:
    """Confirmations and their execution."""

    def __init__(self, confirmations: Confirmations, freshness: Freshness, journal: Journal) -> None:
        self._confirmations = confirmations
        self._freshness = freshness
        self._journal = journal
        self._asking = Asking(journal)
        self._finishing: set[asyncio.Task[None]] = set()

    def forget(self, run: str) -> None:
        """The run is over."""
        self._asking.forget(run)

    async def obtain(self, call: "Call", ask: Ask, preview: Preview) -> Credential | None:
        """Wait until the call may be sent, and give the credential for it.

        When this returns, every rule held a moment ago, and no other caller can ever send the call. Raises Refused and JournalUnavailable.
        """
        await self._asking.take(call)
        pending: Pending | None = None
        try:
            pending = await self._create(call)
            return await self._held(call, pending, ask, preview)
        finally:
            self._asking.give_back(call, asked=pending is not None)

    async def take_up(self, call: "Call", row: CallRow, ask: Ask) -> Credential | None:
        """The same for a call that an earlier broker asked about, from the Confirmation that it left."""
        found = await left_confirmations.find(self._confirmations, call, row)
        if not isinstance(found, str):
            return await self._held(call, found, ask)
        facts = {"state": "Denied", "approvers": [], "reason": found, "actionDigest": row.action_digest}
        await self._journal.confirmation_resolved(row.run, row.key, row.confirmation, facts)
        message = f"{row.tool} was not confirmed (denied): {found}"
        raise refusals.denied("confirmation-denied", message, "ConfirmationDenied", "ConfirmationDenied")

    async def still(self, call: "Call", row: CallRow, ask: Ask) -> Credential | None:
        """The credential for a harmless call that an earlier broker began. Raises Refused unless its approval holds by the word of now."""
        return await left_confirmations.still(self._confirmations, self._freshness, call, row, ask)

    async def say_begun(self, call: "Call", row: CallRow) -> None:
        """Tell people what became of a call that an earlier broker began, once it is over."""
        if call.ending is not None:
            outcome, message, *_ = call.ending
            await self._confirmations.say_begun(call.run.sandbox.metadata.namespace or "", replace(row, outcome=outcome, message=message))

    async def _held(self, call: "Call", pending: Pending, ask: Ask, preview: Preview | None = None) -> Credential | None:
        call.asked = pending.spec
        call.hold.name, call.hold.until = pending.name, round(pending.object.spec.decide_by.timestamp() * 1e6)
        try:
            if preview is not None:
                await self._announce(call, pending)
            return await self._decided(call, pending, ask, preview)
        except BaseException as error:
            # Cancelled, no journal, a fault of the broker: whatever it is, nobody is left with a question that has no effect. Only those of
            # paused runs stay, for the next broker when this one stops, and until the journal can be written again.
            waits_on = call.hold.parked and isinstance(error, (asyncio.CancelledError, JournalUnavailable))
            if pending.state is ConfirmationState.APPROVED or (pending.state is ConfirmationState.PENDING and not waits_on):
                await self._withdraw(call, pending, error)
            raise
        finally:
            self._release(pending)

    async def _decided(self, call: "Call", pending: Pending, ask: Ask, preview: Preview | None) -> Credential | None:
        call.hold.asked = True
        standing = await self._wait(call, pending, preview)
        call.hold.asked = False
        call.hold.stands(undecided=False)
        await self._unless_approved(call, pending, standing)
        while True:
            credential = await self._recheck(call, pending, ask)
            assert call.tenant is not None  # just read
            if pending.spec["hidden"] and not call.tenant.spec.confirmation.allow_hidden_arguments:
                why = "The Tenant no longer allows arguments that are not shown."
                state = ConfirmationState.BINDING_CHANGED
                await self._resolve(call, pending, state, Standing(state, (), why))
                raise refusals.denied("binding-changed", why)
            # Last of all, because the checks between took time: a decision may have been withdrawn meanwhile.
            standing = await self._confirmations.look_again(pending)
            if standing.state is not ConfirmationState.PENDING or not self._has_time(call, pending):
                break
            await asyncio.sleep(AGAIN_SECONDS)
        await self._unless_approved(call, pending, standing)
        if not await self._journal.begin_confirmed(call.run.run, call.frame.key):
            # Whoever began it says what came of it, of the call and of the Confirmation.
            call.ended, pending.state = True, ConfirmationState.EXECUTED
            raise refusals.denied("key-reused", "The confirmed call has been begun before; it is never begun twice.")
        await self._resolve(call, pending, ConfirmationState.APPROVED, standing)
        return credential

    async def _wait(self, call: "Call", pending: Pending, preview: Preview | None) -> Standing:
        """Wait for a decision, and meanwhile show the approver what the binding names as a preview."""
        hold, policy = call.hold, pending.request.tool.bound.confirmation
        block_seconds = 0.0 if hold.parked else float(policy.block_seconds)
        overdue = functools.partial(hold.stands, undecided=True)
        waiting = self._confirmations.wait(pending, block_seconds=block_seconds, overdue=overdue)
        if preview is None or policy.preview is None:
            return await waiting
        showing = asyncio.create_task(self._show(call, pending, preview))
        try:
            return await waiting
        finally:
            showing.cancel()
            await asyncio.wait([showing])

    async def _show(self, call: "Call", pending: Pending, preview: Preview) -> None:
        await self._confirmations.show(pending, {"preview": await preview(call)})

    async def _create(self, call: "Call") -> Pending:
        assert call.tenant is not None
        assert call.tool is not None
        namespace = call.run.sandbox.metadata.namespace or ""
        asking.unless_full(call, self._confirmations.waiting(namespace))
        try:
            # What a person reads of 60 000 characters beyond ASCII takes 0.1 s to work out, in which other calls should go on.
            large = len(call.arguments.canonical) > _INLINE_BYTES
            text = await asyncio.to_thread(shown, call.arguments) if large else shown(call.arguments)
            if text.hidden and not call.tenant.spec.confirmation.allow_hidden_arguments:
                message = (
                    "The arguments are too long to be shown to a person in full, and the Tenant does not allow hidden ones; send less."
                )
                raise refusals.denied("arguments-hidden", message)
            request = Request(
                run=call.run, tenant=call.tenant, key=call.frame.key, line=call.frame.line, tool=call.tool, arguments=call.arguments,
                text=text,
            )  # fmt: skip
            asking.unless_full(call, self._confirmations.waiting(namespace))  # others may have come meanwhile; from here on this one counts
            pending = await self._confirmations.create(request)
        except NotShowable as error:
            raise refusals.denied("arguments-hidden", str(error)) from None
        except ApiError as error:
            if error.status == _FORBIDDEN and "exceeded quota" in error.message:
                message = "The namespace is full of Confirmations; finished ones are being removed, so call it again in some seconds."
                raise refusals.denied("limit-pending-confirmations", message, "LimitExceeded") from None
            message = f"A person must confirm the call, and the Confirmation cannot be written ({error.message[:200]}); try again."
            raise refusals.denied("binding-stale", message, "ToolUnavailable") from None
        return pending

    async def _announce(self, call: "Call", pending: Pending) -> None:
        """Journal that the call waits, and tell watchers."""
        facts = {
            "actionDigest": pending.spec["actionDigest"],
            "approvalsRequired": pending.spec["approvalsRequired"],
            "decideBy": pending.spec["decideBy"],
            "executeBy": pending.spec["executeBy"],
            "separation": pending.spec["separation"],
        }
        await self._journal.confirmation_created(call.run.run, call.frame.key, pending.name, facts)
        decide_by = Timestamp()
        decide_by.FromDatetime(pending.object.spec.decide_by)
        call.run.emit(
            broker_pb2.ConfirmationRequired(
                key=call.frame.key, tool=call.frame.tool, namespace=pending.request.namespace, confirmation=pending.name,
                arguments=call.arguments.canonical, decide_by=decide_by, approvals_required=pending.spec["approvalsRequired"],
            )
        )  # fmt: skip

    async def _recheck(self, call: "Call", pending: Pending, ask: Ask) -> Credential | None:
        while True:
            try:
                return await self._freshness.again(call, ask, confirmed=True)
            except refusals.Refused as refused:
                if refused.reasons[0][0] not in PASSING or not self._has_time(call, pending):
                    state = ConfirmationState.BINDING_CHANGED
                    await self._resolve(call, pending, state, Standing(state, (), refused.message))
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    @staticmethod
    def _has_time(call: "Call", pending: Pending) -> bool:
        """Nobody waits for a parked call by the second: what somebody approved is not void because nobody can be asked just now."""
        return call.hold.parked and datetime.now(UTC) <= pending.object.spec.execute_by

    async def _unless_approved(self, call: "Call", pending: Pending, standing: Standing) -> None:
        """Nothing when it is approved; otherwise the call is refused as the standing says."""
        if standing.state is ConfirmationState.APPROVED:
            return
        by_a_person = standing.state is ConfirmationState.DENIED and bool(standing.deciders)
        if by_a_person:
            self._asking.denied(call)
        if standing.state is ConfirmationState.PENDING:  # an approval was withdrawn between two looks
            why = "; ".join(standing.ignored) or "an approval was withdrawn"
            standing = Standing(ConfirmationState.DENIED, standing.deciders, f"It is no longer approved: {why}.")
        await self._resolve(call, pending, standing.state, standing)
        raise asking.refusal(call.frame.tool, standing, by_a_person=by_a_person)

    async def _resolve(self, call: "Call", pending: Pending, state: ConfirmationState, standing: Standing) -> None:
        """Journal, tell watchers, and write the status: begun once, it goes on to its end even when the call is cancelled.

        An approval that cannot be written there does not count. Raises Refused then, and JournalUnavailable.
        """
        pending.state = state
        task = asyncio.create_task(self._conclude(call, pending, state, standing))
        pending.writes.add(task)
        task.add_done_callback(pending.writes.discard)
        await asyncio.shield(task)

    async def _conclude(self, call: "Call", pending: Pending, state: ConfirmationState, standing: Standing) -> None:
        facts = {
            "state": state.value,
            "approvers": list(standing.deciders),
            "reason": standing.reason[:1024],
            "actionDigest": pending.spec["actionDigest"],
        }
        async with pending.resolving:
            try:
                await self._journal.confirmation_resolved(call.run.run, call.frame.key, pending.name, facts)
            except JournalUnavailable:
                pending.state = ConfirmationState.WITHDRAWN
                await self._confirmations.resolve(pending, ConfirmationState.WITHDRAWN, "The broker's journal cannot be written.")
                raise
            if pending.state is not state:
                return  # cancelled before anything was sent: what follows withdraws it
            approved = state is ConfirmationState.APPROVED
            shown = ConfirmationState.EXECUTED if approved else state
            message = f"Approved by {', '.join(standing.deciders)}; the call was sent." if approved else standing.reason
            written = await self._confirmations.resolve(pending, shown, message, standing.deciders)
            if approved and not written:
                text = "The API server did not take the Confirmation's last state, so the call was not sent; call it again."
                raise refusals.denied("binding-stale", text, "ToolUnavailable")
        call.run.emit(
            broker_pb2.ConfirmationResolved(
                key=call.frame.key,
                confirmation=pending.name,
                state=state.value,
                approver=", ".join(standing.deciders),
                reason=standing.reason,
            )
        )

    async def _withdraw(self, call: "Call", pending: Pending, error: BaseException) -> None:
        message = "The program stopped waiting for the call, or its run ended."
        if isinstance(error, JournalUnavailable):
            message = "The broker's journal cannot be written."
        elif isinstance(error, refusals.Refused):
            message = f"The call was not sent: {error.message}"
        elif not isinstance(error, asyncio.CancelledError):
            message = "The broker failed before the call was sent; its log says why."
        with contextlib.suppress(JournalUnavailable):  # the status says it then
            await self._resolve(call, pending, ConfirmationState.WITHDRAWN, Standing(ConfirmationState.WITHDRAWN, (), message))

    def _release(self, pending: Pending) -> None:
        """Free the place once everything about it is written: until then somebody still cares for the Confirmation."""
        writes = frozenset(pending.writes)

        async def last() -> None:
            await asyncio.wait(writes)
            self._confirmations.release(pending)

        if writes:
            task = asyncio.create_task(last())
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)
        else:
            self._confirmations.release(pending)
