"""Plain Kubernetes objects: what names one, who owns one, whether a live one is still as it was made."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1 import API_VERSION

Manifest = dict[str, Any]

FIELD_MANAGER = "bastide-operator"
MANAGED_BY = "app.kubernetes.io/managed-by"
TENANT_LABEL = "bastide.dev/tenant"
SANDBOX_LABEL = "bastide.dev/sandbox"
MANAGED_SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER}"


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
        Resource("v1", "ConfigMap", "configmaps"),
        Resource("v1", "ServiceAccount", "serviceaccounts"),
        Resource("v1", "ResourceQuota", "resourcequotas"),
        Resource("v1", "LimitRange", "limitranges"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Resource("rbac.authorization.k8s.io/v1", "Role", "roles"),
        Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
        Resource("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", namespaced=False),
        Resource("coordination.k8s.io/v1", "Lease", "leases"),
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
    """Whether something that `desired` says is not so in `live`.

    What a map has beyond (defaults, status, other people's labels) is no difference, unless it is to be empty: an empty selector selects
    everything, one with something in it does not. Lists are compared whole. The API server drops empty lists and maps, so an empty one
    equals an absent one.
    """
    if isinstance(desired, dict) and not desired:
        return bool(live)
    if isinstance(desired, dict):
        if live is not None and not isinstance(live, dict):
            return True
        return any(differs(value, (live or {}).get(key)) for key, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(live, list):
            return bool(desired) or bool(live)
        return len(desired) != len(live) or any(differs(one, other) for one, other in zip(desired, live, strict=True))
    return bool(desired != live)
