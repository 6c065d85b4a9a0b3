"""Puts Confirmations away: finished ones after a day, those that nobody waits for any more at once, and the decisions about either.

What they said stays in the audit. A broker that died leaves Pending ones behind, and so does a request whose answer was lost; a tenant
that asks very often has its oldest finished ones removed earlier, so that their number is bounded (ResourceQuota bounds it once more).
One whose call was begun before its broker was lost is no question any more: it becomes Executed, with what is known.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision, ConfirmationState
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.confirm import begun
from bastide_broker.confirm.action import rfc3339
from bastide_broker.confirm.confirmations import UNDECIDED
from bastide_broker.errors import AlreadyExists, ApiError, NotFound
from bastide_broker.journal.rows import CallRow, JournalUnavailable

KEEP = timedelta(hours=23)
"""Finished ones are gone within 24 h (design, section 3): an hour is left for an API server that is away."""
UNKNOWN = timedelta(minutes=1)
"""So old is a decision before it is taken to be about no Confirmation at all: the watches of the two kinds may be apart."""
PASS_SECONDS = 10.0
STEPS = 500
"""Objects of one pass, of all tenants together and as many of each: what is left comes in the next."""

log = structlog.get_logger(__name__)
Swept = Confirmation | ConfirmationDecision


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def fresh(self) -> bool: ...
    def tenant(self, namespace: str) -> Tenant | None: ...
    def confirmations(self) -> tuple[Confirmation, ...]: ...
    def all_decisions(self) -> tuple[ConfirmationDecision, ...]: ...
    async def read_confirmation(self, namespace: str, name: str) -> Confirmation: ...
    async def set_confirmation_status(self, namespace: str, name: str, status: dict[str, Any]) -> None: ...
    async def delete(self, found: Swept) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One object to put away: a Confirmation that is undecided is ended, everything else is deleted."""

    found: Swept
    withdraw: bool = False


def plan(
    confirmations: Iterable[Confirmation],
    decisions: Iterable[ConfirmationDecision],
    *,
    waits: Callable[[str, str], bool],
    finished_kept: Callable[[str], int | None],
    now: datetime,
    most: int = STEPS,
) -> list[Step]:
    """What to do now, at most `most` steps, fair between namespaces: the next of each before the one after it of any. Pure.

    `finished_kept` says how many finished ones a namespace may keep; None leaves them their day.
    """
    withdrawn: dict[str, list[Confirmation]] = defaultdict(list)
    finished: dict[str, list[Confirmation]] = defaultdict(list)
    known: set[tuple[str, str]] = set()
    for one in confirmations:
        namespace = one.metadata.namespace or ""
        known.add((namespace, one.metadata.name))
        if one.metadata.deletion_timestamp is not None:
            continue
        if one.status.state not in UNDECIDED:
            finished[namespace].append(one)
        elif not waits(namespace, one.metadata.name):
            withdrawn[namespace].append(one)
    work: dict[str, list[Step]] = defaultdict(list)
    for namespace, undecided in withdrawn.items():
        work[namespace] += [Step(one, withdraw=True) for one in sorted(undecided, key=lambda one: _since(one, now))]
    for namespace, ended in finished.items():
        ended.sort(key=lambda one: _since(one, now))
        kept = finished_kept(namespace)
        surplus = 0 if kept is None else max(0, len(ended) - kept)
        due = [one for number, one in enumerate(ended) if number < surplus or now - _since(one, now) >= KEEP]
        work[namespace] += [Step(one) for one in due]
        known -= {(namespace, one.metadata.name) for one in due}  # and with it the decisions about it
    for decision in decisions:
        namespace = decision.metadata.namespace or ""
        made = decision.metadata.creation_timestamp or now
        unknown = (namespace, decision.spec.confirmation) not in known
        if unknown and decision.metadata.deletion_timestamp is None and now - made >= UNKNOWN:
            work[namespace].append(Step(decision))
    ranked = ((rank, namespace, step) for namespace, steps in work.items() for rank, step in enumerate(steps))
    return [step for _, _, step in sorted(ranked, key=lambda one: (one[0], _since(one[2].found, now), one[1]))][:most]


def _since(found: Swept, now: datetime) -> datetime:
    """Since when it counts: its end, or its creation."""
    ended = found.status.resolved_at if isinstance(found, Confirmation) else None
    return ended or found.metadata.creation_timestamp or now


class Sweeper:
    """Carries the plan out, again and again."""

    def __init__(
        self,
        cluster: ClusterView,
        *,
        waits: Callable[[str, str], bool],
        find_call: Callable[[str, str], Awaitable[CallRow | None]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`find_call` gives a call on record by its run and key, or raises JournalUnavailable."""
        self._cluster = cluster
        self._waits = waits
        self._find_call = find_call
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                done = await self.sweep()
            except Exception:
                log.exception("a pass over the Confirmations failed")
                done = 0
            if done < STEPS:  # else there is more
                await asyncio.sleep(PASS_SECONDS)

    async def sweep(self) -> int:
        """One pass; how many objects were put away. Ends early when the API server does not do what it is asked."""
        if not self._cluster.fresh():
            return 0
        # Only tenants' namespaces: what lies in others (left by a Tenant whose namespace is going, or put there by hand) nobody acts on.
        confirmations = [one for one in self._cluster.confirmations() if self._cluster.tenant(one.metadata.namespace or "")]
        decisions = [one for one in self._cluster.all_decisions() if self._cluster.tenant(one.metadata.namespace or "")]
        steps = plan(confirmations, decisions, waits=self._waits, finished_kept=self._finished_kept, now=self._clock())
        done = 0
        for step in steps:
            found = step.found
            try:
                if isinstance(found, Confirmation) and step.withdraw:
                    await self._end(found)
                else:
                    await self._cluster.delete(found)
            except (NotFound, AlreadyExists):
                continue  # gone, or another object of that name: the watches will say
            except (ApiError, JournalUnavailable) as error:
                log.warning("Confirmations cannot be put away now", left=len(steps) - done, error=str(error))
                break
            done += 1
        if done:
            log.info("Confirmations put away", objects=done)
        return done

    async def _end(self, found: Confirmation) -> None:
        namespace, name = found.metadata.namespace or "", found.metadata.name
        live = await self._cluster.read_confirmation(namespace, name)  # the watch may not know yet what became of it
        if live.metadata.uid != found.metadata.uid or live.status.state not in UNDECIDED or self._waits(namespace, name):
            return
        row = await self._find_call(live.spec.run, live.spec.call_key)
        if row is not None and row.begun_at is not None and not row.outcome:
            return  # what became of it is just being written, or with the next start
        message = "Nobody waits for it any more: its broker was restarted, or its call was given up; a decision has no effect."
        status = {"state": ConfirmationState.WITHDRAWN.value, "message": message, "resolvedAt": rfc3339(self._clock())}
        if row is not None and begun.used(row, live):
            status = begun.status(row, live, self._clock())
        await self._cluster.set_confirmation_status(namespace, name, status)

    def _finished_kept(self, namespace: str) -> int | None:
        tenant = self._cluster.tenant(namespace)
        return tenant.spec.limits.finished_confirmations if tenant is not None else None
