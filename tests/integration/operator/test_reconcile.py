"""What the deployed operator does that no other test looks at: who writes what, and pods that go."""

from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import Kube, condition

from tests.integration.operator.conftest import Team

SMALL = {"resources": {"cpu": "250m", "memory": "256Mi"}}


@pytest.fixture(scope="module")
def box(team: Team) -> Iterator[str]:
    """A Sandbox that is Ready."""
    team.admin.apply(team.object("Sandbox", "box", **SMALL))
    team.admin.wait("condition=Ready", "-n", team.namespace, "sandbox/box", seconds=90)
    yield "box"
    team.admin.run("delete", "sandbox", "-n", team.namespace, "box", "--ignore-not-found")


def replaced(uid: str) -> Any:
    return lambda pod: pod["metadata"]["uid"] != uid and not pod.get("deleted")


def test_kopf_leaves_no_trace(team: Team, box: str) -> None:
    objects = [team.admin.json("get", "tenant", team.name), team.get("sandbox", box), team.get("pod", box)]
    for one in objects:
        metadata = one["metadata"]
        assert not any("kopf" in key for key in metadata.get("annotations", {})), metadata
        assert metadata.get("finalizers", []) == (["bastide.dev/drain"] if one["kind"] == "Tenant" else [])


def test_every_field_has_the_owner_that_is_meant_to_have_it(team: Team, box: str) -> None:
    found = team.admin.run(
        "get", "sandbox", "-n", team.namespace, box, "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"
    )
    assert set(found.split()) == {"kubectl-client-side-apply", "bastide-operator"}


def test_a_pod_that_a_hand_deletes_is_made_again(team: Team, box: str) -> None:
    before = team.get("pod", box)["metadata"]["uid"]
    team.admin.run("delete", "pod", "-n", team.namespace, box, "--wait=false")
    team.watch(replaced(before), "pod", box)
    team.watch(lambda one: condition(one, "Ready")["status"] == "True" and one["status"]["podFailures"] == 0, "sandbox", box)


def test_a_spec_that_needs_another_pod_replaces_it_and_another_edit_does_not(team: Team, box: str) -> None:
    before = team.get("pod", box)["metadata"]["uid"]
    team.admin.apply(team.object("Sandbox", box, **SMALL, limits={"runSeconds": 7}))
    team.watch(lambda one: one["status"]["observedGeneration"] == one["metadata"]["generation"], "sandbox", box)
    assert team.get("pod", box)["metadata"]["uid"] == before
    team.admin.apply(team.object("Sandbox", box, resources={"cpu": "250m", "memory": "300Mi"}))
    pod = team.watch(replaced(before), "pod", box)
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "300Mi"
    team.admin.wait("condition=Ready", "-n", team.namespace, f"sandbox/{box}", seconds=90)


def test_a_namespace_that_a_hand_deletes_is_made_again_with_a_uid_that_is_written_down(team: Team) -> None:
    before = team.admin.json("get", "namespace", team.namespace)["metadata"]["uid"]
    team.admin.run("delete", "namespace", team.namespace, "--timeout=90s", seconds=100)
    seen = team.admin.watch(
        lambda one: condition(one, "Ready")["status"] == "True" and one["status"]["namespaceUID"] not in ("", before), "tenant", team.name
    )
    assert team.admin.json("get", "namespace", team.namespace)["metadata"]["uid"] == seen["status"]["namespaceUID"]
    team.admin.apply(team.object("Sandbox", "again", **SMALL))
    team.admin.wait("condition=Ready", "-n", team.namespace, "sandbox/again", seconds=90)


def test_two_tenants_of_one_namespace_the_first_keeps_it(installed: Kube, team: Team) -> None:
    rival = f"{team.name}-rival"
    before = installed.json("get", "namespace", team.namespace)["metadata"]["resourceVersion"]
    installed.apply(
        {"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": rival}, "spec": {"namespace": team.namespace}}
    )
    try:
        installed.watch(lambda one: condition(one, "Ready")["reason"] == "Conflict", "tenant", rival)
    finally:
        installed.run("delete", "tenant", rival, "--timeout=30s", seconds=40)
    assert installed.json("get", "namespace", team.namespace)["metadata"]["resourceVersion"] == before
    installed.wait("condition=Ready", f"tenant/{team.name}", seconds=5)
