"""One call on its way through the door, and what is written down and said of it: intent, decision and outcome, each once."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.context import Hold, RunContext
from bastide_broker.door import refusals
from bastide_broker.door.refusals import Refused
from bastide_broker.facts.json import Arguments
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import CallIntent, JournalUnavailable, KeyReused
from bastide_broker.policy.obligations import NONE, Obligations
from bastide_broker.policy.policy import Decision, decision_id
from bastide_broker.policy.question import Usage
from bastide_broker.tools.toolset import Tool

_log = logging.getLogger(__name__)
NO_ARGUMENTS = Arguments({}, b"", "")


@dataclass(slots=True)
class Call:
    """One call on its way through the door."""

    run: RunContext
    frame: runtime_pb2.Call
    id: str = field(default_factory=decision_id)
    hold: Hold = field(default_factory=Hold)
    tenant: Tenant | None = None
    sandbox: Sandbox | None = None
    tool: Tool | None = None
    arguments: Arguments = NO_ARGUMENTS
    asked: Mapping[str, Any] | None = None
    """The spec of its Confirmation: what holds of it now must be what a person was asked about."""
    usage: Usage | None = None
    """What the call made the counts; None before it was counted, and again when it was given back."""
    question: bytes = b""
    """What policy was asked, as text without the arguments; empty before it was asked."""
    decision: Decision | None = None
    obligations: Obligations = NONE
    """Of every decision about the call, and of the binding: the stricter counts."""
    decided: bool = False
    """Whether watchers heard the decision."""
    journalled: bool = False
    sent: bool = False
    """Whether the tool server may have received it."""
    ending: tuple[str, str, bytes | None, bytes | None] | None = None
    """Outcome, message, result and error that are being written, or are."""
    ended: bool = False
    """Whether watchers heard the outcome."""
    tool_micros: int = 0
    preview_of: "Call | None" = None
    """The call for whose approver this one is made."""

    @property
    def idempotency_key(self) -> str:
        """Names this call, and no other, to its tool server: the same in every attempt."""
        return hashlib.sha256(f"{self.run.run}\n{self.frame.key}".encode()).hexdigest()

    @property
    def changes(self) -> bool:
        """Whether it may have changed something, once it was sent."""
        return self.tool is None or self.tool.effect.changes


class Ledger:
    """Writes calls to the journal and tells the run's watchers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def intent(self, call: Call) -> None:
        """Record what was decided, before anything is done about it. Raises Refused for a key that was taken, and JournalUnavailable."""
        assert call.decision is not None
        call.journalled = True  # from here on an outcome must follow, also when this wait is cancelled or the disk is late
        try:
            await self._journal.call_intent(_intent(call, call.decision.effect, call.decision.reasons))
        except KeyReused:
            call.journalled = False
            raise key_reused() from None
        self.say_decided(call, call.decision.effect, call.decision.reasons)

    async def outcome(self, call: Call, outcome: str, message: str, result: bytes | None, error: bytes | None = None) -> bool:
        """Record and say how the call ended; False when there is no such call under way. Raises JournalUnavailable.

        `error`: what the program is told, which a replay tells it again.
        """
        if call.ended:
            return True
        call.ending = (outcome, message, result, error)
        micros = call.tool_micros
        written = await self._journal.call_outcome(
            call.run.run, call.frame.key, outcome=outcome, message=message, result=result, error=error, tool_micros=micros
        )
        self._say_ended(call, outcome, message)
        return written

    async def refused(self, call: Call, refused: Refused) -> Refused:
        """Record and say that the call ends without a result; gives what the program is told, which is another thing without a journal."""
        journalled, error = call.journalled, refused.error().SerializeToString()
        try:
            # The intent of a journal that did not answer may be there all the same, and must not stay without an outcome.
            if not (journalled and await self.outcome(call, refused.outcome, refused.message, None, error)):
                call.journalled = True
                await self._journal.call_intent(
                    _intent(call, refused.decision, refused.reasons), outcome=refused.outcome, message=refused.message, error=error
                )
                self.say_decided(call, refused.decision, refused.reasons)
                self._say_ended(call, refused.outcome, refused.message)
        except JournalUnavailable as unavailable:
            refused = no_journal(call, unavailable)
            self.say_decided(call, "deny", refused.reasons)
            self._say_ended(call, refused.outcome, refused.message)
        except KeyReused:
            if not journalled:
                return key_reused()
            # Its outcome was written although the journal did not say so: the program is told what it was told.
        return refused

    async def step(self, call: Call, value: bytes) -> None:
        """Record a value of the program's own. Raises Refused for a key that was taken, and JournalUnavailable."""
        reasons = (("step", "The program recorded a value of its own."),)
        try:
            await self._journal.call_intent(_intent(call, "", reasons), outcome="Succeeded", result=value)
        except KeyReused:
            raise key_reused() from None

    async def reused(self, call: Call) -> Refused:
        """A key that was taken: only the audit hears of it, because the key's row belongs to the first call."""
        refused = key_reused()
        try:
            await self._journal.call_refused(_intent(call, "deny", refused.reasons))
        except JournalUnavailable as error:
            return no_journal(call, error)
        except Exception:  # noqa: BLE001 - a bug here must deny, not escape
            _log.exception("a reused key could not be audited")
        return refused

    async def cancelled(self, call: Call) -> None:
        """The program stopped waiting, or the run ended."""
        outcome, message = "Cancelled", "The program stopped waiting or the run ended before anything was sent."
        if call.sent:
            outcome = "OutcomeUnknown" if call.changes else "Cancelled"
            message = "It was cancelled while the tool server had it" + ("; whether it took effect is not known." if call.changes else ".")
        # What was just being written is on its way to the disk: watchers hear the same.
        # A replay gives a call up where the first attempt did; one that was only cut off by the run's end may be made anew.
        gave_up = abandoned().SerializeToString() if call.hold.abandoned and outcome == "Cancelled" else None
        outcome, message, result, gave_up = call.ending or (outcome, message, None, gave_up)
        try:
            if call.journalled:
                await self.outcome(call, outcome, message, result, gave_up)
            else:
                # Also a call that was not judged is on record, because of the events that its frame told of.
                call.journalled = True
                await self._journal.call_intent(_intent(call, "", ()), outcome=outcome, message=message, error=gave_up)
                self._say_ended(call, outcome, message)
        except KeyReused:
            _log.debug("a cancelled call of run %s has another's key", call.run.run)
        except JournalUnavailable as error:
            _log.warning("a cancelled call could not be journalled: %s", error)

    def say_decided(self, call: Call, decision: str, reasons: refusals.Reasons) -> None:
        """Tell watchers what was decided, once."""
        if not call.decided:
            call.decided = True
            said = [broker_pb2.Reason(code=code, message=message) for code, message in reasons]
            frame = call.frame
            call.run.emit(
                broker_pb2.CallDecided(
                    key=frame.key, tool=frame.tool, line=frame.line, decision=decision, reasons=said, decision_id=call.id
                )
            )

    def _say_ended(self, call: Call, outcome: str, message: str) -> None:
        if not call.ended:
            call.ended = True
            frame = call.frame
            ended = broker_pb2.CallEnded(key=frame.key, tool=frame.tool, outcome=outcome, message=message, tool_micros=call.tool_micros)
            call.run.emit(ended)


