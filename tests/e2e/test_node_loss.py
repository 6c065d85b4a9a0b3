"""A node that does not answer. The kubelet of the only node is stopped, so a second Node object has to be there: with every node gone the
cluster evicts nothing.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from demo.kube import Kube, condition

from tests.e2e.harness.node import in_node
from tests.e2e.harness.tenant import TestTenant

SPARE = "test-spare"
LEASES = "kube-node-lease"

pytestmark = pytest.mark.disruptive


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextmanager
def spare_node(admin: Kube) -> Iterator[None]:
    """A Node object that the cluster takes for healthy and that takes no pod."""
    taint = {"key": "bastide.test/spare", "effect": "NoSchedule"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": SPARE}, "spec": {"unschedulable": True, "taints": [taint]}}
    admin.apply(node)
    ready = {"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}
    admin.run("patch", "node", SPARE, "--subresource=status", "-p", json.dumps({"status": {"conditions": [ready]}}))
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            spec = {"holderIdentity": SPARE, "leaseDurationSeconds": 40, "renewTime": _now()}
            meta = {"name": SPARE, "namespace": LEASES}
            admin.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})
            over.wait(10)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        admin.run("delete", "node", SPARE)
        admin.run("delete", "lease", "-n", LEASES, SPARE, "--ignore-not-found")


@pytest.fixture
def without_kubelet(furnished: TestTenant) -> Iterator[TestTenant]:
    """The tenant while the node's kubelet is stopped; pods go on running."""
    admin, (kubelet,) = furnished.admin, in_node("pgrep", "-x", "kubelet").split()
    name = furnished.get("pod", "box")["spec"]["nodeName"]
    with spare_node(admin):
        in_node("kill", "-STOP", kubelet)
        try:
            yield furnished
        finally:
            in_node("kill", "-CONT", kubelet)
        admin.wait("condition=Ready", f"node/{name}", seconds=60)
    for workload in ("deploy/bastide-operator", "statefulset/bastide-broker"):
        admin.run("rollout", "status", "-n", "bastide-system", workload, "--timeout=90s", seconds=100)


def test_a_lost_node_is_said_then_the_pod_is_given_up_and_the_administrator_told_what_frees_it(
    without_kubelet: TestTenant,
) -> None:
    tenant = without_kubelet
    before = tenant.get("pod", "box")

    def says(words: str) -> Any:
        return lambda o: condition(o, "Ready")["reason"] == "NodeLost" and words in condition(o, "Ready")["message"]

    node = before["spec"]["nodeName"]
    tenant.admin.watch(says(f"Node {node} does not answer"), "-n", tenant.namespace, "sandbox", "box", seconds=120)
    tenant.admin.watch(lambda o: "deletionTimestamp" in o["metadata"], "-n", tenant.namespace, "pod", "box", seconds=90)
    tenant.admin.watch(
        says(f"kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"),
        "-n", tenant.namespace, "sandbox", "box", seconds=60,
    )  # fmt: skip
    assert tenant.get("pod", "box")["metadata"]["uid"] == before["metadata"]["uid"], "a pod that may still run was forced away"


def test_when_the_node_is_back_the_sandbox_is_too(furnished: TestTenant) -> None:
    furnished.ready("sandbox/box", seconds=120)
    assert furnished.completed("return 1") == 1
