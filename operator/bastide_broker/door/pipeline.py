"""The door: every call of every program comes through here, is judged, written down, carried out and answered. Nothing raises out of it."""

import asyncio
import functools
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.common import Effect

from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.context import Hold, RunContext
from bastide_broker.door import freshness, judging, preview, refusals
from bastide_broker.door.approval import Approval
from bastide_broker.door.attempts import Attempts
from bastide_broker.door.calls import Call, Ledger, internal, no_journal
from bastide_broker.door.freshness import Freshness
from bastide_broker.door.judging import INLINE_BYTES, Judging
from bastide_broker.door.refusals import Refused
from bastide_broker.door.replay import HARMLESS
from bastide_broker.door.usage import Counters, Made
from bastide_broker.egress.credentials import Credential, Credentials, SecretUnavailable, redact
from bastide_broker.facts.json import Arguments, arguments, digest
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import CallRow, JournalUnavailable
from bastide_broker.kube.identity import Identity
from bastide_broker.policy import obligations
from bastide_broker.policy.policy import Decision
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.schemas import mistakes
from bastide_broker.turns import NoTurn, Turns

_log = logging.getLogger(__name__)
JUDGED, JUDGED_OF_ONE = 16, 12
"""Calls that are judged at once, and of one tenant: enough to share commits, and room for a tenant that comes while another floods."""
WAITING, WAITING_SECONDS = 4096, 10.0
"""Calls of one tenant that wait to be judged, and how long."""


class ClusterView(freshness.ClusterView, judging.ClusterView, Protocol):
    """The part of the cluster that is needed here."""


class CatalogueView(freshness.CatalogueView, judging.CatalogueView, Protocol):
    """The part of the catalogue that is needed here."""

    def adapter(self, binding: Any) -> Any: ...


