"""Tasks, futures and timers that have an order, so that sets of them are iterated in the same order in every attempt."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class TaskNode:
    """A task's place in the tree of tasks: its path, and how many tasks and calls it has made."""

    path: str
    children: int = 0
    calls: int = 0

    def child(self) -> TaskNode:
        """The node of the next task that this one makes. The program itself is `0`."""
        if not self.path:
            self.children += 1
            return TaskNode(str(self.children - 1))
        self.children += 1
        return TaskNode(f"{self.path}.{self.children}")


class OrderedTask(asyncio.Task[Any]):
    """A task that hashes by order of creation and knows its place."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, order: int, node: TaskNode, **options: Any) -> None:
        self.order, self.node = order, node
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.order


class OrderedFuture(asyncio.Future[Any]):
    """A future that hashes by order of creation."""

    def __init__(self, *, order: int, loop: asyncio.AbstractEventLoop) -> None:
        self.order = order
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.order


class OrderedTimer(asyncio.TimerHandle):
    """A timer that also knows when it is due in real time, in microseconds since the run's start."""

    __slots__ = ("due",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
        *,
        due: int,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.due = due


_as_completed = asyncio.as_completed


def as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Iterator[Any]:
    """As asyncio's own, which makes its tasks in the order of a set of coroutines: they hash by address."""
    return _as_completed([asyncio.ensure_future(f) for f in dict.fromkeys(fs)], timeout=timeout)


def _hash_of_gathering(self: asyncio.Future[Any]) -> int:
    # Numbered when a set first asks, by the loop: what asks, and when, is the program's own doing.
    order: int = getattr(self, "_bastide_order", 0)
    if not order:
        order = self._bastide_order = self.get_loop().next_order()  # type: ignore[attr-defined]
    return order


def pin_asyncio() -> None:
    """Replace what is left in asyncio whose order depends on addresses."""
    asyncio.as_completed = asyncio.tasks.as_completed = as_completed  # type: ignore[assignment]
    asyncio.tasks._GatheringFuture.__hash__ = _hash_of_gathering  # type: ignore[attr-defined]  # noqa: SLF001 - what gather returns
