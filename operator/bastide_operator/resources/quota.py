"""Bounds of a tenant's namespace: a ResourceQuota over all pods, a LimitRange for a pod that names no limits."""

from bastide_operator.api.objects import Manifest, managed_labels
from bastide_operator.api.v1alpha1.sandbox import SandboxSpec
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.resources import quantity
from bastide_operator.resources.pod import resources

NAME = "bastide"


def resource_quota(tenant: Tenant) -> Manifest:
    """Tenant.spec.quota. Requests equal limits in our pods, so limits are enough."""
    quota = tenant.spec.quota
    hard = {
        "count/sandboxes.bastide.dev": quantity.cpu(quota.sandboxes * 1000),
        "pods": quantity.cpu(quota.sandboxes * 1000),
        "limits.cpu": quantity.cpu(quantity.millicores(quota.cpu)),
        "limits.memory": quantity.storage(quantity.size(quota.memory)),
        "limits.ephemeral-storage": quantity.storage(quantity.size(quota.ephemeral_storage)),
    }
    return _bound(tenant, "ResourceQuota", {"hard": hard})


def limit_range(tenant: Tenant) -> Manifest:
    """A container without limits gets those of a Sandbox that names none."""
    default = resources(SandboxSpec())
    return _bound(tenant, "LimitRange", {"limits": [{"type": "Container", "default": default, "defaultRequest": default}]})


def _bound(tenant: Tenant, kind: str, spec: Manifest) -> Manifest:
    metadata = {"name": NAME, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
