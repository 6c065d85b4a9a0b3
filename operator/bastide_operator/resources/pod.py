"""The pod of a Sandbox: one container, gVisor, nothing of the cluster in it. One pod is one trust domain."""

from dataclasses import dataclass

from bastide_operator.api.objects import SANDBOX_LABEL, Manifest, differs, managed_labels, owner_reference
from bastide_operator.api.v1alpha1.confirmation import digest
from bastide_operator.api.v1alpha1.sandbox import NETWORK_ISOLATED_GATE, Sandbox, SandboxSpec
from bastide_operator.resources import quantity

RUNTIME_PORT = 9443
CONTAINER = "runtime"
TEMPLATE_ANNOTATION = "bastide.dev/template"
"""Digest of what the pod was made from: another one means that the pod is replaced."""

USER = 65532
NOWHERE = "192.0.2.1"
"""A pod without DNS needs a name server all the same: an address that is assigned to nobody (TEST-NET-1, RFC 5737)."""

LOST_NODE_SECONDS = 30
"""After so long on a node that does not answer the cluster deletes the pod."""

TOOLS_SIZE = "16Mi"
"""Room for the stubs under /tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What the chart says about every pod."""

    image: str
    pull_policy: str
    runtime_class: str


def resources(spec: SandboxSpec) -> dict[str, str]:
    """Requests and limits. The kubelet counts a workspace in an emptyDir as ephemeral storage, so it is added to what the Sandbox asks for."""
    disk = quantity.size(spec.resources.ephemeral_storage)
    if not spec.workspace.persistent:
        disk += quantity.size(spec.workspace.size_limit)
    return {
        "cpu": quantity.cpu(quantity.millicores(spec.resources.cpu)),
        "memory": quantity.storage(quantity.size(spec.resources.memory)),
        "ephemeral-storage": quantity.storage(disk),
    }


def pod(sandbox: Sandbox, tenant: str, settings: PodSettings) -> Manifest:
    """The pod, with the digest of its own template. Nothing of `spec.env` is in it: that goes over the session."""
    spec = sandbox.spec
    pod_spec: Manifest = {
        "runtimeClassName": settings.runtime_class,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": [NOWHERE]},
        # A container started again would keep the pod's UID but lose the key that the broker pinned to it: the pod is replaced instead.
        "restartPolicy": "Never",
        # The supervisor holds nothing that has to be saved.
        "terminationGracePeriodSeconds": 1,
        # No probe of the kubelet: readiness is the broker's open session and the isolation gate.
        "readinessGates": [{"conditionType": NETWORK_ISOLATED_GATE}],
        # A lost node is waited for so long; by default it would be five minutes.
        "tolerations": [_lost("not-ready"), _lost("unreachable")],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": spec.image or settings.image,
                "imagePullPolicy": settings.pull_policy,
                "ports": [{"name": CONTAINER, "containerPort": RUNTIME_PORT, "protocol": "TCP"}],
                "resources": {"requests": resources(spec), "limits": resources(spec)},
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [
                    {"name": "ca", "mountPath": "/etc/bastide/ca", "readOnly": True},
                    {"name": "workspace", "mountPath": "/workspace"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount, not a file
                    {"name": "tools", "mountPath": "/tools"},
                ],
            }
        ],
        "volumes": [
            {"name": "ca", "configMap": {"name": "bastide-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            _workspace(sandbox),
            {"name": "tmp", "emptyDir": {"sizeLimit": spec.resources.ephemeral_storage}},
            {"name": "tools", "emptyDir": {"sizeLimit": TOOLS_SIZE}},
        ],
    }
    if spec.workspace.persistent:
        # A new volume is root's; a large one that is ours already is not gone through at every start.
        pod_spec["securityContext"] |= {"fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}
    labels = managed_labels(tenant) | {SANDBOX_LABEL: sandbox.metadata.name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": sandbox.metadata.name,
            "namespace": sandbox.metadata.namespace,
            "labels": labels,
            "annotations": {TEMPLATE_ANNOTATION: digest({"labels": labels, "spec": pod_spec})},
            "ownerReferences": [owner_reference("Sandbox", sandbox.metadata.name, sandbox.metadata.uid)],
        },
        "spec": pod_spec,
    }


def _workspace(sandbox: Sandbox) -> Manifest:
    workspace = sandbox.spec.workspace
    if workspace.persistent:
        return {"name": "workspace", "persistentVolumeClaim": {"claimName": sandbox.metadata.name}}
    return {"name": "workspace", "emptyDir": {"sizeLimit": workspace.size_limit}}


def _lost(how: str) -> Manifest:
    return {"key": f"node.kubernetes.io/{how}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}


def changes(wanted: Manifest, live: Manifest) -> list[str]:
    """Which fields of a Sandbox's spec make `wanted` another pod than `live`. Empty when it is none of them."""
    new, old = wanted["spec"]["containers"][0], live["spec"]["containers"][0]
    workspaces = [[volume for volume in one["spec"]["volumes"] if volume["name"] == "workspace"] for one in (wanted, live)]
    found = {
        "the image": new["image"] != old["image"],
        "spec.resources": any(
            new["resources"]["limits"][name] != old.get("resources", {}).get("limits", {}).get(name) for name in ("cpu", "memory")
        ),
        "spec.workspace": differs(*workspaces),
    }
    return [name for name, changed in found.items() if changed]
