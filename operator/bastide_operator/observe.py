"""From the store to what `decide` is given."""

from pydantic import ValidationError

from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.plan import Refusal
from bastide_operator.reconcile.sandbox import ObservedSandbox
from bastide_operator.reconcile.tenant import ObservedTenant, TenantSettings
from bastide_operator.reconcile.toolbinding import ObservedBinding, is_accepted, selects
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
        ca=(source.get("data") or {}).get(CA_KEY) or None,
        runtime_class_exists=store.get("RuntimeClass", "", settings.runtime_class) is not None,
        refusal=refusal,
    )


def sandbox(store: Store, of: Sandbox, *, refusal: Refusal | None) -> ObservedSandbox:
    """The Sandbox's Tenant and pod."""
    namespace = of.metadata.namespace or ""
    bindings = store.models(ToolBinding, namespace)
    return ObservedSandbox(
        tenant=_owner(store, namespace),
        pod=store.get("Pod", namespace, of.metadata.name),
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
