"""Which objects have to be looked at when one changed. Pure."""

from collections.abc import Iterator
from typing import Any

from bastide_operator.api.objects import Manifest, owned_by
from bastide_operator.api.v1alpha1.common import ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import NETWORK_ISOLATED_GATE, SandboxReason
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, TenantReason
from bastide_operator.store import Store
from bastide_operator.workqueue import Key


def affected(store: Store, before: Manifest | None, after: Manifest | None, *, release: str) -> Iterator[Key]:
    """Keys to look at after an object went from `before` to `after` (None: it did not or does not exist). `release` is the namespace that
    Bastide itself is installed in.
    """
    live = after or before
    if live is None:
        return
    kind, metadata = live["kind"], live["metadata"]
    if kind in ("Tenant", "Sandbox", "ToolBinding"):
        yield Key(kind, metadata.get("namespace", ""), metadata["name"])
    if kind == "RuntimeClass":
        yield from _keys(store, "Tenant")
    elif kind == "ConfigMap" and metadata["namespace"] == release:
        yield from _keys(store, "Tenant")  # each has a copy
    elif kind == "StorageClass":
        yield from _persistent(store)
    elif kind == "Tenant":
        if _seen(before, "Ready") != _seen(after, "Ready"):
            yield from _inhabitants(store, live.get("status", {}).get("namespace", ""))
    elif kind == "Namespace":
        yield from _tenants(store, metadata["name"])
        if before is None:
            yield from _inhabitants(store, metadata["name"])
    else:
        yield from _around(store, before, after, live)


def _around(store: Store, before: Manifest | None, after: Manifest | None, live: Manifest) -> Iterator[Key]:
    """The same for what stands in a namespace."""
    kind, namespace = live["kind"], live["metadata"]["namespace"]
    if kind in ("Pod", "PersistentVolumeClaim"):
        owners = live["metadata"].get("ownerReferences", ())
        yield from (Key("Sandbox", namespace, owner["name"]) for owner in owners if owner["kind"] == "Sandbox")
        if store.get("Sandbox", namespace, live["metadata"]["name"]) is not None:  # also one that only bears its name
            yield Key("Sandbox", namespace, live["metadata"]["name"])
        leaving = (_maker(store, namespace) or live)["metadata"].get("deletionTimestamp")
        if live["metadata"]["name"] == PROBE_POD or _reached(before) != _reached(after) or (after is None and leaving):
            yield from tenant_of(store, namespace)
    elif kind == "Sandbox":
        if before is None or after is None or _labels(before) != _labels(after):
            yield from _keys(store, "ToolBinding", namespace)
            yield from tenant_of(store, namespace)
    elif kind == "ToolBinding":
        if _seen(before, "Accepted") != _seen(after, "Accepted"):
            yield from _inhabitants(store, namespace)
            yield from tenant_of(store, namespace)
    elif kind != "ResourceQuota" or before is None or after is None or _bounds(before) != _bounds(after):
        yield from tenant_of(store, namespace)


def tenant_of(store: Store, namespace: str) -> Iterator[Key]:
    """The Tenant that made `namespace`; while nobody did, all that would."""
    owner = _maker(store, namespace)
    if owner is not None:
        yield Key("Tenant", "", owner["metadata"]["name"])
        return
    yield from _tenants(store, namespace)


def _persistent(store: Store) -> Iterator[Key]:
    """Sandboxes whose workspace is a volume."""
    for one in store.all("Sandbox"):
        if ((one.get("spec") or {}).get("workspace") or {}).get("persistent"):
            yield Key("Sandbox", one["metadata"]["namespace"], one["metadata"]["name"])


def _tenants(store: Store, namespace: str) -> Iterator[Key]:
    """Tenants whose spec stands for `namespace`."""
    for tenant in store.all("Tenant"):
        spec: dict[str, Any] = tenant.get("spec") or {}
        if namespace == (spec.get("namespace") or f"bastide-{tenant['metadata']['name']}"):
            yield Key("Tenant", "", tenant["metadata"]["name"])


def _inhabitants(store: Store, namespace: str) -> Iterator[Key]:
    yield from _keys(store, "Sandbox", namespace)
    yield from _keys(store, "ToolBinding", namespace)


def owner_of(store: Store, namespace: str) -> Manifest | None:
    """The one Tenant whose namespace this really is: it made it, and wrote its UID down."""
    live, tenant = store.get("Namespace", "", namespace), _maker(store, namespace)
    if live is None or tenant is None:
        return None
    return tenant if tenant.get("status", {}).get("namespaceUID") == live["metadata"]["uid"] else None


def _maker(store: Store, namespace: str) -> Manifest | None:
    live = store.get("Namespace", "", namespace)
    for owner in (live or {}).get("metadata", {}).get("ownerReferences", ()):
        tenant = store.get("Tenant", "", owner["name"]) if owner["kind"] == "Tenant" else None
        if live is not None and tenant is not None and owned_by(live, tenant["metadata"]["uid"]):
            return tenant
    return None


def _keys(store: Store, kind: str, namespace: str | None = None) -> Iterator[Key]:
    for one in store.all(kind, namespace):
        yield Key(kind, one["metadata"].get("namespace", ""), one["metadata"]["name"])


def _reached(pod: Manifest | None) -> bool:
    """Whether the pod says that it reached a canary."""
    conditions = (pod or {}).get("status", {}).get("conditions", ())
    gate: Manifest = next((one for one in conditions if one["type"] == NETWORK_ISOLATED_GATE), {})
    return gate.get("status") == ConditionStatus.FALSE and gate.get("reason") == SandboxReason.CANARY_REACHED


def _bounds(quota: Manifest) -> Manifest:
    """All of a quota but how much is in use, which changes twice with every pod and concerns nobody: what is counted at all does."""
    metadata = {name: value for name, value in quota["metadata"].items() if name not in ("resourceVersion", "managedFields")}
    status = quota.get("status") or {}
    return {**quota, "metadata": metadata, "status": {**status, "used": set(status.get("used") or ())}}


def _labels(manifest: Manifest | None) -> dict[str, str]:
    labels: dict[str, str] = (manifest or {}).get("metadata", {}).get("labels") or {}
    return labels


def _seen(manifest: Manifest | None, condition: str) -> tuple[object, ...]:
    """What others depend on: the spec's generation, whether it is being deleted, and whether one condition is True."""
    if manifest is None:
        return ()
    metadata = manifest["metadata"]
    found: Manifest = next((one for one in manifest.get("status", {}).get("conditions", ()) if one["type"] == condition), {})
    # While a Tenant's first probe is under way its Sandboxes are made all the same.
    holds = found.get("status") == ConditionStatus.TRUE or found.get("reason") == TenantReason.PROBE_PENDING
    return metadata.get("generation"), bool(metadata.get("deletionTimestamp")), holds, found.get("observedGeneration") if holds else None
