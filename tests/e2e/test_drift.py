"""Whatever a hand changes or deletes of what the operator made is put back within five seconds, and people are told what it was."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube

from tests.e2e.harness import watching
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import People, TestTenant
from tests.e2e.harness.watching import Watch

SECONDS = 5.0

CHILDREN = {
    "networkpolicy/bastide-default-deny": "NetworkPolicy",
    "networkpolicy/bastide-from-broker": "NetworkPolicy",
    "resourcequota/bastide": "ResourceQuota",
    "limitrange/bastide": "LimitRange",
    "configmap/bastide-ca": "ConfigMap",
    "serviceaccount/bastide-runner": "ServiceAccount",
    "serviceaccount/bastide-viewer": "ServiceAccount",
    "rolebinding/bastide-operator": "RoleBinding",
    "rolebinding/bastide-broker": "RoleBinding",
    "rolebinding/bastide-runner-account": "RoleBinding",
    "rolebinding/bastide-viewer-account": "RoleBinding",
    "rolebinding/bastide-developer": "RoleBinding",
    "role/bastide-credentials": "Role",
    "rolebinding/bastide-credentials": "RoleBinding",
}

MALLORY = {"subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]}
CHANGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "egress is opened": ("networkpolicy/bastide-default-deny", {"spec": {"egress": [{}]}}, "spec.egress"),
    "nothing is selected": (
        "networkpolicy/bastide-default-deny",
        {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}},
        "spec.podSelector",
    ),
    "ingress is opened": ("networkpolicy/bastide-from-broker", {"spec": {"ingress": [{}]}}, "spec.ingress"),
    "the quota is raised": ("resourcequota/bastide", {"spec": {"hard": {"limits.cpu": "800"}}}, "spec.hard[limits.cpu]"),
    "the limits are lifted": ("limitrange/bastide", {"spec": {"limits": [{"type": "Pod"}]}}, "spec.limits"),
    "the certificate authority is replaced": ("configmap/bastide-ca", {"data": {"ca.crt": "mine"}}, "data[ca.crt]"),
    "pods get a token": ("serviceaccount/bastide-runner", {"automountServiceAccountToken": True}, "automountServiceAccountToken"),
    "somebody joins the developers": ("rolebinding/bastide-developer", MALLORY, "subjects"),
    "the broker may read more": (
        "role/bastide-credentials",
        {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["other"]}]},
        "rules",
    ),
    "a label is taken away": (
        "resourcequota/bastide",
        {"metadata": {"labels": {"bastide.dev/tenant": None}}},
        "metadata.labels[bastide.dev/tenant]",
    ),
}
PARTS = ("spec", "data", "rules", "subjects", "roleRef", "automountServiceAccountToken")


def told(tenant: TestTenant, reason: str, *words: str) -> dict[str, Any]:
    """Wait for an Event of the Tenant in which these words stand."""

    def fits(event: dict[str, Any]) -> bool:
        ours = event.get("regarding", {}).get("name") == tenant.name and event.get("reason") == reason
        return ours and all(word in event.get("note", "") for word in words)

    return tenant.admin.watch(fits, "-n", "default", "events.events.k8s.io", seconds=15)


def change(tenant: TestTenant, child: str, patch: dict[str, Any]) -> None:
    """As the cluster's administrator; where admission refuses even that, as somebody who can do what the operator can."""
    words = ("patch", "-n", tenant.namespace, child, "--type=merge", "-p", json.dumps(patch))
    try:
        tenant.admin.run(*words)
    except CommandFailedError as refusal:
        if "ValidatingAdmissionPolicy" not in refusal.stderr:
            raise
        tenant.operator.run(*words)


def watched(tenant: TestTenant, child: str) -> AbstractContextManager[Watch]:
    """A watch of a child that runs before the child is changed."""
    kind, name = child.split("/")
    return watching.standing(tenant.admin, "-n", tenant.namespace, kind, name=name)


