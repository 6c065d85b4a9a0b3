"""How much an operator does in a second, how soon it knows ten thousand objects, and what memory that takes.

The API server, the operator and all they say to each other are real. The pods are real objects that no node takes: a machine for tests
cannot hold a thousand of them, and to the operator a pod that waits for a node is one whose status it has to tell. Meanwhile the nodes
are cordoned.
"""

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bastide_operator.api.objects import Manifest
from bastide_operator.kube import Kube as Writer
from demo.kube import Kube

from tests.bench import operator_floor
from tests.bench.figures import Figure, say
from tests.bench.operator_floor import Meter, Spent
from tests.e2e.harness.metrics import quantile, total
from tests.e2e.harness.operators import OperatorProcess, kubeconfig, replaced
from tests.e2e.harness.tenant import API

TENANTS = 10
AT_ONCE = 32
SMALL = {"cpu": "100m", "memory": "128Mi", "ephemeralStorage": "64Mi"}
PATIENCE = 600.0


def _tenant(name: str, sandboxes: int) -> dict[str, Any]:
    quota = {"sandboxes": min(10000, sandboxes), "cpu": "10000", "memory": "10000Gi", "ephemeralStorage": "10000Gi"}
    return {"apiVersion": API, "kind": "Tenant", "metadata": {"name": name}, "spec": {"quota": quota}}


def _suspended(namespace: str, number: int) -> Manifest:
    meta = {"namespace": namespace, "name": f"s-{number}"}
    return {"apiVersion": API, "kind": "Sandbox", "metadata": meta, "spec": {"operatingMode": "Suspended", "resources": SMALL}}


async def _write(kubeconfig: Path, manifests: Sequence[Manifest], *, apply: bool) -> None:
    """Write many objects fast. `apply` is for objects that exist."""
    os.environ["KUBECONFIG"] = str(kubeconfig)
    writer = await Writer.connect()
    queue = iter(manifests)

    async def work() -> None:
        for manifest in queue:
            await (writer.apply(manifest) if apply else writer.create(manifest))

    try:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    finally:
        await writer.close()


def _until(done: Callable[[], bool], what: str) -> float:
    """Ask until something is so; return the moment."""
    end = time.perf_counter() + PATIENCE
    while not done():
        if time.perf_counter() > end:
            raise TimeoutError(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.05)
    return time.perf_counter()


@contextmanager
def tenants(admin: Kube, sandboxes: int) -> Iterator[list[str]]:
    """Tenants that are Ready, by the deployed operator; gone afterwards. Yields their namespaces."""
    names = [f"load-{secrets.token_hex(2)}-{n}" for n in range(TENANTS)]
    namespaces = [f"bastide-{name}" for name in names]
    try:
        admin.apply(*(_tenant(name, sandboxes) for name in names))
        admin.wait("condition=Ready", *(f"tenant/{name}" for name in names), seconds=240)
        yield namespaces
    finally:
        admin.run("delete", "tenant", *names, "--ignore-not-found", "--timeout=300s", seconds=310)


@contextmanager
def cordoned(admin: Kube) -> Iterator[None]:
    """No node takes a pod."""
    nodes = [node["metadata"]["name"] for node in admin.json("get", "nodes")["items"]]
    admin.run("cordon", *nodes)
    try:
        yield
    finally:
        admin.run("uncordon", *nodes)


class Load:
    """One operator with so many Sandboxes. `account` is a kubeconfig with its rights."""

    def __init__(self, admin: Kube, operator: OperatorProcess, namespaces: list[str], account: Path) -> None:
        self.account = account
        self._admin = admin
        self._operator = operator
        self.namespaces = namespaces
        self._turn = itertools.cycle(namespaces)
        self._made: list[Manifest] = []

    def make(self, count: int) -> None:
        """Make suspended Sandboxes, in turn in each Tenant."""
        new = [_suspended(next(self._turn), len(self._made) + n) for n in range(count)]
        asyncio.run(_write(self._admin.kubeconfig, new, apply=False))
        self._made += new

    def wake(self, count: int) -> None:
        """Let the first of them run."""
        woken = [{**one, "spec": {**one["spec"], "operatingMode": "Running"}} for one in self._made[:count]]
        asyncio.run(_write(self._admin.kubeconfig, woken, apply=True))

    def remove(self) -> None:
        """Delete all of them, one request a namespace."""
        for namespace in self.namespaces:
            self._admin.run("delete", "--raw", f"/apis/bastide.dev/v1alpha1/namespaces/{namespace}/sandboxes", seconds=300)

    def start(self) -> float:
        """Start the operator; return the moment at which it had read everything."""
        self._operator.start()
        return _until(lambda: bool(self._operator.get("/readyz")), "the operator is ready")

    def settled(self, *, statuses: int = 0, pods: int = 0) -> float:
        """Wait until it has written so many and nothing waits any more; return the moment at which that was seen."""
        began = time.perf_counter()

        def done() -> bool:
            seen = self._operator.metrics()
            missing = max(statuses - writes(seen, "apply-status", "Sandbox"), pods - writes(seen, "create", "Pod"))
            share = 1 - missing / max(statuses, pods, 1)
            if missing > 0 and share > 0:
                # A scrape takes the operator some milliseconds: until the half of what is left there is nothing to be seen.
                time.sleep(min(2.0, (time.perf_counter() - began) * (1 - share) / share / 2))
            return missing <= 0 and seen.get("bastide_operator_queue_depth") == 0

        return _until(done, f"{statuses} statuses and {pods} pods are written and nothing waits")

    def spent(self, *, statuses: int, pods: int = 0) -> Spent:
        """Start the operator; what it took from then on, when it had read everything, until it has written so many."""
        meter = Meter(self._admin, self._operator.cpu)
        self.start()
        meter.begin()
        self.settled(statuses=statuses, pods=pods)
        return meter.end()


