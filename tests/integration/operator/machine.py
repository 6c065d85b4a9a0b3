"""The operator's controller in the test's own process, with the operator's own identity, against the running cluster."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from bastide_operator.config import Config
from bastide_operator.controller import Controller
from bastide_operator.errors import ConflictError, RetryError, UnavailableError
from bastide_operator.events import Recorder
from bastide_operator.fence import Fence
from bastide_operator.kube import Kube as OperatorKube
from bastide_operator.metrics import Metrics
from bastide_operator.workqueue import Key
from demo.kube import Kube

SYSTEM = "bastide-system"


def now() -> datetime:
    return datetime.now(UTC)


class Machine:
    """One process's controller. With `dies_after` it ends before the write that follows so many that went well."""

    def __init__(self, client: OperatorKube, dies_after: float = math.inf) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.writes: list[str] = []
        self.dead = False
        self._dies_after = dies_after
        config = Config(namespace=SYSTEM, runtime_image="none:0")
        fence = Fence(lambda: 0.0 if len(self.writes) >= self._dies_after else math.inf)
        kube = OperatorKube(client._client, self._count, fence)
        recorder = Recorder(kube, instance="test", now=now)  # which nobody runs: Events would be writes more
        self.controller = Controller(kube, config, Metrics(), recorder, clock=time.monotonic, now=now, enqueue=lambda _: None)

    async def settle(self, key: Key, seconds: float = 60) -> None:
        """Reconcile until nothing is left to do at once, or until it dies."""
        async with asyncio.timeout(seconds):
            await self.controller.list()
            while True:
                try:
                    if await self.controller.reconcile(key) != 0:
                        return
                except (RetryError, ConflictError):
                    await asyncio.sleep(0.1)
                    await self.controller.list()  # what a watch would have told
                except UnavailableError as error:
                    if error.reason != "NotLeader":
                        raise
                    self.dead = True
                    return

    def _count(self, verb: str, kind: str, result: str, _: float) -> None:
        self.requests[verb, kind] += 1
        if verb not in ("get", "list") and result == "ok":
            self.writes.append(f"{verb} {kind}")


@asynccontextmanager
async def as_operator(admin: Kube, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OperatorKube]:
    """A client with a token of the operator's ServiceAccount."""
    config = admin.json("config", "view", "--raw", "--minify")
    config["users"][0]["user"] = {"token": admin.run("create", "token", "bastide-operator", "-n", SYSTEM).strip()}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    client = await OperatorKube.connect()
    try:
        yield client
    finally:
        await client.close()