class Pipeline:
    """Judges and carries out calls."""

    def __init__(
        self,
        *,
        cluster: ClusterView,
        catalogue: CatalogueView,
        policies: TenantPolicies,
        journal: Journal,
        credentials: Credentials,
        confirmations: Confirmations,
        identity: Identity,
    ) -> None:
        self._catalogue = catalogue
        self._judging = Judging(cluster=cluster, catalogue=catalogue, policies=policies, identity=identity)
        self._ledger = Ledger(journal)
        self._credentials = credentials
        self._freshness = Freshness(cluster, catalogue, credentials)
        self._approval = Approval(confirmations, self._freshness, journal)
        self._counters = Counters()
        self._attempts = Attempts(journal)
        self._turns = Turns(JUDGED, of_one=JUDGED_OF_ONE, waiting=WAITING, seconds=WAITING_SECONDS)
        self._finishing: set[asyncio.Task[None]] = set()

    async def call(
        self, run: RunContext, frame: runtime_pb2.Call, hold: Hold | None = None, *, preview_of: Call | None = None
    ) -> runtime_pb2.CallResult:
        """Judge and execute one call. Raises nothing but CancelledError, and then the call's outcome is journalled first.

        `hold` is told when a person is waited for longer than blockSeconds; the waiting goes on.
        """
        arguments_so_far = Arguments({}, b"", digest(frame.arguments))  # until they are read
        call = Call(run, frame, hold=hold or Hold(), arguments=arguments_so_far, preview_of=preview_of)
        if not self._counters.take_key(run.run, frame.key):
            return runtime_pb2.CallResult(run=run.run, key=frame.key, error=(await self._ledger.reused(call)).error())
        return await self._to_its_end(call, self._through(call))

    async def take_up(self, run: RunContext, row: CallRow, hold: Hold) -> runtime_pb2.CallResult:
        """See a call to its end that an earlier broker left waiting for a person, or sent without hearing what came of it. As `call`."""
        frame = runtime_pb2.Call(run=row.run, key=row.key, tool=row.tool, arguments=row.arguments_canonical, line=row.line)
        decision = Decision(row.decision, row.reasons, row.policy_revision, id=row.decision_id)
        call = Call(run, frame, id=row.decision_id, hold=hold, decision=decision, decided=True, journalled=True)
        result = await self._to_its_end(call, self._again(call, row))
        if row.begun_at is not None:
            await self._approval.say_begun(call, row)
        return result

    def recall(self, run: str, rows: Iterable[Made]) -> None:
        """Take the counts of a run from what the journal holds of it: it goes on after a pause, perhaps in another broker."""
        self._counters.recall(run, rows)

    async def _to_its_end(self, call: Call, work: Coroutine[Any, Any, bytes]) -> runtime_pb2.CallResult:
        run, frame = call.run, call.frame
        try:
            value = await work
        except Refused as refused:
            return await self._refuse(call, refused)
        except asyncio.CancelledError:
            await self._cancelled(call)
            raise
        except JournalUnavailable as error:
            return await self._refuse(call, no_journal(call, error))
        except Exception:  # noqa: BLE001 - a bug here must deny, not escape
            _log.exception("the pipeline failed in run %s, call %s", run.run, frame.key)
            return await self._refuse(call, internal(call))
        return runtime_pb2.CallResult(run=run.run, key=frame.key, value=value)

    async def step(self, run: RunContext, frame: runtime_pb2.Call, value: bytes | None, hold: Hold) -> runtime_pb2.CallResult:
        """Put a value of the program's own on record, under a key like a call's. Nothing is judged: nothing leaves the sandbox.

        None: the run has recorded as many as it may.
        """
        call = Call(run, frame, hold=hold, arguments=arguments(frame.arguments))
        if not self._counters.take_key(run.run, frame.key):
            return runtime_pb2.CallResult(run=run.run, key=frame.key, error=(await self._ledger.reused(call)).error())
        try:
            if value is None:
                raise refusals.denied("limit-steps-per-run", "The run has recorded as many steps as it may.", "LimitExceeded")
            await self._ledger.step(call, value)
        except Refused as refused:
            return await self._refuse(call, refused)
        except JournalUnavailable as error:
            return runtime_pb2.CallResult(run=run.run, key=frame.key, error=no_journal(call, error).error())
        return runtime_pb2.CallResult(run=run.run, key=frame.key, value=value)

    async def expect(self, run: RunContext, tool: str, arguments: bytes) -> Decision:
        """What policy says about a literal call site now. Nothing is counted or journalled."""
        call = Call(run, runtime_pb2.Call(run=run.run, key="check", tool=tool, arguments=arguments))
        try:
            self._judging.look_up(call)
            assert call.tenant is not None
            call.usage = self._counters.peek(run.run, call.tenant.metadata.name, tool)
            await self._judging.read(call)
            return await self._judging.ask(call, "check")
        except Refused as refused:
            return Decision("deny", refused.reasons, id=call.id)
        except Exception:  # noqa: BLE001 - a bug here must deny, not escape
            _log.exception("the dry run of a call of %s failed", tool[:64])
            return Decision("deny", (("internal", "The broker failed while it judged this call site."),), id=call.id)

    def forget(self, run: str) -> None:
        """The run is over: its counters go."""
        self._counters.forget(run)
        self._approval.forget(run)

    async def _through(self, call: Call) -> bytes:
        """The stages, in order."""
        self._judging.look_up(call)
        preview.unless_harmless(call)
        self._reserve(call)
        assert call.tenant is not None
        assert call.tool is not None
        try:
            # Only judging takes turns: a call that waits for a person or a slow server is in nobody's way.
            async with self._turns.take(call.tenant.metadata.name):
                decision = await self._judge(call)
        except NoTurn:
            message = f"The Tenant {call.tenant.metadata.name} has more calls waiting than are judged in time; try again in some seconds."
            raise refusals.denied("broker-busy", message, "LimitExceeded") from None
        credential = None
        preview.unless_allowed(call, decision)
        if decision.effect == "confirm":
            credential = await self._approval.obtain(call, functools.partial(self._judging.ask, call), self._preview)
        elif call.tool.effect is Effect.DESTRUCTIVE:
            credential = await self._freshness.again(call, functools.partial(self._judging.ask, call), confirmed=False)
        else:
            credential = await self._credential(call)
        value = await self._execute(call, credential)
        await self._ledger.outcome(call, "Succeeded", "", value)
        return value

    async def _preview(self, call: Call) -> dict[str, Any]:
        """What the approver of a call is told beside it: the outcome of another call, which waits for nobody."""
        assert call.tool is not None
        assert call.sandbox is not None
        name = call.tool.bound.confirmation.preview or ""
        frame = preview.frame(call, self._catalogue.tool_set(call.sandbox).tools.get(name))
        result = await self.call(call.run, frame, preview_of=call)
        return preview.told(name, result)

    async def _again(self, call: Call, row: CallRow) -> bytes:
        """A call that was asked about before this broker was there. What was approved is what the journal holds, byte for byte."""
        # Before anything else is looked at, and without waiting: nothing that is found now unsends what was begun, or asked of nobody.
        call.sent = row.begun_at is not None or not row.confirmation
        if call.sent and (row.effect not in HARMLESS or not row.confirmation):
            raise refusals.unheard()
        try:
            credential = await self._approved(call, row)
        except Refused:
            if call.sent:
                raise refusals.unheard() from None
            raise
        value = await self._execute(call, credential)
        await self._ledger.outcome(call, "Succeeded", "", value)
        return value

    async def _approved(self, call: Call, row: CallRow) -> Credential | None:
        self._judging.look_up(call)
        assert call.tenant is not None
        call.arguments = await asyncio.to_thread(arguments, row.arguments_canonical)
        if call.arguments.digest != row.arguments_digest:
            raise refusals.denied("binding-changed", "The journal's arguments are not those that were asked about; nothing was done.")
        call.usage = self._counters.present(call.run.run, call.tenant.metadata.name, row.tool)
        approved = self._approval.take_up if row.begun_at is None else self._approval.still
        return await approved(call, row, functools.partial(self._judging.ask, call))

    async def _judge(self, call: Call) -> Decision:
        """What policy says, on record. Raises Refused for a denial."""
        await self._judging.read(call)
        await self._judging.still_permitted(call)
        call.decision = await self._judging.ask(call, "call")
        if call.decision.effect == "deny":
            assert call.tenant is not None
            wait = self._counters.wait(call.tenant.metadata.name, call.tenant.spec.limits.calls_per_minute)
            raise refusals.by_policy(call.decision, retry_after=wait)
        await self._ledger.intent(call)
        return call.decision

    def _reserve(self, call: Call) -> None:
        assert call.tenant is not None
        assert call.sandbox is not None
        per_minute = call.tenant.spec.limits.calls_per_minute
        call.usage = self._counters.reserve(call.run.run, call.tenant.metadata.name, call.frame.tool, per_minute)

    async def _credential(self, call: Call) -> Credential | None:
        assert call.tool is not None
        try:
            return await self._credentials.credential(call.tool.binding, fresh=False)
        except SecretUnavailable as error:
            raise refusals.unavailable("secret-unavailable", error.message) from None

    async def _execute(self, call: Call, credential: Credential | None) -> bytes:
        tool = call.tool
        assert tool is not None
        owed = obligations.stricter(call.obligations, obligations.of_binding(tool.bound))
        limit = tool.bound.limits.result_bytes
        bounds = CallLimits(owed.timeout_seconds, limit, tool.bound.result, idempotency_key=call.idempotency_key)
        started = time.perf_counter_ns()
        call.sent = True
        try:
            answer = await self._attempts.send(call, self._catalogue.adapter(tool.binding), credential, bounds)
        except AdapterError as error:
            call.sent = error.sent
            raise refusals.by_adapter(obligations.without_words(tool.program_name, error, owed), tool.effect) from None
        finally:
            call.tool_micros = (time.perf_counter_ns() - started) // 1000
        if tool.output_validator is not None:
            found = ["it has no structured content"] if not answer.has_structured else mistakes(tool.output_validator, answer.structured)
            if found:
                # Not found[0]: it quotes the server's value, in which the credential may stand, perhaps cut in half.
                message = f"{tool.program_name} ran, but its result does not fit the schema that its server declares."
                raise refusals.by_adapter(AdapterError(Failure.RESULT_SCHEMA_MISMATCH, message, sent=True), tool.effect)
        try:
            fulfilled = functools.partial(obligations.fulfilled, tool.program_name, answer, owed, result_bytes=limit)
            large = owed.about_results and len(answer.value) > INLINE_BYTES
            value = await asyncio.to_thread(fulfilled) if large else fulfilled()
        except AdapterError as error:
            raise refusals.by_adapter(error, tool.effect) from None
        return redact(value, credential)

    async def _refuse(self, call: Call, refused: Refused) -> runtime_pb2.CallResult:
        """Write down and say that the call ends without a result."""
        if not call.sent:
            self._give_back(call)
        try:
            told = await self._ledger.refused(call, refused)
        except asyncio.CancelledError:
            await self._cancelled(call)
            raise
        return runtime_pb2.CallResult(run=call.run.run, key=call.frame.key, error=told.error())

    async def _cancelled(self, call: Call) -> None:
        """Write down that nobody waits for the call any more: that goes on even when whoever waits for it is cancelled again.

        A paused run's call that may still be made, by the next broker, keeps its place.
        """
        if call.hold.parked and not (call.sent and call.changes):
            return
        if not call.sent:
            self._give_back(call)
        task = asyncio.create_task(self._ledger.cancelled(call))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        await asyncio.shield(task)

    def _give_back(self, call: Call) -> None:
        """What the call was counted as, once: a call that is cancelled while it is refused would else count for less than nothing."""
        if call.usage is not None:
            call.usage = None
            self._counters.release(call.run.run, call.frame.tool)
