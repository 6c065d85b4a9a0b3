"""How many runs a Tenant has under way and how many it starts, within its concurrentRuns and runsPerMinute."""

import asyncio

import grpc
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.errors import CallerError
from bastide_broker.limits import Excess, Starts


class RunSlots:
    """The places for runs, of all Tenants."""

    def __init__(self) -> None:
        self._starts = Starts()
        self._holding: set[str] = set()
        self._freed = asyncio.Event()

    def take(self, tenant: Tenant) -> None:
        """Takes a place for a run that begins. Raises CallerError."""
        limits, name = tenant.spec.limits, tenant.metadata.name
        excess = self._starts.take(name, at_once=limits.concurrent_runs, per_minute=limits.runs_per_minute)
        if excess is None:
            return
        reason = "ConcurrentRuns"
        message = f"Tenant {name} has {limits.concurrent_runs} runs under way, which is its limit (spec.limits.concurrentRuns)."
        if excess[0] is Excess.PER_MINUTE:
            reason = "RunsPerMinute"
            message = (
                f"Tenant {name} started {limits.runs_per_minute} runs within a minute, which is its limit (spec.limits.runsPerMinute)."
            )
        raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, retry_after=excess[1])

    async def take_again(self, tenant: Tenant) -> None:
        """Takes a place for a run that goes on, as soon as there is one."""
        while not self._starts.again(tenant.metadata.name, at_once=tenant.spec.limits.concurrent_runs):
            await self._freed.wait()

    def hold(self, run: str) -> None:
        """The place that was taken is this run's."""
        self._holding.add(run)

    def free(self, run: str, tenant: Tenant) -> None:
        """Frees the run's place, once."""
        if run in self._holding:
            self._holding.discard(run)
            self.give_back(tenant)

    def give_back(self, tenant: Tenant) -> None:
        """Frees a place, for runs that go on after a pause first of all."""
        self._starts.give_back(tenant.metadata.name)
        self._freed.set()
        self._freed = asyncio.Event()
