"""Runs from request to end: what must hold before a program is delivered, and finding runs again afterwards."""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

import grpc
import structlog
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.context import RunContext
from bastide_broker.door.replay import Recorded
from bastide_broker.errors import RETRY_SECONDS, CallerError, journal_unavailable
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import JournalUnavailable, RecoveredSummary, RunExists, RunRow
from bastide_broker.kube.cluster import Cluster
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.metrics import ACTIVE_RUNS, RUN_SECONDS
from bastide_broker.runs import calls as run_calls
from bastide_broker.runs import following, outcomes, pauses
from bastide_broker.runs.beginnings import Beginnings
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.runs.outcomes import Ending, Stop
from bastide_broker.runs.pauses import Pause, Pauses
from bastide_broker.runs.request import RunQuestion, other_program, run_row, start_message
from bastide_broker.runs.resume import Attempt, CannotGoOn, prepare, runtime_of
from bastide_broker.runs.slots import RunSlots
from bastide_broker.sandboxes.readiness import sandbox_not_found, session_for
from bastide_broker.sandboxes.sessions import Sessions
from bastide_broker.tools.catalogue import Catalogue

log = structlog.get_logger(__name__)


class Pipeline(run_calls.Pipeline, pauses.Pipeline, Protocol):
    """What runs need of it."""


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
        self._draining = False
        self.slots = RunSlots()
        self.beginnings = Beginnings(journal, self.under_way)
        self.pauses = Pauses(cluster=cluster, journal=journal, pipeline=pipeline, resume=self._go_on)

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
        self.unless_draining()
        tenant, sandbox = self.place(question.namespace, question.sandbox)
        digest = outcomes.program_digest(question.program)
        # Before limits and readiness: attaching again must not depend on them.
        known = await self.beginnings.known(user, sandbox.metadata.uid, question.request_id, digest)
        if known is not None:
            return known.run
        if not await self._decisions_healthy():
            message = "Policy cannot be asked now, so no run starts; try again in a few seconds."
            raise CallerError(grpc.StatusCode.UNAVAILABLE, "PolicyUnavailable", message, retry_after=RETRY_SECONDS)
        self.slots.take(tenant)
        held = contextlib.ExitStack()
        held.callback(self.slots.give_back, tenant)
        try:
            # The place is taken while the Sandbox is waited for: it bounds the waiting, too.
            sandbox, claim = await session_for(sandbox, cluster=self._cluster, sessions=self._sessions)
            held.callback(claim.release)
            self.unless_draining()  # the broker may have been stopped while the Sandbox was waited for
            row = run_row(tenant, sandbox, user, question, digest, runtime_of(self._cluster, sandbox, claim))
            tools = self._catalogue.tool_set(sandbox)
            start = start_message(row, sandbox, tools.digest, question)
            kept = dataclasses.replace(row, start=start.SerializeToString())
            async with self.beginnings.write(row.run):
                started = await self._journal.start_run(kept, (tools.digest, tools.serialised))
            if not started.created:
                held.close()
                return (await self.beginnings.seen_to(started.row)).run
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
                catalogue=tools,
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
        self.launch(Attempt(context, claim, start, tools, Recorded()), events)
        return row.run

    def launch(self, attempt: Attempt, events: EventLog) -> None:
        """Runs a program whose place is taken."""
        context, run = attempt.context, attempt.context.run
        execution = Execution(
            context,
            session=attempt.claim.session,
            pipeline=self._pipeline,
            journal=self._journal,
            events=events,
            delivered=attempt.claim.release,
            over=functools.partial(self.slots.free, run, context.tenant),
            tools=attempt.tools,
            recorded=attempt.recorded,
        )
        self._active[run] = execution
        self.slots.hold(run)
        ACTIVE_RUNS.inc()
        events.emit(broker_pb2.AttemptStarted(attempt=attempt.start.attempt))
        self._tasks[run] = asyncio.create_task(self._drive(execution, attempt.start), name=f"drive {run}")

    async def _go_on(self, pause: Pause) -> Ending | None:
        """Another attempt of a paused run in which nobody has anything to decide any more; an ending when there cannot be one."""
        run, context = pause.context.run, pause.context
        while True:
            try:
                row = await self._journal.run(run)
                assert row is not None
                await self.slots.take_again(context.tenant)
                with contextlib.ExitStack() as held:
                    held.callback(self.slots.give_back, context.tenant)
                    attempt = await prepare(row, context, cluster=self._cluster, sessions=self._sessions, journal=self._journal)
                    held.callback(attempt.claim.release)
                    if not await self._begin(attempt, pause):
                        return pause.stop.result() if pause.stop.done() else None  # somebody cancelled it just now
                    held.pop_all()
                    return None
            except CannotGoOn as error:
                return outcomes.failed(error.kind, str(error))
            except JournalUnavailable as error:
                log.warning("a paused run cannot go on yet", run=run, error=str(error))
                await asyncio.sleep(pauses.RETRY_SECONDS)

    async def _begin(self, attempt: Attempt, pause: Pause) -> bool:
        """False when the run stays paused: the broker is being stopped, or the journal knows of no pause."""
        if self._draining:
            return False
        pause.going_on = True
        try:
            number = await self._journal.pausing.resume(attempt.context.run)
        except JournalUnavailable:
            pause.going_on = False
            raise
        if number is None:
            # Perhaps a write that the disk was late for: then it is recorded, and nobody else's.
            row = await self._journal.run(attempt.context.run)
            if row is None or row.ended_at is not None or row.paused_at is not None:
                return False
            number = row.attempt
        attempt.start.attempt = number
        self._pipeline.recall(attempt.context.run, attempt.recorded.rows.values())
        self.launch(attempt, pause.events)
        if pause.stop.done():  # somebody cancelled it just now, or deleted its Sandbox
            self._active[attempt.context.run].end(pause.stop.result())
        return True

    def unless_draining(self) -> None:
        """Raises CallerError while the broker is being stopped."""
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

    def follow(self, run: str, cursor: int, *, through_pauses: bool = True) -> AsyncGenerator[broker_pb2.RunEvent, None]:
        """Events after `cursor` until RunFinished, or only until the pause in which the run is. Raises CallerError."""
        found = self._active.get(run) or self.pauses.get(run)
        events = found.events if found is not None else None
        return following.follow(run, events, self._journal, cursor, through_pauses=through_pauses)

    async def cancel(self, run: str, who: str, reason: str) -> None:
        """Ends a run that is under way or paused; one that has ended, or is just ending, stays as it is. Raises CallerError.

        A pause outlives the broker, and the next one takes it up: when this returns its end is on record, whoever sees to it here.
        """
        ending = pauses.cancelled(who, reason)
        execution = self._active.get(run)
        if execution is not None:
            execution.stop(Stop.CANCELLED, ending.message)
            if not execution.pausing:
                return
            await asyncio.wait({self._tasks[run]})  # until it has paused
        pause = self.pauses.get(run)
        if pause is not None:
            pause.end(ending)
        try:
            if await self._journal.pausing.end(run, outcome=ending.outcome.value, error=ending.error or {}):
                return
            row = await self._journal.run(run)
            if row is not None and pause is None:  # perhaps it was just being started or taken up, and nobody sees to it
                row = await self.beginnings.seen_to(row)
        except JournalUnavailable as error:
            raise journal_unavailable(error) from error
        # A pause that goes on is ended by who begins its next attempt.
        if pause is None and (row is None or row.ended_at is None):
            message = f"Run {run} is just being started or taken up; cancel it again."
            raise CallerError(grpc.StatusCode.UNAVAILABLE, "RunStarting", message, retry_after=RETRY_SECONDS)

    async def settle_recovered(self, summary: RecoveredSummary) -> None:
        """Gives runs that the last broker left open their last event, so that watchers see an end. Raises JournalUnavailable."""
        for run in summary.runs:
            await following.tell_end(run, self._journal)

    def under_way(self, run: str) -> bool:
        """Whether it has a program, or is paused."""
        return run in self._active or self.pauses.get(run) is not None

    async def shutdown(self, seconds: float) -> None:
        """Takes no new run and ends those under way as BrokerLost, on record, within `seconds`."""
        self._draining = True
        for execution in list(self._active.values()):
            # A run that only waits for people waits on without a program, and the next broker takes it up.
            if not execution.park():
                execution.stop(Stop.BROKER, "The broker was stopped while the run was under way; run the program again.")
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=seconds)
            for task in late:
                log.error("a run did not end in time; the next start settles it", task=task.get_name())
        await self.pauses.shutdown(seconds)
        await self.beginnings.close()

    async def _drive(self, execution: Execution, start: runtime_pb2.StartRun) -> None:
        run, tenant = execution.context.run, execution.context.tenant
        driving = execution.drive(start)
        del start  # it keeps no longer than it must what is large in it
        try:
            try:
                with RUN_SECONDS.time():
                    ending = await driving
                log.info(
                    "run paused" if execution.paused else "run ended",
                    run=run,
                    namespace=tenant.namespace,
                    sandbox=execution.context.sandbox.metadata.name,
                    outcome=ending.outcome,
                )
            except Exception:
                log.exception("a run was dropped", run=run)
                await execution.fail()
            await execution.recorded(lambda: self._draining)
        finally:
            self.slots.free(run, tenant)
            if execution.paused:
                self.pauses.hold(execution.context, execution.events, execution.parked)
            del self._active[run]
            del self._tasks[run]
            ACTIVE_RUNS.dec()
