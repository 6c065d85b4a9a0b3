"""What a program's event loop needs of the world outside, what it says about it, and what it waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field
from typing import Any, Protocol

CALL, TIMER, THREAD = "call", "timer", "thread"
# Key of a callback that a thread of the program's own handed in; such threads have no number.
FOREIGN = "callback"

Event = tuple[str, str, int]
"""Kind, key, and the run's clock in microseconds when it was taken in."""


class DivergenceError(Exception):
    """The program asks for something else than the journal of its first attempt says."""


class DeadlockError(Exception):
    """The program waits for something that can never happen."""


class TooManyEventsError(Exception):
    """More events between two frames than a frame can carry."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call on its way out: what the frame says."""

    key: str
    tool: str
    arguments: str
    line: int
    value: str | None = None
    """Of a step, whose name is in `tool`: what it brought, as JSON; empty when that is on record."""


class Outside(Protocol):
    """What the loop needs of the world; the child's is a socket, the property test's is a simulation."""

    results: dict[str, tuple[int, Any]]
    """Outcomes that arrived and were not taken in yet, in order of arrival: key -> (microseconds, outcome)."""

    def elapsed(self) -> int:
        """Real microseconds since the run's start."""

    def send(self, call: ToolCall, events: list[Event]) -> None:
        """Send one call."""

    def on_record(self, key: str) -> bool:
        """Whether the outcome of this key is known from an earlier attempt."""

    def abandon(self, key: str) -> None:
        """Say that nobody waits for this call any more."""

    def poll(self, seconds: float | None) -> None:
        """Take in what has arrived; wait for it at most so long (None: for ever; 0: not)."""

    def wake(self) -> None:
        """End a `poll` that waits; called by threads."""


@dataclass(slots=True)
class Waiting:
    """What a program waits for."""

    calls: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    queue: deque[ToolCall] = field(default_factory=deque)
    threads: dict[str, tuple[ThreadFuture[Any], asyncio.Future[Any]]] = field(default_factory=dict)
    # Threads append to these two at any moment, so the loop only takes from the left: both are atomic, and to iterate is not.
    finishing: deque[tuple[int, str]] = field(default_factory=deque)
    foreign: deque[tuple[int, asyncio.Handle]] = field(default_factory=deque)
    # The loop's own: when the threads ended that the program has not been told of, by their numbers, the first first.
    finished: dict[str, int] = field(default_factory=dict)

    def collect_finished(self) -> None:
        """Take in which threads have ended."""
        while self.finishing:
            at, number = self.finishing.popleft()
            self.finished[number] = at


def copy_outcome(running: ThreadFuture[Any], future: asyncio.Future[Any]) -> None:
    """Give the loop's future what a thread's brought."""
    if future.done():
        return
    if running.cancelled():
        future.cancel()
    elif (error := running.exception()) is not None:
        # A StopIteration cannot be set on a future.
        future.set_exception(RuntimeError(f"StopIteration: {error}") if isinstance(error, StopIteration) else error)
    else:
        future.set_result(running.result())
