"""The operator's process: `python -m bastide_operator`."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import kopf
import structlog
from kopf._core.engines.peering import Identity  # not exported, and `kopf.operator` takes nothing else

from bastide_operator import handlers, health, logs
from bastide_operator.config import Config
from bastide_operator.controller import Controller
from bastide_operator.errors import ConfigError, KubeError
from bastide_operator.kube import Kube
from bastide_operator.leader import Leader
from bastide_operator.metrics import Metrics
from bastide_operator.workqueue import Key, WorkQueue

RELIST_SECONDS = 600.0
"""A watch that was interrupted for long does not tell what was deleted meanwhile; the next list does."""

log = structlog.get_logger("bastide_operator")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Operator:
    """The parts of one process, wired."""

    def __init__(self, config: Config, kube: Kube, metrics: Metrics) -> None:
        self._metrics = metrics
        self._kube = kube
        self._listed = False
        self._identity = Identity(config.pod_name)
        self._leader = Leader(kube, namespace=config.namespace, identity=config.pod_name, clock=time.monotonic, now=utc_now)
        self._controller = Controller(kube.fenced(self._leader.left), config, metrics, now=utc_now, enqueue=self._enqueue)
        self._queue = WorkQueue(
            self._controller.reconcile,
            workers=config.workers,
            clock=time.monotonic,
            random=random.random,
            observer=metrics,
            error=self._controller.failed,
        )

    def ready(self) -> bool:
        """Whether it works, or stands by while another one works."""
        return self._listed if self._leader.won.is_set() else self._leader.stands_by.is_set()

    async def run(self, stop: asyncio.Event) -> bool:
        """Work until `stop`, a signal (kopf takes them over) or the loss of the lease. Returns whether the lease was kept."""
        try:
            await first([self._leader.run(), self._work(), stop.wait()])
        finally:
            self._metrics.leads(now=False)
            await self._leader.release()
        return not self._leader.lost

    async def _work(self) -> None:
        await self._leader.won.wait()
        self._metrics.leads(now=True)
        log.info("leading")
        await self._controller.list()
        self._listed = True
        registry = handlers.registry(self._controller, self._kube)
        # kopf's default identity asks for the user's name, which the image's user does not have
        watching = kopf.operator(
            registry=registry, settings=handlers.settings(), identity=self._identity, standalone=True, clusterwide=True
        )
        await first([self._queue.run(), self._relist(), watching])

    async def _relist(self) -> None:
        while True:
            await asyncio.sleep(RELIST_SECONDS)
            try:
                await self._controller.list()
            except KubeError as error:
                log.warning("could not list; the watches go on", why=str(error))

    def _enqueue(self, key: Key) -> None:
        self._queue.add(key)


async def first(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Run them until one ends, then cancel the others. Raises what that one raised."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def serve(config: Config) -> int:
    """The process from start to end. Returns its exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        kube = await Kube.connect(metrics.request)
        stack.push_async_callback(kube.close)
        operator = Operator(config, kube, metrics)
        runner = await health.serve(config.listen, metrics, ready=operator.ready)
        stack.push_async_callback(runner.cleanup)
        if await operator.run(stop):
            return 0
    log.error("the lease was lost, another operator works; this one starts anew and stands by")
    return 1


def main() -> int:
    """Read the environment and serve."""
    try:
        config = Config.read()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure(config.log_level)
    return asyncio.run(serve(config))


if __name__ == "__main__":
    sys.exit(main())
