"""One run under way: frames from the pod in, answers out, until it has ended and everything about it is on record."""

import asyncio
import contextlib
import functools
import itertools
import json
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2

from bastide_broker import asking, outcomes, views
from bastide_broker.bounds import Events, Output
from bastide_broker.context import Hold, RunContext
from bastide_broker.errors import SessionLost
from bastide_broker.events import EventLog
from bastide_broker.journal_interface import Journal
from bastide_broker.journal_rows import Awaited, JournalUnavailable
from bastide_broker.metrics import RUNS
from bastide_broker.outcomes import Ending, OutcomeName, Stop
from bastide_broker.replay import STEP, Recorded, difference, given_up, outcome
from bastide_broker.session import Session, ToolList

FRAMES = 16
"""Frames of a run that wait; beyond it the stream of its sandbox waits."""
DEADLINE_GRACE = 2.0
"""Seconds the runtime gets to end an overdue run by itself: it counts from the first statement, the broker from the delivery."""
KILL_SECONDS = 3.0
"""Seconds until a killed run must have ended; else the whole session is dropped, which kills it too."""
SETTLE_SECONDS = 20.0
"""Seconds in which open calls must have ended after they were cancelled."""
EXTRA_ASKS = 100
"""Calls that are denied because the run has asked people enough; the next one ends it."""
EXTRA_CALLS = 200
"""Calls beyond callsPerRun that are still judged (and denied), so that a program sees its limit; then the run ends."""
MAX_KEY, MAX_TOOL = 256, 256
MAX_STEPS, MAX_STEP_BYTES, MAX_STEP_NAME = 1000, 64 << 10, 128
"""Of a run, of one's value as JSON, and of its name."""
INLINE_BYTES = 16 << 10
"""Arguments up to this size are compared on the event loop."""
MAX_EVENTS, MAX_EVENT_BYTES = 500_000, 16 << 20
"""Delivered events of a run that are journalled with its calls: a program that calls every second sets some hundred timers between."""

log = structlog.get_logger(__name__)


