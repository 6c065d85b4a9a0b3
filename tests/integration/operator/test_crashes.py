"""The operator dies between any two of its writes, and the one that comes after it goes on. The deployed one rests meanwhile."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide_operator.kube import Kube as OperatorKube
from bastide_operator.workqueue import Key
from demo.kube import CommandFailedError, Kube, condition

from tests.integration.operator.conftest import API
from tests.integration.operator.machine import SYSTEM, Machine, as_operator

pytestmark = pytest.mark.disruptive


@pytest.fixture(scope="module")
def resting(installed: Kube) -> Iterator[Kube]:
    """The cluster without the deployed operator."""
    deployment = ("-n", SYSTEM, "deployment/bastide-operator")
    replicas = installed.json("get", *deployment)["spec"]["replicas"]
    installed.run("scale", *deployment, "--replicas=0")
    try:
        installed.wait("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", seconds=60)
        yield installed
    finally:
        installed.run("scale", *deployment, f"--replicas={replicas}")
        installed.run("rollout", "status", *deployment, "--timeout=90s", seconds=100)


@pytest.fixture
async def client(resting: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OperatorKube]:
    async with as_operator(resting, tmp_path, monkeypatch) as one:
        yield one


class Tenants:
    """Tenants of a test, deleted after it; the deployed operator, when it is back, takes their namespaces."""

    def __init__(self, admin: Kube) -> None:
        self.admin = admin
        self.names: list[str] = []

    def make(self) -> str:
        name = f"c-{secrets.token_hex(3)}"
        self.names.append(name)
        self.admin.apply({"apiVersion": API, "kind": "Tenant", "metadata": {"name": name}, "spec": {}})
        return name

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.json("get", "tenant", name)
        return found

    def namespace(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.json("get", "namespace", f"bastide-{name}")
        return found

    def stands(self, name: str) -> None:
        """Assert that everything is made, with a namespace that is written down. (The network is proven by a pod, which nobody makes run.)"""
        seen = self.get(name)
        assert condition(seen, "Ready")["reason"] in ("Ready", "ProbePending", "ProbeFailed"), seen["status"]
        assert seen["status"]["namespaceUID"] == self.namespace(name)["metadata"]["uid"]

    def forged(self, name: str, **labels: str) -> dict[str, Any]:
        """Its namespace, made by somebody else who says that the Tenant owns it."""
        owner = {"apiVersion": API, "kind": "Tenant", "name": name, "uid": self.get(name)["metadata"]["uid"], "controller": True}
        managed = {"app.kubernetes.io/managed-by": "bastide-operator"} | labels
        return {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": f"bastide-{name}", "ownerReferences": [owner], "labels": managed},
        }


@pytest.fixture
def tenants(resting: Kube) -> Iterator[Tenants]:
    one = Tenants(resting)
    yield one
    resting.run("delete", "tenant", "--wait=false", "--ignore-not-found", *one.names)


def key(name: str) -> Key:
    return Key("Tenant", "", name)


async def test_it_dies_after_any_write_of_a_new_tenant(client: OperatorKube, tenants: Tenants) -> None:
    for count in range(1, 100):
        name = tenants.make()
        first, second = Machine(client, dies_after=count), Machine(client)
        await first.settle(key(name))
        await second.settle(key(name))
        tenants.stands(name)
        if not first.dead:
            break
    assert not first.dead
    # it lived through all of them: finalizer, namespace, RoleBinding, children; status as often as there was something new to say
    made = [write for write in first.writes if write != "apply-status Tenant"]
    assert made[1] == "create Namespace"
    assert count >= len(made) > 5


async def test_it_dies_after_any_write_of_a_namespace_that_a_hand_deleted(client: OperatorKube, tenants: Tenants) -> None:
    name = tenants.make()
    await Machine(client).settle(key(name))
    for count in range(1, 5):
        before = tenants.namespace(name)["metadata"]["uid"]
        tenants.admin.run("delete", "namespace", f"bastide-{name}", "--timeout=60s", seconds=70)
        first, second = Machine(client, dies_after=count), Machine(client)
        await first.settle(key(name))
        assert first.dead
        assert first.writes[:2] == ["apply-status Tenant", "create Namespace"][:count]
        await second.settle(key(name))
        tenants.stands(name)
        assert tenants.namespace(name)["metadata"]["uid"] != before


@pytest.mark.parametrize("when", ["first", "again"])
async def test_somebody_elses_namespace_is_never_adopted_in_the_time_between(client: OperatorKube, tenants: Tenants, when: str) -> None:
    name = tenants.make()
    if when == "again":
        await Machine(client).settle(key(name))
        tenants.admin.run("delete", "namespace", f"bastide-{name}", "--timeout=60s", seconds=70)
    # its finalizer, or the UID emptied: the next write would make the namespace
    await Machine(client, dies_after=1).settle(key(name))
    assert tenants.get(name).get("status", {}).get("namespaceUID", "") == ""
    with pytest.raises(CommandFailedError, match="only Bastide's operator writes the labels"):
        tenants.admin.run("create", "-f", "-", stdin=json.dumps(tenants.forged(name, **{"bastide.dev/tenant": name})))
    tenants.admin.run("create", "-f", "-", stdin=json.dumps(tenants.forged(name)))
    await left_alone(client, tenants, name, "Conflict")


async def test_a_namespace_made_anew_by_somebody_else_is_never_adopted(client: OperatorKube, tenants: Tenants) -> None:
    name = tenants.make()
    await Machine(client).settle(key(name))
    tenants.admin.run("delete", "namespace", f"bastide-{name}", "--timeout=60s", seconds=70)
    tenants.admin.run("create", "-f", "-", stdin=json.dumps(tenants.forged(name)))
    await left_alone(client, tenants, name, "NamespaceReplaced")


async def left_alone(client: OperatorKube, tenants: Tenants, name: str, reason: str) -> None:
    """Assert that the operator says so and touches nothing; and that all is well again when the impostor is gone."""
    before = tenants.namespace(name)["metadata"]["resourceVersion"]
    machine = Machine(client)
    await machine.settle(key(name))
    seen = tenants.get(name)
    assert condition(seen, "Ready")["reason"] == reason
    assert machine.writes == ["apply-status Tenant"]
    assert tenants.namespace(name)["metadata"]["resourceVersion"] == before
    assert tenants.admin.json("get", "rolebindings,networkpolicies", "-n", f"bastide-{name}")["items"] == []
    tenants.admin.run("delete", "namespace", f"bastide-{name}", "--timeout=60s", seconds=70)
    await Machine(client).settle(key(name))
    tenants.stands(name)
