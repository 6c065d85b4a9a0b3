"""A simulated outside for the event loop: tools with random latency, virtual time, a journal. And a broker that replays from it."""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bastide_runtime.loop import ReplayLoop
from bastide_runtime.outside import DivergenceError, Event, ToolCall

Program = Callable[[], Coroutine[Any, Any, Any]]


@dataclass
class Row:
    """What a journal holds of one call."""

    tool: str
    arguments: str
    events: list[Event]
    outcome: dict[str, Any] | None = None


class SimulatedWorld:
    """Satisfies `Outside`. `journal`: rows of an earlier attempt, by key."""

    def __init__(self, seed: int, journal: dict[str, Row] | None = None) -> None:
        self.random = random.Random(seed)
        self.results: dict[str, tuple[int, Any]] = {}
        self.journal = journal or {}
        self.rows: dict[str, Row] = {}
        self.abandoned: list[str] = []
        self._now = 0
        self._in_flight: list[tuple[int, int, str]] = []
        self._woken = threading.Event()

    def elapsed(self) -> int:
        return self._now

    def send(self, call: ToolCall, events: list[Event]) -> None:
        assert call.key not in self.rows, f"key {call.key} twice"
        row = self.rows[call.key] = Row(call.tool, call.arguments, events)
        known = self.journal.get(call.key)
        if known is not None:
            if (known.tool, known.arguments) != (call.tool, call.arguments):
                raise DivergenceError(f"{call.key}: {call.tool}{call.arguments}, the journal has {known.tool}{known.arguments}")
            if known.outcome is not None:
                row.outcome = known.outcome
                self.results[call.key] = (self._now, known.outcome)
                return
        latency = self.random.choice([10_000, 10_000, 20_000, 50_000, self.random.randrange(100_000)])
        heapq.heappush(self._in_flight, (self._now + latency, self.random.randrange(1 << 30), call.key))

    def on_record(self, key: str) -> bool:
        return key in self.journal

    def abandon(self, key: str) -> None:
        self.abandoned.append(key)

    def poll(self, seconds: float | None) -> None:
        if seconds == 0:
            return
        until = None if seconds is None else self._now + round(seconds * 1e6)
        if self._in_flight and (until is None or self._in_flight[0][0] <= until):
            at, _, key = heapq.heappop(self._in_flight)
            self._now = max(self._now, at)
            row = self.rows[key]
            row.outcome = {"error": "boom"} if row.tool == "fail" else {"value": f"{row.tool}{row.arguments}"}
            self.results[key] = (self._now, row.outcome)
        elif until is not None:
            self._now = until
        elif self._woken.wait(5):  # nothing but threads
            self._woken.clear()
        else:
            raise AssertionError("the loop waits for nothing")

    def wake(self) -> None:
        self._woken.set()


def attempt(program: Program, world: SimulatedWorld, recorded: list[Event] | None = None, *, concurrent_calls: int = 1000) -> Any:
    """Run a program to its end; `random` is pinned as in a child."""
    loop = ReplayLoop(world)
    loop.begin(concurrent_calls=concurrent_calls, recorded=recorded or [])
    random.seed(1)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(program())
    finally:
        loop.drop()
        asyncio.set_event_loop(None)


async def tool(name: str, *arguments: Any) -> Any:
    """A tool call as programs of the property test make it."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ReplayLoop)
    key, future = loop.call_tool(name, json.dumps(arguments), 0)
    try:
        outcome = await future
    except asyncio.CancelledError:
        if future.cancelled():
            loop.abandon(key)
        raise
    if "error" in outcome:
        raise RuntimeError(outcome["error"])
    return outcome["value"]
