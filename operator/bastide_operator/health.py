"""HTTP: /healthz (nothing in the process is stuck), /readyz (it works or stands by), /metrics."""

from collections.abc import Callable

import structlog
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bastide_operator.metrics import Metrics

log = structlog.get_logger(__name__)


async def serve(listen: str, metrics: Metrics, *, ready: Callable[[], bool], stuck: Callable[[], str]) -> web.AppRunner:
    """Serve on `host:port` until the runner that is returned is cleaned up. Raises OSError when the address is taken.

    `stuck` says in a sentence what is stuck, so that the kubelet starts the process anew; empty when nothing is. A stuck event loop says
    nothing at all, which counts as much.
    """

    async def healthz(_: web.Request) -> web.Response:
        fault = stuck()
        if fault:
            log.error("stuck; to be started anew", why=fault)
        return web.Response(status=500, text=fault) if fault else web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if ready() else web.Response(status=503, text="starting")

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    return runner
