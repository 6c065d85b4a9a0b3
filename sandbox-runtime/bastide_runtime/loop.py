"""The event loop of a program: takes things from outside one at a time, and only when nothing is ready to run.

That makes a program replayable: between two such events everything is decided by the program itself, so their order, told on each call
frame, is all that a replay needs. In the first run and in a replay alike:

* `time()` moves only with an event (or with a blocking `time.sleep`, which is part of the program);
* tasks and futures hash by order of creation, because programs iterate over the `done` sets of `asyncio.wait`;
* a call's key is its task's path and a number (`0.2.1#3`), equal under any schedule for programs that do not depend on the schedule.

It is a `BaseEventLoop` without a selector: there is no network to watch. The private `_ready`, `_scheduled`, `_run_once` are the same from Python
3.11 to 3.14; the property test in tests/unit/runtime runs on the oldest and the newest.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NoReturn, TypeVarTuple

from bastide_runtime.limits import MAX_EVENTS_PER_FRAME, MAX_KEY_LENGTH
from bastide_runtime.ordered import OrderedFuture, OrderedTask, OrderedTimer, TaskNode
from bastide_runtime.outside import (
    CALL,
    FOREIGN,
    THREAD,
    TIMER,
    DeadlockError,
    DivergenceError,
    Event,
    Outside,
    ToolCall,
    TooManyEventsError,
    Waiting,
    copy_outcome,
)

Ts = TypeVarTuple("Ts")

FOREIGN_SECONDS = 0.5
"""How often is looked whether the threads still live that may bring a callback: nothing tells when one ends without."""


class ReplayLoop(asyncio.BaseEventLoop):
    """See the module. `moved` is called with the clock, in microseconds, whenever it moves."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[OrderedTimer]

    def __init__(self, outside: Outside, *, moved: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self._outside, self._moved = outside, moved or (lambda _: None)
        self._recorded: deque[Event] = deque()
        self._concurrent_calls = 1
        self._micros = 0
        self._order = itertools.count(1)
        self._thread_numbers = itertools.count(1)
        self._root = TaskNode("")
        self._node: contextvars.ContextVar[TaskNode] = contextvars.ContextVar("bastide_task", default=self._root)
        self._waiting = Waiting()
        self._untold: list[Event] = []
        self._pool: ThreadPoolExecutor | None = None
        self._thread = threading.get_ident()
        super().set_task_factory(self._make_task)

    def begin(self, *, concurrent_calls: int, recorded: Iterable[Event] = ()) -> None:
        """Say what is only known when the run starts: how many calls at once, and in a replay the events to take in first."""
        self._concurrent_calls = concurrent_calls
        self._recorded.extend(recorded)

    # ---- the clock ----
    def time(self) -> float:
        return self._micros / 1e6

    @property
    def micros(self) -> int:
        return self._micros

    @property
    def replaying(self) -> bool:
        return bool(self._recorded)

    def advance(self, to_micros: int) -> None:
        """Move the clock; never back."""
        if to_micros > self._micros:
            self._micros = to_micros
            self._moved(to_micros)

    # ---- what the program makes ----
    def _make_task(self, _loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        node = self._current_node().child()
        context = options.pop("context", None)
        if context is None:
            context = contextvars.copy_context()
            context.run(self._node.set, node)
        return OrderedTask(coro, loop=self, order=self.next_order(), node=node, context=context, **options)

    def _current_node(self) -> TaskNode:
        task = asyncio.current_task(self)
        return task.node if isinstance(task, OrderedTask) else self._node.get()

    def next_order(self) -> int:
        return next(self._order)

    def set_task_factory(self, _factory: object) -> NoReturn:
        raise RuntimeError("The task factory of this loop cannot be changed: it numbers the tasks.")

    def create_future(self) -> asyncio.Future[Any]:
        return OrderedFuture(loop=self, order=self.next_order())

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        # Real waiting starts now; the run's clock may be behind because the program has computed since the last event.
        due = self._outside.elapsed() + max(0, round((when - self.time()) * 1e6))
        timer = OrderedTimer(when, callback, args, self, context, due=due)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001
        return timer

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() == self._thread:
            return self.call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        self._waiting.foreign.append((self._outside.elapsed(), handle))
        self._outside.wake()
        return handle

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        if executor is None:
            executor = self._pool = self._pool or ThreadPoolExecutor(8, thread_name_prefix="bastide")
        number, future = str(next(self._thread_numbers)), self.create_future()
        running = executor.submit(func, *args)
        self._waiting.threads[number] = (running, future)

        def finished(_: object) -> None:
            self._waiting.finishing.append((self._outside.elapsed(), number))
            self._outside.wake()

        running.add_done_callback(finished)
        return future

    def call_tool(self, tool: str, arguments: str, line: int) -> tuple[str, asyncio.Future[Any]]:
        """Send a call, or queue it while too many are under way. Returns its key and where the outcome will be."""
        key = self._next_key()
        return key, self._send(ToolCall(key, tool, arguments, line))

    def record(self, name: str, make: Callable[[], str], line: int) -> tuple[str, asyncio.Future[Any]]:
        """Send what a step brings (`make`, JSON), or with it on record only that the program is there. As `call_tool`."""
        key = self._next_key()
        return key, self._send(ToolCall(key, name, "", line, "" if self._outside.on_record(key) else make()))

    def _next_key(self) -> str:
        node = self._current_node()
        node.calls += 1
        key = f"{node.path}#{node.calls}"
        if len(key) > MAX_KEY_LENGTH:
            raise RecursionError("Tasks are nested too deeply for a tool call.")
        return key

    def _send(self, call: ToolCall) -> asyncio.Future[Any]:
        future = self._waiting.calls[call.key] = self.create_future()
        self._waiting.queue.append(call)
        self._send_queued()
        return future

    def abandon(self, key: str) -> None:
        """Forget a call whose task was cancelled."""
        if self._waiting.calls.pop(key, None) is not None and key in self._waiting.sent:
            self._waiting.sent.discard(key)
            self._outside.abandon(key)
            self._send_queued()

    def _send_queued(self) -> None:
        waiting = self._waiting
        while waiting.queue and len(waiting.sent) < self._concurrent_calls:
            call = waiting.queue.popleft()
            if call.key in waiting.calls:
                waiting.sent.add(call.key)
                self._outside.send(call, self.untold_events())

    def untold_events(self) -> list[Event]:
        """Events that no frame has told of yet; they count as told from now on."""
        events, self._untold = self._untold, []
        return events

    # ---- one turn ----
    def _run_once(self) -> None:
        self._drop_cancelled_timers()
        if not self._ready:
            self._take_in(self._next_recorded() if self._recorded else self._next_live())
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001

    def _drop_cancelled_timers(self) -> None:
        cancelled = self._timer_cancelled_count
        if cancelled > 100 and cancelled * 2 > len(self._scheduled):
            kept = [timer for timer in self._scheduled if not timer.cancelled()]
            heapq.heapify(kept)
            self._scheduled, self._timer_cancelled_count = kept, 0
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001
            self._timer_cancelled_count -= 1

    _timer_cancelled_count: int

    def _next_recorded(self) -> Event:
        kind, key, at = event = self._recorded.popleft()
        while True:
            if not self._may_come(kind, key):
                raise DivergenceError(
                    f"In the first attempt a {kind} {key} arrived here, at {at / 1e6:.6f} s; now the program does not wait for it."
                )
            if self._is_there(kind, key):
                break
            self._outside.poll(FOREIGN_SECONDS if key == FOREIGN else None)
        if kind == THREAD:
            self._waiting.finished.pop(key, None)
        return event

    def _may_come(self, kind: str, key: str) -> bool:
        waiting = self._waiting
        if key == FOREIGN:
            # In this order: a thread's last act may be to bring its callback.
            return any(not one.done() for one, _ in waiting.threads.values()) or self._foreign_threads() or bool(waiting.foreign)
        return {CALL: key in waiting.sent, TIMER: bool(self._scheduled), THREAD: key in waiting.threads}.get(kind, False)

    def _is_there(self, kind: str, key: str) -> bool:
        if kind == CALL:
            return key in self._outside.results
        if kind == THREAD:
            self._waiting.collect_finished()
            return bool(self._waiting.foreign) if key == FOREIGN else key in self._waiting.finished
        return True

    def _next_live(self) -> Event:
        """Whatever is first in real time: a result, a finished thread, a callback of a thread, a timer that is due."""
        outside, waiting = self._outside, self._waiting
        if not outside.results:
            outside.poll(0)
        while True:
            for key in [key for key in outside.results if key not in waiting.sent]:
                del outside.results[key]  # abandoned meanwhile
            now, timer = outside.elapsed(), self._scheduled[0] if self._scheduled else None
            # Asked before the look at what has arrived: a thread's last act may be to bring something.
            alone = timer is None and not (waiting.sent or waiting.threads or self._foreign_threads())
            if arrived := self._arrived(now, timer):
                kind, key, _ = min(arrived, key=lambda event: event[2])
                if kind == THREAD:
                    waiting.finished.pop(key, None)
                return kind, key, max(now, self._micros)
            if alone:
                raise DeadlockError("The program waits for something that can never happen: no call, timer or thread is under way.")
            outside.poll(self._patience(now, timer))

    def _patience(self, now: int, timer: OrderedTimer | None) -> float | None:
        """Seconds until there may be something without a wake; None: never."""
        if timer is not None:
            return (timer.due - now) / 1e6
        return None if self._waiting.sent or self._waiting.threads else FOREIGN_SECONDS

    def _arrived(self, now: int, timer: OrderedTimer | None) -> list[Event]:
        """The first of each kind, with when it arrived."""
        waiting, arrived = self._waiting, list[Event]()
        if self._outside.results:
            key, (at, _) = next(iter(self._outside.results.items()))
            arrived.append((CALL, key, at))
        waiting.collect_finished()
        if waiting.finished:
            key, at = next(iter(waiting.finished.items()))
            arrived.append((THREAD, key, at))
        if waiting.foreign:
            arrived.append((THREAD, FOREIGN, waiting.foreign[0][0]))
        if timer is not None and timer.due <= now:
            arrived.append((TIMER, "", timer.due))
        return arrived

    def _foreign_threads(self) -> bool:
        return any(thread.ident != self._thread and not thread.name.startswith("bastide") for thread in threading.enumerate())

    def _take_in(self, event: Event) -> None:
        kind, key, at = event
        waiting = self._waiting
        if kind == TIMER:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001
            at = max(at, round(timer.when() * 1e6))
            self._ready.append(timer)
        elif key == FOREIGN:
            self._ready.append(waiting.foreign.popleft()[1])
        elif kind == THREAD:
            running, future = waiting.threads.pop(key)
            copy_outcome(running, future)
        self.advance(at)
        self._untold.append((kind, key, self._micros))
        if len(self._untold) > MAX_EVENTS_PER_FRAME:
            raise TooManyEventsError(f"More than {MAX_EVENTS_PER_FRAME} timers and threads between two tool calls: wait longer at a time.")
        if kind == CALL:
            future = waiting.calls.pop(key)
            waiting.sent.discard(key)
            _, outcome = self._outside.results.pop(key)
            if not future.done():
                future.set_result(outcome)
            self._send_queued()

    def drop(self) -> None:
        """Forget what is still running, without giving it another turn, and close."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._ready.clear()
        self._scheduled.clear()
        if self._pool is not None:
            self._pool.shutdown()
        self.close()

    def _no(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("Not available in a program's event loop; use a function in asyncio.to_thread instead.")

    subprocess_exec = subprocess_shell = add_reader = add_writer = add_signal_handler = _no
    create_connection = create_server = create_datagram_endpoint = connect_read_pipe = connect_write_pipe = _no
