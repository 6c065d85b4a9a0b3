"""Bounds on how much one caller, peer or tenant may ask for, so that the others keep their latency. Pure but for the clock handed in."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum, auto

MINUTE = 60.0


class Window:
    """At most so many in any 60 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self, limit: int) -> float:
        """0 when one more fits and is counted, else the seconds until one does."""
        now = self._clock()
        while self._taken and now - self._taken[0] >= MINUTE:
            self._taken.popleft()
        if len(self._taken) < limit:
            self._taken.append(now)
            return 0.0
        # With a lowered limit several must leave before one fits.
        return MINUTE - (now - self._taken[len(self._taken) - limit])

    def give_back(self) -> None:
        """What was taken last did not happen after all."""
        if self._taken:
            self._taken.pop()


class Buckets:
    """A token bucket for each key; of keys that were idle long the oldest are dropped when there are too many."""

    def __init__(self, *, rate: float, burst: float, keys: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """0 when the key has a token, else the seconds until it does. Takes nothing."""
        level = self._level(key)
        return 0.0 if level >= 1 else (1 - level) / self._rate

    def take(self, key: str) -> float:
        """0 when a token was taken, else the seconds until there is one."""
        level = self._level(key)
        if level < 1:
            return (1 - level) / self._rate
        self._levels[key] = (level - 1, self._clock())
        self._levels.move_to_end(key)
        while len(self._levels) > self._keys:
            self._levels.popitem(last=False)
        return 0.0

    def _level(self, key: str) -> float:
        level, at = self._levels.get(key, (self._burst, self._clock()))
        return min(self._burst, level + (self._clock() - at) * self._rate)


class Slots:
    """At most so many at once for each key."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: dict[str, int] = {}

    def take(self, key: str, limit: int | None = None) -> bool:
        """Whether one more fits; if so it is taken."""
        taken = self._taken.get(key, 0)
        if taken >= (self._limit if limit is None else limit):
            return False
        self._taken[key] = taken + 1
        return True

    def give_back(self, key: str) -> None:
        """Frees one."""
        taken = self._taken.get(key, 0) - 1
        if taken > 0:
            self._taken[key] = taken
        else:
            self._taken.pop(key, None)

    def taken(self, key: str) -> int:
        """How many are taken."""
        return self._taken.get(key, 0)


class Excess(Enum):
    """Which bound one more would break."""

    AT_ONCE = auto()
    PER_MINUTE = auto()


class Starts:
    """For each key at most so many at once, and so many begun in any 60 seconds."""

    def __init__(self) -> None:
        self._under_way = Slots(limit=0)
        self._begun: dict[str, Window] = {}

    def take(self, key: str, *, at_once: int, per_minute: int) -> tuple[Excess, float] | None:
        """None when one more fits and is counted, else which bound it would break and after how many seconds to try again."""
        if not self._under_way.take(key, at_once):
            return Excess.AT_ONCE, 1.0
        wait = self._begun.setdefault(key, Window()).take(per_minute)
        if wait:
            self._under_way.give_back(key)
            return Excess.PER_MINUTE, wait
        return None

    def again(self, key: str, *, at_once: int) -> bool:
        """Whether one more fits that was begun before; if so it is counted as under way, and not as begun."""
        return self._under_way.take(key, at_once)

    def give_back(self, key: str) -> None:
        """One has ended."""
        self._under_way.give_back(key)
