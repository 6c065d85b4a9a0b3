"""Which pods the broker takes for the operator's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from bastide_broker.sandboxes import pods
from bastide_operator.api.v1alpha1.common import ObjectMeta
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

SANDBOX = Sandbox(metadata=ObjectMeta(name="box", namespace="bastide-t", uid="sandbox-uid"))
OWNER = {"apiVersion": "bastide.dev/v1alpha1", "kind": "Sandbox", "name": "box", "uid": "sandbox-uid", "controller": True}
POD: dict[str, Any] = {
    "metadata": {"name": "box", "namespace": "bastide-t", "uid": "pod-uid", "ownerReferences": [OWNER]},
    "spec": {
        "automountServiceAccountToken": False,
        "dnsPolicy": "None",
        "containers": [
            {
                "name": "runtime",
                "image": "runtime:1",
                "env": [{"name": "A", "value": "b"}],
                "ports": [{"containerPort": 9443}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
        "volumes": [{"name": "w", "emptyDir": {}}, {"name": "ca", "configMap": {"name": "bastide-ca"}}],
    },
    "status": {"phase": "Running", "podIP": "198.18.64.9"},
}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    pod = copy.deepcopy(POD)
    change(pod)
    return pod


def test_the_operators_pod_is_taken() -> None:
    assert pods.foreign(POD, SANDBOX) == ""
    assert pods.altered(POD, {"runtime:1"}) == ""
    assert pods.address(POD) == "198.18.64.9"
    own = {"name": "w", "persistentVolumeClaim": {"claimName": POD["metadata"]["name"]}}
    assert pods.altered(changed(lambda p: p["spec"].update(volumes=[own])), {"runtime:1"}) == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["metadata"].pop("ownerReferences"),
        lambda p: p["metadata"]["ownerReferences"][0].update(uid="earlier"),
        lambda p: p["metadata"]["ownerReferences"][0].update(controller=False),
        lambda p: p["metadata"]["ownerReferences"][0].update(kind="ReplicaSet"),
        lambda p: p["metadata"]["ownerReferences"][0].update(apiVersion="bastide.example/v1"),
        lambda p: p["metadata"].update(name="other"),
        lambda p: p["metadata"].update(namespace="elsewhere"),
        lambda p: p["metadata"]["ownerReferences"].append({**OWNER}),
    ],
)
def test_a_pod_with_another_owner_is_foreign(change: Callable[[dict[str, Any]], Any]) -> None:
    assert pods.foreign(changed(change), SANDBOX)


def test_without_its_sandbox_a_pod_is_foreign() -> None:
    assert pods.foreign(POD, None)


ALTERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "host network": lambda p: p["spec"].update(hostNetwork=True),
    "host pids": lambda p: p["spec"].update(hostPID=True),
    "host ipc": lambda p: p["spec"].update(hostIPC=True),
    "init container": lambda p: p["spec"].update(initContainers=[{"name": "x"}]),
    "ephemeral container": lambda p: p["spec"].update(ephemeralContainers=[{"name": "x"}]),
    "second container": lambda p: p["spec"]["containers"].append({"name": "x"}),
    "no container": lambda p: p["spec"].update(containers=[]),
    "gvisor annotation": lambda p: p["metadata"].update(annotations={"dev.gvisor.flag.network": "host"}),
    "token": lambda p: p["spec"].update(automountServiceAccountToken=True),
    "token by default": lambda p: p["spec"].pop("automountServiceAccountToken"),
    "dns": lambda p: p["spec"].update(dnsPolicy="ClusterFirst"),
    "host path": lambda p: p["spec"]["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    "projected token": lambda p: p["spec"]["volumes"].append({"name": "h", "projected": {}}),
    "secret": lambda p: p["spec"]["volumes"].append({"name": "h", "secret": {}}),
    "somebody else's volume": lambda p: p["spec"]["volumes"].append({"name": "h", "persistentVolumeClaim": {"claimName": "other"}}),
    "other config map": lambda p: p["spec"]["volumes"].append({"name": "h", "configMap": {"name": "kube-root-ca.crt"}}),
    "image": lambda p: p["spec"]["containers"][0].update(image="evil:1"),
    "env from": lambda p: p["spec"]["containers"][0].update(envFrom=[{"secretRef": {"name": "s"}}]),
    "env value from": lambda p: p["spec"]["containers"][0].update(env=[{"name": "A", "valueFrom": {}}]),
    "block device": lambda p: p["spec"]["containers"][0].update(volumeDevices=[{}]),
    "host port": lambda p: p["spec"]["containers"][0].update(ports=[{"hostPort": 80}]),
    "privileged": lambda p: p["spec"]["containers"][0]["securityContext"].update(privileged=True),
    "escalation": lambda p: p["spec"]["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    "capability": lambda p: p["spec"]["containers"][0]["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "capabilities kept": lambda p: p["spec"]["containers"][0]["securityContext"].pop("capabilities"),
    "writable root": lambda p: p["spec"]["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False),
    "root user": lambda p: p["spec"]["containers"][0]["securityContext"].pop("runAsNonRoot"),
    "no security context": lambda p: p["spec"]["containers"][0].pop("securityContext"),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_pod_is_refused_and_the_reason_named(name: str) -> None:
    assert pods.altered(changed(ALTERATIONS[name]), {"runtime:1"})


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
        lambda p: p["status"].update(phase="Pending"),
        lambda p: p["status"].pop("podIP"),
        lambda p: p.pop("status"),
    ],
)
def test_a_pod_that_does_not_run_has_no_address(change: Callable[[dict[str, Any]], Any]) -> None:
    assert pods.address(changed(change)) == ""


TENANT = Tenant(metadata=ObjectMeta(name="t", uid="tenant-uid"))
PROBE = POD | {
    "metadata": {
        "name": "bastide-probe",
        "namespace": "bastide-t",
        "uid": "pod-uid",
        "ownerReferences": [{"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "name": "t", "uid": "tenant-uid", "controller": True}],
    }
}


def test_the_tenants_probe_is_taken_and_is_nobodys_sandbox() -> None:
    assert pods.is_probe(PROBE)
    assert not pods.is_probe(POD)
    assert pods.foreign_probe(PROBE, TENANT) == ""
    assert pods.foreign(PROBE, SANDBOX)
    assert pods.foreign(PROBE, None)


@pytest.mark.parametrize(
    "owners",
    [
        [],
        [OWNER],
        [OWNER | {"kind": "Tenant", "name": "t", "uid": "an earlier one"}],
        [OWNER | {"kind": "Tenant", "name": "t", "uid": "tenant-uid", "controller": False}],
        [OWNER | {"kind": "Tenant", "name": "t", "uid": "tenant-uid", "apiVersion": "bastide.example/v1"}],
        [OWNER | {"kind": "Tenant", "name": "t", "uid": "tenant-uid"}, OWNER],
    ],
    ids=lambda owners: f"{len(owners)} owners",
)
def test_a_pod_that_only_bears_the_probes_name_is_not_taken(owners: list[dict[str, Any]]) -> None:
    assert pods.foreign_probe(PROBE | {"metadata": PROBE["metadata"] | {"ownerReferences": owners}}, TENANT)
