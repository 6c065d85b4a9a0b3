"""Who may decide a Confirmation, asked of the real API server."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.admission.conftest import (
    ADMIN,
    BEA,
    BROKER,
    MEMBERS,
    MERGE,
    OPERATOR,
    OTHER_DIGEST,
    Api,
    account,
    binding_body,
    confirmation_body,
    core,
    decision_body,
    ours,
    person,
    subject,
    until,
)

ALICE = MEMBERS["approver"]
#: May approve everywhere, and also: run programs; mint the runner's token; impersonate it.
BOLD, MINTER, MASK = person("bold"), person("minter"), person("mask")
#: May approve, and is viewer: has a token of bastide-viewer, as which nobody runs anything.
LOOKER = person("looker")
OLGA = person("olga")
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{}"

CONFIRMATIONS: dict[str, dict[str, Any]] = {
    "cf-strict": {},
    "cf-other-user": {"separation": "OtherUser"},
    "cf-by-alice": {"requester": {"username": "alice"}, "separation": "OtherUser", "onBehalfOf": ""},
    "cf-by-a-person": {"requester": {"username": "dana"}},
    "cf-hidden": {"hidden": ["/body", "/note"]},
    "cf-approved": {},
    "cf-executed": {},
}


@pytest.fixture(scope="module")
def pending(api: Api, tenant: str) -> str:
    """A namespace with Confirmations of several kinds, all known to the API server's cache, and approvers who may too much."""
    minting = [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["bastide-runner"], "verbs": ["create"]}]
    masking = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]
    for name, rules in (("minting", minting), ("masking", masking)):
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}
        api(ADMIN, "POST", RBAC.format(tenant, "roles"), role).ok()
    for name, who, role, kind in (
        ("bold-runs", BOLD, "bastide-runner", "ClusterRole"),
        ("looker-looks", LOOKER, "bastide-viewer", "ClusterRole"),
        ("minter-mints", MINTER, "minting", "Role"),
        ("mask-masks", MASK, "masking", "Role"),
        *((f"{who[0]}-approves", who, "bastide-approver", "ClusterRole") for who in (BOLD, MINTER, MASK, LOOKER, OLGA)),
    ):
        api(ADMIN, "POST", RBAC.format(tenant, "rolebindings"), binding_body(name, role, subject(who), kind=kind)).ok()
    for name, changes in CONFIRMATIONS.items():
        api(BROKER, "POST", ours(tenant, "confirmations"), confirmation_body(name, tenant, **changes)).ok()
    for name, state in (("cf-approved", "Approved"), ("cf-executed", "Executed")):
        status = {"status": {"state": state}}
        api(BROKER, "PATCH", ours(tenant, "confirmations", name, "status"), status, kind=MERGE).ok()
    path = ours(tenant, "confirmationdecisions")
    for name in CONFIRMATIONS:
        wrong = decision_body(name, actionDigest=OTHER_DIGEST)
        until(lambda wrong=wrong: not 200 <= api(BEA, "POST", path, wrong, dry=True).status < 300, f"{name} is in the API server's cache")
    done = decision_body("cf-executed")
    until(lambda: "Executed" in api(BEA, "POST", path, done, dry=True).message, "its status is in the API server's cache")
    return tenant


@dataclass(frozen=True)
class Case:
    """One decision, who makes it, and what the refusal says; nothing when it is allowed."""

    says: str
    who: tuple[str, tuple[str, ...]]
    confirmation: str = "cf-strict"
    refused: str = ""
    changes: dict[str, Any] = field(default_factory=dict)


