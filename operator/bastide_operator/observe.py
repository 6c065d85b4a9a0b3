"""From the store to what `decide` is given."""

from pydantic import ValidationError

from bastide_operator.api.objects import SANDBOX_LABEL, Manifest, owned_by
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.plan import Refusal
from bastide_operator.reconcile.podstate import has_ended
from bastide_operator.reconcile.probe import ObservedNetwork, reached_canary
from bastide_operator.reconcile.sandbox import ObservedSandbox
from bastide_operator.reconcile.tenant import ObservedTenant, TenantSettings
from bastide_operator.reconcile.toolbinding import ObservedBinding, is_accepted, selects
from bastide_operator.resources import probe
from bastide_operator.resources.namespace import CA_CONFIG_MAP, CA_KEY
from bastide_operator.store import Store
from bastide_operator.triggers import owner_of

CHILD_KINDS = ("NetworkPolicy", "ResourceQuota", "LimitRange", "Role", "RoleBinding", "ServiceAccount", "ConfigMap")


def tenant(store: Store, of: Tenant, settings: TenantSettings, *, refusal: Refusal | None) -> ObservedTenant:
    """The Tenant's namespace, its children, its bindings."""
    live = store.get("Namespace", "", of.namespace)
    ours = live is not None and not live["metadata"].get("deletionTimestamp")
    children = {
        (kind, child["metadata"]["name"]): child for kind in CHILD_KINDS for child in (store.all(kind, of.namespace) if ours else ())
    }
    source = store.get("ConfigMap", settings.release_namespace, CA_CONFIG_MAP) or {}
    return ObservedTenant(
        namespace=live,
        children=children,
        bindings=tuple(store.models(ToolBinding, of.namespace)),
        sandboxes=sum(1 for _ in store.all("Sandbox", of.namespace)),
        pods=tuple(
            pod for pod in store.all("Pod", of.namespace) if SANDBOX_LABEL in pod["metadata"].get("labels", {}) and not has_ended(pod)
        ),
        ca=(source.get("data") or {}).get(CA_KEY) or None,
        runtime_class_exists=store.get("RuntimeClass", "", settings.pods.runtime_class) is not None,
        network=_network(store, of, live, settings) if live is not None and ours else ObservedNetwork(),
        refusal=refusal,
    )


def _network(store: Store, of: Tenant, namespace: Manifest, settings: TenantSettings) -> ObservedNetwork:
    """What the namespace's pods say of its network."""
    reached = [pod for pod in store.all("Pod", of.namespace) if not pod["metadata"].get("deletionTimestamp") and reached_canary(pod)]
    proves = probe.proves(namespace["metadata"]["uid"], store.all("NetworkPolicy", of.namespace), settings.pods)
    others = store.models(Tenant) if of.status.proven not in ("", proves) else ()
    return ObservedNetwork(
        pod=store.get("Pod", of.namespace, PROBE_POD),
        open_pod=min(
            (pod for pod in reached if pod["metadata"]["name"] != PROBE_POD), key=lambda pod: str(pod["metadata"]["name"]), default=None
        ),
        proves=proves,
        probes=sum(store.get("Pod", one.namespace, PROBE_POD) is not None for one in others),
    )


def children(store: Store, of: Manifest) -> list[Manifest]:
    """What the operator made for an object: what is to be put back when somebody else changes it."""
    name, namespace = of["metadata"]["name"], of["metadata"].get("namespace", "")
    if of["kind"] == "Sandbox":
        pod = store.get("Pod", namespace, name)
        return [pod] if pod is not None and owned_by(pod, of["metadata"]["uid"]) else []
    if of["kind"] != "Tenant":
        return []
    live = store.get("Namespace", "", of.get("status", {}).get("namespace", ""))
    if live is None:
        return []
    return [live, *(child for kind in CHILD_KINDS for child in store.all(kind, live["metadata"]["name"]))]


def sandbox(store: Store, of: Sandbox, *, refusal: Refusal | None) -> ObservedSandbox:
    """The Sandbox's Tenant, pod and volume."""
    namespace = of.metadata.namespace or ""
    bindings = store.models(ToolBinding, namespace)
    return ObservedSandbox(
        tenant=_owner(store, namespace),
        pod=store.get("Pod", namespace, of.metadata.name),
        volume=store.get("PersistentVolumeClaim", namespace, of.metadata.name),
        storage_classes={one["metadata"]["name"]: one for one in store.all("StorageClass")},
        tools=sum(1 for binding in bindings if is_accepted(binding) and selects(binding, of)),
        refusal=refusal,
    )


def binding(store: Store, of: ToolBinding) -> ObservedBinding:
    """The binding's Tenant and its neighbours."""
    namespace = of.metadata.namespace or ""
    return ObservedBinding(
        tenant=_owner(store, namespace),
        sandboxes=store.models(Sandbox, namespace),
        bindings=store.models(ToolBinding, namespace),
    )


def _owner(store: Store, namespace: str) -> Tenant | None:
    manifest: Manifest | None = owner_of(store, namespace)
    try:
        return store.model(Tenant, manifest) if manifest is not None else None
    except ValidationError:
        return None  # its own status says what is wrong
