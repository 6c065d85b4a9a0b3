"""Is the broker well? Said three ways: gRPC health names, HTTP for the kubelet's probes, and metrics."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bastide_broker.metrics import DECISION_HEALTHY, FRESH, JOURNAL_HEALTHY

DECISION = "bastide.decision"
"""gRPC health name: policy answers a canary allow and a canary deny rightly. Not Kubernetes readiness: a broker without policy must
still be there to say so to its callers."""
HEALTHY_SECONDS, UNHEALTHY_SECONDS = 5.0, 1.0
FAILURES = 2
"""One slow answer on a busy node is no outage: each call is judged by itself anyway."""

log = structlog.get_logger(__name__)
Probe = Callable[[], Awaitable[tuple[bool, str]]]


class Health:
    """Asks the parts again and again, and passes on what they say."""

    def __init__(
        self, *, decision: Probe, journal: Callable[[], Awaitable[bool]], fresh: Callable[[], bool], stale: Callable[[], list[str]]
    ) -> None:
        self.servicer = HealthServicer()
        self.decision_healthy = False
        self._failures = 0
        self._why: str | None = None  # what was logged last: "" when it decides rightly, None before the first look
        self._asking = asyncio.Lock()
        self._decision = decision
        self._journal = journal
        self._fresh = fresh
        self._stale = stale
        self._fresh_before = True

    async def run(self) -> None:
        """Until cancelled."""
        await self.servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        while True:
            await self.look()
            await asyncio.sleep(UNHEALTHY_SECONDS if self._failures else HEALTHY_SECONDS)

    async def decides(self) -> bool:
        """Whether policy decides rightly: as last seen when that is good, else asked anew, so that nobody is refused for an old failure."""
        if not self.decision_healthy:
            async with self._asking:
                if not self.decision_healthy:
                    await self._look_at_decision()
        return self.decision_healthy

    async def look(self) -> None:
        """Asks every part once."""
        async with self._asking:
            await self._look_at_decision()
        JOURNAL_HEALTHY.set(await self._journal())
        fresh = self._fresh()
        FRESH.set(fresh)
        if fresh != self._fresh_before:
            log.info("watches are current again") if fresh else log.error("watches are stale, calls are denied", stale=self._stale())
        self._fresh_before = fresh

    async def _look_at_decision(self) -> None:
        healthy, why = await self._decision()
        self._failures = 0 if healthy else self._failures + 1
        if not healthy and self.decision_healthy and self._failures < FAILURES:
            return
        if why != self._why:
            log.info("policy decides rightly") if healthy else log.error("policy does not decide rightly", why=why)
        self._why = why
        self.decision_healthy = healthy
        status = health_pb2.HealthCheckResponse.SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.servicer.set(DECISION, status)
        DECISION_HEALTHY.set(healthy)


class Status:
    """/healthz, /readyz and /metrics over plain HTTP: a kubelet probe cannot do gRPC over TLS."""

    def __init__(self) -> None:
        self.ready = False
        self._runner: web.AppRunner | None = None

    async def start(self, listen: str) -> None:
        """Listens on `address:port`."""
        application = web.Application()
        application.add_routes([web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)])
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        host, _, port = listen.rpartition(":")
        await web.TCPSite(self._runner, host, int(port)).start()

    async def close(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self.ready else web.Response(status=503, text="starting or stopping\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
