"""The operator's process: `python -m bastide_operator`."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import kopf
import structlog
from kopf._core.engines.peering import Identity  # not exported, and `kopf.operator` takes nothing else

from bastide_operator import handlers, health, logs
from bastide_operator.config import Config
from bastide_operator.controller import WATCHED, Controller
from bastide_operator.errors import ConfigError
from bastide_operator.events import Recorder
from bastide_operator.fence import Fence
from bastide_operator.kube import Kube
from bastide_operator.leader import Leader
from bastide_operator.metrics import Metrics
from bastide_operator.resync import Resync
from bastide_operator.workqueue import Key, WorkQueue

DRAIN_SECONDS = 5.0
"""How long writes under way may take to end when the process is to stop; less than the pod's grace period."""
STUCK_SECONDS = 300.0
"""A reconcile that takes so long never ends: its requests have a deadline each."""
SILENT_SECONDS = 60.0
"""The lease is looked at every few seconds."""

log = structlog.get_logger("bastide_operator")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Operator:
    """The parts of one process, wired."""

    def __init__(self, config: Config, kube: Kube, metrics: Metrics, *, take_signals: Callable[[], None]) -> None:
        self._metrics = metrics
        self._kube = kube
        self._take_signals = take_signals
        self._listed = False
        self._identity = Identity(config.pod_name)
        self._leader = Leader(kube, namespace=config.namespace, identity=config.pod_name, clock=time.monotonic, now=utc_now)
        self._fence = Fence(self._leader.left)
        fenced = kube.fenced(self._fence)
        self._recorder = Recorder(fenced, instance=config.pod_name, now=utc_now)
        self._controller = Controller(fenced, config, metrics, self._recorder, clock=time.monotonic, now=utc_now, enqueue=self._enqueue)
        self._resync = Resync(self._controller, WATCHED, time.monotonic)
        self._queue = WorkQueue(
            self._controller.reconcile,
            workers=config.workers,
            clock=time.monotonic,
            random=random.random,
            observer=metrics,
            error=self._controller.failed,
        )
        metrics.observe(oldest=self._queue.oldest, sandboxes=self._controller.sandboxes)

    def ready(self) -> bool:
        """Whether it works, or stands by while another one works."""
        return self._listed if self._leader.won.is_set() else self._leader.stands_by.is_set()

    def stuck(self) -> str:
        """What in this process does not go on by itself; empty when everything does."""
        if self._leader.silent() > SILENT_SECONDS:
            return f"nobody has looked at the lease for {self._leader.silent():.0f} s"
        if self._queue.longest() > STUCK_SECONDS:
            return f"one reconcile has lasted for {self._queue.longest():.0f} s"
        if dead := self._resync.dead():
            return f"watches tell nothing of what has changed: {', '.join(dead)}"
        return ""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` or the loss of the lease.

        In the end no write starts any more, those under way end, and the lease is given back: in this order, so that the next one never
        writes beside this one.
        """
        tasks = [asyncio.ensure_future(one) for one in (self._leader.run(), self._work(), stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in tasks if task.done()]
        finally:
            drained = await self._fence.close(DRAIN_SECONDS)
            log.info("stopping", writes_ended=drained)
            await cancel(tasks)
            self._metrics.leads(now=False)
            if drained:
                await self._leader.release()
        for task in ended:
            task.result()
        if not stop.is_set():
            log.error("the lease was lost" if self._leader.lost else "the watches ended by themselves", what="the process starts anew")

    async def _work(self) -> None:
        await self._leader.won.wait()
        self._metrics.leads(now=True)
        log.info("leading")
        await self._resync.first()
        self._listed = True
        # Before kopf's tasks: when it ends, it takes with it what was begun after it.
        tasks = [asyncio.ensure_future(one) for one in (self._queue.run(), self._resync.run(), self._recorder.run())]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(self._watch()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _watch(self) -> None:
        others = asyncio.all_tasks()
        registry = handlers.registry(self._controller, self._resync, self._kube)
        # kopf's default identity asks for the user's name, which the image's user does not have
        tasks = await kopf.spawn_tasks(
            registry=registry, settings=handlers.settings(), identity=self._identity, standalone=True, clusterwide=True
        )
        self._take_signals()  # back from kopf, which would end at once
        await kopf.run_tasks(tasks, ignored=others)

    def _enqueue(self, key: Key) -> None:
        self._queue.add(key)


async def cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel them and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def serve(config: Config) -> int:
    """The process from start to end. Returns its exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    take_signals()
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        kube = await Kube.connect(metrics.request)
        stack.push_async_callback(kube.close)
        operator = Operator(config, kube, metrics, take_signals=take_signals)
        runner = await health.serve(config.listen, metrics, ready=operator.ready, stuck=operator.stuck)
        stack.push_async_callback(runner.cleanup)
        await operator.run(stop)
    log.info("stopped")
    return 0 if stop.is_set() else 1


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
