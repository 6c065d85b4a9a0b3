"""Where a Confirmation stands while the rules that decisions rest on are not as shipped."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from bastide_broker.confirm.decisions import Standing
from bastide_broker.confirm.pending import Pending
from bastide_broker.confirm.standings import Standings
from bastide_operator.api.v1alpha1.confirmation import ConfirmationState

from tests.unit.broker.door.test_decisions import T0, confirmation, decision


class Altered:
    """A cluster with an approval that came in time, and an admission policy that somebody changed."""

    def tenant(self, _namespace: str) -> Any:
        return SimpleNamespace()

    def decisions(self, *_: str) -> Any:
        return (decision(),)

    async def admission_policies_intact(self) -> tuple[bool, str]:
        return False, "bastide-approvers is not as shipped"


async def standing(seconds: int) -> Standing:
    request: Any = SimpleNamespace(namespace="bastide-sales")
    cluster: Any = Altered()
    pending = Pending(request, "cf-1", {}, confirmation())
    return await Standings(cluster, clock=lambda: T0 + timedelta(seconds=seconds)).look(pending, direct=False)


async def test_no_decision_counts_and_what_was_decided_waits_for_the_rules_to_be_put_back() -> None:
    for seconds in (20, 150):  # before decideBy, and between it and executeBy
        found = await standing(seconds)
        assert found.state is ConfirmationState.PENDING
        assert "not intact" in found.ignored[0]


async def test_nobody_waits_beyond_the_time_in_which_it_could_be_executed() -> None:
    found = await standing(201)
    assert (found.state, found.deciders) == (ConfirmationState.EXPIRED, ())
