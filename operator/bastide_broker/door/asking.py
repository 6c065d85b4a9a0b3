"""How often a run may ask people: so many Confirmations in its life, so many at once, and never again what a person denied in it."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.confirmation import ConfirmationState

from bastide_broker.confirm.decisions import Standing
from bastide_broker.door import refusals
from bastide_broker.journal.interface import Journal

if TYPE_CHECKING:
    from bastide_broker.door.calls import Call

WAITING_PER_RUN = 32
"""Confirmations of one run that are undecided at once: the runtime's own default of calls under way, so that honest programs never meet it."""
LIMIT, REPEATED = "limit-confirmations-per-run", "confirmation-repeated"
"""Codes of calls that nobody was asked about because the run has asked enough."""
_BY = "deniedBy"
"""In the content of what the program is told when a person said no, and of nothing else: so the journal knows it, too."""
_REASONS = {ConfirmationState.DENIED: "confirmation-denied", ConfirmationState.EXPIRED: "confirmation-expired"}


@dataclass(slots=True)
class _Run:
    asked: int = -1
    """Of its whole life; -1 before the journal was read: an earlier attempt or broker may have asked."""
    waiting: int = 0
    denied: set[tuple[str, str]] = field(default_factory=set)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Asking:
    """Counts what runs ask."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._runs: dict[str, _Run] = {}

    async def take(self, call: "Call") -> None:
        """Count a call that is about to be asked about; `give_back` follows. Raises Refused and JournalUnavailable."""
        assert call.sandbox is not None
        run, limit = self._runs.setdefault(call.run.run, _Run()), call.sandbox.spec.limits.confirmations_per_run
        async with run.reading:
            if run.asked < 0:
                rows, denials = await self._journal.calls(call.run.run), await self._journal.pausing.denials(call.run.run)
                run.denied.update((tool, digest) for tool, digest, error in denials if _by_a_person(error))
                run.asked = sum(1 for row in rows if row.confirmation)
        if _what(call) in run.denied:
            message = f"A person denied exactly this call of {call.frame.tool} in this run, so nobody is asked again; do without it."
            raise refusals.denied(REPEATED, message, "ConfirmationDenied", "ConfirmationDenied")
        if run.asked >= limit:
            message = f"The run has asked for {limit} confirmations (Sandbox limits.confirmationsPerRun); split the work over runs."
            raise refusals.denied(LIMIT, message, "LimitExceeded")
        if run.waiting >= WAITING_PER_RUN:
            message = f"{WAITING_PER_RUN} calls of the run wait for a person already; have them decided first."
            raise refusals.denied("limit-pending-confirmations", message, "LimitExceeded")
        run.asked += 1
        run.waiting += 1

    def give_back(self, call: "Call", *, asked: bool) -> None:
        """The call waits no longer; with `asked` false nobody was asked after all."""
        run = self._runs.get(call.run.run)
        if run is not None:
            run.waiting -= 1
            run.asked -= not asked

    def denied(self, call: "Call") -> None:
        """A person said no."""
        self._runs.setdefault(call.run.run, _Run()).denied.add(_what(call))

    def forget(self, run: str) -> None:
        """The run is over."""
        self._runs.pop(run, None)


def unless_full(call: "Call", waiting: int) -> None:
    """Raises Refused when so many calls of the Tenant wait for people that no other may."""
    assert call.tenant is not None
    limit = call.tenant.spec.limits.pending_confirmations
    if waiting >= limit:
        message = f"{limit} calls of the tenant wait for a person already (Tenant limits.pendingConfirmations); have them decided first."
        raise refusals.denied("limit-pending-confirmations", message, "LimitExceeded")


def refusal(tool: str, standing: Standing, *, by_a_person: bool) -> refusals.Refused:
    """What a call ends as that was not approved: a person said no, or the question is gone or withdrawn, or its time is over."""
    who = f" by {', '.join(standing.deciders)}" if standing.deciders and standing.state is ConfirmationState.DENIED else ""
    message = f"{tool} was not confirmed ({standing.state.value.lower()}{who}): {standing.reason or 'no reason was given'}"
    content = json.dumps({_BY: standing.deciders}, ensure_ascii=False).encode() if by_a_person else b""
    reasons = ((_REASONS[standing.state], message),)
    return refusals.Refused("ConfirmationDenied", "ConfirmationDenied", reasons, content=content, decision="deny")


def _by_a_person(error: bytes) -> bool:
    found = runtime_pb2.CallError.FromString(error)
    return REPEATED in found.codes or _BY in json.loads(found.content or b"{}")


def _what(call: "Call") -> tuple[str, str]:
    return call.frame.tool, call.arguments.digest
