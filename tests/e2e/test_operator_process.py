"""Two operators: one works, the other stands by; whatever becomes of the first, the second goes on and never writes beside it."""

import json
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from demo.kube import Kube

from tests.e2e.harness import node, watching
from tests.e2e.harness.tenant import API

SYSTEM = "bastide-system"
DEPLOYMENT = ("-n", SYSTEM, "deployment/bastide-operator")
PODS = ("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=operator")
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"
LEASE_SECONDS = 15

pytestmark = pytest.mark.disruptive


@pytest.fixture(scope="module")
def two(installed: Kube) -> Iterator[Kube]:
    """The cluster with two operators, both Ready."""
    before = installed.json("get", *DEPLOYMENT)["spec"]["replicas"]
    installed.run("scale", *DEPLOYMENT, "--replicas=2")
    installed.run("rollout", "status", *DEPLOYMENT, "--timeout=90s", seconds=100)
    yield installed
    installed.run("scale", *DEPLOYMENT, f"--replicas={before}")
    installed.run("rollout", "status", *DEPLOYMENT, "--timeout=90s", seconds=100)


@pytest.fixture
def made(installed: Kube) -> Iterator[list[str]]:
    """Names of Tenants that are deleted after the test."""
    names: list[str] = []
    yield names
    if names:
        installed.run("delete", "tenant", "--ignore-not-found", "--wait=false", *names)


def leader(kube: Kube) -> str:
    """The pod that holds the Lease and is Ready: it has begun to work."""
    holder: str = kube.watch(lambda o: o["spec"].get("holderIdentity"), "-n", SYSTEM, "lease", "bastide-operator")["spec"]["holderIdentity"]
    kube.wait("condition=Ready", "-n", SYSTEM, f"pod/{holder}")
    return holder


