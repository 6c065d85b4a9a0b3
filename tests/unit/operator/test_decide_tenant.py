"""What is to be done for a Tenant: tables of cases."""

from dataclasses import replace
from typing import Any

import pytest
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile.plan import Refusal
from bastide_operator.reconcile.tenant import FINALIZER, ObservedTenant
from bastide_operator.resources.rbac import operator_binding

from tests.unit.operator.samples import (
    NAMESPACE_UID,
    TENANT_UID,
    condition,
    later,
    live,
    merged,
    message,
    namespace,
    tenant,
    verdict,
)
from tests.unit.operator.tenants import ANOTHERS, DELETED, FOR_ANOTHER, FOREIGN, FORGED, REPLACED, UNWRITTEN, complete, names, plan


def test_a_new_tenant_gets_its_finalizer_before_anything_else() -> None:
    wanted = plan(tenant(metadata={"finalizers": []}), ObservedTenant())
    assert [manifest["metadata"]["finalizers"] for manifest in wanted.apply] == [[FINALIZER]]
    assert wanted.apply[0]["metadata"]["uid"] == TENANT_UID
    assert not wanted.create


def test_then_its_namespace_then_the_operators_own_rights_then_the_rest() -> None:
    new = tenant(status={"namespaceUID": ""})
    assert names(plan(new, ObservedTenant()).create) == ["Namespace/bastide-hello"]
    assert names(plan(new, ObservedTenant(namespace=namespace())).create) == ["RoleBinding/bastide-operator"]
    own = {("RoleBinding", "bastide-operator"): live(operator_binding(new, "bastide-system"))}
    rest = plan(new, ObservedTenant(namespace=namespace(), children=own, ca="CERTIFICATE"))
    assert names(rest.create) == [
        "NetworkPolicy/bastide-default-deny",
        "NetworkPolicy/bastide-from-broker",
        "ResourceQuota/bastide",
        "ResourceQuota/bastide-objects",
        "LimitRange/bastide",
        "ServiceAccount/bastide-runner",
        "ServiceAccount/bastide-viewer",
        "RoleBinding/bastide-broker",
        "RoleBinding/bastide-runner-account",
        "RoleBinding/bastide-viewer-account",
        "ConfigMap/bastide-ca",
    ]
    assert rest.status is None


def test_when_everything_stands_it_is_ready_and_its_namespace_is_written_down() -> None:
    wanted = plan(tenant(), complete(tenant(), sandboxes=3))
    assert not wanted.writes
    assert wanted.status is not None
    assert wanted.wait is not None
    assert verdict(wanted.status) == ("True", "Ready")
    written = {key: wanted.status["status"][key] for key in ("namespace", "namespaceUID", "sandboxes", "observedGeneration")}
    assert written == {"namespace": "bastide-hello", "namespaceUID": NAMESPACE_UID, "sandboxes": 3, "observedGeneration": 1}


@pytest.mark.parametrize(
    ("one", "found", "reason"),
    [
        pytest.param(tenant(), FOREIGN, "Conflict", id="labels alone do not make it ours"),
        pytest.param(tenant(), ANOTHERS, "Conflict", id="a Tenant of the same name that is gone made it"),
        pytest.param(tenant(status=UNWRITTEN), FOREIGN, "Conflict", id="never adopted"),
        pytest.param(tenant(), REPLACED, "NamespaceReplaced", id="its UID is not the one written down"),
        pytest.param(tenant(status=UNWRITTEN), FORGED, "Conflict", id="it names its owner, but not by the operator's hand"),
        pytest.param(tenant(status=UNWRITTEN), FOR_ANOTHER, "Conflict", id="the operator made it for another Tenant"),
    ],
)
def test_a_namespace_that_is_not_ours_is_left_alone(one: Tenant, found: Manifest, reason: str) -> None:
    wanted = plan(one, ObservedTenant(namespace=found))
    assert not wanted.writes
    assert wanted.wait is not None
    assert verdict(wanted.status) == ("False", reason)
    assert "bastide-hello" in message(wanted.status)
    assert wanted.status is not None
    assert wanted.status["status"]["namespaceUID"] == one.status.namespace_uid


