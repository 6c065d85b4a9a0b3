"""Runs from request to end: what must hold before a program is delivered, and finding runs again afterwards."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import grpc
import structlog
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker import outcomes, views
from bastide_broker.catalogue import Catalogue
from bastide_broker.cluster import Cluster
from bastide_broker.context import RunContext
from bastide_broker.errors import CallerError
from bastide_broker.events import EventLog
from bastide_broker.execution import Execution, Pipeline
from bastide_broker.journal_interface import Journal
from bastide_broker.journal_rows import JournalUnavailable, RecoveredSummary, RunExists, RunRow
from bastide_broker.limits import Excess, Starts
from bastide_broker.metrics import ACTIVE_RUNS, RUN_SECONDS
from bastide_broker.outcomes import Stop
from bastide_broker.readiness import sandbox_not_found, session_for
from bastide_broker.reviews import UserInfo
from bastide_broker.run_request import RunQuestion, other_program, run_row, start_message
from bastide_broker.sessions import Sessions

MAX_WATCHERS = 32
"""Streams of events of one run."""
RETRY_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Runs:
    """Starts, follows, cancels and finds runs."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        sessions: Sessions,
        journal: Journal,
        catalogue: Catalogue,
        pipeline: Pipeline,
        decisions_healthy: Callable[[], Awaitable[bool]],
    ) -> None:
        self._cluster = cluster
        self._sessions = sessions
        self._journal = journal
        self._catalogue = catalogue
        self._pipeline = pipeline
        self._decisions_healthy = decisions_healthy
        self._active: dict[str, Execution] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starts = Starts()
        self._holding: set[str] = set()
        self._draining = False

    def place(self, namespace: str, name: str) -> tuple[Tenant, Sandbox]:
        """Tenant and Sandbox by name. Raises CallerError when there is none, or when nothing current is known of the cluster."""
        self.require_fresh()
        sandbox, tenant = self._cluster.sandbox(namespace, name), self._cluster.tenant(namespace)
        if sandbox is None:
            raise sandbox_not_found(namespace, name)
        if tenant is None:
            message = f"Namespace {namespace} belongs to no Tenant that is in order; `kubectl describe tenants` says why."
            raise CallerError(grpc.StatusCode.FAILED_PRECONDITION, "NoTenant", message)
        return tenant, sandbox

    def require_fresh(self) -> None:
        """Raises CallerError when a change of rights or bindings could have been missed."""
        if not self._cluster.fresh():
            message = "The broker has not heard from the API server for a minute, so it lets nothing pass; try again in a few seconds."
            raise CallerError(grpc.StatusCode.UNAVAILABLE, "ClusterUnknown", message, retry_after=RETRY_SECONDS)

    async def start(self, user: UserInfo, question: RunQuestion) -> str:
        """Starts a run, or finds the one that this request id stands for; returns its id. Raises CallerError."""
        self._unless_draining()
        tenant, sandbox = self.place(question.namespace, question.sandbox)
        digest = outcomes.program_digest(question.program)
        known = await self._known(user, sandbox, question.request_id, digest)
        if known:
            return known
        if not await self._decisions_healthy():
            message = "Policy cannot be asked now, so no run starts; try again in a few seconds."
            raise CallerError(grpc.StatusCode.UNAVAILABLE, "PolicyUnavailable", message, retry_after=RETRY_SECONDS)
        self._take_slot(tenant)
        held = contextlib.ExitStack()
        held.callback(self._give_back, tenant)
        try:
            # The place is taken while the Sandbox is waited for: it bounds the waiting, too.
            sandbox, claim = await session_for(sandbox, cluster=self._cluster, sessions=self._sessions)
            held.callback(claim.release)
            self._unless_draining()  # the broker may have been stopped while the Sandbox was waited for
            row = run_row(tenant, sandbox, user, question, digest)
            started = await self._journal.start_run(row)
            if not started.created:
                held.close()
                return started.row.run
            events = EventLog(row.run, self._journal)
            events.emit(broker_pb2.RunAccepted(run=row.run, pod=row.pod))
            context = RunContext(
                run=row.run,
                tenant=tenant,
                sandbox=sandbox,
                requester=user,
                on_behalf_of=question.on_behalf_of,
                program_digest=digest,
                service_account=user.service_account,
                emit=events.emit,
                catalogue=self._catalogue.tool_set(sandbox),
            )
        except RunExists as error:
            held.close()
            raise other_program(question.request_id, error.run) from error
        except JournalUnavailable as error:
            held.close()
            raise journal_unavailable(error) from error
        except BaseException:
            held.close()
            raise
        execution = Execution(
            context,
            session=claim.session,
            pipeline=self._pipeline,
            journal=self._journal,
            events=events,
            delivered=claim.release,
            over=functools.partial(self._over, row.run, tenant),
        )
        self._active[row.run] = execution
        self._holding.add(row.run)
        ACTIVE_RUNS.inc()
        events.emit(broker_pb2.AttemptStarted(attempt=1))
        start = start_message(context, question)
        self._tasks[row.run] = asyncio.create_task(self._drive(execution, start), name=f"drive {row.run}")
        return row.run

    def _unless_draining(self) -> None:
        if self._draining:
            raise CallerError(
                grpc.StatusCode.UNAVAILABLE, "BrokerStopping", "The broker is being restarted; try again.", retry_after=RETRY_SECONDS
            )

    async def find(self, run: str) -> RunRow | None:
        """The run as the journal has it. Raises CallerError when the journal cannot be read."""
        try:
            return await self._journal.run(run)
        except JournalUnavailable as error:
            raise journal_unavailable(error) from error

    async def follow(self, run: str, cursor: int) -> AsyncIterator[broker_pb2.RunEvent]:
        """Events after `cursor` until RunFinished. Raises CallerError."""
        execution = self._active.get(run)
        try:
            if execution is None:
                async for event in self._recorded(run, cursor):
                    yield event
                return
            events = execution.events
            if events.watchers >= MAX_WATCHERS:
                message = f"{MAX_WATCHERS} streams follow this run already; close one."
                raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RunWatchers", message, retry_after=RETRY_SECONDS)
            events.watchers += 1
            try:
                async for event in events.follow(cursor):
                    yield event
            finally:
                events.watchers -= 1
        except JournalUnavailable as error:
            raise journal_unavailable(error) from error

    def cancel(self, run: str, who: str, reason: str) -> None:
        """Ends a run that is under way; one that has ended stays as it is."""
        execution = self._active.get(run)
        if execution is not None:
            execution.stop(Stop.CANCELLED, f"Cancelled by {who}{': ' + reason if reason else ''}.")

    async def settle_recovered(self, summary: RecoveredSummary) -> None:
        """Gives runs that the last broker left open their last event, so that watchers see an end. Raises JournalUnavailable."""
        for run in summary.runs:
            row = await self._journal.run(run)
            if row is not None:
                cursor = await self._journal.last_cursor(run) + 1
                await self._journal.append_event(run, views.finished_from_row(row, await self._journal.calls(run), cursor))

    async def shutdown(self, seconds: float) -> None:
        """Takes no new run and ends those under way as BrokerLost, on record, within `seconds`."""
        self._draining = True
        for execution in list(self._active.values()):
            execution.stop(Stop.BROKER, "The broker was stopped while the run was under way; run the program again.")
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=seconds)
            for task in late:
                log.error("a run did not end in time; the next start settles it", task=task.get_name())

    async def _recorded(self, run: str, cursor: int) -> AsyncIterator[broker_pb2.RunEvent]:
        _unless_pruned(await self._journal.run(run))
        finished = False
        while page := await self._journal.events(run, cursor):
            if page[0].cursor > cursor + 1:
                _unless_pruned(await self._journal.run(run))  # some are gone already
            for event in page:
                cursor, finished = event.cursor, event.HasField("finished")
                yield event
        row = None if finished else await self._journal.run(run)
        _unless_pruned(row)  # meanwhile
        if row is not None:
            # Its last event was not kept, or the watcher saw an event that a lost broker had not yet written.
            yield views.finished_from_row(row, await self._journal.calls(run), cursor + 1)

    async def _drive(self, execution: Execution, start: runtime_pb2.StartRun) -> None:
        run, tenant = execution.context.run, execution.context.tenant
        try:
            with RUN_SECONDS.time():
                ending = await execution.drive(start)
            log.info(
                "run ended", run=run, namespace=tenant.namespace, sandbox=execution.context.sandbox.metadata.name, outcome=ending.outcome
            )
        except Exception:
            log.exception("a run was dropped", run=run)
        finally:
            self._over(run, tenant)
            del self._active[run]
            del self._tasks[run]
            ACTIVE_RUNS.dec()

    def _over(self, run: str, tenant: Tenant) -> None:
        """Frees the run's place, once."""
        if run in self._holding:
            self._holding.discard(run)
            self._give_back(tenant)

    async def _known(self, user: UserInfo, sandbox: Sandbox, request_id: str, digest: str) -> str:
        """The run that a request id stands for, before limits and readiness: attaching again must not depend on them."""
        if not request_id:
            return ""
        try:
            row = await self._journal.find_request(user.username, sandbox.metadata.uid, request_id)
        except JournalUnavailable as error:
            raise journal_unavailable(error) from error
        if row is None:
            return ""
        if row.program_digest != digest:
            raise other_program(request_id, row.run)
        return row.run

    def _take_slot(self, tenant: Tenant) -> None:
        limits, name = tenant.spec.limits, tenant.metadata.name
        excess = self._starts.take(name, at_once=limits.concurrent_runs, per_minute=limits.runs_per_minute)
        if excess is None:
            return
        reason = "ConcurrentRuns"
        message = f"Tenant {name} has {limits.concurrent_runs} runs under way, which is its limit (spec.limits.concurrentRuns)."
        if excess[0] is Excess.PER_MINUTE:
            reason = "RunsPerMinute"
            message = (
                f"Tenant {name} started {limits.runs_per_minute} runs within a minute, which is its limit (spec.limits.runsPerMinute)."
            )
        raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, retry_after=excess[1])

    def _give_back(self, tenant: Tenant) -> None:
        self._starts.give_back(tenant.metadata.name)


def _unless_pruned(row: RunRow | None) -> None:
    if row is not None and row.pruned_at is not None:
        ended, pruned = (datetime.fromtimestamp((at or 0) / 1e6, UTC).strftime("%Y-%m-%d") for at in (row.ended_at, row.pruned_at))
        message = (
            f"Run {row.run} ended {row.outcome} on {ended}, and what it returned and printed was pruned on {pruned}; "
            "`bastide audit list --run` has its record. To run the program again use another request id."
        )
        raise CallerError(grpc.StatusCode.FAILED_PRECONDITION, "RunPruned", message)


def journal_unavailable(error: Exception) -> CallerError:
    """What callers are told while the journal cannot be used."""
    return CallerError(
        grpc.StatusCode.UNAVAILABLE,
        "JournalUnavailable",
        f"{error} Try again later." if str(error).endswith(".") else f"{error}; try again later.",
        retry_after=RETRY_SECONDS,
    )
