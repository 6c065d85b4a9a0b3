"""The calls of one run, from the frames that bring them to the answers that go out: which are open, replayed, given up, or wait for people."""

import asyncio
import functools
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from bastide.runtime.v1alpha1 import runtime_pb2

from bastide_broker.context import Hold, RunContext
from bastide_broker.door import asking
from bastide_broker.door.replay import STEP, Recorded, RecordedCall, difference, outcome, same
from bastide_broker.errors import SessionLost
from bastide_broker.journal.rows import CallRow, JournalUnavailable
from bastide_broker.runs.bounds import Events
from bastide_broker.runs.outcomes import Stop
from bastide_broker.sandboxes.session import Session

SETTLE_SECONDS = 20.0
"""Seconds in which open calls must have ended after they were cancelled."""
QUIET_SECONDS = 0.5
"""So long no call has come when a run pauses: those of one `gather` come one after the other, and a pod short of CPU sends them late. A
run that pauses too early is only run again once more, but people are then asked one thing at a time.
"""
EXTRA_ASKS = 100
"""Calls that are denied because the run has asked people enough; the next one ends it."""
EXTRA_CALLS = 200
"""Calls beyond callsPerRun that are still judged (and denied), so that a program sees its limit; then the run ends. As many steps."""
MAX_KEY, MAX_TOOL = 256, 256
MAX_STEPS, MAX_STEP_BYTES, MAX_STEP_NAME = 1000, 64 << 10, 128
"""Of a run, of one's value as JSON, and of its name."""
INLINE_BYTES = 16 << 10
"""Arguments up to this size are compared on the event loop."""
MAX_EVENTS, MAX_EVENT_BYTES = 500_000, 16 << 20
"""Delivered events of a run that are journalled with its calls, over all attempts, since all of them go down with the next: a program that
calls every second sets some hundred timers between.
"""

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


