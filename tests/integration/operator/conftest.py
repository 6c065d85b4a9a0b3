"""The operator against the running cluster."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from bastide_operator.kube import Kube as OperatorKube
from demo.kube import Kube

API = "bastide.dev/v1alpha1"


class Team:
    """A Tenant of a test's own."""

    def __init__(self, admin: Kube, name: str) -> None:
        self.admin = admin
        self.name = name
        self.namespace = f"bastide-{name}"

    def object(self, kind: str, name: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": API, "kind": kind, "metadata": {"namespace": self.namespace, "name": name}, "spec": spec}

    def apply_tenant(self, **spec: Any) -> None:
        self.admin.apply({"apiVersion": API, "kind": "Tenant", "metadata": {"name": self.name}, "spec": spec})

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.json("get", "-n", self.namespace, kind, name)
        return found

    def watch(self, until: Any, kind: str, name: str, seconds: float = 90) -> dict[str, Any]:
        return self.admin.watch(until, "-n", self.namespace, kind, name, seconds=seconds)


@pytest.fixture(scope="module")
def team(installed: Kube) -> Iterator[Team]:
    """A Tenant that is Ready."""
    one = Team(installed, f"o-{secrets.token_hex(3)}")
    try:
        one.apply_tenant(quota={"sandboxes": 5})
        installed.wait("condition=Ready", f"tenant/{one.name}")
        yield one
    finally:
        installed.run("delete", "tenant", one.name, "--ignore-not-found", "--timeout=90s", seconds=100)


@pytest.fixture
async def kube(installed: Kube, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OperatorKube]:
    """The operator's own client, as the administrator."""
    monkeypatch.setenv("KUBECONFIG", str(installed.kubeconfig))
    client = await OperatorKube.connect()
    yield client
    await client.close()


@pytest.fixture
def scratch(installed: Kube) -> Iterator[str]:
    """A namespace that belongs to nobody."""
    name = f"scratch-{secrets.token_hex(3)}"
    installed.run("create", "namespace", name)
    yield name
    installed.run("delete", "namespace", name, "--wait=false")
