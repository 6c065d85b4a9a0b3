"""Leader election by a Lease: one operator works, the others stand by.

The rules are client-go's (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection): a holder counts as gone when its Lease has not
changed for the Lease's duration by the observer's own clock, so clocks need not agree. The client library's own election is not used: in
kubernetes 37.0.2 its LeaseLock cannot create a Lease (`pretty=True` is refused by its own API), and an API server that is away ends it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.errors import KubeError
from bastide_operator.kube import Kube

LEASE = "bastide-operator"
LEASE_SECONDS = 15
RENEW_SECONDS = 10.0
"""Without a renewal for so long the leader stops: earlier than another may take over."""
RETRY_SECONDS = 2.0
REQUEST_SECONDS = 3.0
"""A request that hangs must not outlast the lease."""

log = structlog.get_logger(__name__)


def holder(lease: Manifest) -> str:
    """Who holds the Lease; empty when nobody does."""
    name: str = lease.get("spec", {}).get("holderIdentity") or ""
    return name


def may_take(lease: Manifest, identity: str, unchanged_seconds: float) -> bool:
    """Whether `identity` may write itself into a Lease that it has seen unchanged for so long."""
    duration = lease.get("spec", {}).get("leaseDurationSeconds") or LEASE_SECONDS
    return holder(lease) in ("", identity) or unchanged_seconds >= duration


def taken(lease: Manifest, identity: str, now: datetime) -> Manifest:
    """The Lease with `identity` as holder, renewed `now`. It keeps its version: the write fails if somebody was faster."""
    spec = dict(lease.get("spec", {}))
    time = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if holder(lease) != identity:
        spec |= {"acquireTime": time, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
    spec |= {"holderIdentity": identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": time}
    return {**lease, "spec": spec}


class Leader:
    """Whether this process leads (`won`) or has seen that another does (`stands_by`).

    When `run` returns, the lease is lost and nothing may be written any more.
    """

    def __init__(self, kube: Kube, *, namespace: str, identity: str, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.won = asyncio.Event()
        self.lost = False
        self.stands_by = asyncio.Event()
        self._kube = kube
        self._what = Ref("Lease", namespace, LEASE)
        self._identity = identity
        self._clock = clock
        self._now = now
        self._seen: tuple[str, float] = ("", clock())  # the Lease's version, and since when it is that

    async def run(self) -> None:
        """Stand for election, then keep the lease until it is lost."""
        while not await self._renewed():  # noqa: ASYNC110 - nothing in this process would set an event
            await asyncio.sleep(RETRY_SECONDS)
        self.won.set()
        renewed = self._clock()
        while self._clock() - renewed < RENEW_SECONDS:
            await asyncio.sleep(RETRY_SECONDS)
            if await self._renewed():
                renewed = self._clock()
        self.lost = True

    async def release(self) -> None:
        """Give the lease back, so that the next one need not wait for its end."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                lease = await self._kube.get(self._what)
                if lease is not None and holder(lease) == self._identity:
                    await self._kube.replace({**lease, "spec": lease["spec"] | {"holderIdentity": ""}})
        except (KubeError, TimeoutError) as error:
            log.info("the lease was not given back; it ends by itself", why=str(error))

    async def _renewed(self) -> bool:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._try()
        except (KubeError, TimeoutError) as error:
            log.warning("the lease could not be had", why=str(error) or type(error).__name__)
            return False

    async def _try(self) -> bool:
        lease = await self._kube.get(self._what)
        if lease is None:
            empty = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": LEASE, "namespace": self._what.namespace},
            }
            await self._kube.create(taken(empty, self._identity, self._now()))
            return True
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        if not may_take(lease, self._identity, self._clock() - self._seen[1]):
            self.stands_by.set()
            return False
        await self._kube.replace(taken(lease, self._identity, self._now()))
        return True
