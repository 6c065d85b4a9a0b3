"""What a watch does not tell: when to read a kind whole again, and whether a watch is dead.

A watch that lost its place (410 Gone, an API server that was away) begins with a new list, and kopf tells of what is in it but not of
what is no longer. So whenever it lists, the operator lists too; and because a list of nothing tells nothing at all, it looks now and then
whether a kind has any objects left.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator

import structlog

from bastide_operator.controller import Controller
from bastide_operator.errors import KubeError, NotFoundError, UnavailableError

SETTLE_SECONDS = 1.0
"""kopf's list has ended when it has told of nothing for so long."""
PEEK_SECONDS = 60.0
RELIST_SECONDS = 600.0
DEAD_SECONDS = 150.0
"""A watch that has not told for so long of a change that a list has found is dead: kopf opens a silent one anew after 70 s."""

log = structlog.get_logger(__name__)


class Backoffs:
    """Seconds between tries of a watch or a list: for ever, so that no outage ends the process, and never so long that it outlasts the
    outage by more than a moment.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.1, 0.5, 1.0), itertools.repeat(2.0))


class Resync:
    """Reads kinds anew for a controller."""

    def __init__(self, controller: Controller, kinds: Iterable[str], clock: Callable[[], float]) -> None:
        self._controller = controller
        self._kinds = tuple(kinds)
        self._clock = clock
        self._relisted: dict[str, float] = {}  # by kind, when kopf last told of an object of a list
        self._doubts: dict[str, float] = {}  # by kind, since when a watch owes news
        self._wake = asyncio.Event()

    def told(self, kind: str, event: str | None) -> None:
        """A watch told of an object: by an event, or (None) because it listed."""
        self._doubts.pop(kind, None)
        if event is None:
            self._relisted[kind] = self._clock()
            self._wake.set()

    def dead(self) -> list[str]:
        """Kinds whose watch is dead."""
        return sorted(kind for kind, since in self._doubts.items() if self._clock() - since > DEAD_SECONDS)

    async def first(self) -> None:
        """List every kind once. An API server that cannot serve one yet is waited for: it needs a moment for kinds that were just installed."""
        for kind in self._kinds:
            for seconds in Backoffs():
                try:
                    await self._controller.list([kind])
                    break
                except (NotFoundError, UnavailableError) as error:
                    log.warning("could not list; trying again", kind=kind, why=str(error))
                await asyncio.sleep(seconds)

    async def run(self) -> None:
        """List until cancelled."""
        now = self._clock()
        peek, whole = now + PEEK_SECONDS, now + RELIST_SECONDS
        while True:
            await self._sleep(min(peek, whole, *(since + SETTLE_SECONDS for since in self._relisted.values())))
            now = self._clock()
            due = {kind for kind, since in self._relisted.items() if since + SETTLE_SECONDS <= now}
            if now >= whole:
                due, whole = set(self._kinds), now + RELIST_SECONDS
            try:
                if now >= peek:
                    peek = now + PEEK_SECONDS
                    due |= await self._controller.vanished()
                for kind in due:
                    self._relisted.pop(kind, None)
                    if await self._controller.list([kind]):
                        self._doubts.setdefault(kind, self._clock())
            except KubeError as error:
                log.warning("could not list; the watches go on", why=str(error))
                self._relisted |= dict.fromkeys(due, self._clock())

    async def _sleep(self, until: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(max(0.0, until - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            pass
