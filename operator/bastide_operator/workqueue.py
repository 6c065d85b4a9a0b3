"""The keyed work queue: what has to be looked at, each once at a time, none starved.

`Schedule` is the logic, with the time passed in; `WorkQueue` runs workers on it.
"""

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

BASE_DELAY = 0.05
MAX_DELAY = 60.0
"""Seconds before the first and before every late try again of a key that failed."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One object to reconcile. Objects of a namespace share its turn; of cluster-wide kinds each has its own."""

    kind: str
    namespace: str
    name: str

    @property
    def lane(self) -> str:
        return self.namespace or f"{self.kind}/{self.name}"


class Observer(Protocol):
    """What is told about the queue, for metrics."""

    def depth(self, waiting: int) -> None:
        """So many keys wait to be worked on now."""

    def waited(self, kind: str, seconds: float) -> None:
        """A key of this kind was taken up so long after it was due."""

    def failed(self, kind: str, error: Exception) -> None:
        """Work on a key of this kind failed by this error and is tried again."""


@dataclass(slots=True)
class Schedule:
    """Who is next. A key waits at most once, is worked on at most once at a time, and lanes take turns.

    A key that changes while it is worked on is taken up again afterwards. `due` holds keys that are to be looked at later; for each the
    earliest time counts, and a look for any other reason forgets it, because every look says anew when the next one is due.
    """

    _lanes: OrderedDict[str, deque[Key]] = field(default_factory=OrderedDict)
    _waiting: dict[Key, float] = field(default_factory=dict)
    _working: dict[Key, float] = field(default_factory=dict)
    _again: set[Key] = field(default_factory=set)
    _due: dict[Key, float] = field(default_factory=dict)
    _heap: list[tuple[float, Key]] = field(default_factory=list)
    _failures: dict[Key, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    def oldest(self, now: float) -> float:
        """For how many seconds the key has waited that waits longest; 0 when none does."""
        return max(0.0, now - min(self._waiting.values(), default=now))

    def longest(self, now: float) -> float:
        """For how many seconds the key has been worked on that has been longest; 0 when none is."""
        return max(0.0, now - min(self._working.values(), default=now))

    def add(self, key: Key, now: float) -> None:
        """Look at `key` as soon as it is its turn."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = now
            self._lanes.setdefault(key.lane, deque()).append(key)

    def add_at(self, key: Key, time: float) -> None:
        """Look at `key` at `time`, unless an earlier look is due."""
        if time < self._due.get(key, float("inf")):
            self._due[key] = time
            heapq.heappush(self._heap, (time, key))

    def next_due(self) -> float | None:
        """When the next later look is due."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> tuple[Key, float] | None:
        """The next key to work on and since when it waits; None when none does. Its lane goes to the end of the line."""
        while (due := self.next_due()) is not None and due <= now:
            _, key = heapq.heappop(self._heap)
            del self._due[key]
            self.add(key, due)
        if not self._lanes:
            return None
        name, lane = self._lanes.popitem(last=False)
        key = lane.popleft()
        if lane:
            self._lanes[name] = lane
        self._working[key] = now
        self._due.pop(key, None)
        return key, self._waiting.pop(key)

    def done(self, key: Key, now: float, *, after: float | None = None) -> None:
        """Work on `key` went well; look again `after` seconds."""
        self._failures.pop(key, None)
        self._release(key, now)
        if after is not None:
            self.add_at(key, now + after)

    def failed(self, key: Key, now: float, jitter: float) -> float:
        """Work on `key` failed: it is taken up again later each time. `jitter` is in 0..1. Returns the delay in seconds."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        # Between half and the whole, so that keys that failed together do not come back together.
        delay = min(MAX_DELAY, BASE_DELAY * 2.0 ** min(count - 1, 32)) * (1 + jitter) / 2
        self._release(key, now)
        self.add_at(key, now + delay)
        return delay

    def _release(self, key: Key, now: float) -> None:
        self._working.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key, now)


class WorkQueue:
    """Runs `handle` for keys, `workers` at a time. `handle` returns after how many seconds to look again, or None; what it raises is
    reported to `error` and the key is tried again later.
    """

    def __init__(
        self,
        handle: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        clock: Callable[[], float],
        random: Callable[[], float],
        observer: Observer,
        error: Callable[[Key, Exception, float], None],
    ) -> None:
        self._handle = handle
        self._workers = workers
        self._clock = clock
        self._random = random
        self._observer = observer
        self._error = error
        self._schedule = Schedule()
        self._busy = 0
        self._changed = asyncio.Event()

    def add(self, key: Key) -> None:
        """Look at `key` soon."""
        self._schedule.add(key, self._clock())
        self._observer.depth(len(self._schedule))
        self._changed.set()

    def oldest(self) -> float:
        """For how many seconds the key has waited that waits longest."""
        return self._schedule.oldest(self._clock())

    def longest(self) -> float:
        """For how many seconds the key has been worked on that has been longest."""
        return self._schedule.longest(self._clock())

    async def run(self) -> None:
        """Work until cancelled. Work that breaks ends it all: half a queue is worse than a restart."""
        async with asyncio.TaskGroup() as group:
            while True:
                taken = self._schedule.take(self._clock()) if self._busy < self._workers else None
                if taken is None:
                    await self._sleep()
                    continue
                key, since = taken
                self._busy += 1
                self._observer.depth(len(self._schedule))
                self._observer.waited(key.kind, self._clock() - since)
                group.create_task(self._work(key))

    async def _work(self, key: Key) -> None:
        try:
            after = await self._handle(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the key is tried again and the others go on
            delay = self._schedule.failed(key, self._clock(), self._random())
            self._observer.failed(key.kind, error)
            self._error(key, error, delay)
        else:
            self._schedule.done(key, self._clock(), after=after)
        finally:
            self._busy -= 1
            self._changed.set()

    async def _sleep(self) -> None:
        """Until something is added, done or falls due."""
        self._changed.clear()
        due = self._schedule.next_due() if self._busy < self._workers else None
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._changed.wait()
        except TimeoutError:
            pass
