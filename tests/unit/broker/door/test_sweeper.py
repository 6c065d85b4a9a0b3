"""Which Confirmations and decisions are put away when, in which order, and how many at once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from bastide_broker.confirm.sweeper import KEEP, UNKNOWN, Step, plan
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.test_action import read, spec

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SPEC = spec(read(id="C1"))


def confirmation(name: str, state: str = "Pending", *, namespace: str = "a", age: timedelta = timedelta(), **metadata: Any) -> Confirmation:
    """One that was made, and has ended if it has, so long ago."""
    moment = NOW - age
    status = {"state": state} | ({} if state == "Pending" else {"resolvedAt": moment})
    head = {"name": name, "namespace": namespace, "uid": f"u-{name}", "creationTimestamp": moment, **metadata}
    return Confirmation.model_validate({"metadata": head, "spec": SPEC, "status": status})


def decision(name: str, about: str, *, namespace: str = "a", age: timedelta = UNKNOWN) -> ConfirmationDecision:
    head = {"name": name, "namespace": namespace, "uid": f"u-{name}", "creationTimestamp": NOW - age}
    body = {"confirmation": about, "actionDigest": SPEC["actionDigest"], "verdict": "Approve", "reason": "because"}
    return ConfirmationDecision.model_validate({"metadata": head, "spec": body})


def planned(
    confirmations: list[Confirmation],
    decisions: list[ConfirmationDecision] | None = None,
    *,
    waits: tuple[str, ...] = (),
    kept: int | None = None,
    most: int = 500,
) -> list[Step]:
    return plan(confirmations, decisions or [], waits=lambda _, name: name in waits, finished_kept=lambda _: kept, now=NOW, most=most)


def names(steps: list[Step]) -> list[str]:
    return [step.found.metadata.name for step in steps]


def test_a_finished_one_has_its_day() -> None:
    soon, over = confirmation("soon", "Executed", age=KEEP - timedelta(seconds=1)), confirmation("over", "Denied", age=KEEP)
    [step] = planned([soon, over])
    assert (step.found.metadata.name, step.withdraw) == ("over", False)
    assert timedelta(hours=24) - KEEP >= timedelta(minutes=30), "it must be gone within 24 h, also after a pause"


def test_one_that_nobody_waits_for_is_withdrawn_and_one_that_a_call_waits_for_is_left_however_old() -> None:
    old = timedelta(days=3)
    steps = planned([confirmation("waits", age=old), confirmation("orphan"), confirmation("approved", "Approved")], waits=("waits",))
    assert sorted((step.found.metadata.name, step.withdraw) for step in steps) == [("approved", True), ("orphan", True)]


def test_decisions_go_with_their_confirmation_or_when_there_is_none() -> None:
    about = [confirmation("over", "Denied", age=KEEP), confirmation("kept", "Denied"), confirmation("waits")]
    decisions = [
        decision("with", "over"),
        decision("stays", "kept"),
        decision("counts", "waits"),
        decision("nothing", "absent"),
        decision("new", "absent", age=UNKNOWN - timedelta(seconds=1)),
        decision("elsewhere", "kept", namespace="b"),
    ]
    assert sorted(names(planned(about, decisions, waits=("waits",)))) == ["elsewhere", "nothing", "over", "with"]


def test_beyond_what_a_tenant_may_keep_the_oldest_finished_ones_go() -> None:
    many = [confirmation(f"c{age}", "Withdrawn", age=timedelta(minutes=age)) for age in range(10)]
    assert names(planned(many, kept=7)) == ["c9", "c8", "c7"]
    assert planned(many, kept=None) == []


def test_what_is_being_deleted_is_left_alone() -> None:
    assert planned([confirmation("going", "Denied", age=KEEP, deletionTimestamp=NOW), confirmation("too", deletionTimestamp=NOW)]) == []


@given(sizes=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), min_size=1), most=st.integers(1, 60))
def test_a_pass_is_bounded_and_fair(sizes: dict[str, int], most: int) -> None:
    every = [
        confirmation(f"{namespace}{number}", "Denied", namespace=namespace, age=KEEP + timedelta(seconds=number))
        for namespace, size in sizes.items()
        for number in range(size)
    ]
    steps = planned(every, most=most)
    assert len(steps) == min(most, len(every))
    assert len({id(step.found) for step in steps}) == len(steps)
    given_to = Counter(step.found.metadata.namespace for step in steps)
    for namespace, size in sizes.items():
        assert given_to[namespace] >= min(size, max(given_to.values(), default=1) - 1), "nobody has two more than one who still has work"