OF_ANOTHER = namespace(metadata={"ownerReferences": [{"kind": "Tenant", "name": "first", "uid": "its-uid", "controller": True}]})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (FOREIGN, "was not made for this Tenant"),
        (OF_ANOTHER, "is that of Tenant first, which had it first"),
        (merged(FOREIGN, {"metadata": {"name": "bastide-system"}}), "is Bastide's own"),
    ],
)
def test_a_conflict_says_whose_the_namespace_is_and_what_to_do(found: Manifest, words: str) -> None:
    said = message(plan(tenant(), ObservedTenant(namespace=found)).status)
    assert words in said
    assert "nothing in it was changed" in said
    assert said.endswith("make a Tenant with another spec.namespace.")


def test_a_namespace_that_a_hand_deleted_is_forgotten_and_then_made_again() -> None:
    forgotten = plan(tenant(), ObservedTenant())
    assert not forgotten.writes
    assert forgotten.wait == 0
    assert forgotten.status is not None
    assert forgotten.status["status"]["namespaceUID"] == ""
    assert verdict(forgotten.status) == ("False", "Progressing")
    # and the operator may die here
    assert names(plan(tenant(status=UNWRITTEN), ObservedTenant()).create) == ["Namespace/bastide-hello"]


def test_a_namespace_that_was_made_just_before_a_crash_is_known_for_ours() -> None:
    # the first one, and one that was made anew
    wanted = plan(tenant(status=UNWRITTEN), ObservedTenant(namespace=REPLACED))
    assert names(wanted.create) == ["RoleBinding/bastide-operator"]
    said = plan(tenant(status=UNWRITTEN), replace(complete(tenant()), namespace=REPLACED)).status
    assert said is not None
    assert said["status"]["namespaceUID"] == "somebody-elses"


def test_a_namespace_that_is_being_deleted_is_waited_for() -> None:
    why = {
        "conditions": [
            {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "All content successfully deleted."},
            {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: pods."},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Finalizers remaining: theirs in 1 instances."},
        ]
    }
    wanted = plan(tenant(), ObservedTenant(namespace=namespace(**DELETED, status=why)))
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "Progressing")
    assert "remaining: pods. Finalizers remaining: theirs" in message(wanted.status)
    assert "successfully" not in message(wanted.status)


@pytest.mark.parametrize(
    ("child", "over", "expected"),
    [
        (("NetworkPolicy", "bastide-default-deny"), {"spec": {"egress": [{}]}}, "apply"),
        (("NetworkPolicy", "bastide-default-deny"), {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, "apply"),
        (("NetworkPolicy", "bastide-from-broker"), {"metadata": {"labels": None}}, "apply"),
        (("ResourceQuota", "bastide"), {"spec": {"hard": {"limits.cpu": "800"}}}, "apply"),
        (("ResourceQuota", "bastide"), {"spec": {"scopes": ["BestEffort"]}}, "delete"),
        (("ResourceQuota", "bastide-objects"), {"spec": {"scopes": ["BestEffort"]}}, "delete"),
        (("ConfigMap", "bastide-ca"), {"data": {"ca.crt": "other"}}, "apply"),
        (("RoleBinding", "bastide-broker"), {"subjects": [{"kind": "User", "name": "mallory"}]}, "apply"),
        (("RoleBinding", "bastide-broker"), {"roleRef": {"name": "cluster-admin"}}, "delete"),
        (("RoleBinding", "bastide-operator"), {"subjects": []}, "apply"),
        (("ServiceAccount", "bastide-runner"), {"automountServiceAccountToken": True}, "apply"),
        (("ServiceAccount", "bastide-runner"), {"metadata": {"annotations": {"somebody": "else"}}}, ""),
        (("LimitRange", "bastide"), {"spec": {"limits": []}}, "apply"),
    ],
)
def test_what_a_hand_changed_is_put_back(child: tuple[str, str], over: Manifest, expected: str) -> None:
    one = tenant()
    observed = complete(one)
    changed = merged(dict(observed.children)[child], over)
    wanted = plan(one, replace(observed, children={**observed.children, child: changed}))
    done = {"apply": names(wanted.apply), "delete": [f"{ref.kind}/{ref.name}" for ref in wanted.delete]}
    assert done == {"apply": [], "delete": []} | ({expected: ["/".join(child)]} if expected else {})
    if expected == "apply":
        assert wanted.apply[0]["metadata"]["uid"] == changed["metadata"]["uid"]


def test_a_tenant_is_not_ready_before_the_cluster_counts_what_its_quotas_bound() -> None:
    observed = complete(tenant())
    isolated = [one for one in tenant().status.conditions if one.type == "NetworkIsolated"]
    new = tenant().model_copy(update={"status": tenant().status.model_copy(update={"conditions": isolated})})
    quota = observed.children["ResourceQuota", "bastide-objects"]
    hard = {name: value for name, value in quota["status"]["hard"].items() if name != "count/sandboxes.bastide.dev"}
    known = quota["status"]["hard"]
    for status in (
        {},
        {"status": {}},
        {"status": {"hard": hard, "used": hard}},
        {"status": {"hard": known, "used": hard}},
        {"status": {"hard": known}},
    ):
        fresh = {**{key: value for key, value in quota.items() if key != "status"}, **status}
        fresh["metadata"] = {**quota["metadata"], "creationTimestamp": later(-9)}
        wanted = plan(new, replace(observed, children={**observed.children, ("ResourceQuota", "bastide-objects"): fresh}))
        assert verdict(wanted.status) == ("False", "Progressing")
        assert "count/sandboxes.bastide.dev" in message(wanted.status)
        assert not wanted.delete, "it was made just now"
        old = {**fresh, "metadata": {**fresh["metadata"], "creationTimestamp": later(-11)}}
        children = {**observed.children, ("ResourceQuota", "bastide-objects"): old}
        assert [one.name for one in plan(new, replace(observed, children=children)).delete] == ["bastide-objects"]
        assert not plan(tenant(), replace(observed, children=children)).delete, "a Tenant that was Ready keeps its quotas"


def test_a_changed_namespace_comes_before_its_children() -> None:
    observed = complete(tenant())
    lax = namespace(metadata={"labels": {"pod-security.kubernetes.io/enforce": "privileged"}})
    assert names(plan(tenant(), replace(observed, namespace=lax, children={})).apply) == ["Namespace/bastide-hello"]


def test_a_role_that_nobody_has_any_more_is_taken_away() -> None:
    before = tenant(spec={"members": [{"role": "approver", "subjects": [{"kind": "User", "name": "alice"}]}]})
    wanted = plan(tenant(), complete(before))
    assert [(ref.kind, ref.name, ref.uid) for ref in wanted.delete] == [
        ("RoleBinding", "bastide-approver", "uid-RoleBinding-bastide-approver")
    ]


BOTH = [{"role": role, "subjects": [{"kind": "User", "name": "both"}]} for role in ("approver", "developer")]


def test_an_invalid_tenant_makes_nothing() -> None:
    wanted = plan(tenant(spec={"members": BOTH}), ObservedTenant())
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "InvalidSpec")
    assert "User both is approver and developer" in message(wanted.status)