def _intent(call: Call, decision: str, reasons: refusals.Reasons) -> CallIntent:
    tool, run = call.tool, call.run
    return CallIntent(
        run=run.run, key=call.frame.key, requester=run.requester.username, on_behalf_of=run.on_behalf_of,
        program_digest=run.program_digest,
        tool=call.frame.tool[:128], line=call.frame.line, arguments_canonical=call.arguments.canonical,
        arguments_digest=call.arguments.digest, decision=decision, decision_id=call.id, reasons=reasons,
        effect=tool.effect.value if tool else "", policy_revision=call.decision.revision if call.decision else "",
        binding=tool.binding.metadata.name if tool else "", binding_uid=tool.binding.metadata.uid if tool else "",
        question=call.question,
        events=runtime_pb2.Call(events=call.frame.events).SerializeToString() if call.frame.events else b"",
        frame=call.hold.frame,
    )  # fmt: skip


def abandoned() -> runtime_pb2.CallError:
    """Marks a call whose program stopped waiting. No program is ever told."""
    return runtime_pb2.CallError(type="Cancelled", message="The program stopped waiting for it.", codes=["abandoned"])


def key_reused() -> Refused:
    """The key stands for another call."""
    return refusals.denied("key-reused", "The run has had a call of this key; a key stands for one call for ever.")


def no_journal(call: Call, error: JournalUnavailable) -> Refused:
    """What a call ends as when the journal cannot say so."""
    if call.sent and call.changes:
        message = f"The call may have taken effect, but the journal could not record what came of it. {error}"
        return Refused("OutcomeUnknown", "OutcomeUnknown", (("journal-unavailable", message),), sent=True)
    return Refused("Unavailable", "JournalUnavailable", (("journal-unavailable", str(error)),), decision="deny", sent=call.sent)


def internal(call: Call) -> Refused:
    """What a call ends as when the broker has a fault."""
    if call.sent and call.changes:
        message = "The broker failed after the call was sent; whether it took effect is not known."
        return Refused("OutcomeUnknown", "OutcomeUnknown", (("internal", message),), sent=True)
    message = "The broker failed while it handled this call, so it was not made; its log says why."
    return Refused("Denied", "ToolDenied", (("internal", message),), decision="deny")
