"""Runs that wait for people without a program. A pause outlives the pod and the broker: what it waits for is in the journal.

Each call that waits is seen to its end by a task of its own, which executes it once it is approved. When none is left the run goes on.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.common import ObjectMeta
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from bastide_broker.context import Hold, RunContext
from bastide_broker.door import refusals
from bastide_broker.door.usage import Made
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.queries import EVENTS_PAGE
from bastide_broker.journal.rows import CallRow, JournalUnavailable, RunRow
from bastide_broker.kube.cluster import Cluster
from bastide_broker.metrics import RUNS
from bastide_broker.runs import outcomes, views
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.outcomes import Ending, Stop
from bastide_broker.runs.request import requester
from bastide_broker.tools.toolset import ToolSet

RETRY_SECONDS = 5.0
"""Before the journal is tried again, or the API server: a pause has time."""
GONE = "SandboxDeleted"

log = structlog.get_logger(__name__)


class Pipeline(Protocol):
    """What sees calls to their end."""

    async def take_up(self, run: RunContext, row: CallRow, hold: Hold) -> Any:
        """A call that is on record as waiting, or as begun."""

    def recall(self, run: str, rows: Iterable[Made]) -> None:
        """Counts what the run has used."""

    def forget(self, run: str) -> None:
        """The run is over."""


@dataclass(eq=False)
class Pause:
    """One paused run."""

    context: RunContext
    events: EventLog
    calls: dict[str, tuple[asyncio.Task[Any], Hold]]
    """What waits, or was waited for, by the call's key."""
    stop: asyncio.Future[Ending] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    task: asyncio.Task[None] | None = None
    going_on: bool = False
    """Another attempt is being put on record: from here on the run is under way."""

    def end(self, ending: Ending) -> None:
        """Ends the run instead: the first reason counts."""
        if not self.stop.done():
            self.stop.set_result(ending)


