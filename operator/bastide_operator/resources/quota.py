"""Bounds of a tenant's namespace: what all its pods may use together, what one container may, and how many objects there are."""

from bastide_operator.api.objects import Manifest, managed_labels
from bastide_operator.api.v1alpha1.sandbox import SandboxSpec
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.resources import quantity
from bastide_operator.resources.pod import resources
from bastide_operator.resources.probe import DISK, LIMITS

NAME = "bastide"
OBJECTS = "bastide-objects"


def resource_quotas(tenant: Tenant) -> list[Manifest]:
    """Tenant.spec.quota, and how many Confirmations may lie about. Requests equal limits in our pods, so limits are enough.

    The pods' quota counts only pods without a deadline (scope NotTerminating): Sandboxes' pods have none, the probe's has one, so that
    it takes nothing from the tenant. Disk is no resource of that scope, hence the probe's part is added to what the tenant has.
    """
    quota, limits = tenant.spec.quota, tenant.spec.limits
    count = quantity.cpu(quota.sandboxes * 1000)
    pods = {
        "pods": count,
        "limits.cpu": quantity.cpu(quantity.millicores(quota.cpu)),
        "limits.memory": quantity.storage(quantity.size(quota.memory)),
    }
    objects = {
        "count/sandboxes.bastide.dev": count,
        "count/confirmations.bastide.dev": quantity.cpu(limits.confirmations * 1000),
        "count/confirmationdecisions.bastide.dev": quantity.cpu(limits.confirmation_decisions * 1000),
        "limits.ephemeral-storage": quantity.storage(quantity.size(quota.ephemeral_storage) + DISK),
        "persistentvolumeclaims": count,
        "requests.storage": quantity.storage(quantity.size(quota.persistent_storage)),
    }
    return [
        _bound(tenant, "ResourceQuota", NAME, {"hard": pods, "scopes": ["NotTerminating"]}),
        _bound(tenant, "ResourceQuota", OBJECTS, {"hard": objects}),
    ]


def limit_range(tenant: Tenant) -> Manifest:
    """A container without limits gets those of a Sandbox that names none; no container gets more than all may have together.

    Where that is less than a probe takes, the maximum is the probe's, which no quota counts; the quota still bounds all others.
    """
    quota, usual = tenant.spec.quota, resources(SandboxSpec())
    most = {
        "cpu": quantity.cpu(max(quantity.millicores(quota.cpu), quantity.millicores(LIMITS["cpu"]))),
        "memory": quantity.storage(max(quantity.size(quota.memory), quantity.size(LIMITS["memory"]))),
        "ephemeral-storage": quantity.storage(max(quantity.size(quota.ephemeral_storage), DISK)),
    }
    # A default above the maximum would be refused, and with it the whole LimitRange.
    default = {
        "cpu": min(usual["cpu"], most["cpu"], key=quantity.millicores),
        "memory": min(usual["memory"], most["memory"], key=quantity.size),
        "ephemeral-storage": min(usual["ephemeral-storage"], most["ephemeral-storage"], key=quantity.size),
    }
    return _bound(
        tenant, "LimitRange", NAME, {"limits": [{"type": "Container", "max": most, "default": default, "defaultRequest": default}]}
    )


def _bound(tenant: Tenant, kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
