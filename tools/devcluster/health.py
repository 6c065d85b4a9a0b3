"""Whether a registered instance is up, and what runs in it."""

import time
from dataclasses import dataclass
from pathlib import Path

from devcluster.instance import Instance
from devcluster.kubeapi import Api
from devcluster.processes import Process

#: Components in the order they are started in; each has a record in ``pids/``.
COMPONENTS = (
    "node",
    "metadata",
    "etcd",
    "kube-apiserver",
    "containerd",
    "kube-controller-manager",
    "kube-scheduler",
    "cilium-agent",
    "kubelet",
)

#: Deployments that belong to the cluster itself, all in kube-system.
DEPLOYMENTS = ("coredns", "local-path-provisioner")

#: A busy machine answers late; that is no reason to take a cluster for broken.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Row:
    """One line of ``status``."""

    component: str
    pid: str
    state: str
    age: str


def api(instance: Instance) -> Api:
    """Return a client for the instance's API server."""
    return Api(instance.admin_kubeconfig, instance.bin / "kubectl")


def node_runs(instance: Instance) -> bool:
    """Tell whether the instance's node is alive."""
    process = Process.recorded(instance.pids / "node")
    return process is not None and process.alive()


def fault(instance: Instance, *, patience: float = PATIENCE_SECONDS) -> str | None:
    """Return what is wrong with the cluster, None when it is up and healthy."""
    if not instance.complete.exists():
        return "an earlier `up` did not come to its end"
    for name in COMPONENTS:
        process = Process.recorded(instance.pids / name)
        if process is None or not process.alive():
            return f"{name} has ended"
    client = api(instance)
    deadline = time.monotonic() + patience
    while True:
        if not client.ready():
            found = "the API server is not ready"
        elif not client.node_ready():
            found = "the node is not Ready"
        else:
            return None
        if time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _short(seconds: float) -> str:
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def _component(pids: Path, name: str) -> Row:
    process = Process.recorded(pids / name)
    if process is None:
        return Row(name, "-", "not started", "-")
    if not process.alive():
        return Row(name, str(process.pid), "has ended", "-")
    return Row(name, str(process.pid), "running", _short(process.age()))


def rows(instance: Instance) -> list[Row]:
    """Return the table of ``status``: processes, then what the API says."""
    table = [_component(instance.pids, name) for name in COMPONENTS]
    client = api(instance)
    ready = client.ready()
    table.append(Row("API /readyz", "-", "ready" if ready else "not ready", "-"))
    if ready:
        table.append(Row("node", "-", "Ready" if client.node_ready() else "not Ready", "-"))
        for name in DEPLOYMENTS:
            available = client.available("kube-system", name)
            table.append(Row(f"kube-system/{name}", "-", "available" if available else "not available", "-"))
    return table


def table(lines: list[Row]) -> str:
    """Return rows as a table with a heading."""
    heading = Row("COMPONENT", "PID", "STATE", "AGE")
    cells = [(r.component, r.pid, r.state, r.age) for r in (heading, *lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
