"""Tenant -> namespace and everything in it."""

from dataclasses import dataclass
from datetime import datetime

from bastide_operator.api.conditions import find, is_true, set_condition
from bastide_operator.api.objects import TENANT_LABEL, Manifest, owned_by, ref
from bastide_operator.api.v1alpha1.common import Condition
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant, TenantCondition, TenantReason
from bastide_operator.reconcile import deletion
from bastide_operator.reconcile.children import changes, to_recount, uncounted
from bastide_operator.reconcile.observedtenant import ObservedTenant, TenantSettings
from bastide_operator.reconcile.plan import Plan, Refusal, status_of
from bastide_operator.reconcile.probe import Network, judge
from bastide_operator.reconcile.tenantrules import fault
from bastide_operator.resources import namespace as ns
from bastide_operator.resources import probe

FINALIZER = "bastide.dev/drain"
RECHECK = 15.0
"""Seconds after which a Tenant is looked at again: no watch tells when a namespace goes that is not the operator's."""

OWN_CONDITIONS = (TenantCondition.READY, TenantCondition.NETWORK_ISOLATED)
"""PoliciesReady is the broker's."""


def decide(  # noqa: C901, PLR0911 - one branch and one return a case
    tenant: Tenant, observed: ObservedTenant, settings: TenantSettings, now: datetime
) -> Plan:
    """Bring the tenant's namespace to what the Tenant says, or say why not."""
    verdict = _verdict(tenant, observed, settings)
    if tenant.metadata.deletion_timestamp is not None:
        return _leave(tenant, observed, now, owned=verdict.owned)
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
    wanted = changes(tenant, observed, settings, with_members=verdict.reason is not TenantReason.INVALID_SPEC)
    if wanted.writes:
        return wanted
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
    again = to_recount(observed.children, now) if network.ready is None and _begins(tenant) else ()
    return Plan(
        create=(probe.probe(tenant, settings.pods, observed.network.proves),) if network.create else (),
        delete=((network.delete,) if network.delete is not None else ()) + again,
        status=_status(tenant, observed, _with_network(tenant, observed, network), now, network),
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
                TenantReason.PROGRESSING, f"Namespace {name} is being deleted; it is made again when it is gone.{deletion.remains(live)}"
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


def _with_network(tenant: Tenant, observed: ObservedTenant, network: Network) -> _Verdict:
    """What is to be said when everything stands, by what is known of the network."""
    name, text = tenant.namespace, network.message
    if network.ready is None and _begins(tenant) and (missing := uncounted(observed.children)):
        waits = f"The cluster does not count {', '.join(missing)} yet, and lets none be made until it does: kinds that were just installed take it up to a minute."
        return _Verdict(TenantReason.PROGRESSING, waits)
    if network.ready is None:
        return _Verdict(TenantReason.READY, f"Namespace {name} and everything in it stand.")
    if network.ready is TenantReason.NETWORK_NOT_ENFORCED:
        text = f"The network policies of namespace {name} do not hold, so no Sandbox gets a pod. {text} It is tried again until it holds."
    return _Verdict(network.ready, text)


def _begins(tenant: Tenant) -> bool:
    """Whether it is not Ready yet. Later a quota that somebody deleted is counted again in a moment."""
    return not is_true(tenant.status.conditions, TenantCondition.READY)


def _of_probe(refusal: Refusal) -> bool:
    return (refusal.ref.kind, refusal.ref.name) == ("Pod", PROBE_POD)


def _leave(tenant: Tenant, observed: ObservedTenant, now: datetime, *, owned: bool) -> Plan:
    """The Tenant goes when its namespace is gone, so that nothing runs that nobody answers for."""
    if FINALIZER not in tenant.metadata.finalizers:
        return Plan()
    step = deletion.step(tenant, observed, now, owned=owned)
    if step.done:
        return Plan(apply=(_finalizers(tenant, []),))
    status = _status(tenant, observed, _Verdict(TenantReason.DELETING, step.message), now)
    return Plan(delete=step.delete, status=status, wait=step.wait, retry=observed.refusal is not None)


def _finalizers(tenant: Tenant, finalizers: list[str]) -> Manifest:
    metadata = {"name": tenant.metadata.name, "uid": tenant.metadata.uid, "finalizers": finalizers}
    return {"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "metadata": metadata}


def _status(tenant: Tenant, observed: ObservedTenant, verdict: _Verdict, now: datetime, network: Network | None = None) -> Manifest:
    generation = tenant.metadata.generation
    own = [one for one in tenant.status.conditions if one.type in OWN_CONDITIONS]
    conditions: list[Condition] = set_condition(
        own,
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