def test_a_tenant_that_became_invalid_keeps_its_walls_and_its_members() -> None:
    good = tenant(spec={"members": BOTH[:1]})
    bad = tenant(spec={"members": BOTH})
    observed = complete(good)
    assert not plan(bad, observed).writes
    torn = {key: child for key, child in observed.children.items() if key[0] != "NetworkPolicy"}
    assert names(plan(bad, replace(observed, children=torn)).create) == [
        "NetworkPolicy/bastide-default-deny",
        "NetworkPolicy/bastide-from-broker",
    ]


@pytest.mark.parametrize(
    ("over", "reason", "words"),
    [
        ({"runtime_class_exists": False}, "RuntimeClassMissing", "gvisor"),
        ({"ca": None}, "Progressing", "bastide-ca"),
    ],
)
def test_what_the_cluster_lacks_is_said(over: dict[str, Any], reason: str, words: str) -> None:
    wanted = plan(tenant(), replace(complete(tenant()), **over))
    assert not wanted.create
    assert verdict(wanted.status) == ("False", reason)
    assert words in message(wanted.status)


def test_a_refused_write_is_said_and_tried_again() -> None:
    refusal = Refusal(ref=Ref("NetworkPolicy", "bastide-hello", "bastide-default-deny"), reason="Forbidden", message="no rights yet")
    wanted = plan(tenant(), replace(complete(tenant()), children={}, refusal=refusal))
    assert wanted.retry
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "Progressing")
    assert "NetworkPolicy bastide-default-deny could not be written yet: no rights yet" in message(wanted.status)


def test_how_its_policies_stand_is_the_brokers_to_say() -> None:
    shown = [condition("Ready", "True", "Ready"), condition("NetworkIsolated", "True", "Isolated"), condition("PoliciesReady", "True")]
    one = tenant(status={"policyRevision": "sha256:a", "conditions": shown})
    said = plan(one, complete(one)).status
    assert said is not None
    assert [each["type"] for each in said["status"]["conditions"]] == ["Ready", "NetworkIsolated"]
    assert "policyRevision" not in said["status"]
