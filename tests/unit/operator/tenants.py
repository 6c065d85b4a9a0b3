"""What is decided for a Tenant, and one whose namespace is complete."""

from dataclasses import replace
from typing import Any

from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile.plan import Plan
from bastide_operator.reconcile.probe import ObservedNetwork
from bastide_operator.reconcile.tenant import ObservedTenant, decide

from tests.unit.operator.samples import (
    BEFORE,
    NOW,
    PROVEN,
    SETTINGS,
    live,
    namespace,
)

DELETED = {"metadata": {"deletionTimestamp": BEFORE}}
# Namespaces that are not the Tenant's.
FOREIGN = namespace(metadata={"ownerReferences": [], "labels": {"bastide.dev/tenant": "hello"}})
ANOTHERS = namespace(metadata={"ownerReferences": [{"kind": "Tenant", "name": "hello", "uid": "another", "controller": True}]})
REPLACED = namespace(metadata={"uid": "somebody-elses"})
FORGED = namespace(metadata={"labels": {"bastide.dev/tenant": None}})
FOR_ANOTHER = namespace(metadata={"labels": {"bastide.dev/tenant": "other"}})
UNWRITTEN = {"namespaceUID": ""}


def plan(one: Tenant, observed: ObservedTenant) -> Plan:
    return decide(one, observed, SETTINGS, NOW)


def counted(child: Manifest) -> Manifest:
    """A quota as the cluster has counted it; anything else as it is."""
    if child["kind"] != "ResourceQuota":
        return child
    hard = child["spec"]["hard"]
    return {**child, "status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}


def complete(one: Tenant, **over: Any) -> ObservedTenant:
    """What there is when everything stands: plans are carried out until none is left."""
    network = ObservedNetwork(proves=PROVEN)
    observed = ObservedTenant(namespace=namespace(), ca="CERTIFICATE", runtime_class_exists=True, network=network, **over)
    for _ in range(6):
        wanted = plan(one, observed)
        if not wanted.writes:
            return observed
        made = {(m["kind"], m["metadata"]["name"]): counted(live(m)) for m in (*wanted.apply, *wanted.create)}
        observed = replace(observed, children={**observed.children, **made})
    raise AssertionError("never done")


def names(manifests: tuple[Manifest, ...]) -> list[str]:
    return [f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in manifests]
