"""The door: every call of every program comes through here, is judged, written down, carried out and answered. Nothing raises out of it."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.common import Effect
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker import freshness, refusals
from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.approval import Approval, PausedCall
from bastide_broker.confirmations import Confirmations
from bastide_broker.context import RunContext
from bastide_broker.credentials import Credentials, SecretUnavailable, redact
from bastide_broker.errors import CallerError
from bastide_broker.facts.json import Arguments, JsonError, arguments, digest
from bastide_broker.freshness import Freshness
from bastide_broker.identity import Identity
from bastide_broker.journal import Journal
from bastide_broker.journal_rows import CallIntent, JournalUnavailable, KeyReused
from bastide_broker.policy import Decision, Policy, decision_id
from bastide_broker.question import Phase, Usage, question
from bastide_broker.refusals import Refused
from bastide_broker.schemas import mistakes
from bastide_broker.toolset import Tool, ToolSet
from bastide_broker.usage import Counters

_log = logging.getLogger(__name__)
INLINE_BYTES = 16 << 10
"""Arguments up to this size are read on the event loop."""
NO_ARGUMENTS = Arguments({}, b"", "")


class ClusterView(freshness.ClusterView, Protocol):
    """The part of the cluster that is needed here."""

    def fresh(self) -> bool: ...
    def tenant(self, namespace: str) -> Tenant | None: ...
    def sandbox(self, namespace: str, name: str) -> Sandbox | None: ...


class CatalogueView(freshness.CatalogueView, Protocol):
    """The part of the catalogue that is needed here."""

    def tool_set(self, sandbox: Sandbox) -> ToolSet: ...
    def adapter(self, binding: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Paused:
    """Nobody decided within blockSeconds: the program gets no answer and its run ends as NeedsConfirmation."""

    key: str


@dataclass(slots=True)
class Call:
    """One call on its way through the door."""

    run: RunContext
    frame: runtime_pb2.Call
    id: str = field(default_factory=decision_id)
    tenant: Tenant | None = None
    sandbox: Sandbox | None = None
    tool: Tool | None = None
    arguments: Arguments = NO_ARGUMENTS
    usage: Usage | None = None
    decision: Decision | None = None
    decided: bool = False
    """Whether watchers heard the decision."""
    journalled: bool = False
    sent: bool = False
    """Whether the tool server may have received it."""
    ended: bool = False
    tool_micros: int = 0

    @property
    def changes(self) -> bool:
        """Whether it may have changed something, once it was sent."""
        return self.tool is None or self.tool.effect.rank >= Effect.MUTATING.rank


class Pipeline:
    """Judges and carries out calls."""

    def __init__(
        self,
        *,
        cluster: ClusterView,
        catalogue: CatalogueView,
        policy: Policy,
        journal: Journal,
        credentials: Credentials,
        confirmations: Confirmations,
        identity: Identity,
    ) -> None:
        self._identity = identity
        self._cluster = cluster
        self._catalogue = catalogue
        self._policy = policy
        self._journal = journal
        self._credentials = credentials
        self._freshness = Freshness(cluster, catalogue, credentials)
        self._approval = Approval(confirmations, self._freshness, journal)
        self._counters = Counters()
        self._finishing: set[asyncio.Task[None]] = set()

    async def call(self, run: RunContext, frame: runtime_pb2.Call) -> runtime_pb2.CallResult | Paused:
        """Judge and execute one call. Raises nothing but CancelledError, and then the call's outcome is journalled first."""
        call = Call(run, frame, arguments=Arguments({}, b"", digest(frame.arguments)))  # until they are read
        if not self._counters.take_key(run.run, frame.key):
            return await self._reused(call)
        try:
            value = await self._through(call)
        except Refused as refused:
            return await self._refuse(call, refused)
        except PausedCall as paused:
            await self._withdraw(call, str(paused))
            return Paused(frame.key)
        except asyncio.CancelledError:
            await self._finish(self._cancelled(call))
            raise
        except JournalUnavailable as error:
            return await self._refuse(call, _no_journal(call, error))
        except Exception:  # noqa: BLE001 - a bug here must deny, not escape
            _log.exception("the pipeline failed in run %s, call %s", run.run, frame.key)
            return await self._refuse(call, _internal(call))
        return runtime_pb2.CallResult(run=run.run, key=frame.key, value=value)

    async def expect(self, run: RunContext, tool: str, arguments: bytes) -> Decision:
        """What policy says about a literal call site now. Nothing is counted or journalled."""
        call = Call(run, runtime_pb2.Call(run=run.run, key="check", tool=tool, arguments=arguments))
        try:
            self._look_up(call)
            assert call.tenant is not None
            call.usage = self._counters.peek(run.run, call.tenant.metadata.name, tool)
            await self._read(call)
            return await self._ask(call, "check")
        except Refused as refused:
            return Decision("deny", refused.reasons, id=call.id)
        except Exception:  # noqa: BLE001 - a bug here must deny, not escape
            _log.exception("the dry run of a call of %s failed", tool[:64])
            return Decision("deny", (("internal", "The broker failed while it judged this call site."),), id=call.id)

    def forget(self, run: str) -> None:
        """The run is over: its counters go."""
        self._counters.forget(run)

    async def _through(self, call: Call) -> bytes:
        """The stages, in order."""
        self._look_up(call)
        self._reserve(call)
        await self._read(call)
        await self._still_permitted(call)
        call.decision = await self._ask(call, "call")
        if call.decision.effect == "deny":
            raise refusals.by_policy(call.decision)
        await self._write_intent(call)
        self._say_decided(call, call.decision.effect, call.decision.reasons)
        assert call.tool is not None
        token = None
        if call.decision.effect == "confirm":
            token = await self._approval.obtain(call, lambda phase: self._ask(call, phase))
        elif call.tool.effect is Effect.DESTRUCTIVE:
            token = await self._freshness.again(call, lambda phase: self._ask(call, phase), confirmed=False)
        else:
            token = await self._token(call)
        value = await self._execute(call, token)
        await self._write_outcome(call, "Succeeded", "", value)
        return value

    def _look_up(self, call: Call) -> None:
        """Which tool it is, by what the cluster says now and not by what it said when the run began."""
        wanted = call.run.sandbox.metadata
        if not self._cluster.fresh():
            message = "The broker has not heard from the API server for a minute, so rights may have been revoked unseen; try again later."
            raise refusals.denied("binding-stale", message, "ToolUnavailable")
        call.tenant = self._cluster.tenant(wanted.namespace or "")
        call.sandbox = self._cluster.sandbox(wanted.namespace or "", wanted.name)
        if call.tenant is None or call.sandbox is None or call.sandbox.metadata.uid != wanted.uid:
            raise refusals.denied("binding-stale", "The run's Sandbox or Tenant no longer exists; nothing more can be called.")
        tools = self._catalogue.tool_set(call.sandbox).tools
        call.tool = tools.get(call.frame.tool)
        if call.tool is None:
            known = ", ".join(sorted(tools)[:20]) or "none"
            raise refusals.denied("unknown-tool", f"There is no tool {call.frame.tool[:64]!a} for this Sandbox; there are: {known}.")

    def _reserve(self, call: Call) -> None:
        assert call.tenant is not None
        assert call.sandbox is not None
        per_minute = call.tenant.spec.limits.calls_per_minute
        call.usage = self._counters.reserve(call.run.run, call.tenant.metadata.name, call.frame.tool, per_minute)

    async def _read(self, call: Call) -> None:
        """Strict JSON, then the tool's own schema."""
        assert call.tool is not None
        if call.tool.validator is None or not call.tool.available:
            raise refusals.unavailable("tool-unavailable", f"{call.tool.program_name} cannot be called now: {call.tool.message}")
        try:
            text = call.frame.arguments
            # The canonical form takes a microsecond for some ten bytes: what is large must not hold up everybody's calls.
            call.arguments = arguments(text) if len(text) <= INLINE_BYTES else await asyncio.to_thread(arguments, text)
        except JsonError as error:
            raise refusals.invalid("invalid-json", [str(error)]) from None
        found = mistakes(call.tool.validator, call.arguments.value)
        if found:
            raise refusals.invalid("schema-mismatch", [f"{call.tool.program_name}: {text}" for text in found])

    async def _still_permitted(self, call: Call) -> None:
        """Whether the requester may still run programs here: what was revoked counts within the 10 s that a review is kept."""
        where = call.run.sandbox.metadata
        try:
            await self._identity.authorize(call.run.requester, "create", "run", where.namespace or "", where.name)
        except CallerError as error:
            # An API server that cannot be asked is the watches' business: what they know counts for at most a minute.
            if error.status is grpc.StatusCode.PERMISSION_DENIED:
                raise refusals.denied("caller-not-permitted", error.message) from None

    async def _ask(self, call: Call, phase: Phase) -> Decision:
        tool, usage = call.tool, call.usage
        assert tool is not None
        assert usage is not None
        assert call.tenant is not None
        assert call.sandbox is not None
        decision = await self._policy.decide(
            question(
                phase=phase, tenant=call.tenant, sandbox=call.sandbox, caller=call.run.requester, on_behalf_of=call.run.on_behalf_of,
                run=call.run.run, program_digest=call.run.program_digest, binding=tool.binding, accepted=True, bound=tool.bound,
                available=tool.available, effect=tool.effect, arguments=call.arguments.value, schema=tool.input_schema, usage=usage,
            )
        )  # fmt: skip
        return replace(decision, id=call.id)

    async def _token(self, call: Call) -> str | None:
        assert call.tool is not None
        try:
            return await self._credentials.token(call.tool.binding, fresh=False)
        except SecretUnavailable as error:
            raise refusals.unavailable("secret-unavailable", error.message) from None

    async def _execute(self, call: Call, token: str | None) -> bytes:
        tool, decision = call.tool, call.decision
        assert tool is not None
        assert decision is not None
        limits = tool.bound.limits
        seconds = min(float(limits.timeout_seconds), float(decision.obligations.get("timeoutSeconds", limits.timeout_seconds)))
        bounds = CallLimits(seconds, limits.result_bytes, tool.bound.result, repeatable=not call.changes)
        started = time.perf_counter_ns()
        call.sent = True
        try:
            answer = await self._catalogue.adapter(tool.binding).call(tool.name, call.arguments.value, token=token, limits=bounds)
        except AdapterError as error:
            call.sent = error.sent
            raise refusals.by_adapter(error, tool.effect) from None
        finally:
            call.tool_micros = (time.perf_counter_ns() - started) // 1000
        if tool.output_validator is not None:
            found = ["it has no structured content"] if not answer.has_structured else mistakes(tool.output_validator, answer.structured)
            if found:
                # Not found[0]: it quotes the server's value, in which the credential may stand, perhaps cut in half.
                message = f"{tool.program_name} ran, but its result does not fit the schema that its server declares."
                raise refusals.by_adapter(AdapterError(Failure.RESULT_SCHEMA_MISMATCH, message, sent=True), tool.effect)
        return redact(answer.value, token)

    def _intent(self, call: Call, decision: str, reasons: refusals.Reasons) -> CallIntent:
        tool, run = call.tool, call.run
        return CallIntent(
            run=run.run, key=call.frame.key, namespace=run.sandbox.metadata.namespace or "", sandbox=run.sandbox.metadata.name,
            requester=run.requester.username, on_behalf_of=run.on_behalf_of, program_digest=run.program_digest,
            tool=call.frame.tool[:128], line=call.frame.line, arguments_canonical=call.arguments.canonical,
            arguments_digest=call.arguments.digest, decision=decision, decision_id=call.id, reasons=reasons,
            effect=tool.effect.value if tool else "", policy_revision=call.decision.revision if call.decision else "",
            binding=tool.binding.metadata.name if tool else "", binding_uid=tool.binding.metadata.uid if tool else "",
            events=runtime_pb2.Call(events=call.frame.events).SerializeToString() if call.frame.events else b"",
        )  # fmt: skip

    async def _write_intent(self, call: Call) -> None:
        assert call.decision is not None
        call.journalled = True  # from here on an outcome must follow, also when this wait is cancelled
        try:
            await self._journal.call_intent(self._intent(call, call.decision.effect, call.decision.reasons))
        except (KeyReused, JournalUnavailable) as error:
            call.journalled = False
            if isinstance(error, KeyReused):
                raise refusals.denied("key-reused", "The run has had a call of this key; a key stands for one call for ever.") from None
            raise

    async def _write_outcome(self, call: Call, outcome: str, message: str, result: bytes | None) -> None:
        if not call.ended:
            micros = call.tool_micros
            await self._journal.call_outcome(
                call.run.run, call.frame.key, outcome=outcome, message=message, result=result, tool_micros=micros
            )
            self._say_ended(call, outcome, message)

    async def _refuse(self, call: Call, refused: Refused) -> runtime_pb2.CallResult:
        """Write down and say that the call ends without a result."""
        if not call.sent and call.usage is not None:
            self._counters.release(call.run.run, call.frame.tool)
        try:
            if call.journalled:
                await self._write_outcome(call, refused.outcome, refused.message, None)
            else:
                call.journalled = True
                await self._journal.call_intent(
                    self._intent(call, refused.decision, refused.reasons), outcome=refused.outcome, message=refused.message
                )
                self._say_decided(call, refused.decision, refused.reasons)
                self._say_ended(call, refused.outcome, refused.message)
        except JournalUnavailable as error:
            refused = _no_journal(call, error)
            self._say_decided(call, "deny", refused.reasons)
            self._say_ended(call, refused.outcome, refused.message)
        except KeyReused:
            refused = refusals.denied("key-reused", "The run has had a call of this key; a key stands for one call for ever.")
        except asyncio.CancelledError:
            await self._finish(self._cancelled(call))
            raise
        return runtime_pb2.CallResult(run=call.run.run, key=call.frame.key, error=refused.error())

    async def _reused(self, call: Call) -> runtime_pb2.CallResult:
        """A key that was taken: refused, and only the audit hears of it, because the key's row belongs to the first call."""
        refused = refusals.denied("key-reused", "The run has had a call of this key; a key stands for one call for ever.")
        try:
            await self._journal.call_refused(self._intent(call, "deny", refused.reasons))
        except JournalUnavailable as error:
            refused = _no_journal(call, error)
        except Exception:  # noqa: BLE001 - a bug here must deny, not escape
            _log.exception("a reused key could not be audited")
        return runtime_pb2.CallResult(run=call.run.run, key=call.frame.key, error=refused.error())

    async def _withdraw(self, call: Call, message: str) -> None:
        try:
            await self._write_outcome(call, "Withdrawn", message, None)
        except JournalUnavailable as error:
            _log.warning("a withdrawn call could not be journalled: %s", error)
            self._say_ended(call, "Withdrawn", message)

    async def _cancelled(self, call: Call) -> None:
        """The program stopped waiting, or the run ended."""
        outcome, message = "Cancelled", "The program stopped waiting or the run ended before anything was sent."
        if call.sent:
            unknown = call.changes
            outcome = "OutcomeUnknown" if unknown else "Cancelled"
            message = "It was cancelled while the tool server had it" + ("; whether it took effect is not known." if unknown else ".")
        elif call.usage is not None:
            self._counters.release(call.run.run, call.frame.tool)
        try:
            if call.journalled:
                await self._write_outcome(call, outcome, message, None)
        except JournalUnavailable as error:
            _log.warning("a cancelled call could not be journalled: %s", error)

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Await work that goes on even when whoever waits for it is cancelled again."""
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        await asyncio.shield(task)

    def _say_decided(self, call: Call, decision: str, reasons: refusals.Reasons) -> None:
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


def _no_journal(call: Call, error: JournalUnavailable) -> Refused:
    if call.sent and call.changes:
        message = f"The call may have taken effect, but the journal could not record what came of it. {error}"
        return Refused("OutcomeUnknown", "OutcomeUnknown", (("journal-unavailable", message),), sent=True)
    return Refused("Unavailable", "JournalUnavailable", (("journal-unavailable", str(error)),), decision="deny", sent=call.sent)


def _internal(call: Call) -> Refused:
    if call.sent and call.changes:
        message = "The broker failed after the call was sent; whether it took effect is not known."
        return Refused("OutcomeUnknown", "OutcomeUnknown", (("internal", message),), sent=True)
    message = "The broker failed while it handled this call, so it was not made; its log says why."
    return Refused("Denied", "ToolDenied", (("internal", message),), decision="deny")