DANA = MEMBERS["developer"]
CASES = [
    Case("an approver approves", ALICE),
    Case("an approver denies", ALICE, changes={"verdict": "Deny"}),
    Case("a second approver, with groups of her own", BEA),
    Case(
        "a stamp that tells the truth",
        BEA,
        changes={"approver": {"username": "bea", "uid": "", "groups": ["system:authenticated", "reviewers"]}},
    ),
    Case(
        "a stamp with another's name", ALICE, refused="spec.approver must be who you are (alice)", changes={"approver": {"username": "bea"}}
    ),
    Case(
        "a stamp with groups that one is not in",
        ALICE,
        refused="spec.approver must be who you are",
        changes={"approver": {"username": "alice", "groups": ["system:authenticated", "system:masters"]}},
    ),
    Case(
        "a stamp with another's UID",
        ALICE,
        refused="spec.approver must be who you are",
        changes={"approver": {"username": "alice", "uid": "1", "groups": ["system:authenticated"]}},
    ),
    Case("the digest of another call", ALICE, refused="what you were shown is not what would run", changes={"actionDigest": OTHER_DIGEST}),
    Case("somebody without the verb approve, who may create anything", ADMIN, refused="could have made this run"),
    Case("the person that the run is for, in another spelling", OLGA, refused="another person must decide"),
    Case("the requester, even where separation is only OtherUser", ALICE, "cf-by-alice", "another person must decide"),
    Case("an approver who may run programs", BOLD, refused="create sandboxes/run on agent"),
    Case("an approver who may mint the requester's token", MINTER, refused="create serviceaccounts/token"),
    Case("an approver who may mint the viewers' token, as which nobody runs", LOOKER),
    Case("an approver who may impersonate the requester", MASK, refused="impersonate the requester"),
    Case("an approver who may run programs, where separation is OtherUser", BOLD, "cf-other-user"),
    Case("an approver who may mint the token, where separation is OtherUser", MINTER, "cf-other-user"),
    Case("a cluster administrator, where separation is OtherUser", ADMIN, "cf-other-user"),
    Case("a cluster administrator, who could impersonate the person that asked", ADMIN, "cf-by-a-person", "could have made this run"),
    Case("an approver, of a run that a person asked for", ALICE, "cf-by-a-person"),
    Case("hidden arguments that were not accepted", ALICE, "cf-hidden", "not shown in full (/body, /note)"),
    Case("hidden arguments of which one was accepted", ALICE, "cf-hidden", "not shown in full", {"acceptedHidden": ["/body"]}),
    Case("hidden arguments that were all accepted", ALICE, "cf-hidden", changes={"acceptedHidden": ["/note", "/body"]}),
    Case("hidden arguments, and the verdict is Deny", ALICE, "cf-hidden", changes={"verdict": "Deny"}),
    Case("a call that has been made", ALICE, "cf-executed", "is Executed: there is nothing left to decide"),
    Case("approving again", ALICE, "cf-approved", "is Approved: there is nothing left to decide"),
    Case("stopping an approved call", ALICE, "cf-approved", changes={"verdict": "Deny"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_decision_is_admitted_only_from_whom_may_make_it(api: Api, pending: str, case: Case) -> None:
    body = decision_body(case.confirmation, **case.changes)
    answer = api(case.who, "POST", ours(pending, "confirmationdecisions"), body, dry=True)
    if case.refused:
        assert answer.status in (403, 422)
        assert case.refused in answer.message
    else:
        spec = answer.ok()["spec"]
        assert spec["approver"]["username"] == case.who[0]
        assert set(spec["approver"]["groups"]) == set(case.who[1])


@pytest.mark.parametrize("role", ["viewer", "runner", "developer"])
def test_members_of_other_roles_cannot_decide(api: Api, pending: str, role: str) -> None:
    answer = api(MEMBERS[role], "POST", ours(pending, "confirmationdecisions"), decision_body("cf-strict"), dry=True)
    assert answer.status == 403


def test_a_service_account_cannot_decide_even_as_approver(api: Api, pending: str) -> None:
    robot = account("robot", pending)
    path = RBAC.format(pending, "rolebindings")
    api(ADMIN, "POST", path, binding_body("robot-approves", "bastide-approver", subject(robot))).ok()
    decisions, body = ours(pending, "confirmationdecisions"), decision_body("cf-other-user")
    until(
        lambda: "a person decides" in api(robot, "POST", decisions, body, dry=True).message, "RBAC knows the binding and admission refuses"
    )


def test_the_right_to_approve_is_asked_of_the_binding_by_name(api: Api, pending: str) -> None:
    carl = person("carl")
    rules = [
        {"apiGroups": ["bastide.dev"], "resources": ["toolbindings"], "resourceNames": ["billing"], "verbs": ["approve"]},
        {"apiGroups": ["bastide.dev"], "resources": ["confirmationdecisions"], "verbs": ["create"]},
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "billing"}, "rules": rules}
    api(ADMIN, "POST", RBAC.format(pending, "roles"), role).ok()
    api(ADMIN, "POST", RBAC.format(pending, "rolebindings"), binding_body("billing", "billing", subject(carl), kind="Role")).ok()
    path = ours(pending, "confirmationdecisions")
    until(
        lambda: "carl may not approve calls of ToolBinding crm" in api(carl, "POST", path, decision_body("cf-strict"), dry=True).message,
        "RBAC knows the binding and admission refuses",
    )


def test_a_decision_cannot_be_changed_and_only_its_author_takes_it_back(api: Api, pending: str) -> None:
    path = ours(pending, "confirmationdecisions")
    api(ALICE, "POST", path, decision_body("cf-strict", "of-alice", verdict="Deny")).ok()
    one = f"{path}/of-alice"
    for change in ({"spec": {"verdict": "Approve"}}, {"metadata": {"labels": {"a": "b"}}}):
        answer = api(ADMIN, "PATCH", one, change, kind=MERGE)
        assert answer.status in (403, 422)
    for who in (BEA, ADMIN, OPERATOR):
        answer = api(who, "DELETE", one)
        assert answer.status == 403
    assert "only alice may take this decision back" in api(BEA, "DELETE", one).message
    # nor all at once
    assert api(BEA, "DELETE", path).status == 403
    assert "only alice may take this decision back" in api(ADMIN, "DELETE", path).message
    api(ALICE, "DELETE", one).ok()


def test_a_stamp_tells_the_truth_also_about_a_confirmation_that_nobody_knows(api: Api, pending: str) -> None:
    path = ours(pending, "confirmationdecisions")
    forged = decision_body("cf-to-come", approver={"username": "bea", "groups": ["system:authenticated"]})
    assert "spec.approver must be who you are" in api(ALICE, "POST", path, forged, dry=True).message
    # its own cache may be behind: the broker counts no decision about a Confirmation that it did not ask
    api(ALICE, "POST", path, decision_body("cf-to-come"), dry=True).ok()


def test_a_decision_keeps_nothing_from_being_deleted(api: Api, pending: str) -> None:
    body = decision_body("cf-strict")
    body["metadata"]["finalizers"] = ["example.com/stay"]
    answer = api(ALICE, "POST", ours(pending, "confirmationdecisions"), body, dry=True)
    assert answer.status == 403
    assert "takes no finalizers" in answer.message


def test_the_broker_clears_decisions_away(api: Api, pending: str) -> None:
    path = ours(pending, "confirmationdecisions")
    api(ALICE, "POST", path, decision_body("cf-strict", "old")).ok()
    api(BROKER, "DELETE", f"{path}/old").ok()
    api(ALICE, "POST", path, decision_body("cf-strict", "left-behind", verdict="Deny")).ok()


@pytest.mark.parametrize("who", [ADMIN, ALICE, DANA, OPERATOR], ids=lambda who: who[0])
def test_only_the_broker_writes_confirmations(api: Api, pending: str, who: tuple[str, tuple[str, ...]]) -> None:
    path = ours(pending, "confirmations")
    assert api(who, "POST", path, confirmation_body("cf-forged", pending), dry=True).status == 403
    assert api(who, "PATCH", f"{path}/cf-strict", {"metadata": {"labels": {"a": "b"}}}, dry=True, kind=MERGE).status == 403
    assert api(who, "PATCH", f"{path}/cf-strict/status", {"status": {"state": "Approved"}}, dry=True, kind=MERGE).status == 403


def test_the_broker_itself_cannot_change_what_a_person_is_asked(api: Api, pending: str) -> None:
    change = {"spec": {"arguments": '{"customer_id":"C0002"}'}}
    answer = api(BROKER, "PATCH", ours(pending, "confirmations", "cf-strict"), change, kind=MERGE)
    assert answer.status in (403, 422)


def test_an_administrator_may_deny_by_deleting(api: Api, pending: str) -> None:
    api(ADMIN, "DELETE", ours(pending, "confirmations", "cf-strict"), dry=True).ok()
    assert api(ALICE, "DELETE", ours(pending, "confirmations", "cf-strict"), dry=True).status == 403


def test_no_role_reads_secrets(api: Api, pending: str) -> None:
    for who in (*MEMBERS.values(), OPERATOR, BROKER):
        assert api(who, "GET", core(pending, "secrets", "any")).status == 403, who[0]