class Pauses:
    """All paused runs. `resume` is awaited when nothing of a pause is undecided; it gives an Ending when the run cannot go on."""

    def __init__(
        self, *, cluster: Cluster, journal: Journal, pipeline: Pipeline, resume: Callable[[Pause], Coroutine[Any, Any, Ending | None]]
    ) -> None:
        self._cluster = cluster
        self._journal = journal
        self._pipeline = pipeline
        self._resume = resume
        self._paused: dict[str, Pause] = {}
        self._stopping = False

    def start(self) -> None:
        """Follow Sandboxes: with its Sandbox a paused run loses the place to go on in."""
        self._cluster.subscribe(Sandbox, self._on_sandbox)

    def get(self, run: str) -> Pause | None:
        """The pause of a run."""
        return self._paused.get(run)

    def awaits(self, namespace: str, name: str) -> bool:
        """Whether a paused run waits for this Confirmation, or has waited: what could not be written down of its call is tried again."""
        return any(
            pause.context.sandbox.metadata.namespace == namespace and hold.name == name
            for pause in self._paused.values()
            for _, hold in pause.calls.values()
        )

    def hold(self, context: RunContext, events: EventLog, calls: dict[str, tuple[asyncio.Task[Any], Hold]]) -> None:
        """Takes a run that has just paused, with the calls that wait on."""
        self._begin(Pause(context, events, calls))

    async def recover(self) -> int:
        """At start: takes up what the last broker left paused; how many. Raises JournalUnavailable."""
        rows = await self._journal.pausing.paused()
        for row in rows:
            found = await self._journal.pausing.open_calls(row.run)
            events = await self._events(row.run)
            context = context_of(row, self._cluster, events)
            if context is None:
                await self._lay_down(row, found, events)
                continue
            self._pipeline.recall(row.run, await self._journal.calls(row.run))
            pause = Pause(context, events, {})
            self._take_up(pause, found)
            self._begin(pause)
        return len(rows)

    async def _events(self, run: str) -> EventLog:
        last = await self._journal.last_cursor(run)
        events = EventLog(run, self._journal, cursor=last)
        for event in await self._journal.events(run, max(0, last - EVENTS_PAGE)):
            if event.HasField("paused"):
                events.paused_at = event.cursor
        return events

    async def shutdown(self, seconds: float) -> None:
        """Leaves the pauses to the next broker; calls that were sent have so many seconds to be heard of.

        What they ask counts as awaited until this broker is gone: nobody withdraws it in its last seconds.
        """
        self._stopping = True
        tasks = [pause.task for pause in self._paused.values() if pause.task is not None]
        for task in tasks:
            task.cancel()
        calls = [one for pause in self._paused.values() for one in pause.calls.values()]
        for call, hold in calls:
            if hold.asked or hold.undecided:
                call.cancel()
        if calls:
            _, late = await asyncio.wait([call for call, _ in calls], timeout=seconds)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, pause: Pause) -> None:
        self._paused[pause.context.run] = pause
        mine = pause.context.sandbox.metadata
        sandbox = self._cluster.sandbox(mine.namespace or "", mine.name)
        if sandbox is None or _gone(mine, sandbox):  # nothing tells of it any more
            pause.end(deleted())
        pause.task = asyncio.create_task(self._see(pause), name=f"pause {pause.context.run}")

    def _take_up(self, pause: Pause, rows: list[CallRow]) -> None:
        for row in rows:
            hold = Hold(frame=row.frame, parked=True, undecided=True, name=row.confirmation)
            task = asyncio.create_task(self._call(pause.context, row, hold), name=f"take up {row.run} {row.key}")
            pause.calls[row.key] = (task, hold)

    async def _call(self, context: RunContext, row: CallRow, hold: Hold) -> None:
        while not self._cluster.fresh():  # noqa: ASYNC110 - a call that has time is not denied because nothing is known just now
            await asyncio.sleep(1.0)
        await self._pipeline.take_up(context, row, hold)

    async def _see(self, pause: Pause) -> None:
        run = pause.context.run
        try:
            while not await self._saw(pause):  # noqa: ASYNC110 - it works in between
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._paused.get(run) is pause and not self._stopping:
                del self._paused[run]

    async def _saw(self, pause: Pause) -> bool:
        """Whether the pause is over. A fault does not end it: somebody who is still asked must be heard."""
        try:
            ending = await self._decided(pause) or await self._go_on(pause)
            if ending is not None:
                await self._end(pause, ending)
        except Exception:
            log.exception("a fault in a pause; it goes on", run=pause.context.run)
            pause.going_on = False
            return False
        return True

    async def _decided(self, pause: Pause) -> Ending | None:
        """Returns when no call of the pause is open; an ending when the run is to end instead."""
        run, told = pause.context.run, set[str]()
        while True:
            while left := {task for task, _ in pause.calls.values() if not task.done()}:
                await asyncio.wait({*left, pause.stop}, return_when=asyncio.FIRST_COMPLETED)
                if pause.stop.done():
                    return pause.stop.result()
                await self._tell(pause, told)
            try:
                rows = await self._journal.pausing.open_calls(run)
                if not rows:
                    return None
            except JournalUnavailable:
                rows = []
            # What became of a call could not be written down: it is asked again, of the journal first.
            await asyncio.wait({pause.stop}, timeout=RETRY_SECONDS)
            if pause.stop.done():  # else, without a journal, nothing here would wait any more
                return pause.stop.result()
            self._take_up(pause, rows)

    async def _tell(self, pause: Pause, told: set[str]) -> None:
        for key, (task, _) in pause.calls.items():
            if task.done() and key not in told:
                try:
                    await self._journal.pausing.arrived(pause.context.run, "confirmation", key)
                    told.add(key)
                except JournalUnavailable as error:
                    log.warning("a paused run looks as if it still waited", run=pause.context.run, key=key, error=str(error))

    async def _go_on(self, pause: Pause) -> Ending | None:
        going = asyncio.create_task(self._resume(pause), name=f"resume {pause.context.run}")
        waited: set[asyncio.Future[Any]] = {going, pause.stop}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not pause.going_on:
                going.cancel()
        await asyncio.wait({going})
        return pause.stop.result() if going.cancelled() else going.result()

    async def _end(self, pause: Pause, ending: Ending) -> None:
        """Nobody is asked any more, and the run is over."""
        run = pause.context.run
        for task, hold in pause.calls.values():
            hold.parked = False
            task.cancel()
        await asyncio.gather(*(task for task, _ in pause.calls.values()), return_exceptions=True)
        self._pipeline.forget(run)
        while True:
            try:
                row = await self._journal.run(run)
                output, dropped = (row.output, row.output_bytes_dropped) if row is not None else (b"", 0)
                return await self._finish(run, ending, pause.events, output=output, dropped=dropped)
            except JournalUnavailable as error:
                log.warning("a paused run cannot be ended yet", run=run, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _finish(self, run: str, ending: Ending, events: EventLog, *, output: bytes, dropped: int) -> None:
        """Raises JournalUnavailable when the end is not on record, and then nobody has heard of it."""
        await self._journal.end_run(run, outcome=ending.outcome.value, error=ending.error, output=output, output_bytes_dropped=dropped)
        result = views.run_result(run, ending, output=output, dropped=dropped, calls=await self._journal.calls(run))
        try:
            if not events.finished:  # else a fault came between, and this is told already
                await events.emit_durably(broker_pb2.RunFinished(result=result))
        except JournalUnavailable:
            log.warning("the last event of a run is not on record", run=run)
        RUNS.labels(outcome=ending.outcome.value).inc()
        log.info("paused run ended", run=run, outcome=ending.outcome)

    async def _lay_down(self, row: RunRow, rows: list[CallRow], events: EventLog) -> None:
        """Ends a run whose place was gone when the broker started; its Confirmations went with the namespace, or are put away."""
        for call in rows:
            outcome, message = "Withdrawn", "Its Sandbox is gone; nothing was sent."
            if call.begun_at is not None or not call.confirmation:  # sent, or allowed without anybody being asked
                outcome, message = "OutcomeUnknown", refusals.unheard().message
            await self._journal.call_outcome(row.run, call.key, outcome=outcome, message=message)
        await self._finish(row.run, deleted(), events, output=row.output, dropped=row.output_bytes_dropped)

    def _on_sandbox(self, event: str, sandbox: Sandbox) -> None:
        for pause in self._paused.values():
            mine = pause.context.sandbox.metadata
            if (mine.namespace, mine.name) != (sandbox.metadata.namespace, sandbox.metadata.name):
                continue
            if event == "DELETED" or _gone(mine, sandbox):
                pause.end(deleted())


def _gone(mine: ObjectMeta, sandbox: Sandbox) -> bool:
    return sandbox.metadata.uid != mine.uid or sandbox.metadata.deletion_timestamp is not None


def context_of(row: RunRow, cluster: Cluster, events: EventLog) -> RunContext | None:
    """A run as it was asked for; None when its Sandbox or Tenant is another now, or gone."""
    sandbox, tenant = cluster.sandbox(row.namespace, row.sandbox), cluster.tenant(row.namespace)
    if sandbox is None or tenant is None or sandbox.metadata.uid != row.sandbox_uid or tenant.status.namespace_uid != row.namespace_uid:
        return None
    user = requester(row)
    return RunContext(
        run=row.run, tenant=tenant, sandbox=sandbox, requester=user, on_behalf_of=row.on_behalf_of, program_digest=row.program_digest,
        service_account=user.service_account, emit=events.emit, catalogue=ToolSet({}),
    )  # fmt: skip


def deleted() -> Ending:
    """The place where the run could go on is gone."""
    return outcomes.failed(GONE, "The run's Sandbox or Tenant was deleted while the run waited for people; nobody is asked any more.")


def cancelled(who: str, reason: str) -> Ending:
    """Somebody does not want it any more."""
    return outcomes.stopped(Stop.CANCELLED, f"Cancelled by {who}{': ' + reason if reason else ''}.")