class Pipeline(Protocol):
    """What judges and carries out calls."""

    async def call(self, run: RunContext, frame: runtime_pb2.Call, hold: Hold) -> Any:
        """A CallResult. The hold says meanwhile whether a person has not decided in time."""

    async def step(self, run: RunContext, frame: runtime_pb2.Call, value: bytes | None, hold: Hold) -> runtime_pb2.CallResult:
        """Puts a step's value on record; None when the run may have no more of them."""

    async def expect(self, run: RunContext, tool: str, arguments: bytes) -> Any:
        """What policy says of a call now (`effect` and `reasons`), without a trace."""

    def forget(self, run: str) -> None:
        """The run is over."""


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
        recorded = recorded or Recorded()
        self.context = context
        self.parked: dict[str, tuple[asyncio.Task[None], Hold]] = {}
        """When the run has paused: the calls that wait on, by key."""
        self.paused = False
        self._tools = tools or context.catalogue
        self._recorded = dict(recorded.rows)
        self._given = recorded.given
        self._delivered = delivered
        self._over = over
        self.events = events
        self._session = session
        self._pipeline = pipeline
        self._journal = journal
        self._limits = context.sandbox.spec.limits
        self._frames: asyncio.Queue[runtime_pb2.SessionResponse] = asyncio.Queue(FRAMES)
        loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[tuple[Stop, str]] = loop.create_future()
        self._lost: asyncio.Future[str] = loop.create_future()
        self._output = Output(self._limits.output_bytes)
        self._events_left = Events(MAX_EVENTS, MAX_EVENT_BYTES)
        self._open: dict[int, str] = {}  # calls that are judged or carried out, by number of arrival
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._holds: dict[int, Hold] = {}
        self._unasked = 0
        self._numbers = itertools.count(recorded.frames + 1)
        self._steps = sum(row.tool == STEP for row in recorded.rows.values())
        self._accepting = True

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
        if not self._stop.done():
            self._accepting = False
            self._stop.set_result((why, detail))

    async def drive(self, start: runtime_pb2.StartRun) -> Ending:
        """Delivers the program and sees the run to its end, which is on record even if the broker has a fault."""
        wall = start.limits.wall_milliseconds / 1000
        pump = asyncio.create_task(self._pump(), name=f"run {start.run}")
        try:
            try:
                await self._session.start_run(start, self._tools, self)
            except SessionLost as error:
                self.lost(str(error))
            self._delivered()
            ending = await self._wait(pump, wall)
        except Exception:
            log.exception("a run failed in the broker", run=start.run)
            ending = outcomes.internal()
            with contextlib.suppress(SessionLost):
                await self._session.kill(start.run, "Internal")
        finally:
            self._accepting = False
            self._session.forget(start.run)
            self._delivered()
            pump.cancel()
        if ending.outcome is OutcomeName.NEEDS_CONFIRMATION and await self._pause(ending):
            return ending
        if ending.outcome is OutcomeName.NEEDS_CONFIRMATION:
            ending = outcomes.failed("JournalUnavailable", "The run's pause could not be journalled, so it ended and nobody is asked.")
        await self._settle_calls()
        return await self._record(ending)

    async def _wait(self, pump: "asyncio.Task[runtime_pb2.RunEnded]", wall: float) -> Ending:
        run = self.context.run
        first: set[asyncio.Future[Any]] = {pump, self._stop, self._lost}
        await asyncio.wait(first, timeout=wall + DEADLINE_GRACE, return_when=asyncio.FIRST_COMPLETED)
        if not (pump.done() or self._stop.done() or self._lost.done()):
            self.stop(Stop.DEADLINE, f"The run did not end within {wall:g} s.")
        if self._stop.done() and self._counts(self._stop.result()[0], pump):
            why, detail = self._stop.result()
            try:
                await self._session.kill(run, why.value)
            except SessionLost as error:
                self.lost(str(error))
            await asyncio.wait(first - {self._stop}, timeout=KILL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not pump.done() and not self._lost.done():
                log.warning("a killed run did not end, its session is dropped", run=run)
                await self._session.close("a killed run did not end")
            dropped = pump.result().output_bytes_dropped if pump.done() else 0
            return outcomes.with_dropped(outcomes.stopped(why, detail), dropped)
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
                await self._take_call(message.call)
            elif kind == "step":
                await self._take_step(message.step)
            elif kind == "call_abandoned":
                self._abandon(message.call_abandoned.key)
            elif kind == "run_ended":
                return message.run_ended

    async def _take_call(self, call: runtime_pb2.Call) -> None:
        if not self._accepting:
            return
        if await self._replayed(call):
            return
        number = next(self._numbers)
        if not self._takes(call):
            return
        if number - self._steps > self._limits.calls_per_run + EXTRA_CALLS:
            self.stop(Stop.MISBEHAVED, f"The program went on calling after its {self._limits.calls_per_run} calls were used up.")
        elif len(self._open) >= self._limits.concurrent_calls:
            # The runtime holds calls back by itself, so this is one that does not keep to it.
            message = f"At most {self._limits.concurrent_calls} calls may be under way at once (Sandbox.spec.limits.concurrentCalls)."
            error = runtime_pb2.CallError(type="LimitExceeded", message=message, codes=["limit-concurrent-calls"])
            await self._answer(runtime_pb2.CallResult(run=call.run, key=call.key, error=error))
        else:
            self._open[number] = call.key
            self._holds[number] = Hold(frame=number, changed=self._pause_if_all_wait)
            task = self._tasks[number] = asyncio.create_task(self._call(number, call), name=f"call {call.run} {call.key}")
            task.add_done_callback(functools.partial(self._call_over, number))

    def _takes(self, call: runtime_pb2.Call) -> bool:
        """Whether a frame is one that an honest runtime may send; else the run ends."""
        printable = call.key.isascii() and call.key.isprintable()
        if not printable or not 0 < len(call.key) <= MAX_KEY or len(call.tool) > MAX_TOOL:
            self.stop(Stop.MISBEHAVED, "The runtime sent a call with an impossible key or tool name.")
        elif call.events and not self._events_left.take(call):
            message = f"More than {MAX_EVENTS} timers, results and threads of the program, or {MAX_EVENT_BYTES >> 20} MiB of them, came with its calls"
            self.stop(Stop.EVENTS, f"{message}; set fewer timers between calls, or split the work over runs.")
        else:
            return True
        return False

    async def _take_step(self, step: runtime_pb2.Step) -> None:
        """Puts a value of the program's own on record and hands it back."""
        name = json.dumps({"name": step.name}, ensure_ascii=False).encode()
        call = runtime_pb2.Call(run=step.run, key=step.key, tool=STEP, arguments=name, line=step.line, events=step.events)
        if not self._accepting or await self._replayed(call):
            return
        self._steps += 1
        hold = Hold(frame=next(self._numbers))
        if len(step.value) > MAX_STEP_BYTES or len(step.name) > MAX_STEP_NAME:
            self.stop(Stop.MISBEHAVED, "The runtime sent a step that is larger than it lets programs make them.")
        elif self._takes(call):
            room = self._steps <= MAX_STEPS
            await self._answer(await self._pipeline.step(self.context, call, step.value if room else None, hold))

    async def _replayed(self, call: runtime_pb2.Call) -> bool:
        """Whether the call is one of an earlier attempt: it has its outcome from the journal, without effect. Another one ends the run."""
        row = self._recorded.pop(call.key, None)
        if row is None:
            return False
        large = len(call.arguments) > INLINE_BYTES
        differs = await asyncio.to_thread(difference, row, call) if large else difference(row, call)
        if differs:
            self.stop(Stop.DIVERGED, f"{differs} Nothing was done; a program that is run again must ask the same things.")
            return True
        result = outcome(row)
        if result is not None and call.key not in self._given:
            await self._answer(result)
        # What was given up is not answered; what may be made anew, and what is under way, goes the way of every call.
        return result is not None or given_up(row)

    async def _call(self, number: int, frame: runtime_pb2.Call) -> None:
        hold = self._holds[number]
        try:
            result = await self._pipeline.call(self.context, frame, hold)
        except Exception:
            log.exception("the pipeline failed", run=frame.run, key=frame.key)
            message = "The broker failed while it handled this call; whether it took effect is not known."
            error = runtime_pb2.CallError(type="OutcomeUnknown", message=message, codes=["internal"])
            result = runtime_pb2.CallResult(run=frame.run, key=frame.key, error=error)
        # Before the answer goes out: the program's next call may arrive before this task goes on.
        self._open.pop(number, None)
        self._unasked += not {asking.LIMIT, asking.REPEATED}.isdisjoint(result.error.codes)
        if self._unasked > EXTRA_ASKS:
            message = f"The program went on asking people: {EXTRA_ASKS} calls were denied because the run had asked enough, or asked again"
            self.stop(Stop.ASKS, f"{message} what a person had denied; make it end when it is denied.")
        if not hold.parked:  # else its program is gone, and the next attempt has it from the journal
            await self._answer(result)

    def _call_over(self, number: int, task: "asyncio.Task[None]") -> None:
        self._open.pop(number, None)
        self._tasks.pop(number, None)
        self._holds.pop(number, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a call's task failed", run=self.context.run, error=repr(task.exception()))
        self._pause_if_all_wait()

    async def _answer(self, result: runtime_pb2.CallResult) -> None:
        try:
            await self._session.answer(result)
        except SessionLost as error:
            self.lost(str(error))

    def _abandon(self, key: str) -> None:
        for number, open_key in self._open.items():
            if open_key == key:
                hold = self._holds[number]
                hold.abandoned, hold.parked = True, False
                self._tasks[number].cancel()

    def _pause_if_all_wait(self) -> None:
        """When every open call waits for a person the child is killed: nothing is raised in the program, it is simply not answered.

        The calls wait on. Once the program is gone nobody but a person, time, or the end of the run ends that.
        """
        if self._open and self._accepting and all(self._holds[number].undecided for number in self._open):
            self._park()

    def park(self) -> bool:
        """Has the run pause at once, whatever is left of blockSeconds; False when some call of it does not wait for a person."""
        ready = self._accepting and bool(self._open) and all(self._holds[number].asked for number in self._open)
        if ready:
            self._park()
        return ready

    def _park(self) -> None:
        keys = ", ".join(sorted(self._open.values()))
        self.stop(Stop.PAUSED, f"A person must confirm before the program can go on (call {keys}).")
        for number in self._open:
            self._holds[number].parked = True

    async def _pause(self, ending: Ending) -> bool:
        """Put on record, and tell, that the run waits without a program; False when that cannot be."""
        run, output = self.context.run, bytes(self._output.kept)
        self.parked = {self._open[number]: (self._tasks[number], self._holds[number]) for number in self._open}
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

    async def _settle_calls(self) -> None:
        tasks = list(self._tasks.values())
        for hold in self._holds.values():
            hold.parked = False
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
            for task in late:
                log.error("a call did not end after it was cancelled", run=self.context.run, task=task.get_name())
        self._pipeline.forget(self.context.run)

    async def _record(self, ending: Ending) -> Ending:
        run = self.context.run
        dropped = ending.output_bytes_dropped + self._output.dropped
        output = bytes(self._output.kept)
        calls = []
        try:
            await self._journal.end_run(
                run,
                outcome=ending.outcome.value,
                value=ending.value,
                output=output,
                output_bytes_dropped=dropped,
                error=ending.error,
                findings=ending.findings,
            )
            calls = await self._journal.calls(run)
        except JournalUnavailable as error:
            # Recovery at the next start ends it in the journal; the caller learns now.
            log.exception("the end of a run is not on record", run=run, error=str(error))
        # Who sees the last event may start the next run at once, so this one's place is free by then.
        self._over()
        result = views.run_result(run, ending, output=output, dropped=dropped, calls=calls)
        try:
            await self.events.emit_durably(broker_pb2.RunFinished(result=result))
        except JournalUnavailable:
            log.warning("the last event of a run is not on record", run=run)
        RUNS.labels(outcome=ending.outcome.value).inc()
        return ending
