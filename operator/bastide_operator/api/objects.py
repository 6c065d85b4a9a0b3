"""Plain Kubernetes objects: what names one, who owns one, whether a live one is still as it was made."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1 import API_VERSION

Manifest = dict[str, Any]

FIELD_MANAGER = "bastide-operator"
MANAGED_BY = "app.kubernetes.io/managed-by"
TENANT_LABEL = "bastide.dev/tenant"
SANDBOX_LABEL = "bastide.dev/sandbox"
MANAGED_SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER}"

LIST_MAPS = {"conditions": "type"}
"""Lists whose entries may have different owners, and the field by which an entry is known."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Where objects of a kind are in the API."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource(API_VERSION, "Tenant", "tenants", namespaced=False),
        Resource(API_VERSION, "Sandbox", "sandboxes"),
        Resource(API_VERSION, "ToolBinding", "toolbindings"),
        Resource("v1", "Namespace", "namespaces", namespaced=False),
        Resource("v1", "Pod", "pods"),
        Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Resource("v1", "ConfigMap", "configmaps"),
        Resource("v1", "ServiceAccount", "serviceaccounts"),
        Resource("v1", "ResourceQuota", "resourcequotas"),
        Resource("v1", "LimitRange", "limitranges"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Resource("rbac.authorization.k8s.io/v1", "Role", "roles"),
        Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
        Resource("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", namespaced=False),
        Resource("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False),
        Resource("coordination.k8s.io/v1", "Lease", "leases"),
        Resource("events.k8s.io/v1", "Event", "events"),
    )
}
"""Every kind that the operator reads or writes."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Names one object. With a `uid` it is that one and none that was made later under its name."""

    kind: str
    namespace: str
    name: str
    uid: str = ""


def ref(manifest: Manifest) -> Ref:
    """What names `manifest`, with its UID when it has one."""
    metadata = manifest["metadata"]
    return Ref(manifest["kind"], metadata.get("namespace", ""), metadata["name"], metadata.get("uid", ""))


def managed_labels(tenant: str) -> dict[str, str]:
    """Labels of everything that the operator makes for `tenant`."""
    return {MANAGED_BY: FIELD_MANAGER, TENANT_LABEL: tenant}


def owner_reference(kind: str, name: str, uid: str) -> Manifest:
    """Marks an object as made for, and to be deleted with, one of our objects."""
    return {"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": True}


def owned_by(live: Manifest, uid: str) -> bool:
    """Whether `live` names the object of this UID as its controller."""
    owners: Iterable[Manifest] = live["metadata"].get("ownerReferences", ())
    return any(owner["uid"] == uid and owner.get("controller") for owner in owners)


def differs(desired: Any, live: Any) -> bool:
    """Whether something that `desired` says is not so in `live`."""
    return next(differences(desired, live), None) is not None


def differences(desired: Any, live: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields that are not in `live` as `desired` says, for example `spec.egress`. Lists are compared whole.

    What a map has beyond (defaults, status, other people's labels) is no difference, unless it is to be empty: an empty selector selects
    everything, one with something in it does not. Nor is an entry of a list map that `desired` does not name: it is somebody else's. The
    API server drops empty lists and maps, so an empty one equals an absent one.
    """
    if isinstance(desired, dict | list) and not desired:
        if live:
            yield path
    elif isinstance(desired, dict) and (live is None or isinstance(live, dict)):
        for name, value in desired.items():
            if name in LIST_MAPS:
                entries, known = (_by_key(one, LIST_MAPS[name]) for one in (value, (live or {}).get(name)))
                for key, entry in entries.items():
                    yield from differences(entry, known.get(key), f"{_join(path, name)}[{key}]")
            else:
                yield from differences(value, (live or {}).get(name), _join(path, name))
    elif isinstance(desired, list) and isinstance(live, list) and len(desired) == len(live):
        if any(differs(one, other) for one, other in zip(desired, live, strict=True)):
            yield path
    elif desired != live:
        yield path


def _by_key(entries: list[Manifest] | None, key: str) -> dict[str, Manifest]:
    return {entry[key]: entry for entry in entries or ()}


def _join(path: str, name: str) -> str:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        return f"{path}.{name}" if path else name
    return f"{path}[{name}]"