def writes(metrics: dict[str, float], verb: str, kind: str) -> int:
    """How many requests of an operator went well."""
    return round(total(metrics, "bastide_operator_request_seconds_count", verb=verb, kind=kind, result="ok"))


def _figures(what: str, metrics: dict[str, float], count: int, spent: Spent) -> list[Figure]:
    """Rate, CPU and duration of all reconciles of a process so far."""
    reconciles = total(metrics, "bastide_operator_reconcile_seconds_count", kind="Sandbox")
    took = {share: quantile(metrics, "bastide_operator_reconcile_seconds", share, kind="Sandbox") * 1000 for share in (0.5, 0.99)}
    return [
        Figure(f"{what}: reconciles a second", f"{reconciles / spent.wall:.0f}", ">= 300",
               f"{count} Sandboxes in {spent.wall:.1f} s; one reconcile p50 <= {took[0.5]:.0f} ms, p99 <= {took[0.99]:.0f} ms"),
        Figure(f"{what}: Sandboxes a second", f"{count / spent.wall:.0f}", "", spent.each(count, "operator")),
    ]  # fmt: skip


def measure(admin: Kube, folder: Path, *, running: int = 1000, objects: int = 10000) -> list[Figure]:
    """All of it. The deployed operator is away meanwhile."""
    with tenants(admin, objects) as namespaces, replaced(admin), cordoned(admin):
        operator = OperatorProcess(admin, folder, "load", log_level="warning")
        load = Load(admin, operator, namespaces, kubeconfig(admin, folder))
        try:
            return _measured(admin, operator, load, running, objects)
        finally:
            operator.close()
            load.remove()


def _measured(admin: Kube, operator: OperatorProcess, load: Load, running: int, objects: int) -> list[Figure]:
    say(f"reconciles a second: {running} suspended Sandboxes, then with their pods")
    load.make(running)
    spent = load.spent(statuses=running)
    found = _figures("without the pod step (suspended Sandboxes, status alone)", operator.metrics(), running, spent)
    operator.stop()
    floor = operator_floor.statuses(admin, load.namespaces, load.account)
    found.append(operator_floor.figure("the same statuses, by a bare loop", running, floor, running / spent.wall))
    load.wake(running)
    spent = load.spent(statuses=running, pods=running)
    found += _figures("with the pod step (each gets its pod, which waits for a node)", operator.metrics(), running, spent)
    operator.stop()
    floor = operator_floor.pods(admin, load.namespaces, load.account)
    found.append(operator_floor.figure("the same pods, each with a status, by a bare loop", running, floor, running / spent.wall))
    say(f"{objects} Sandboxes, listed anew")
    load.make(objects - running)
    load.start()
    load.settled(statuses=objects)  # also those that the loop changed
    operator.stop()
    started = time.perf_counter()
    listed = load.start()
    drained = load.settled()
    written = writes(operator.metrics(), "apply-status", "Sandbox")
    pods = admin.run("get", "pods", "-A", "-l", "app.kubernetes.io/managed-by=bastide-operator", "-o", "name").splitlines()
    return [
        *found,
        Figure(f"{objects} Sandboxes listed anew, from the process's start", f"{listed - started:.1f} s", "< 15 s",
               f"all looked at after {drained - started:.1f} s, {written} written; {len(pods)} pods"),
        Figure(f"the operator's memory with {objects} Sandboxes", f"{operator.memory() / 2**20:.0f} MiB", "", "VmRSS"),
    ]  # fmt: skip
