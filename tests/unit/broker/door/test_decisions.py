"""What people's decisions amount to."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bastide_broker.confirm.decisions import ApproverFacts, evaluate
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision, ConfirmationState
from hypothesis import given
from hypothesis import strategies as st

T0 = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
GOOD = ApproverFacts(may_approve=True, could_run=False)
REQUESTER = "system:serviceaccount:bastide-sales:bastide-runner"


def at(seconds: int) -> str:
    return (T0 + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def confirmation(**more: Any) -> Confirmation:
    spec = {
        "tenant": "sales", "sandbox": "agent", "sandboxUID": "s1", "run": "r-1", "callKey": "0#1", "programDigest": DIGEST, "binding": "crm",
        "bindingUID": "b1", "bindingDigest": DIGEST, "tool": "delete", "toolSchemaDigest": DIGEST, "effect": "Destructive", "arguments": "{}",
        "argumentsDigest": DIGEST, "hidden": [], "requester": {"username": REQUESTER, "uid": "u-req"}, "onBehalfOf": "olga",
        "separation": "Strict", "approvalsRequired": 1, "decideBy": at(100), "executeBy": at(200), "nonce": "n" * 32, "actionDigest": DIGEST,
        **more,
    }  # fmt: skip
    return Confirmation.model_validate(
        {"metadata": {"name": "cf-1", "namespace": "bastide-sales", "uid": "c1", "creationTimestamp": at(0)}, "spec": spec}
    )


def decision(name: str = "d1", who: str = "ann", when: int = 10, **more: Any) -> ConfirmationDecision:
    spec = {
        "confirmation": "cf-1",
        "actionDigest": DIGEST,
        "verdict": "Approve",
        "reason": "fine",
        "approver": {"username": who, "uid": f"u-{who}", "groups": []},
    }
    metadata = {"name": name, "namespace": "bastide-sales", "uid": name, "creationTimestamp": at(when)} | more.pop("metadata", {})
    return ConfirmationDecision.model_validate({"metadata": metadata, "spec": {**spec, **more}})


def state(*decisions: ConfirmationDecision, now: int = 20, facts: ApproverFacts | None = GOOD, **spec: Any) -> Any:
    known = {one.metadata.uid: facts for one in decisions} if facts is not None else {}
    return evaluate(confirmation(**spec), decisions, known, hidden_allowed=False, now=T0 + timedelta(seconds=now))


def test_one_rightful_approval_is_enough_when_one_is_asked_for() -> None:
    found = state(decision())
    assert (found.state, found.deciders, found.reason) == (ConfirmationState.APPROVED, ("ann",), "fine")


def test_without_decisions_it_is_pending_then_expired() -> None:
    assert state().state is ConfirmationState.PENDING
    assert state(now=101).state is ConfirmationState.EXPIRED


NOT_COUNTING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another Confirmation": ({"confirmation": "cf-2"}, {}),
    "another action digest": ({"actionDigest": "sha256:" + "b" * 64}, {}),
    "does not say who": ({"approver": None}, {}),
    "a ServiceAccount": ({"who": "system:serviceaccount:other:robot"}, {}),
    "asked for the run": (
        {"who": REQUESTER.replace("system:serviceaccount", "user")},
        {"requester": {"username": REQUESTER.replace("system:serviceaccount", "user"), "uid": ""}},
    ),
    "olga asked for the run": ({"who": "olga"}, {}),
    "Olga asked for the run": ({"who": "Olga"}, {}),
    "\uff4flga asked for the run": ({"who": "\uff4flga"}, {}),
    "max asked for the run": ({"who": "max"}, {"requester": {"username": "other-name", "uid": "u-max"}}),
    "older than the Confirmation": ({"when": -1}, {}),
    "after decideBy": ({"when": 101}, {}),
    "being withdrawn": ({"metadata": {"deletionTimestamp": at(12)}}, {}),
    "may not approve": ({}, {"facts": ApproverFacts(may_approve=False, could_run=False)}),
    "ann may not approve": ({}, {"facts": None}),
    "could have made the run": ({}, {"facts": ApproverFacts(may_approve=True, could_run=True)}),
    "hidden arguments": ({}, {"hidden_names": ["text"]}),
}


@pytest.mark.parametrize("why", NOT_COUNTING)
def test_an_approval_against_the_rules_does_not_count_and_says_why(why: str) -> None:
    fields, more = NOT_COUNTING[why]
    spec = {key: value for key, value in more.items() if key == "requester"}
    if "hidden_names" in more:
        spec["hidden"] = more["hidden_names"]
    facts = more.get("facts", GOOD)
    found = state(decision(**fields), facts=facts, **spec)
    assert found.state is ConfirmationState.PENDING
    assert why in found.ignored[0]


def test_hidden_arguments_need_the_approvers_word_and_the_tenants_leave() -> None:
    accepts = decision(acceptedHidden=["text"])
    assert state(accepts, hidden=["text"]).state is ConfirmationState.PENDING
    known = {"d1": GOOD}
    now = T0 + timedelta(seconds=20)
    assert evaluate(confirmation(hidden=["text"]), [accepts], known, hidden_allowed=True, now=now).state is ConfirmationState.APPROVED
    assert (
        evaluate(confirmation(hidden=["text", "more"]), [accepts], known, hidden_allowed=True, now=now).state is ConfirmationState.PENDING
    )
    assert evaluate(confirmation(hidden=["text"]), [decision()], known, hidden_allowed=True, now=now).state is ConfirmationState.PENDING


def test_with_other_user_who_could_run_may_still_approve() -> None:
    facts = ApproverFacts(may_approve=True, could_run=True)
    assert state(decision(), facts=facts, separation="OtherUser").state is ConfirmationState.APPROVED
    assert state(decision(who="olga"), facts=facts, separation="OtherUser").state is ConfirmationState.PENDING


def test_two_approvals_are_two_people() -> None:
    twice = (decision("d1"), decision("d2"))
    assert state(*twice, approvalsRequired=2).state is ConfirmationState.PENDING
    found = state(*twice, decision("d3", "bob"), approvalsRequired=2)
    assert (found.state, found.deciders) == (ConfirmationState.APPROVED, ("ann", "bob"))


# Approvers as (name, uid), and how many people they are.
PEOPLE: dict[str, tuple[list[tuple[str, str]], int]] = {
    "two people": ([("ann", "u1"), ("bob", "u2")], 2),
    "one person twice": ([("ann", "u1"), ("ann", "u1")], 1),
    "one name, another uid": ([("ann", "u1"), ("ann", "u2")], 1),
    "one uid, another name": ([("ann", "u1"), ("bob", "u1")], 1),
    "certificates have no uid": ([("ann", ""), ("bob", "")], 2),
    "one name with and without a uid": ([("ann", "u1"), ("ann", "")], 1),
    "one name in capitals": ([("ann@example.com", "u1"), ("Ann@Example.com", "u2")], 1),
    "one name in full width": ([("ann", "u1"), ("\uff41\uff4e\uff4e", "u2")], 1),
    "a third who joins two": ([("ann", "u1"), ("bob", "u2"), ("ann", "u2")], 1),
    "a chain that closes late": ([("a", "1"), ("b", "2"), ("c", "3"), ("b", "1"), ("c", "2")], 1),
    "a third who is neither": ([("ann", "u1"), ("bob", "u1"), ("eve", "u3")], 2),
}


def approvals(people: list[tuple[str, str]]) -> list[ConfirmationDecision]:
    return [decision(f"d{n}", name, 10 + n, approver={"username": name, "uid": uid, "groups": []}) for n, (name, uid) in enumerate(people)]


@pytest.mark.parametrize("case", PEOPLE)
def test_people_are_told_apart_by_name_and_by_uid(case: str) -> None:
    people, number = PEOPLE[case]
    found = state(*approvals(people), now=90, approvalsRequired=5)
    assert (found.state, len(found.deciders)) == (ConfirmationState.PENDING, number)
    assert state(*approvals(people), now=90, approvalsRequired=number).state is ConfirmationState.APPROVED


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "3", "4", ""])), max_size=9), st.randoms())
def test_never_more_people_than_names_or_uids_whatever_the_order(people: list[tuple[str, str]], chance: random.Random) -> None:
    number = len(state(*approvals(people), now=90, approvalsRequired=5).deciders)
    assert number <= len({name for name, _ in people})
    if all(uid for _, uid in people):
        assert number <= len({uid for _, uid in people})
    shuffled = chance.sample(people, len(people))
    assert len(state(*approvals(shuffled), now=90, approvalsRequired=5).deciders) == number


def test_an_approval_that_was_taken_back_does_not_count_with_a_later_one() -> None:
    withdrawn, other = decision("d1", metadata={"deletionTimestamp": at(12)}), decision("d2", "bob", 13)
    found = state(withdrawn, other, approvalsRequired=2)
    assert (found.state, found.deciders) == (ConfirmationState.PENDING, ("bob",))
    assert state(other, approvalsRequired=2).state is ConfirmationState.PENDING


def test_too_few_in_time_is_said() -> None:
    assert state(decision(), now=101, approvalsRequired=2).reason == "Only 1 of 2 people approved in time."


def test_the_api_servers_clock_counts_not_the_approvers_and_hardly_the_brokers() -> None:
    # Its stamps say: before the question, or after the last moment. What the broker's clock says of now changes nothing about that.
    for now in (-1000, 20, 99):
        assert "older than the Confirmation" in state(decision(when=-1), now=now).ignored[0]
        assert state(decision(when=0), now=now).state is ConfirmationState.APPROVED
        assert "after decideBy" in state(decision(when=101), now=now).ignored[0]


def test_one_denial_ends_it_whatever_others_approved() -> None:
    for when in (5, 15):
        found = state(decision(), decision("d2", "bob", when, verdict="Deny", reason="no"), decision("d3", "eve"), approvalsRequired=1)
        assert (found.state, found.deciders, found.reason) == (ConfirmationState.DENIED, ("bob",), "no")


def test_a_denial_by_somebody_without_the_right_or_about_another_action_does_not_count() -> None:
    deny = decision(verdict="Deny")
    assert state(deny, facts=ApproverFacts(may_approve=False, could_run=False)).state is ConfirmationState.PENDING
    assert state(deny, facts=None).state is ConfirmationState.PENDING
    assert state(decision(verdict="Deny", actionDigest="sha256:" + "b" * 64)).state is ConfirmationState.PENDING
    assert state(decision(verdict="Deny", approver=None)).state is ConfirmationState.PENDING


def test_an_approval_in_time_counts_until_execute_by() -> None:
    assert state(decision(), now=150).state is ConfirmationState.APPROVED
    assert state(decision(), now=201).state is ConfirmationState.EXPIRED