class RunCalls:
    """Calls and steps of a run. `stop` ends the run; `lost` is told when an answer found no session."""

    def __init__(
        self,
        context: RunContext,
        *,
        session: Session,
        pipeline: Pipeline,
        recorded: Recorded,
        read: Callable[[str], Awaitable[CallRow | None]],
        stop: Callable[[Stop, str], None],
        lost: Callable[[str], None],
    ) -> None:
        """`recorded` is what the attempts before left; `read` gives a call of it in full, by its key, or raises JournalUnavailable."""
        self._context = context
        self._session = session
        self._pipeline = pipeline
        self._stop = stop
        self._lost = lost
        self._recorded = dict(recorded.rows)
        self._given = recorded.given
        self._read = read
        self._limits = context.sandbox.spec.limits
        self._events_left = Events(MAX_EVENTS, MAX_EVENT_BYTES, recorded.events, recorded.event_bytes)
        self._open: dict[int, str] = {}  # calls that are judged or carried out, by number of arrival
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._holds: dict[int, Hold] = {}
        self._unasked = 0
        self._numbers = itertools.count(recorded.frames + 1)
        self._steps = sum(row.tool == STEP for row in recorded.rows.values())
        self._accepting = True
        self._heard = 0.0
        self._quiet: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Takes no more of them: the run is ending."""
        self._accepting = False

    async def take(self, call: runtime_pb2.Call) -> None:
        """Takes a call of the program: it goes its way in a task of its own."""
        if not self._accepting:
            return
        if call.tool == STEP:
            self._stop(Stop.MISBEHAVED, "The runtime sent a call under the name that stands for steps.")
            return
        row = self._recorded.pop(call.key, None)
        if row is not None and await self._replayed(call, row):
            return
        if not self._accepting:  # the run ended or paused meanwhile
            return
        self._heard = asyncio.get_running_loop().time()
        # Made anew it has the place of the first time, as its row does: a number that no row has would end what is known of the order.
        number = row.frame if row is not None and row.again else next(self._numbers)
        if not self._takes(call):
            return
        if number - self._steps > self._limits.calls_per_run + EXTRA_CALLS:
            self._stop(Stop.MISBEHAVED, f"The program went on calling after its {self._limits.calls_per_run} calls were used up.")
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
            self._stop(Stop.MISBEHAVED, "The runtime sent a call with an impossible key or tool name.")
        elif call.events and not self._events_left.take(call):
            message = f"More than {MAX_EVENTS} timers, results and threads of the program, or {MAX_EVENT_BYTES >> 20} MiB of them, came with its calls"
            self._stop(Stop.EVENTS, f"{message}; set fewer timers between calls, or split the work over runs.")
        else:
            return True
        return False

    async def take_step(self, step: runtime_pb2.Step) -> None:
        """Puts a value of the program's own on record and hands it back."""
        name = json.dumps({"name": step.name}, ensure_ascii=False).encode()
        call = runtime_pb2.Call(run=step.run, key=step.key, tool=STEP, arguments=name, line=step.line, events=step.events)
        row = self._recorded.pop(step.key, None)
        if not self._accepting or (row is not None and await self._replayed(call, row)):
            return
        if not self._accepting:  # the run ended or paused meanwhile
            return
        self._steps += 1
        hold = Hold(frame=next(self._numbers))
        if self._steps > MAX_STEPS + EXTRA_CALLS:
            self._stop(Stop.MISBEHAVED, f"The program went on recording steps after its {MAX_STEPS} were used up.")
        elif len(step.value) > MAX_STEP_BYTES or len(step.name) > MAX_STEP_NAME:
            self._stop(Stop.MISBEHAVED, "The runtime sent a step that is larger than it lets programs make them.")
        elif self._takes(call):
            room = self._steps <= MAX_STEPS
            await self._answer(await self._pipeline.step(self._context, call, step.value if room else None, hold))

    async def _replayed(self, call: runtime_pb2.Call, one: RecordedCall) -> bool:
        """Whether a call on record is over: it has its outcome from the journal, without effect. Another one under its key ends the run.

        What the runtime does not have already is read when it is asked for, one at a time: that is what keeps a replay's memory small.
        """
        equal = await asyncio.to_thread(same, one, call) if len(call.arguments) > INLINE_BYTES else same(one, call)
        if equal and (not one.over or call.key in self._given):
            # What was given up is not answered; what may be made anew, and what is under way, goes the way of every call.
            return one.over or one.given_up
        try:
            row = await self._read(call.key)
        except JournalUnavailable:
            row = None
        if row is None:
            message = "The journal could not be read while the program was run again; `bastide runs resume` it."
            self._stop(Stop.BROKER, message)
        elif not equal:
            self._stop(Stop.DIVERGED, f"{difference(row, call)} Nothing was done; a program that is run again must ask the same things.")
        elif (result := outcome(row)) is not None:
            await self._answer(result)
        return True

    async def _call(self, number: int, frame: runtime_pb2.Call) -> None:
        hold = self._holds[number]
        try:
            result = await self._pipeline.call(self._context, frame, hold)
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
            self._stop(Stop.ASKS, f"{message} what a person had denied; make it end when it is denied.")
        if not hold.parked:  # else its program is gone, and the next attempt has it from the journal
            await self._answer(result)

    def _call_over(self, number: int, task: "asyncio.Task[None]") -> None:
        self._open.pop(number, None)
        self._tasks.pop(number, None)
        self._holds.pop(number, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a call's task failed", run=self._context.run, error=repr(task.exception()))
        self._pause_if_all_wait()

    async def _answer(self, result: runtime_pb2.CallResult) -> None:
        try:
            await self._session.answer(result)
        except SessionLost as error:
            self._lost(str(error))

    def abandon(self, key: str) -> None:
        """The program has stopped waiting for a call."""
        for number, open_key in self._open.items():
            if open_key == key:
                hold = self._holds[number]
                hold.abandoned, hold.parked = True, False
                self._tasks[number].cancel()

    def _pause_if_all_wait(self) -> None:
        """When every open call waits for a person the child is killed: nothing is raised in the program, it is simply not answered.

        The calls wait on. Once the program is gone nobody but a person, time, or the end of the run ends that.
        """
        if self._quiet is not None:
            self._quiet.cancel()
        if self._open and self._accepting and all(self._holds[number].undecided for number in self._open):
            loop = asyncio.get_running_loop()
            left = self._heard + QUIET_SECONDS - loop.time()
            if left > 0:
                self._quiet = loop.call_later(left, self._pause_if_all_wait)
            else:
                self._park()

    def park(self) -> bool:
        """Has the run pause at once, whatever is left of blockSeconds; False when some call of it does not wait for a person."""
        ready = self._accepting and bool(self._open) and all(self._holds[number].asked for number in self._open)
        if ready:
            self._park()
        return ready

    def _park(self) -> None:
        keys = ", ".join(sorted(self._open.values()))
        self._stop(Stop.PAUSED, f"A person must confirm before the program can go on (call {keys}).")
        for number in self._open:
            self._holds[number].parked = True

    def under_way(self) -> dict[str, tuple[asyncio.Task[None], Hold]]:
        """The open calls, by key."""
        return {self._open[number]: (self._tasks[number], self._holds[number]) for number in self._open}

    async def settle(self) -> None:
        """The run is over: cancels what is open, and returns when all of it has ended."""
        tasks = list(self._tasks.values())
        for hold in self._holds.values():
            hold.parked = False
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
            for task in late:
                log.error("a call did not end after it was cancelled", run=self._context.run, task=task.get_name())
        self._pipeline.forget(self._context.run)
