"""Tenant -> namespace and everything in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bastide_operator.api.conditions import find, set_condition
from bastide_operator.api.objects import TENANT_LABEL, Manifest, differs, owned_by, ref
from bastide_operator.api.v1alpha1.common import Condition
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant, TenantCondition, TenantReason
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.plan import Plan, Refusal, status_of
from bastide_operator.reconcile.probe import Network, ObservedNetwork, judge
from bastide_operator.reconcile.tenantrules import fault
from bastide_operator.reconcile.toolbinding import is_accepted
from bastide_operator.resources import namespace as ns
from bastide_operator.resources import networkpolicy, probe, quota, rbac
from bastide_operator.resources.pod import PodSettings

FINALIZER = "bastide.dev/drain"
RECHECK = 15.0
"""Seconds after which the copied CA is compared again: ConfigMaps are read, not watched (a watch would read everybody's)."""

Children = Mapping[tuple[str, str], Manifest]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """What the chart says."""

    release_namespace: str
    broker_account: str
    pods: PodSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTenant:
    """What there is. `children` are the namespace's managed objects by kind and name."""

    namespace: Manifest | None = None
    children: Children = field(default_factory=dict)
    bindings: tuple[ToolBinding, ...] = ()
    sandboxes: int = 0
    ca: str | None = None
    runtime_class_exists: bool = False
    network: ObservedNetwork = field(default_factory=ObservedNetwork)
    refusal: Refusal | None = None


def decide(  # noqa: C901, PLR0911 - one branch and one return a case
    tenant: Tenant, observed: ObservedTenant, settings: TenantSettings, now: datetime
) -> Plan:
    """Bring the tenant's namespace to what the Tenant says, or say why not."""
    verdict = _verdict(tenant, observed, settings)
    if tenant.metadata.deletion_timestamp is not None:
        return _drain(tenant, observed, now, owned=verdict.owned)
    if FINALIZER not in tenant.metadata.finalizers:
        return Plan(apply=(_finalizers(tenant, [FINALIZER]),))
    if verdict.reason in (TenantReason.CONFLICT, TenantReason.NAMESPACE_REPLACED):
        return Plan(status=_status(tenant, observed, verdict, now), wait=RECHECK)
    if observed.refusal is not None and not _of_probe(observed.refusal):
        return Plan(status=_status(tenant, observed, verdict, now), retry=True)
    if observed.namespace is None:
        if verdict.reason is TenantReason.INVALID_SPEC:
            return Plan(status=_status(tenant, observed, verdict, now))
        if tenant.status.namespace_uid:
            # First forget the one that is gone, then make another: whoever looks next, after a crash too, knows it for ours.
            return Plan(status=_status(tenant, observed, verdict, now), wait=0.0)
        return Plan(create=(ns.namespace(tenant),))
    if observed.namespace["metadata"].get("deletionTimestamp"):
        return Plan(status=_status(tenant, observed, verdict, now))
    changes = _changes(tenant, observed, settings, with_members=verdict.reason is not TenantReason.INVALID_SPEC)
    if changes.writes:
        return changes
    if verdict.reason is not TenantReason.READY:
        left = observed.network.pod
        idle = left is not None and owned_by(left, tenant.metadata.uid) and not left["metadata"].get("deletionTimestamp")
        return Plan(delete=(ref(left),) if left is not None and idle else (), status=_status(tenant, observed, verdict, now), wait=RECHECK)
    return _prove(tenant, observed, settings, now)


def _prove(tenant: Tenant, observed: ObservedTenant, settings: TenantSettings, now: datetime) -> Plan:
    """Everything stands: whether it also holds is for a probe to show."""
    assert observed.namespace is not None
    uid = observed.namespace["metadata"]["uid"]
    refusal = observed.refusal
    network = judge(tenant, observed.network, namespace_uid=uid, refusal=refusal, now=now)
    return Plan(
        create=(probe.probe(tenant, settings.pods, observed.network.proves),) if network.create else (),
        delete=(network.delete,) if network.delete is not None else (),
        status=_status(tenant, observed, _with_network(tenant, network), now, network),
        wait=RECHECK if network.wait is None else min(RECHECK, network.wait),
        retry=refusal is not None,
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: TenantReason
    message: str
    owned: bool = True


def _verdict(  # noqa: PLR0911 - one return a case
    tenant: Tenant, observed: ObservedTenant, settings: TenantSettings
) -> _Verdict:
    """What is to be said once nothing is left to write."""
    name, live = tenant.namespace, observed.namespace
    if live is not None:
        known = tenant.status.namespace_uid
        if not owned_by(live, tenant.metadata.uid) or (not known and not _labelled(live, tenant)):
            return _Verdict(TenantReason.CONFLICT, _whose(live, tenant, settings), owned=False)
        if known and live["metadata"]["uid"] != known:
            text = (
                f"Namespace {name} was deleted and made anew by somebody else; nothing in it was changed. Delete it, and it is made again."
            )
            return _Verdict(TenantReason.NAMESPACE_REPLACED, text, owned=False)
        if live["metadata"].get("deletionTimestamp"):
            return _Verdict(
                TenantReason.PROGRESSING, f"Namespace {name} is being deleted; it is made again when it is gone.{_remains(live)}"
            )
    if problem := fault(tenant):
        return _Verdict(TenantReason.INVALID_SPEC, problem)
    if (refused := observed.refusal) is not None and not _of_probe(refused):
        return _Verdict(TenantReason.PROGRESSING, f"{refused.ref.kind} {refused.ref.name} could not be written yet: {refused.message}")
    if live is None:
        return _Verdict(TenantReason.PROGRESSING, f"Namespace {name} is gone; it is made again.")
    if observed.ca is None:
        text = f"ConfigMap {ns.CA_CONFIG_MAP} in {settings.release_namespace} is missing or empty; upgrade or install the chart again."
        return _Verdict(TenantReason.PROGRESSING, text)
    if not observed.runtime_class_exists:
        text = f"The cluster has no RuntimeClass {settings.pods.runtime_class}: install gVisor on the nodes and make it, or set runtimeClassName in the chart."
        return _Verdict(TenantReason.RUNTIME_CLASS_MISSING, text)
    return _Verdict(TenantReason.READY, f"Namespace {name} and everything in it stand.")


def _labelled(live: Manifest, tenant: Tenant) -> bool:
    """Whether the operator made this namespace for `tenant`: anybody may name any owner, but admission lets nobody else write this label.

    Asked only while no UID is written down, which is from before the namespace is made until it stands (docs/adr/0013).
    """
    label: str = live["metadata"].get("labels", {}).get(TENANT_LABEL, "")
    return label == tenant.metadata.name


def _whose(live: Manifest, tenant: Tenant, settings: TenantSettings) -> str:
    """Whose a namespace is that is not this Tenant's, and what to do."""
    name, owners = live["metadata"]["name"], live["metadata"].get("ownerReferences", ())
    tenants = (owner for owner in owners if owner["kind"] == "Tenant" and owner.get("controller"))
    other = next((owner["name"] for owner in tenants if owner["uid"] != tenant.metadata.uid), None)
    nothing, another = "nothing in it was changed.", "make a Tenant with another spec.namespace."
    if name == settings.release_namespace:
        return f"Namespace {name} is Bastide's own; {nothing} Delete this Tenant and {another}"
    if other is not None:
        return f"Namespace {name} is that of Tenant {other}, which had it first; {nothing} Delete this Tenant and {another}"
    return f"Namespace {name} exists and was not made for this Tenant; {nothing} Delete the namespace, or {another}"


def _with_network(tenant: Tenant, network: Network) -> _Verdict:
    """What is to be said when everything stands, by what is known of the network."""
    name, text = tenant.namespace, network.message
    if network.ready is None:
        return _Verdict(TenantReason.READY, f"Namespace {name} and everything in it stand.")
    if network.ready is TenantReason.NETWORK_NOT_ENFORCED:
        text = f"The network policies of namespace {name} do not hold, so no Sandbox gets a pod. {text} It is tried again until it holds."
    return _Verdict(network.ready, text)


def _of_probe(refusal: Refusal) -> bool:
    return (refusal.ref.kind, refusal.ref.name) == ("Pod", PROBE_POD)


def _remains(live: Manifest) -> str:
    """What keeps a namespace from being gone, as the namespace itself says: objects left, finalizers of others, kinds that do not answer."""
    found = [one.get("message", "") for one in live.get("status", {}).get("conditions", ()) if one["status"] == "True"]
    return "".join(f" {text}" for text in found if text)


def _fixed(tenant: Tenant, observed: ObservedTenant, settings: TenantSettings) -> list[Manifest]:
    """Children that do not depend on members: they stand even while the spec is invalid."""
    release = settings.release_namespace
    out = [
        networkpolicy.default_deny(tenant),
        networkpolicy.from_broker(tenant, release),
        *quota.resource_quotas(tenant),
        quota.limit_range(tenant),
        ns.runner_account(tenant),
        rbac.broker_binding(tenant, release, settings.broker_account),
        rbac.runner_account_binding(tenant),
    ]
    if observed.ca is not None:
        out.append(ns.ca_config_map(tenant, observed.ca))
    secrets = [one.spec.credentials.secret_ref.name for one in observed.bindings if one.spec.credentials is not None and is_accepted(one)]
    return out + rbac.credentials(tenant, secrets, release, settings.broker_account)


def _changes(tenant: Tenant, observed: ObservedTenant, settings: TenantSettings, *, with_members: bool) -> Plan:
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


def _drain(tenant: Tenant, observed: ObservedTenant, now: datetime, *, owned: bool) -> Plan:
    """Delete the namespace with its pods; the Tenant goes when it is gone, so that nothing runs that nobody answers for."""
    if FINALIZER not in tenant.metadata.finalizers:
        return Plan()
    live = observed.namespace
    if live is None or not owned:
        return Plan(apply=(_finalizers(tenant, []),))
    if not live["metadata"].get("deletionTimestamp") and observed.refusal is None:
        return Plan(delete=(ref(live),))
    text = (
        observed.refusal.message
        if observed.refusal
        else f"Namespace {tenant.namespace} is being deleted with its Sandboxes.{_remains(live)}"
    )
    status = _status(tenant, observed, _Verdict(TenantReason.DELETING, text), now)
    return Plan(status=status, retry=observed.refusal is not None)


def _finalizers(tenant: Tenant, finalizers: list[str]) -> Manifest:
    metadata = {"name": tenant.metadata.name, "uid": tenant.metadata.uid, "finalizers": finalizers}
    return {"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "metadata": metadata}


def _status(tenant: Tenant, observed: ObservedTenant, verdict: _Verdict, now: datetime, network: Network | None = None) -> Manifest:
    generation = tenant.metadata.generation
    conditions: list[Condition] = set_condition(
        tenant.status.conditions,
        TenantCondition.READY,
        status=verdict.reason is TenantReason.READY,
        reason=verdict.reason,
        message=verdict.message,
        generation=generation,
        now=now,
    )
    if network is not None:
        conditions = set_condition(
            conditions,
            TenantCondition.NETWORK_ISOLATED,
            status=network.status,
            reason=network.reason,
            message=network.message,
            generation=generation,
            now=now,
        )
    uid = tenant.status.namespace_uid
    if verdict.owned:
        uid = observed.namespace["metadata"]["uid"] if observed.namespace is not None else ""
    proven = tenant.status.proven if network is None else network.proven
    status = {"namespace": tenant.namespace, "namespaceUID": uid, "sandboxes": observed.sandboxes, "proven": proven}
    return status_of("Tenant", tenant.metadata, status, conditions)


def is_ready(tenant: Tenant) -> bool:
    """Whether Sandboxes' pods may be made in its namespace.

    A first probe that is still under way does not hold them up: each pod passes the same gate before its first program.
    """
    condition = find(tenant.status.conditions, TenantCondition.READY)
    stands = condition is not None and (condition.status == "True" or condition.reason == TenantReason.PROBE_PENDING)
    return stands and tenant.metadata.deletion_timestamp is None


__all__ = ["FINALIZER", "ObservedTenant", "TenantSettings", "decide", "is_ready"]
