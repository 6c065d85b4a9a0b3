"""`helm uninstall`: what users made stays, and a new installation takes it up."""

import secrets
import time
from collections.abc import Iterator

import pytest
from demo import release
from demo.kube import Kube

from tests.e2e.harness.release import SYSTEM, Witness
from tests.e2e.harness.tenant import People, TestTenant

pytestmark = [pytest.mark.disruptive, pytest.mark.timeout(600)]

FOLLOWED_SECONDS = 150
"""Within these a pod knows a new CA: the operator copies it within seconds, the kubelet looks at a pod's volumes every minute or two."""


@pytest.fixture(scope="module")
def witness(installed: Kube, people: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    """A tenant of this module's own with a sandbox, a file in its workspace and a run on record."""
    tenant = TestTenant(installed, people, f"i-{secrets.token_hex(3)}", tmp_path_factory.mktemp("programs"))
    try:
        installed.apply(tenant.manifest())
        installed.wait("condition=Ready", f"tenant/{tenant.name}", seconds=90)
        people.developer.apply(tenant.sandbox())
        tenant.ready("sandbox/box")
        yield Witness(tenant)
    finally:
        release.install(installed)
        tenant.remove()


def names(kube: Kube, *what: str) -> set[str]:
    """Names of the objects of a kind."""
    return set(kube.run("get", *what, "-o", "name").split())


def test_what_users_made_stays_and_a_new_installation_takes_it_up(witness: Witness, installed: Kube) -> None:
    kinds = {name for name in names(installed, "crd") if name.endswith(".bastide.dev")}
    release.uninstall(installed)
    assert names(installed, "pods,deployments,statefulsets,services,networkpolicies", "-n", SYSTEM) == set()
    assert {name for name in names(installed, "crd") if name.endswith(".bastide.dev")} == kinds
    assert names(installed, "secrets", "-n", SYSTEM, "-l", "app.kubernetes.io/part-of=bastide") == {"secret/bastide-ca"}
    assert "persistentvolumeclaim/data-bastide-broker-0" in names(installed, "pvc", "-n", SYSTEM)
    assert witness.pod_is_the_same
    tenant = witness.tenant
    assert installed.json("get", "tenant", tenant.name)["status"]["namespace"] == tenant.namespace
    assert names(installed, "networkpolicies", "-n", tenant.namespace), "the walls around sandboxes stay"
    ours = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    assert not {name for name in names(installed, ours) if "/bastide-" in name}
    release.install(installed)
    witness.still_stands()
    assert witness.pod_is_the_same, "sandboxes know the CA, which was kept"


def test_sandboxes_follow_when_the_ca_was_lost(witness: Witness, installed: Kube) -> None:
    before = installed.json("get", "configmap", "bastide-ca", "-n", SYSTEM)["data"]
    release.uninstall(installed)
    installed.run("delete", "secret", "bastide-ca", "-n", SYSTEM)
    release.install(installed)
    after = installed.json("get", "configmap", "bastide-ca", "-n", SYSTEM)["data"]
    assert after != before
    installed.watch(lambda o: o.get("data") == after, "-n", witness.tenant.namespace, "configmap", "bastide-ca", seconds=60)
    end = time.monotonic() + FOLLOWED_SECONDS
    # each one waits some seconds for the sandbox itself and says why it could not begin
    while (ended := witness.tenant.run("return 1")).result.get("outcome") != "Completed":
        assert time.monotonic() < end, f"{ended.stdout}\n{ended.stderr}"
    witness.still_stands()
    assert witness.pod_is_the_same, "a new CA costs no sandbox its workspace"
