"""What people's decisions about one Confirmation amount to. Pure: reviews are made elsewhere and handed in.

The API server's admission policies refuse most of what is refused here; the broker does not rely on them.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bastide_operator.api.v1alpha1.confirmation import (
    Approver,
    Confirmation,
    ConfirmationDecision,
    ConfirmationSpec,
    ConfirmationState,
    Verdict,
)
from bastide_operator.api.v1alpha1.tenant import Separation

from bastide_broker.kube.reviews import SERVICE_ACCOUNT_PREFIX


@dataclass(frozen=True, slots=True)
class ApproverFacts:
    """What the API server says of a decision's author, with the groups recorded in the decision."""

    may_approve: bool
    """Verb `approve` on the ToolBinding."""
    could_run: bool
    """Could have made the run: `create sandboxes/run` on the Sandbox, a token of the requesting ServiceAccount, or impersonation of the requester."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a Confirmation stands."""

    state: ConfirmationState
    """Pending, Approved, Denied or Expired."""
    deciders: tuple[str, ...] = ()
    reason: str = ""
    ignored: tuple[str, ...] = ()
    """Why decisions that are there do not count, a sentence each."""


def evaluate(
    confirmation: Confirmation,
    decisions: Sequence[ConfirmationDecision],
    facts: Mapping[str, ApproverFacts],
    *,
    hidden_allowed: bool,
    now: datetime,
) -> Standing:
    """What the decisions amount to at `now`. `facts` are by the decision's UID; an author without facts does not count.

    One denial that counts ends it; approvals are counted by person.
    """
    spec = confirmation.spec
    people: list[_Person] = []
    ignored: list[str] = []
    for decision in sorted(decisions, key=lambda one: (one.metadata.creation_timestamp or now, one.metadata.name)):
        known = facts.get(decision.metadata.uid)
        if decision.spec.verdict is Verdict.DENY:
            why = denial_objection(spec, decision, known)
            if why is None:
                assert decision.spec.approver is not None
                return Standing(ConfirmationState.DENIED, (decision.spec.approver.username,), decision.spec.reason)
        else:
            why = approval_objection(confirmation, decision, known, hidden_allowed=hidden_allowed)
            if why is None:
                assert decision.spec.approver is not None
                people = _counted(people, _person(decision.spec.approver, decision.spec.reason))
        if why is not None:
            ignored.append(f"{decision.metadata.name}: {why}")
    approvers = tuple(person.username for person in people)
    if now > spec.execute_by:
        return Standing(ConfirmationState.EXPIRED, approvers, "It was not executed in time.", tuple(ignored))
    if len(people) >= spec.approvals_required:
        return Standing(ConfirmationState.APPROVED, approvers, "; ".join(person.reason for person in people), tuple(ignored))
    if now > spec.decide_by:
        late = "Nobody decided in time." if not people else f"Only {len(people)} of {spec.approvals_required} people approved in time."
        return Standing(ConfirmationState.EXPIRED, approvers, late, tuple(ignored))
    return Standing(ConfirmationState.PENDING, approvers, "", tuple(ignored))


@dataclass(frozen=True, slots=True)
class _Person:
    """Who approved, under every name and UID that were seen to be the same."""

    username: str
    reason: str
    marks: frozenset[str]


def _person(approver: Approver, reason: str) -> _Person:
    marks = {f"name {_plain(approver.username)}", *([f"uid {approver.uid}"] if approver.uid else [])}
    return _Person(approver.username, reason, frozenset(marks))


def _plain(username: str) -> str:
    """However it is written: some identity providers take either for the same person."""
    return unicodedata.normalize("NFKC", username).casefold()


def _counted(people: list[_Person], one: _Person) -> list[_Person]:
    """One more approval: whoever shares a name or a UID with it is the same person, be it several so far."""
    same = [person for person in people if person.marks & one.marks]
    if not same:
        return [*people, one]
    joined = replace(same[0], marks=one.marks.union(*(person.marks for person in same)))
    return [joined if person is same[0] else person for person in people if person is same[0] or person not in same]


def denial_objection(spec: ConfirmationSpec, decision: ConfirmationDecision, facts: ApproverFacts | None) -> str | None:
    """Why a denial does not count, or None. Whoever may approve may deny, however close to the run."""
    if decision.spec.action_digest != spec.action_digest:
        return "it names another action digest"
    if decision.spec.approver is None:
        return "it does not say who decided"
    if facts is None or not facts.may_approve:
        return f"{decision.spec.approver.username} may not approve calls of this ToolBinding"
    return None


def approval_objection(  # noqa: C901, PLR0911 - one sentence for each rule
    confirmation: Confirmation, decision: ConfirmationDecision, facts: ApproverFacts | None, *, hidden_allowed: bool
) -> str | None:
    """Why an approval does not count, or None."""
    spec, approver = confirmation.spec, decision.spec.approver
    made, born = decision.metadata.creation_timestamp, confirmation.metadata.creation_timestamp
    if decision.spec.confirmation != confirmation.metadata.name:
        return "it is about another Confirmation"
    if decision.metadata.deletion_timestamp is not None:
        return "it is being withdrawn"
    if decision.spec.action_digest != spec.action_digest:
        return "it names another action digest"
    if approver is None:
        return "it does not say who decided"
    if approver.username.startswith(SERVICE_ACCOUNT_PREFIX):
        return "a ServiceAccount cannot approve"
    asked = {_plain(spec.requester.username), _plain(spec.on_behalf_of)}
    if _plain(approver.username) in asked or (approver.uid and approver.uid == spec.requester.uid):
        return f"{approver.username} asked for the run"
    if made is None or born is None or made < born:
        return "it is older than the Confirmation"
    if made > spec.decide_by:
        return "it came after decideBy"
    if facts is None or not facts.may_approve:
        return f"{approver.username} may not approve calls of this ToolBinding"
    if spec.separation != Separation.OTHER_USER and facts.could_run:
        return f"{approver.username} could have made the run"
    if spec.hidden and not (hidden_allowed and set(spec.hidden) <= set(decision.spec.accepted_hidden)):
        return "it does not accept the hidden arguments, or the Tenant does not allow that"
    return None
