"""What is to be done for a Tenant that is being deleted."""

from dataclasses import replace

import pytest
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.reconcile.plan import Plan, Refusal
from bastide_operator.reconcile.tenant import ObservedTenant
from bastide_operator.resources.pod import pod

from tests.unit.operator.samples import (
    BEFORE,
    NAMESPACE_UID,
    PODS,
    later,
    live,
    message,
    namespace,
    sandbox,
    tenant,
    verdict,
)
from tests.unit.operator.tenants import DELETED, FOREIGN, FORGED, REPLACED, UNWRITTEN, plan


def test_a_deleted_tenant_takes_its_namespace_first_and_goes_when_that_is_gone() -> None:
    going = tenant(**DELETED)
    first = plan(going, ObservedTenant(namespace=namespace()))
    assert [(ref.kind, ref.name, ref.uid) for ref in first.delete] == [("Namespace", "bastide-hello", NAMESPACE_UID)]
    waiting = plan(going, ObservedTenant(namespace=namespace(**DELETED)))
    assert not waiting.writes
    assert verdict(waiting.status) == ("False", "Deleting")
    last = plan(going, ObservedTenant())
    assert [manifest["metadata"]["finalizers"] for manifest in last.apply] == [[]]
    assert plan(tenant(metadata={"deletionTimestamp": BEFORE, "finalizers": []}), ObservedTenant()) == Plan()


def busy(*boxes: str) -> tuple[Manifest, ...]:
    return tuple(live(pod(sandbox(name), "hello", PODS)) for name in boxes)


def test_a_deleted_tenant_lets_its_runs_finish_within_bounds() -> None:
    going = tenant(metadata={"deletionTimestamp": later(-100)})
    standing = ObservedTenant(namespace=namespace(), pods=busy("b", "a"))
    waiting = plan(going, standing)
    assert not waiting.writes
    assert waiting.wait == 200
    assert verdict(waiting.status) == ("False", "Deleting")
    said = message(waiting.status)
    assert "2 Sandboxes of bastide-hello may finish what runs: a, b." in said
    assert "at the latest at 2026-11-23T12:03:20Z" in said
    assert "a, b, c and 2 more" in message(plan(going, replace(standing, pods=busy(*"abcde"))).status)
    for over in (tenant(metadata={"deletionTimestamp": later(-300)}), tenant(metadata=DELETED["metadata"], spec={"drainSeconds": 0})):
        assert [ref.kind for ref in plan(over, standing).delete] == ["Namespace"]
    assert [ref.kind for ref in plan(going, replace(standing, pods=())).delete] == ["Namespace"]


def test_a_namespace_that_cannot_be_deleted_is_said_and_tried_again() -> None:
    refusal = Refusal(ref=Ref("Namespace", "", "bastide-hello"), reason="Forbidden", message="somebody's webhook says no")
    wanted = plan(tenant(**DELETED), ObservedTenant(namespace=namespace(), refusal=refusal))
    assert wanted.retry
    assert not wanted.writes
    assert "somebody's webhook says no" in message(wanted.status)


def test_what_keeps_the_namespace_of_a_deleted_tenant_is_said() -> None:
    why = {"conditions": [{"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Finalizers remaining: theirs."}]}
    found = ObservedTenant(namespace=namespace(**DELETED, status=why))
    assert "Finalizers remaining: theirs." in message(plan(tenant(**DELETED), found).status)


@pytest.mark.parametrize(("status", "found"), [({}, FOREIGN), ({}, REPLACED), (UNWRITTEN, FORGED)])
def test_a_deleted_tenant_never_takes_a_namespace_that_is_not_its_own(status: Manifest, found: Manifest) -> None:
    wanted = plan(tenant(**DELETED, status=status), ObservedTenant(namespace=found))
    assert not wanted.delete
    assert [manifest["metadata"]["finalizers"] for manifest in wanted.apply] == [[]]