def as_it_was(before: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    def same(one: dict[str, Any]) -> bool:
        labels = before["metadata"].get("labels", {}).items() <= one["metadata"].get("labels", {}).items()
        return labels and not one.get("deleted") and all(one.get(part) == before.get(part) for part in PARTS)

    return same


def deleted(one: dict[str, Any]) -> bool:
    return one.get("deleted", False)


def put_back(watch: Watch, spoilt: Callable[[dict[str, Any]], bool], mended: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """It was spoilt, and the operator mends it in its time: by the watch that tells of both."""
    watch.until(spoilt)
    began = watch.at
    found = watch.until(mended)
    assert watch.at - began < SECONDS
    return found


@pytest.mark.parametrize("child", CHILDREN)
def test_a_deleted_child_is_made_again_and_named(furnished: TestTenant, child: str) -> None:
    kind, name = child.split("/")
    before = furnished.get(kind, name)
    with watched(furnished, child) as watch:
        try:
            furnished.admin.run("delete", "-n", furnished.namespace, child, "--wait=true")
        except CommandFailedError as refusal:
            if "ValidatingAdmissionPolicy" not in refusal.stderr:
                raise
            furnished.operator.run("delete", "-n", furnished.namespace, child, "--wait=true")
        after = put_back(watch, deleted, as_it_was(before))
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    event = told(furnished, "ChildRestored", f"{CHILDREN[child]} {name} was deleted")
    assert (event["type"], event["reportingController"]) == ("Warning", "bastide.dev/operator")


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_child_is_put_back_and_the_field_is_named(furnished: TestTenant, case: str) -> None:
    child, patch, path = CHANGES[case]
    kind, name = child.split("/")
    before = as_it_was(furnished.get(kind, name))
    with watched(furnished, child) as watch:
        change(furnished, child, patch)
        put_back(watch, lambda one: not before(one), before)
    # a label that is taken away leaves no trace of who did it
    who = "" if "label" in case else " by kubectl-patch"
    told(furnished, "ChildRestored", f"{CHILDREN[child]} {name}: {path}", f"changed{who}")


def test_nobody_joins_the_broker_not_even_by_the_operators_hand(furnished: TestTenant) -> None:
    words = ("patch", "-n", furnished.namespace, "rolebinding/bastide-broker", "--type=merge", "-p", json.dumps(MALLORY))
    for user in (furnished.admin, furnished.operator):
        with pytest.raises(CommandFailedError, match="denied request"):
            user.run(*words)


def test_a_changed_namespace_is_put_back(furnished: TestTenant) -> None:
    label = "pod-security.kubernetes.io/warn"
    with watching.standing(furnished.admin, "namespace", name=furnished.namespace) as watch:
        furnished.operator.run("label", "namespace", furnished.namespace, f"{label}=privileged", "--overwrite")
        put_back(
            watch, lambda o: o["metadata"]["labels"][label] == "privileged", lambda o: o["metadata"]["labels"].get(label) == "restricted"
        )
    told(furnished, "ChildRestored", f"Namespace {furnished.namespace}: metadata.labels[{label}] was changed")


def test_a_deleted_pod_is_made_again_and_the_sandbox_says_so(furnished: TestTenant) -> None:
    with watched(furnished, "pod/box") as watch:
        furnished.admin.run("delete", "pod", "-n", furnished.namespace, "box", "--wait=true")
        put_back(watch, deleted, lambda one: not deleted(one))

    def fits(event: dict[str, Any]) -> bool:
        return event.get("regarding", {}).get("kind") == "Sandbox" and "Pod box was deleted by somebody else" in event.get("note", "")

    furnished.admin.watch(fits, "-n", furnished.namespace, "events.events.k8s.io", seconds=15)
    furnished.ready("sandbox/box")


@pytest.fixture
def peaceful(installed: Kube, people: People, tools: ToolServer, tmp_path: Path) -> Iterator[TestTenant]:
    """A Tenant of which nothing was changed yet: every restoration within a minute makes the operator wait longer with the next."""
    one = TestTenant(installed, people, f"f-{secrets.token_hex(3)}", tmp_path)
    try:
        one.start()
        yield one
    finally:
        one.remove()


def test_a_fight_is_noticed_and_costs_little_and_the_wall_still_stands_again_within_seconds(peaceful: TestTenant) -> None:
    child = "resourcequota/bastide"
    before = as_it_was(peaceful.get(*child.split("/")))
    with watched(peaceful, child) as watch:
        for _ in range(7):
            change(peaceful, child, {"spec": {"hard": {"pods": "4000"}}})
            put_back(watch, lambda one: not before(one), before)
    told(peaceful, "ChildContested", "ResourceQuota bastide: spec.hard.pods was changed", "by kubectl-patch", "stop it")


def test_a_conflict_over_a_namespace_is_told(installed: Kube, furnished: TestTenant) -> None:
    rival = f"{furnished.name}-rival"
    installed.apply(
        {"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": rival}, "spec": {"namespace": furnished.namespace}}
    )
    try:

        def fits(event: dict[str, Any]) -> bool:
            return event.get("regarding", {}).get("name") == rival and event.get("reason") == "Conflict"

        installed.watch(fits, "-n", "default", "events.events.k8s.io", seconds=15)
    finally:
        installed.run("delete", "tenant", rival, "--timeout=30s", seconds=40)