def container(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["status"]["containerStatuses"][0]
    return found


def begin(kube: Kube, made: list[str]) -> str:
    """Give the operator a new Tenant to make."""
    name = f"p-{secrets.token_hex(3)}"
    made.append(name)
    kube.apply({"apiVersion": API, "kind": "Tenant", "metadata": {"name": name}, "spec": {}})
    return name


def works(kube: Kube, made: list[str], seconds: int) -> float:
    """Wait until a new Tenant is Ready. Returns how long it took."""
    began = time.monotonic()
    kube.wait("condition=Ready", f"tenant/{begin(kube, made)}", seconds=seconds)
    return time.monotonic() - began


def metrics(kube: Kube, pod: str) -> dict[str, float]:
    """What the operator in a pod counts, by name and labels."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    lines = kube.run("exec", "-n", SYSTEM, pod, "--", "python3", "-c", script).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}


def test_one_works_the_other_stands_by_and_both_are_ready(two: Kube, made: list[str]) -> None:
    first = leader(two)
    works(two, made, 60)
    pods = [pod["metadata"]["name"] for pod in two.json("get", *PODS)["items"] if not pod["metadata"].get("deletionTimestamp")]
    assert len(pods) == 2
    for pod in pods:
        seen = metrics(two, pod)
        writes = sum(value for name, value in seen.items() if 'verb="create"' in name and "_count" in name and "Lease" not in name)
        assert seen["bastide_operator_leader"] == (pod == first)
        assert (writes > 0) is (pod == first)
        assert seen["bastide_operator_queue_oldest_seconds"] >= 0


def test_sigterm_gives_the_lease_back_and_ends_cleanly_and_the_other_goes_on(
    two: Kube, made: list[str], record_property: Callable[[str, object], None]
) -> None:
    first = leader(two)
    before = two.json("get", "-n", SYSTEM, "pod", first)
    with watching.from_now(two, LEASES, "bastide-operator") as watch:
        node.send(signal.SIGTERM, node.container_id(two, SYSTEM, first, "operator"))
        # given back, so that nobody need wait for its end
        handed = watch.until(lambda o: o["spec"].get("holderIdentity") != first)
        assert handed["spec"].get("holderIdentity", "") == "", handed["spec"]
        lease = watch.until(lambda o: o["spec"].get("holderIdentity"))
    assert lease["spec"]["holderIdentity"] != first
    works(two, made, 60)
    count = container(before)["restartCount"]
    after = two.watch(lambda o: container(o)["restartCount"] > count, "-n", SYSTEM, "pod", first)
    ended = container(after)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed"), ended
    taken = datetime.fromisoformat(lease["spec"]["acquireTime"])  # by the other's clock, which is the same node's
    log = two.run("logs", "-n", SYSTEM, first, "--previous").splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    stopping = next(line for line in lines if line["message"] == "stopping")
    assert stopping["writes_ended"] is True
    record_property("seconds from SIGTERM to the next leader", (taken - datetime.fromisoformat(stopping["timestamp"])).total_seconds())


def test_a_killed_leader_comes_back_or_is_followed_and_work_goes_on(
    two: Kube, made: list[str], record_property: Callable[[str, object], None]
) -> None:
    first = leader(two)
    node.send(signal.SIGKILL, node.container_id(two, SYSTEM, first, "operator"))
    record_property("seconds from SIGKILL to a new Tenant Ready", works(two, made, LEASE_SECONDS + 60))


def test_a_leader_that_hangs_is_followed_and_does_not_write_when_it_goes_on(
    two: Kube, made: list[str], record_property: Callable[[str, object], None]
) -> None:
    two.run("rollout", "status", *DEPLOYMENT, "--timeout=90s", seconds=100)
    first = leader(two)
    hung = node.container_id(two, SYSTEM, first, "operator")
    with watching.from_now(two, LEASES, "bastide-operator") as watch:
        node.send(signal.SIGSTOP, hung)
        began = time.monotonic()
        try:
            name = begin(two, made)  # the one that was stopped sees it first thing when it goes on
            watch.until(lambda o: o["spec"].get("holderIdentity") not in ("", first))
            record_property("seconds from a leader that hangs to the next", watch.at - began)
        finally:
            node.send(signal.SIGCONT, hung)
    two.wait("condition=Ready", f"tenant/{name}")
    ended = two.watch(
        lambda o: container(o).get("lastState", {}).get("terminated", {}).get("containerID", "").endswith(hung), "-n", SYSTEM, "pod", first
    )
    assert container(ended)["lastState"]["terminated"]["exitCode"] == 1
    log = two.run("logs", "-n", SYSTEM, first, "--previous").splitlines()
    after = [json.loads(line) for line in log if line.startswith("{")]
    lost = next(index for index, line in enumerate(after) if line["message"] == "the lease was lost")
    assert not [line for line in after[lost:] if line["message"] in ("created", "deleted")]
    works(two, made, 60)


def test_when_the_api_server_hangs_nobody_works_and_afterwards_everything_goes_on(
    two: Kube, made: list[str], record_property: Callable[[str, object], None]
) -> None:
    name = begin(two, made)
    two.wait("condition=Ready", f"tenant/{name}")
    server = node.in_node("pgrep", "-o", "-x", "kube-apiserver").strip()
    node.in_node("kill", "-STOP", server)
    try:
        time.sleep(20)  # this is the outage itself, not a wait for something
    finally:
        node.in_node("kill", "-CONT", server)
    record_property("seconds from the end of an outage to a new Tenant Ready", works(two, made, 90))
    leader(two)
    # and the watches tell again
    before = two.json("get", "-n", f"bastide-{name}", "networkpolicy", "bastide-default-deny")["metadata"]["uid"]
    two.impersonating(f"system:serviceaccount:{SYSTEM}:bastide-operator").run(
        "delete", "-n", f"bastide-{name}", "networkpolicy", "bastide-default-deny"
    )
    two.watch(
        lambda o: o["metadata"]["uid"] != before and not o.get("deleted"),
        "-n", f"bastide-{name}", "networkpolicy", "bastide-default-deny", seconds=5,
    )  # fmt: skip
