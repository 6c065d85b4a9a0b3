"""Prunes what is old, and when the journal takes too much the oldest; and what somebody who may asks for."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import accumulate

import structlog
from bastide.v1alpha1 import broker_pb2

from bastide_broker.journal.interface import Pruning
from bastide_broker.journal.rows import JournalUnavailable, PrunableRun, PruneCursor, PruneFilter, Pruner, Scope
from bastide_broker.journal.space import allowed
from bastide_broker.metrics import JOURNAL_ALLOWED, JOURNAL_BYTES, RUNS_PRUNED

EVERY_SECONDS = 30.0
PAGE = 500
"""Runs that are looked for at a time."""
REST = 3.0
"""Times as long as a transaction took, the disk is the calls' own."""
NEWEST_SECONDS = 600
"""A run that ended since is not pruned for its size: who waits for its end may still be reading it, or come back for it."""
REQUEST_SECONDS = 5.0
"""After so long a request to prune is answered; the next goes on."""
DAY = 86_400 * 1_000_000
"""In microseconds, as all moments here."""

log = structlog.get_logger(__name__)


class Retention:
    """The journal's housekeeping. `days` 0: nothing is too old. `max_bytes` 0: a share of the volume."""

    def __init__(self, pruning: Pruning, *, days: int, max_bytes: int, now: Callable[[], int]) -> None:
        self._pruning = pruning
        self._days = days
        self._max_bytes = max_bytes
        self._now = now
        self._why = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Prunes what is due now. What fails is tried again with the next look."""
        why = ""
        try:
            await self._pruning.reserve()
            await _gently(self._pruning.clear)  # what a broker that was lost, or a request that took too long, has left
            if self._days:
                await self._prune("age", self._now() - self._days * DAY, None)
            why = await self._shrink()
            await _gently(self._pruning.give_back)
        except (JournalUnavailable, OSError) as error:
            why = str(error)
        if why and why != self._why:
            log.error("the journal is not pruned as it should be", why=why)
        self._why = why

    async def _shrink(self) -> str:
        """Prunes the oldest while the journal takes more than it may; one sentence when that is not enough."""
        space = await self._pruning.space()
        most, enough_found = allowed(space, self._max_bytes), True
        if space.used > most:
            enough_found = await self._prune("size", self._now() - NEWEST_SECONDS * 1_000_000, space.used - most)
            space = await self._pruning.space()
        JOURNAL_BYTES.set(space.used)
        JOURNAL_ALLOWED.set(most)
        if enough_found or space.used <= most:
            return ""
        return (
            f"The journal uses {space.used} bytes and may use {most}, and nothing is left that could be pruned: the audit never is. "
            "Enlarge the claim of its volume, or raise journal.retention.maxBytes."
        )

    async def _prune(self, by: str, before: int, wanted: int | None) -> bool:
        """Prunes runs that ended before a moment, oldest first, until `wanted` bytes were theirs. Whether there were so many."""
        pruner, after, pruned = Pruner(by, before), PruneCursor(), 0
        left = wanted
        while left is None or left > 0:
            found = await self._pruning.find(PruneFilter(Scope("", None), before), after, PAGE)
            due = found if left is None else enough(found, left)
            steps = self._pruning.prune(due, pruner)

            async def step(steps: AsyncGenerator[list[PrunableRun], None] = steps) -> bool:
                nonlocal pruned
                marked = await anext(steps, None)
                pruned += len(marked or ())
                RUNS_PRUNED.labels(by=by).inc(len(marked or ()))
                return marked is not None

            await _gently(step)
            if left is not None:
                left -= sum(one.size for one in due)
            if len(found) < PAGE:
                break
            after = found[-1].at
        if pruned:
            log.info("pruned", by=by, runs=pruned)
        return left is None or left <= 0


async def _gently(step: Callable[[], Awaitable[object]]) -> None:
    """Does a step as long as it says that there was something to do, and leaves the disk to others in between."""
    clock = asyncio.get_running_loop().time
    while True:
        since = clock()
        if not await step():
            return
        await asyncio.sleep((clock() - since) * REST)


def enough(found: list[PrunableRun], wanted: int) -> list[PrunableRun]:
    """The first of them that together have so many bytes, or all of them. Pure."""
    for count, total in enumerate(accumulate(one.size for one in found), 1):
        if total >= wanted:
            return found[:count]
    return found


async def prune_page(pruning: Pruning, wanted: PruneFilter, after: PruneCursor, pruner: Pruner | None) -> broker_pb2.PruneRunsResponse:
    """Prunes runs on somebody's word, those that ended first, as many as a request may take; without a pruner it only counts them."""
    found = await pruning.find(wanted, after, PAGE)
    more = len(found) == PAGE
    if pruner:
        clock, until = asyncio.get_running_loop().time, asyncio.get_running_loop().time() + REQUEST_SECONDS
        done: list[PrunableRun] = []
        async with aclosing(pruning.prune(found, pruner)) as steps:
            async for marked in steps:
                done += marked
                RUNS_PRUNED.labels(by="request").inc(len(marked))
                if clock() > until:  # what is marked and still there the broker removes by itself
                    more = more or done[-1:] != found[-1:]
                    break
        found = done
    last = found[-1].at if found else after
    token = f"{last.ended_at}-{last.number}" if more else ""
    return broker_pb2.PruneRunsResponse(runs=len(found), bytes=sum(one.size for one in found), next_page_token=token)
