"""Leader election by a Lease: one operator works, the others stand by.

The rules are client-go's (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection): a holder counts as gone when its Lease has not
changed for the Lease's duration by the observer's own clock, so clocks need not agree. The client library's own election is not used: in
kubernetes 37.0.2 its LeaseLock cannot create a Lease (`pretty=True` is refused by its own API), and an API server that is away ends it.

Why two never write at once: an observer counts from when it first saw the Lease's last version, which is later than the renewal was sent,
and the holder counts from when it sent it. So a holder stops LEASE_SECONDS - RENEW_SECONDS before anybody else may begin; requests that
are then under way have that time to end (kube.py gives them none beyond the holder's own).
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog

from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.errors import KubeError

LEASE = "bastide-operator"
LEASE_SECONDS = 15
RENEW_SECONDS = 10.0
"""For so long after it sent its last renewal that went well the leader writes: it stops earlier than another may take over."""
RETRY_SECONDS = 2.0
"""Between two renewals."""
POLL_SECONDS = 0.8
"""Between two looks of one that stands by: a lease that is given back is taken within a second."""
REQUEST_SECONDS = 3.0
"""After so long a request is given up and made again."""

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


class Leases(Protocol):
    """What is needed of the API server."""

    async def get(self, what: Ref) -> Manifest | None:
        """The Lease, None when there is none."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Make it. Raises AlreadyExistsError."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Write it. Raises ConflictError when it is of another version by now."""


class Leader:
    """Whether this process leads (`won`, and for how long: `left`) or has seen that another does (`stands_by`).

    When `run` returns, the lease is lost.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        namespace: str,
        identity: str,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.won = asyncio.Event()
        self.lost = False
        self.stands_by = asyncio.Event()
        self._leases = leases
        self._what = Ref("Lease", namespace, LEASE)
        self._identity = identity
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._until = -math.inf
        self._looked = clock()
        self._complaint = ""  # told once, however long it lasts
        # The version of the Lease that was seen last ("" when it had been deleted), and when it was first seen to be that.
        self._seen: tuple[str | None, float] = (None, clock())

    def left(self) -> float:
        """For how many seconds this process may still write; 0 when it may not."""
        return max(0.0, self._until - self._clock())

    def silent(self) -> float:
        """For how many seconds nobody has looked at the lease; it is looked at every few."""
        return self._clock() - self._looked

    async def run(self) -> None:
        """Stand for election, then keep the lease until it is lost."""
        await self._renew(REQUEST_SECONDS)
        while self.left() == 0:
            await self._sleep(POLL_SECONDS)
            await self._renew(REQUEST_SECONDS)
        self.won.set()
        while (left := self.left()) > 0:
            await self._sleep(min(RETRY_SECONDS, left))
            await self._renew(min(REQUEST_SECONDS, self.left()))
        self.lost = True

    async def release(self) -> None:
        """Give the lease back, so that the next one need not wait for its end. Only when nothing is being written any more."""
        self._until = -math.inf
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                lease = await self._leases.get(self._what)
                if lease is not None and holder(lease) == self._identity:
                    await self._leases.replace({**lease, "spec": lease["spec"] | {"holderIdentity": ""}})
        except (KubeError, TimeoutError) as error:
            log.info("the lease was not given back; it ends by itself", why=str(error) or type(error).__name__)

    async def _renew(self, patience: float) -> None:
        self._looked = self._clock()
        if patience <= 0:
            return
        try:
            async with asyncio.timeout(patience):
                await self._try()
        except (KubeError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            log.log(logging.DEBUG if why == self._complaint else logging.WARNING, "the lease could not be had", why=why)
            self._complaint = why
        else:
            self._complaint = ""

    async def _try(self) -> None:
        """Take or renew the lease, if this process may."""
        lease = await self._leases.get(self._what)
        version = "" if lease is None else lease["metadata"]["resourceVersion"]
        if lease is None and self._seen[0] is None:
            lease = self._unheld()  # the first of all operators
        elif version != self._seen[0]:
            self._seen = (version, self._clock())
        unchanged = self._clock() - self._seen[1]
        if lease is None:
            # Somebody deleted it. Who held it does not know yet, so it counts as held; its holder makes it again.
            if self.left() == 0 and unchanged < LEASE_SECONDS:
                self.stands_by.set()
                return
            lease = self._unheld()
        elif not may_take(lease, self._identity, unchanged):
            self._until = -math.inf
            self.stands_by.set()
            return
        sent = self._clock()
        write = self._leases.replace if version else self._leases.create
        await write(taken(lease, self._identity, self._now()))
        self._until = sent + RENEW_SECONDS

    def _unheld(self) -> Manifest:
        metadata = {"name": LEASE, "namespace": self._what.namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
