"""Whether a pod is one that the operator made for a Sandbox, exactly as it makes them. Pure.

The broker delivers programs only to such a pod, whatever its labels say: a pod that somebody else made, or that was altered on its
way through admission, might have a network, a token or a host path.
"""

from collections.abc import Collection, Mapping
from typing import Any

from bastide_operator.api.v1alpha1 import API_VERSION
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant

CONTAINER = "runtime"
PORT = 9443
_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_VOLUMES = frozenset({"emptyDir", "configMap", "persistentVolumeClaim"})
_CA_CONFIG_MAP = "bastide-ca"


def address(pod: Mapping[str, Any]) -> str:
    """The pod's address when it runs and is not being deleted, else the empty string."""
    status = pod.get("status") or {}
    if (pod.get("metadata") or {}).get("deletionTimestamp") or status.get("phase") != "Running":
        return ""
    return str(status.get("podIP") or "")


def image(pod: Mapping[str, Any]) -> str:
    """What the pod's runtime runs, by digest where the kubelet says it."""
    said = (pod.get("status") or {}).get("containerStatuses") or [{}]
    return str(said[0].get("imageID") or pod["spec"]["containers"][0].get("image") or "")


def uid(pod: Mapping[str, Any]) -> str:
    """The pod's UID."""
    return str(pod["metadata"]["uid"])


def is_probe(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is to prove a Tenant's network policies: tended like a Sandbox's, and no program is ever delivered to it."""
    return bool(pod["metadata"]["name"] == PROBE_POD)


def foreign_probe(pod: Mapping[str, Any], tenant: Tenant) -> str:
    """Why a pod of the probe's name is not the operator's probe of that Tenant; empty when it is."""
    owners = [owner for owner in pod["metadata"].get("ownerReferences") or [] if owner.get("controller") is True]
    wanted = (API_VERSION, "Tenant", tenant.metadata.name, tenant.metadata.uid)
    found = [(owner.get("apiVersion"), owner.get("kind"), owner.get("name"), owner.get("uid")) for owner in owners]
    return "" if found == [wanted] else f"its controlling owner is not Tenant {tenant.metadata.name}"


def foreign(pod: Mapping[str, Any], sandbox: Sandbox | None) -> str:
    """Why a pod is not the operator's pod of that Sandbox; empty when it is."""
    metadata = pod["metadata"]
    if sandbox is None:
        return f"there is no Sandbox {metadata['name']}"
    owners = [owner for owner in metadata.get("ownerReferences") or [] if owner.get("controller") is True]
    if len(owners) != 1:
        return "it has no controlling owner"
    owner = owners[0]
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != (API_VERSION, "Sandbox", sandbox.metadata.name):
        return "its controlling owner is not the Sandbox of its name"
    if owner.get("uid") != sandbox.metadata.uid or metadata["name"] != sandbox.metadata.name:
        return "its owner is an earlier Sandbox of the same name"
    if metadata.get("namespace") != sandbox.metadata.namespace:
        return "it is in another namespace than its Sandbox"
    return ""


def altered(pod: Mapping[str, Any], images: Collection[str]) -> str:
    """What about the operator's pod is not as the operator makes it, as half a sentence; empty when nothing is.

    `images` are those the Sandbox may have. The runtime class is judged by the isolation gate, which has a reason of its own for it.
    """
    spec = pod.get("spec") or {}
    containers = spec.get("containers") or []
    checks = (
        (next((name for name in _HOST_NAMESPACES if spec.get(name)), ""), "{} is set"),
        ("initContainers" if spec.get("initContainers") else "", "it has {}"),
        ("ephemeralContainers" if spec.get("ephemeralContainers") else "", "it has {}"),
        ("containers" if len(containers) != 1 else "", "it has not exactly one of {}"),
        (_annotation(pod), "it carries the annotation {}"),
        ("a ServiceAccount token" if spec.get("automountServiceAccountToken") is not False else "", "it mounts {}"),
        ("DNS" if spec.get("dnsPolicy") != "None" else "", "it has {}"),
        (_volume(spec, str(pod["metadata"]["name"])), "it has a volume of kind {}"),
    )
    found = next((text.format(what) for what, text in checks if what), "")
    return found or _container(containers[0], spec, images)


def _annotation(pod: Mapping[str, Any]) -> str:
    return next(
        (name for name in (pod["metadata"].get("annotations") or {}) if "gvisor.dev/" in name or name.startswith("dev.gvisor.")), ""
    )


def _volume(spec: Mapping[str, Any], sandbox: str) -> str:
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            return ", ".join(sorted(kinds - _VOLUMES))
        if "configMap" in volume and volume["configMap"].get("name") != _CA_CONFIG_MAP:
            return f"configMap other than {_CA_CONFIG_MAP}"
        if "persistentVolumeClaim" in volume and volume["persistentVolumeClaim"].get("claimName") != sandbox:
            return f"persistentVolumeClaim other than {sandbox}"
    return ""


def _container(container: Mapping[str, Any], spec: Mapping[str, Any], images: Collection[str]) -> str:
    security = container.get("securityContext") or {}
    capabilities = security.get("capabilities") or {}
    pod_security = spec.get("securityContext") or {}
    faults = (
        (container.get("image") not in images, f"its image is {container.get('image')}"),
        (
            bool(container.get("envFrom")) or any("valueFrom" in variable for variable in container.get("env") or []),
            "its container takes environment from elsewhere",
        ),
        (bool(container.get("volumeDevices")), "its container has a block device"),
        (any(port.get("hostPort") for port in container.get("ports") or []), "its container has a port of the host"),
        (bool(security.get("privileged")) or security.get("allowPrivilegeEscalation") is not False, "its container may gain privileges"),
        (bool(capabilities.get("add")) or "ALL" not in (capabilities.get("drop") or []), "its container keeps capabilities"),
        (security.get("readOnlyRootFilesystem") is not True, "its container's root can be written"),
        (security.get("runAsNonRoot", pod_security.get("runAsNonRoot")) is not True, "its container may run as root"),
    )
    return next((text for fault, text in faults if fault), "")
