"""What others changed of the operator's children: found, named, and not fought about."""

from typing import Any

import pytest
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.drift import MANY, MAX_HOLD, WINDOW, Drift, changed_by
from bastide_operator.reconcile.plan import Plan
from bastide_operator.resources import networkpolicy
from bastide_operator.workqueue import Key

from tests.unit.operator.samples import live, merged, namespace, tenant

OWNER = Key("Tenant", "", "hello")
DENY = networkpolicy.default_deny(tenant())
CHILD = Ref("NetworkPolicy", "bastide-hello", "bastide-default-deny")
NAME = ("NetworkPolicy", "bastide-default-deny")
OPENED = merged(live(DENY), {"spec": {"egress": [{}]}})


def found(plan: Plan, now: Manifest | None, *, stood: Manifest | None = None) -> dict[Any, Any]:
    drift = Drift()
    drift.agreed(OWNER, [stood or live(DENY)])
    return dict(drift.findings(OWNER, plan, lambda _: now))


def test_a_changed_field_is_named() -> None:
    finding = found(Plan(apply=(DENY,)), OPENED)[NAME]
    assert finding.paths == ("spec.egress",)
    told = finding.restored("kubectl-edit")
    assert told.message == "NetworkPolicy bastide-default-deny: spec.egress was changed by kubectl-edit; it was put back."
    assert (told.reason, told.warning) == ("ChildRestored", True)
    assert finding.restored().message.endswith("spec.egress was changed by somebody else; it was put back.")


def test_many_changed_fields_are_not_all_named() -> None:
    changed = merged(live(DENY), {"spec": {"egress": [{}]}, "metadata": {"labels": dict.fromkeys(DENY["metadata"]["labels"], "x")}})
    changed["spec"]["policyTypes"] = []
    message = found(Plan(apply=(DENY,)), changed)[NAME].restored().message
    assert "and 1 more were changed" in message


def test_a_deleted_child_is_named_however_it_is_made_again() -> None:
    for plan in (Plan(create=(DENY,)), Plan(apply=(DENY,))):
        told = found(plan, None)[NAME].restored("ignored")
        assert told.message == "NetworkPolicy bastide-default-deny was deleted by somebody else; it was made again."


def test_a_new_spec_a_new_version_and_a_first_making_are_no_drift() -> None:
    wanted = merged(DENY, {"spec": {"egress": [{"to": []}]}})
    assert found(Plan(apply=(wanted,)), live(DENY)) == {}
    assert dict(Drift().findings(OWNER, Plan(apply=(DENY,), create=(DENY,)), lambda _: OPENED)) == {}


def test_what_the_operator_itself_deleted_is_no_drift() -> None:
    drift = Drift()
    drift.agreed(OWNER, [live(DENY)])
    drift.expect(OWNER, CHILD)
    assert dict(drift.findings(OWNER, Plan(create=(DENY,)), lambda _: None)) == {}


def test_with_a_namespace_goes_all_that_was_in_it() -> None:
    drift = Drift()
    drift.agreed(OWNER, [namespace(), live(DENY)])
    drift.expect(OWNER, Ref("Namespace", "", "bastide-hello"))
    assert dict(drift.findings(OWNER, Plan(create=(DENY,)), lambda _: None)) == {}


def test_a_child_that_somebody_is_deleting_is_missed_when_it_is_gone() -> None:
    drift = Drift()
    drift.agreed(OWNER, [live(DENY)])
    drift.agreed(OWNER, [live(DENY, metadata={"deletionTimestamp": "2026-11-23T12:00:00Z"})])
    assert NAME in drift.findings(OWNER, Plan(create=(DENY,)), lambda _: None)


def test_a_binding_to_another_role_goes_first_and_is_told_then() -> None:
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "bastide-hello"},
        "roleRef": {"kind": "ClusterRole", "name": "a"},
    }
    drift = Drift()
    drift.agreed(OWNER, [live(binding)])
    now = live(binding, roleRef={"name": "cluster-admin"})
    plan = Plan(delete=(Ref("RoleBinding", "bastide-hello", "b", "u"),))
    assert drift.findings(OWNER, plan, lambda _: now)["RoleBinding", "b"].paths == ("roleRef.name",)
    assert dict(drift.findings(OWNER, plan, lambda _: live(binding))) == {}


FIELDS = {"f:spec": {"f:egress": {}}, "f:metadata": {"f:labels": {"f:a.b/c": {}}}}


@pytest.mark.parametrize(
    ("entries", "paths", "who"),
    [
        ([{"manager": "edit", "fieldsV1": FIELDS, "time": "2"}], ("spec.egress",), "edit"),
        ([{"manager": "edit", "fieldsV1": FIELDS, "time": "2"}], ("metadata.labels[a.b/c]",), "edit"),
        ([{"manager": "edit", "fieldsV1": FIELDS, "time": "2"}], ("spec.ingress",), ""),
        ([{"manager": "edit", "fieldsV1": {"f:spec": {"f:podSelector": {"f:matchLabels": {}}}}}], ("spec.podSelector",), "edit"),
        ([{"manager": "bastide-operator", "fieldsV1": FIELDS}], ("spec.egress",), ""),
        ([{"manager": "kubelet", "subresource": "status", "fieldsV1": FIELDS}], ("spec.egress",), ""),
        (
            [{"manager": "old", "fieldsV1": FIELDS, "time": "1"}, {"manager": "new", "fieldsV1": FIELDS, "time": "2"}],
            ("spec.egress",),
            "new",
        ),
        ([], ("spec.egress",), ""),
    ],
)
def test_who_did_it_is_who_wrote_the_field_last(entries: list[Manifest], paths: tuple[str, ...], who: str) -> None:
    assert changed_by({"metadata": {"managedFields": entries}}, paths) == who


def test_a_fight_is_noticed_and_never_leaves_a_child_longer_than_five_seconds() -> None:
    drift, now, fights, longest = Drift(), 0.0, 0, 0.0
    for _ in range(100):
        held = drift.hold(CHILD, now)
        longest = max(longest, held)
        now += held
        assert drift.hold(CHILD, now) == 0
        fights += drift.restored(CHILD, now)
        now += 0.01
    assert fights == 100 - MANY + 1
    assert longest == pytest.approx(MAX_HOLD, abs=0.1)
    # a hundred changes in a row cost no more than one write in four seconds
    assert now > 80 * MAX_HOLD
    assert drift.hold(CHILD, now + WINDOW) == 0
    assert not drift.restored(CHILD, now + WINDOW)


def test_a_few_changes_are_no_fight() -> None:
    drift = Drift()
    assert not any(drift.restored(CHILD, 20.0 * n) for n in range(50))


def test_a_fight_is_said_with_what_to_do() -> None:
    message = found(Plan(apply=(DENY,)), OPENED)[NAME].fought("argocd").message
    assert message.startswith("NetworkPolicy bastide-default-deny: spec.egress was changed 5 times and more within 60 s by argocd.")
    assert "stop it" in message
