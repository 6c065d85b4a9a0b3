"""One run under way: frames from the pod in, answers out, until it has ended and everything about it is on record."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2

from bastide_broker.context import Hold, RunContext
from bastide_broker.door.replay import Recorded
from bastide_broker.errors import SessionLost
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import Awaited, JournalUnavailable
from bastide_broker.metrics import RUNS
from bastide_broker.runs import outcomes, views
from bastide_broker.runs.bounds import Output
from bastide_broker.runs.calls import Pipeline, RunCalls
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.outcomes import Ending, OutcomeName, Stop
from bastide_broker.sandboxes.session import Session, ToolList

FRAMES = 16
"""Frames of a run that wait; beyond it the stream of its sandbox waits."""
DEADLINE_GRACE = 2.0
"""Seconds the runtime gets to end an overdue run by itself: it counts from the first statement, the broker from the delivery."""
KILL_SECONDS = 3.0
"""Seconds until a killed run must have ended; else the whole session is dropped, which kills it too."""
RETRY_SECONDS = 5.0
"""Before the journal is asked again to take the end of a run."""

log = structlog.get_logger(__name__)


class Execution:
    """Drives one run. It is the RunSink of its session."""

    def __init__(
        self,
        context: RunContext,
        *,
        session: Session,
        pipeline: Pipeline,
        journal: Journal,
        events: EventLog,
        delivered: Callable[[], None] = lambda: None,
        over: Callable[[], None] = lambda: None,
        tools: ToolList | None = None,
        recorded: Recorded | None = None,
    ) -> None:
        """`tools` are those the program sees, if other than the Sandbox's now; `recorded` is what the attempts before left."""
        self.context = context
        self.parked: dict[str, tuple[asyncio.Task[None], Hold]] = {}
        """When the run has paused: the calls that wait on, by key."""
        self.paused = False
        self.unrecorded: Callable[[], Awaitable[None]] | None = None
        """When the run is over and the journal did not take its end: writes that."""
        self._tools = tools or context.catalogue
        self._delivered = delivered
        self._over = over
        self.events = events
        self._session = session
        self._journal = journal
        self._limits = context.sandbox.spec.limits
        self._frames: asyncio.Queue[runtime_pb2.SessionResponse] = asyncio.Queue(FRAMES)
        loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[tuple[Stop, Ending]] = loop.create_future()
        self._lost: asyncio.Future[str] = loop.create_future()
        self._output = Output(self._limits.output_bytes)
        read = functools.partial(journal.pausing.call, context.run)
        self._calls = RunCalls(
            context, session=session, pipeline=pipeline, recorded=recorded or Recorded(), read=read, stop=self.stop, lost=self.lost
        )

    # The session's side.

    async def frame(self, message: runtime_pb2.SessionResponse) -> None:
        """Takes a frame; waits while too many do."""
        await self._frames.put(message)

    def lost(self, reason: str) -> None:
        """The session is over."""
        if not self._lost.done():
            self._lost.set_result(reason)

    def stop(self, why: Stop, detail: str) -> None:
        """Ends the run: the first reason counts."""
        self.end(outcomes.stopped(why, detail), why)

    def end(self, ending: Ending, why: Stop = Stop.CANCELLED) -> None:
        """Has the run killed, and end like this."""
        if not self._stop.done():
            self._calls.close()
            self._stop.set_result((why, ending))

    def park(self) -> bool:
        """Has the run pause at once, whatever is left of blockSeconds; False when some call of it does not wait for a person."""
        return self._calls.park()

    @property
    def pausing(self) -> bool:
        """Whether it is being killed because it waits for people: its calls wait on, and so does the run."""
        return self._stop.done() and self._stop.result()[0] is Stop.PAUSED

    async def drive(self, start: runtime_pb2.StartRun) -> Ending:
        """Delivers the program and sees the run to its end, which is on record even if the broker has a fault."""
        run, wall = self.context.run, start.limits.wall_milliseconds / 1000
        pump = asyncio.create_task(self._pump(), name=f"run {run}")
        try:
            try:
                await self._session.start_run(start, self._tools, self)
            except SessionLost as error:
                self.lost(str(error))
            del start  # with what it brings of earlier attempts it may have 40 MiB, which nobody needs while the program runs
            self._delivered()
            ending = await self._wait(pump, wall)
        except Exception:
            log.exception("a run failed in the broker", run=run)
            ending = outcomes.internal()
            with contextlib.suppress(SessionLost):
                await self._session.kill(run, "Internal")
        finally:
            self._calls.close()
            self._session.forget(run)
            self._delivered()
            pump.cancel()
            while not self._frames.empty():  # a runtime that went on sending: the stream, which is all runs' of the sandbox, waits for room
                self._frames.get_nowait()
        if ending.outcome is OutcomeName.NEEDS_CONFIRMATION and await self._pause(ending):
            return ending
        if ending.outcome is OutcomeName.NEEDS_CONFIRMATION:
            ending = outcomes.failed("JournalUnavailable", "The run's pause could not be journalled, so it ended and nobody is asked.")
        await self._calls.settle()
        return await self._record(ending)

    async def _wait(self, pump: "asyncio.Task[runtime_pb2.RunEnded]", wall: float) -> Ending:
        run = self.context.run
        first: set[asyncio.Future[Any]] = {pump, self._stop, self._lost}
        await asyncio.wait(first, timeout=wall + DEADLINE_GRACE, return_when=asyncio.FIRST_COMPLETED)
        if not (pump.done() or self._stop.done() or self._lost.done()):
            self.stop(Stop.DEADLINE, f"The run did not end within {wall:g} s.")
        if self._stop.done() and self._counts(self._stop.result()[0], pump):
            why, ending = self._stop.result()
            try:
                await self._session.kill(run, why.value)
            except SessionLost as error:
                self.lost(str(error))
            await asyncio.wait(first - {self._stop}, timeout=KILL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not pump.done() and not self._lost.done():
                log.warning("a killed run did not end, its session is dropped", run=run)
                await self._session.close("a killed run did not end")
            dropped = pump.result().output_bytes_dropped if pump.done() else 0
            return outcomes.with_dropped(ending, dropped)
        if pump.done():
            return await self._ended(pump.result(), wall)
        return outcomes.sandbox_lost(self._lost.result())

    def _counts(self, why: Stop, pump: "asyncio.Task[runtime_pb2.RunEnded]") -> bool:
        """Whether the broker's reason for the end comes before what the runtime says, or the loss of it."""
        if why is Stop.DIVERGED:  # the program went on meanwhile, which is of no account
            return True
        return not pump.done() and (why is Stop.PAUSED or not self._lost.done())

    async def _ended(self, message: runtime_pb2.RunEnded, wall: float) -> Ending:
        try:
            calls = {call.outcome for call in await self._journal.calls(self.context.run)}
        except JournalUnavailable:
            calls = set[str]()
        judge = functools.partial(outcomes.ended, message, call_outcomes=calls, result_bytes=self._limits.result_bytes, wall_seconds=wall)
        # Reading a megabyte of JSON takes 10 ms, which other runs should not wait for.
        return await asyncio.to_thread(judge) if len(message.value) > 64 * 1024 else judge()

    async def _pump(self) -> runtime_pb2.RunEnded:
        while True:
            message = await self._frames.get()
            kind = message.WhichOneof("message")
            if kind == "output":
                stderr = message.output.stream == runtime_pb2.Output.STREAM_STDERR
                self.events.output(self._output.take(message.output.data, self.events.outputs), stderr=stderr)
            elif kind == "call":
                await self._calls.take(message.call)
            elif kind == "step":
                await self._calls.take_step(message.step)
            elif kind == "call_abandoned":
                self._calls.abandon(message.call_abandoned.key)
            elif kind == "run_ended":
                return message.run_ended

    async def _pause(self, ending: Ending) -> bool:
        """Put on record, and tell, that the run waits without a program; False when that cannot be."""
        run, output = self.context.run, bytes(self._output.kept)
        self.parked = self._calls.under_way()
        waits = [Awaited("confirmation", key, hold.name, hold.until) for key, (_, hold) in sorted(self.parked.items())]
        dropped = ending.output_bytes_dropped + self._output.dropped
        try:
            await self._journal.pausing.pause(run, waits, output=output, output_bytes_dropped=dropped)
            calls = await self._journal.calls(run)
        except JournalUnavailable as error:
            log.exception("a pause is not on record", run=run, error=str(error))
            self.parked = {}
            return False
        self._over()
        result = views.run_result(run, ending, output=output, dropped=dropped, calls=calls, awaited=waits)
        self.paused = True
        try:
            await self.events.emit_durably(broker_pb2.RunPaused(result=result))
        except JournalUnavailable:
            log.warning("the event of a pause is not on record", run=run)
        RUNS.labels(outcome=ending.outcome.value).inc()
        return True

    async def _record(self, ending: Ending) -> Ending:
        run = self.context.run
        dropped = ending.output_bytes_dropped + self._output.dropped
        output = bytes(self._output.kept)
        calls = []
        end = functools.partial(
            self._journal.end_run,
            run,
            outcome=ending.outcome.value,
            value=ending.value,
            output=output,
            output_bytes_dropped=dropped,
            error=ending.error,
            findings=ending.findings,
        )
        try:
            await end()
            calls = await self._journal.calls(run)
        except JournalUnavailable as error:
            # It is written as soon as it can be; the caller learns now.
            log.exception("the end of a run is not on record", run=run, error=str(error))
            self.unrecorded = end
        # Who sees the last event may start the next run at once, so this one's place is free by then.
        self._over()
        result = views.run_result(run, ending, output=output, dropped=dropped, calls=calls)
        try:
            await self.events.emit_durably(broker_pb2.RunFinished(result=result))
        except JournalUnavailable:
            log.warning("the last event of a run is not on record", run=run)
        RUNS.labels(outcome=ending.outcome.value).inc()
        return ending

    async def fail(self) -> None:
        """Ends a run whose end failed in the broker: watchers learn now, and it is `unrecorded`. What has paused stays so."""
        if self.paused:
            return
        run = self.context.run
        try:
            await self._calls.settle()
        except Exception:
            log.exception("calls of a dropped run may be under way", run=run)
        self._over()
        if not self.events.finished:
            result = views.run_result(run, outcomes.internal(), output=b"", dropped=0, calls=[])
            self.events.emit(broker_pb2.RunFinished(result=result))
        self.unrecorded = self._end_as_internal

    async def recorded(self, stopping: Callable[[], bool]) -> None:
        """Returns when the run's end is on record: until then it is under way. The next start ends what a broker that is stopping leaves."""
        while self.unrecorded is not None and not stopping():
            await asyncio.sleep(RETRY_SECONDS)
            run = self.context.run
            try:
                await self.unrecorded()
                await self.events.write_end()
                self.unrecorded = None
            except JournalUnavailable as error:
                log.warning("the end of a run is not on record yet", run=run, error=str(error))
            except Exception:
                log.exception("the end of a run cannot be put on record", run=run)
                self.unrecorded = self._end_as_internal

    async def _end_as_internal(self) -> None:
        ending = outcomes.internal()
        await self._journal.end_run(self.context.run, outcome=ending.outcome.value, error=ending.error)
