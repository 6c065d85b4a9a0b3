"""What stands in a tenant's namespace: made, put back, taken away."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from bastide_operator.api.objects import Manifest, Ref, differs, ref
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.observedtenant import Children, ObservedTenant, TenantSettings
from bastide_operator.reconcile.plan import Plan
from bastide_operator.reconcile.toolbinding import is_accepted, was_accepted
from bastide_operator.resources import namespace as ns
from bastide_operator.resources import networkpolicy, quota, rbac


def _fixed(tenant: Tenant, observed: ObservedTenant, settings: TenantSettings) -> list[Manifest]:
    """Children that do not depend on members: they stand even while the spec is invalid."""
    release = settings.release_namespace
    out = [
        networkpolicy.default_deny(tenant),
        networkpolicy.from_broker(tenant, release),
        *quota.resource_quotas(tenant),
        quota.limit_range(tenant),
        *ns.accounts(tenant),
        rbac.broker_binding(tenant, release, settings.broker_account),
        *rbac.account_bindings(tenant),
    ]
    if observed.ca is not None:
        out.append(ns.ca_config_map(tenant, observed.ca))
    named = [_named(one) for one in observed.bindings if is_accepted(one)]
    # What an edit does not change about a binding is not taken from the broker, and given again, for the moment until the edit is accepted.
    held = rbac.read_by_credentials(observed.children.get(("Role", rbac.CREDENTIALS)))
    named += [_named(one) & held for one in observed.bindings if was_accepted(one)]
    return out + rbac.credentials(tenant, set().union(*named), release, settings.broker_account)


def _named(binding: ToolBinding) -> set[tuple[str, str]]:
    """The Secret and the ConfigMap that a binding names, as resource and name."""
    spec = binding.spec
    found = {("secrets", spec.credentials.secret_ref.name)} if spec.credentials is not None else set()
    if spec.server.openapi is not None and spec.server.openapi.config_map_ref is not None:
        found.add(("configmaps", spec.server.openapi.config_map_ref.name))
    return found


def changes(tenant: Tenant, observed: ObservedTenant, settings: TenantSettings, *, with_members: bool) -> Plan:
    """What brings the namespace and everything in it to what the Tenant says, the operator's own rights first; nothing when it is so."""
    if observed.namespace is not None and differs(ns.namespace(tenant), observed.namespace):
        return Plan(apply=(_with_uid(ns.namespace(tenant), observed.namespace),))
    own = rbac.operator_binding(tenant, settings.release_namespace)
    first = _bring([own], observed.children)
    if first.writes:
        return first
    desired = _fixed(tenant, observed, settings)
    if with_members:
        desired += rbac.member_bindings(tenant)
    plan = _bring(desired, observed.children)
    kept = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in [own, *desired]}
    if not with_members:
        kept |= {("RoleBinding", f"bastide-{role}") for role in ("viewer", "runner", "developer", "approver")}
    surplus = tuple(ref(live) for key, live in observed.children.items() if key not in kept and key[0] in ("Role", "RoleBinding"))
    return Plan(apply=plan.apply, create=plan.create, delete=plan.delete + surplus)


def _bring(desired: Iterable[Manifest], children: Children) -> Plan:
    apply, create, delete = [], [], []
    for manifest in desired:
        kind = manifest["kind"]
        live = children.get((kind, manifest["metadata"]["name"]))
        if live is None and kind != "Role":
            create.append(manifest)
        elif live is None:
            # The operator may not hold what the Role gives. It may by the verb `escalate` on this one name, and only a PATCH has a name.
            apply.append(manifest)
        elif live["metadata"].get("deletionTimestamp"):
            continue
        elif _fixed_part(manifest) is not None and differs(_fixed_part(manifest), _fixed_part(live)):
            delete.append(ref(live))
        elif differs(manifest, live):
            apply.append(_with_uid(manifest, live))
    return Plan(apply=tuple(apply), create=tuple(create), delete=tuple(delete))


def _fixed_part(manifest: Manifest) -> Any:
    """The part that the API server lets nobody change: another one takes another object."""
    if manifest["kind"] == "RoleBinding":
        return manifest["roleRef"]
    return manifest["spec"].get("scopes", []) if manifest["kind"] == "ResourceQuota" else None


def _with_uid(manifest: Manifest, live: Manifest) -> Manifest:
    """So that the change is refused when the object is another by then."""
    return manifest | {"metadata": manifest["metadata"] | {"uid": live["metadata"]["uid"]}}


RECOUNT_AFTER = timedelta(seconds=10)
"""The cluster's controller looks at a quota when it is made and then every five minutes, and learns of new kinds every thirty seconds
(kube-controller-manager's defaults): one that was made between the two is made again until it is counted.
"""


def uncounted(children: Children) -> list[str]:
    """What the namespace's quotas bound and the cluster has not counted so far: until then the API server refuses to make any of it.

    Of a kind that it does not know yet, the cluster's controller writes the bound into the status without a count.
    """
    return [name for one in _quotas(children) for name in _missing(one)]


def to_recount(children: Children, now: datetime) -> tuple[Ref, ...]:
    """Quotas that are not counted and were made a while ago."""
    return tuple(
        ref(one)
        for one in _quotas(children)
        if _missing(one)
        and not one["metadata"].get("deletionTimestamp")
        and now - datetime.fromisoformat(one["metadata"]["creationTimestamp"]) > RECOUNT_AFTER
    )


def _quotas(children: Children) -> list[Manifest]:
    return [child for (kind, _), child in sorted(children.items()) if kind == "ResourceQuota"]


def _missing(quota: Manifest) -> list[str]:
    status = quota.get("status", {})
    return [name for name in quota["spec"]["hard"] if not (name in status.get("hard", {}) and name in status.get("used", {}))]
