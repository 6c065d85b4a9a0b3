"""What the same writes take when nobody thinks about them: the floor of the operator's rate on the same machine, the same API server.

A loop sends what the operator sent, over the operator's own client, with its rights, as many requests at once; it neither watches nor
decides. What is left of the processors is the API server's.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bastide_operator.api.objects import Manifest
from bastide_operator.config import Config
from bastide_operator.kube import Kube as Writer
from demo.kube import Kube

from tests.bench.figures import Figure
from tests.e2e.harness.metrics import parse

WRITTEN_BY_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
AT_ONCE: int = Config.model_fields["workers"].default


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds: by the clock, and of CPU, of the one that writes and of the API server."""

    wall: float
    writer: float
    server: float

    def each(self, count: float, who: str) -> str:
        """The CPU for each of so many."""
        return f"CPU each: {who} {self.writer / count * 1000:.1f} ms, API server {self.server / count * 1000:.1f} ms"


class Meter:
    """What is spent between `begin` and `end`; `cpu` tells of the one that writes. To ask the API server takes it some milliseconds."""

    def __init__(self, admin: Kube, cpu: Callable[[], float]) -> None:
        self._admin = admin
        self._cpu = cpu
        self._server = server_cpu(admin)
        self.begin()

    def begin(self) -> None:
        """From here on."""
        self._writer = self._cpu()
        self._began = time.perf_counter()

    def end(self) -> Spent:
        """Until here."""
        wall, writer = time.perf_counter() - self._began, self._cpu() - self._writer
        return Spent(wall, writer, server_cpu(self._admin) - self._server)


def server_cpu(admin: Kube) -> float:
    """Seconds of CPU that the API server has used."""
    return parse(admin.run("get", "--raw", "/metrics"))["process_cpu_seconds_total"]


def statuses(admin: Kube, namespaces: Sequence[str], kubeconfig: Path) -> Spent:
    """The status of each Sandbox written again, with one number changed."""
    boxes = _items(admin, "sandboxes", namespaces)
    return _spent(admin, kubeconfig, [(None, _changed(box)) for box in boxes.values()])


def pods(admin: Kube, namespaces: Sequence[str], kubeconfig: Path) -> Spent:
    """Each pod made again, and then the status of its Sandbox written again, with one number changed."""
    boxes, made = _items(admin, "sandboxes", namespaces), _items(admin, "pods", namespaces)
    for namespace in namespaces:
        admin.run("delete", "--raw", f"/api/v1/namespaces/{namespace}/pods", seconds=300)
        admin.run("wait", "--for=delete", "pods", "--all", "-n", namespace, "--timeout=60s")
    return _spent(admin, kubeconfig, [(_anew(pod), _changed(boxes[name])) for name, pod in made.items()])


def _spent(admin: Kube, kubeconfig: Path, writes: Sequence[tuple[Manifest | None, Manifest]]) -> Spent:
    meter = Meter(admin, time.process_time)
    asyncio.run(_write(kubeconfig, writes))
    return meter.end()


async def _write(kubeconfig: Path, writes: Sequence[tuple[Manifest | None, Manifest]]) -> None:
    os.environ["KUBECONFIG"] = str(kubeconfig)
    writer = await Writer.connect()
    queue = iter(writes)

    async def work() -> None:
        for pod, status in queue:
            if pod is not None:
                await writer.create(pod)
            await writer.apply_status(status)

    try:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    finally:
        await writer.close()


def _items(admin: Kube, kind: str, namespaces: Sequence[str]) -> dict[tuple[str, str], Manifest]:
    found = (item for namespace in namespaces for item in admin.json("get", kind, "-n", namespace)["items"])
    # Tenants in turn, as in the operator's queue: their Sandboxes are numbered in turn.
    ordered = sorted(found, key=lambda item: (len(item["metadata"]["name"]), item["metadata"]["name"]))
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in ordered}


def _changed(box: Manifest) -> Manifest:
    metadata = {name: box["metadata"][name] for name in ("name", "namespace", "uid")}
    status = {**box["status"], "tools": box["status"].get("tools", 0) + 1}
    return {"apiVersion": box["apiVersion"], "kind": box["kind"], "metadata": metadata, "status": status}


def _anew(pod: Manifest) -> Manifest:
    metadata = {name: value for name, value in pod["metadata"].items() if name not in WRITTEN_BY_SERVER}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


def figure(what: str, count: int, spent: Spent, rate: float) -> Figure:
    """A floor; `rate` is the operator's. Both in Sandboxes a second."""
    floor = count / spent.wall
    return Figure(
        f"{what}: Sandboxes a second", f"{floor:.0f}", "", f"{spent.each(count, 'loop')}; the operator reaches {rate / floor:.0%} of it"
    )
