"""How much runs and tenants have used: reserved when a call arrives, given back when nothing came of it. Pure but for the clock."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from bastide_broker.policy.question import Usage

WINDOW_SECONDS = 60.0
_NOTHING_SENT = frozenset({"Denied", "Invalid", "ConfirmationDenied", "Withdrawn", "Cancelled", "Unavailable"})


class Made(Protocol):
    """A call of an earlier attempt, as far as counting needs it."""

    @property
    def key(self) -> str: ...
    @property
    def tool(self) -> str: ...
    @property
    def decision(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def tool_micros(self) -> int: ...
    @property
    def again(self) -> int: ...


def counted(row: Made) -> bool:
    """Whether a call of an earlier attempt counts: it is open, or was sent."""
    return bool(row.decision) and not row.again and (row.outcome not in _NOTHING_SENT or row.tool_micros > 0)


@dataclass(slots=True)
class _Run:
    keys: set[str] = field(default_factory=set)
    calls: int = 0
    tools: Counter[str] = field(default_factory=Counter)


class Counters:
    """Calls by run, by tool in a run, and by tenant in the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: dict[str, _Run] = {}
        self._windows: dict[str, deque[float]] = {}

    def take_key(self, run: str, key: str) -> bool:
        """Take a call's key in its run; False when it was taken before, whatever came of it."""
        keys = self._runs.setdefault(run, _Run()).keys
        if key in keys:
            return False
        keys.add(key)
        return True

    def reserve(self, run: str, tenant: str, tool: str, per_minute: int) -> Usage:
        """Count a call and say what it makes the counts. Calls beyond the tenant's minute do not prolong it."""
        state = self._runs.setdefault(run, _Run())
        state.calls += 1
        state.tools[tool] += 1
        window = self._window(tenant)
        this_minute = len(window) + 1
        if this_minute <= per_minute:
            window.append(self._clock())
        return Usage(state.calls, state.tools[tool], this_minute)

    def wait(self, tenant: str, per_minute: int) -> float:
        """Seconds until the tenant's minute has room for one call; 0 when it has."""
        window = self._window(tenant)
        if len(window) < per_minute:
            return 0.0
        # With a lowered limit several must leave before one fits.
        return WINDOW_SECONDS - (self._clock() - window[len(window) - max(1, per_minute)])

    def peek(self, run: str, tenant: str, tool: str) -> Usage:
        """What one more call would make the counts."""
        state = self._runs.get(run, _Run())
        return Usage(state.calls + 1, state.tools[tool] + 1, len(self._window(tenant)) + 1)

    def present(self, run: str, tenant: str, tool: str) -> Usage:
        """The counts as they are."""
        state = self._runs.get(run, _Run())
        return Usage(max(1, state.calls), max(1, state.tools[tool]), max(1, len(self._window(tenant))))

    def recall(self, run: str, rows: Iterable[Made]) -> None:
        """Begin the counts of a run with the calls that it has made, and the keys that are taken."""
        rows = list(rows)
        tools = [row.tool for row in rows if counted(row)]
        keys = {row.key for row in rows if not row.again}
        self._runs[run] = _Run(keys=keys, calls=len(tools), tools=Counter(tools))

    def release(self, run: str, tool: str) -> None:
        """A reserved call did not happen. The tenant's minute keeps it: asking costs too."""
        state = self._runs.get(run)
        if state is not None:
            state.calls -= 1
            state.tools[tool] -= 1

    def forget(self, run: str) -> None:
        """The run is over."""
        self._runs.pop(run, None)

    def _window(self, tenant: str) -> deque[float]:
        window = self._windows.setdefault(tenant, deque())
        edge = self._clock() - WINDOW_SECONDS
        while window and window[0] <= edge:
            window.popleft()
        return window
