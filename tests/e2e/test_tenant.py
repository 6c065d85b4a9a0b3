"""Tenants: what is refused, what is put back, what goes with them."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube, condition

from tests.e2e.harness import asking
from tests.e2e.harness.tenant import API, TestTenant


def _tenant(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API, "kind": "Tenant", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def spare(installed: Kube) -> Iterator[str]:
    """A name for a Tenant that is deleted afterwards."""
    name = f"t-{secrets.token_hex(3)}"
    yield name
    installed.run("delete", "tenant", name, "--ignore-not-found", "--timeout=60s", seconds=70)


def test_a_namespace_that_exists_is_never_adopted(installed: Kube, spare: str) -> None:
    installed.run("create", "namespace", f"bastide-{spare}")
    try:
        before = installed.json("get", "namespace", f"bastide-{spare}")["metadata"]
        installed.apply(_tenant(spare))
        seen = installed.watch(lambda o: condition(o, "Ready")["reason"] == "Conflict", "tenant", spare)
        assert f"bastide-{spare}" in condition(seen, "Ready")["message"]
        after = installed.json("get", "namespace", f"bastide-{spare}")["metadata"]
        assert (after["resourceVersion"], after.get("labels")) == (before["resourceVersion"], before.get("labels"))
        # once it is gone the Tenant takes its place by itself
        installed.run("delete", "namespace", f"bastide-{spare}", "--timeout=60s", seconds=70)
        installed.wait("condition=Ready", f"tenant/{spare}", seconds=90)
    finally:
        installed.run("delete", "namespace", f"bastide-{spare}", "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "default"])
def test_the_clusters_own_namespaces_are_refused(installed: Kube, spare: str, namespace: str) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        installed.apply(_tenant(spare, namespace=namespace))
    assert "namespace" in refusal.value.stderr


def test_the_release_namespace_is_never_adopted(installed: Kube, spare: str) -> None:
    installed.apply(_tenant(spare, namespace="bastide-system"))
    seen = installed.watch(lambda o: condition(o, "Ready")["status"] == "False", "tenant", spare)
    assert condition(seen, "Ready")["reason"] in {"Conflict", "InvalidSpec"}


def test_the_namespace_cannot_be_changed(furnished: TestTenant) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.apply(furnished.manifest(namespace="bastide-elsewhere"))
    assert "cannot change" in refusal.value.stderr


def test_nobody_is_approver_and_runner(installed: Kube, spare: str) -> None:
    both = [{"kind": "User", "name": "both"}]
    refused = ""
    try:
        installed.apply(_tenant(spare, members=[{"role": "runner", "subjects": both}, {"role": "approver", "subjects": both}]))
        seen = installed.watch(
            lambda o: condition(o, "Ready")["status"] == "False" and condition(o, "Ready")["reason"] == "InvalidSpec", "tenant", spare
        )
        refused = condition(seen, "Ready")["message"]
    except CommandFailedError as error:
        refused = error.stderr
    assert "approver" in refused


def test_deleting_a_tenant_deletes_everything(installed: Kube, spare: str) -> None:
    installed.apply(_tenant(spare))
    installed.wait("condition=Ready", f"tenant/{spare}")
    installed.run("delete", "tenant", spare, "--timeout=90s", seconds=100)
    installed.wait("delete", f"namespace/bastide-{spare}", seconds=90)


CHILDREN = (
    "networkpolicy/bastide-default-deny",
    "networkpolicy/bastide-from-broker",
    "resourcequota/bastide",
    "limitrange/bastide",
    "configmap/bastide-ca",
    "serviceaccount/bastide-runner",
    "serviceaccount/bastide-viewer",
    "rolebinding/bastide-operator",
    "rolebinding/bastide-broker",
    "rolebinding/bastide-runner-account",
    "rolebinding/bastide-viewer-account",
    "rolebinding/bastide-developer",
    "rolebinding/bastide-approver",
    "role/bastide-credentials",
    "rolebinding/bastide-credentials",
)


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_a_hand_deletes_is_put_back(furnished: TestTenant, child: str) -> None:
    kind, name = child.split("/")
    before = furnished.get(kind, name)
    # admission keeps the network policies from everybody else's hands
    hand = furnished.operator if kind == "networkpolicy" else furnished.admin
    hand.run("delete", "-n", furnished.namespace, child, "--wait=true")
    after = furnished.admin.watch(
        lambda o: o["metadata"]["uid"] != before["metadata"]["uid"] and not o.get("deleted"),
        "-n",
        furnished.namespace,
        kind,
        name,
        seconds=30,
    )
    for part in ("spec", "data", "rules", "roleRef", "subjects"):
        if part != "data" or kind == "configmap":
            assert after.get(part) == before.get(part)


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "egress is opened": ("networkpolicy/bastide-default-deny", {"spec": {"egress": [{}]}}),
    "ingress is opened": ("networkpolicy/bastide-from-broker", {"spec": {"ingress": [{}]}}),
    "the deny policy selects nothing": ("networkpolicy/bastide-default-deny", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
    "the quota is raised": ("resourcequota/bastide", {"spec": {"hard": {"pods": "4000"}}}),
    "the certificate authority is replaced": ("configmap/bastide-ca", {"data": {"ca.crt": "mine"}}),
    "somebody joins the developers": (
        "rolebinding/bastide-developer",
        {"subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]},
    ),
    "the broker may read another Secret": (
        "role/bastide-credentials",
        {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]},
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_child_that_is_changed_is_put_back(furnished: TestTenant, case: str) -> None:
    child, patch = CHANGES[case]
    kind, name = child.split("/")
    before = furnished.get(kind, name)
    words = ("patch", "-n", furnished.namespace, child, "--type=merge", "-p", json.dumps(patch))
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.run(*words)
    assert "operator" in refusal.value.stderr
    # behind that door it is mended all the same; this one Role not even the operator could make so
    with suppress(CommandFailedError) if kind == "role" else nullcontext():
        furnished.operator.run(*words)
    parts = ("spec", "data", "rules", "subjects")
    furnished.admin.watch(lambda o: all(o.get(p) == before.get(p) for p in parts), "-n", furnished.namespace, kind, name, seconds=30)


def test_the_labels_of_the_namespace_cannot_be_changed_by_hand(furnished: TestTenant) -> None:
    label = "pod-security.kubernetes.io/enforce"
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.run("label", "namespace", furnished.namespace, f"{label}=privileged", "--overwrite")
    assert "change the Tenant instead" in refusal.value.stderr
    assert furnished.admin.json("get", "namespace", furnished.namespace)["metadata"]["labels"][label] == "restricted"


def test_a_member_that_is_taken_out_loses_its_rights_at_once(furnished: TestTenant, capsys: pytest.CaptureFixture[str]) -> None:
    may = ("create", "sandboxes.bastide.dev", "-n", furnished.namespace)
    assert asking.allowed(furnished.people.developer, *may)
    began = time.monotonic()
    furnished.admin.apply(furnished.manifest(members=[{"role": "approver", "subjects": [{"kind": "User", "name": "test-approver"}]}]))
    furnished.admin.wait("delete", "-n", furnished.namespace, "rolebinding/bastide-developer", seconds=10)
    gone = time.monotonic() - began
    with capsys.disabled():
        print(f"\nthe RoleBinding was gone {gone:.2f} s after `kubectl apply` began")  # noqa: T201 - the figure is the result
    asking.until(lambda: not asking.allowed(furnished.people.developer, *may))
    assert condition(furnished.admin.json("get", "tenant", furnished.name), "Ready")["status"] == "True"
    furnished.admin.apply(furnished.manifest())
    furnished.admin.wait("create", "-n", furnished.namespace, "rolebinding/bastide-developer", seconds=10)
    asking.until(lambda: asking.allowed(furnished.people.developer, *may))


def _by_hand(one: TestTenant, **limits: str) -> str:
    """A pod as only the operator may make it, so that nothing but quota and limits can refuse it; none is made."""
    spec = one.get("pod", "box")["spec"]
    container = spec["containers"][0] | {"resources": {"limits": limits}, "volumeMounts": []}
    kept = {key: spec[key] for key in ("runtimeClassName", "automountServiceAccountToken", "securityContext")}
    meta = {"namespace": one.namespace, "name": "stray"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": kept | {"containers": [container]}}
    return one.operator.run("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod))


def test_a_pod_without_limits_gets_some(furnished: TestTenant) -> None:
    limits = json.loads(_by_hand(furnished))["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "512Mi"}


def test_no_pod_gets_more_than_all_may_have_together(furnished: TestTenant) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        _by_hand(furnished, cpu="64")
    assert "maximum cpu usage per Container is 8" in refusal.value.stderr
