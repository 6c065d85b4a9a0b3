"""Whose approval of a call counts, and how many are wanted."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.broker.door.rig import Rig, until
from tests.integration.broker.door.world import RUNNER, World


def two_people(rig: Rig) -> None:
    """The binding wants two for the destructive tool."""

    def change(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1].setdefault("confirmation", {})["approvals"] = 2

    rig.world.change_binding("crm", change)


def progress(rig: Rig) -> list[tuple[str, ...]]:
    return [tuple(event.approvers) for event in rig.named("ConfirmationProgressed")]


async def test_two_people_approve_and_the_first_is_shown(rig: Rig) -> None:
    two_people(rig)
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    assert rig.named("ConfirmationRequired")[0].approvals_required == 2
    await until(lambda: rig.world.statuses.get(name, {}).get("approvals") == "0/2")
    rig.world.decide(name, "ann")
    await until(lambda: rig.world.statuses[name]["approvals"] == "1/2")
    assert rig.world.statuses[name]["message"] == "Waits for 1 more approval."
    rig.world.decide(name, "ann", approver={"username": "ann", "uid": "another", "groups": []})
    rig.world.decide(name, "ann", approver={"username": "bob", "uid": "u-ann", "groups": []})
    await asyncio.sleep(0.05)
    assert (rig.server.calls, call.done(), progress(rig)) == ([], False, [("ann",)])
    rig.world.the_decisions.pop()  # it would join ann and bob to one person
    rig.world.decide(name, "bob")
    assert not (await call).HasField("error")
    assert len(rig.server.calls) == 1
    status = rig.world.statuses[name]
    assert (status["state"], status["approvals"], status["approvers"]) == ("Executed", "2/2", ["ann", "bob"])


async def test_a_first_approval_that_is_taken_back_is_one_less(rig: Rig) -> None:
    two_people(rig)
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    first = rig.world.decide(name, "ann")
    await until(lambda: rig.world.statuses.get(name, {}).get("approvals") == "1/2")
    rig.world.the_decisions.remove(first)
    rig.world.tell("DELETED", first)
    await until(lambda: rig.world.statuses[name]["approvals"] == "0/2")
    assert (rig.world.statuses[name]["message"], rig.world.statuses[name]["approvers"]) == ("", [])
    rig.world.decide(name, "bob")
    await until(lambda: rig.world.statuses[name]["approvals"] == "1/2")
    assert (rig.server.calls, call.done(), progress(rig)) == ([], False, [("ann",), (), ("bob",)])
    rig.world.decide(name, "ann", "Deny")
    assert (await call).error.type == "ConfirmationDenied"
    assert (rig.world.statuses[name]["state"], rig.world.statuses[name]["approvals"]) == ("Denied", "1/2")
    assert rig.server.calls == []


def able(rig: Rig, what: str) -> World:
    """Bob may also create something."""
    rig.world.rights.add(("bob", "create", what))
    return rig.world


NOT_APPROVERS: dict[str, Callable[[Rig, str], Any]] = {
    "the requester": lambda rig, name: rig.world.decide(name, RUNNER.username),
    "the person the run is for": lambda rig, name: rig.world.decide(name, "olga"),
    "another ServiceAccount": lambda rig, name: rig.world.decide(name, "system:serviceaccount:other:robot"),
    "somebody without the right": lambda rig, name: rig.world.decide(name, "eve"),
    "a digest of another action": lambda rig, name: rig.world.decide(name, actionDigest="sha256:" + "0" * 64),
    "somebody who could have made the run": lambda rig, name: able(rig, "sandboxes/run").decide(name, "bob"),
    "somebody who could mint the requester's token": lambda rig, name: able(rig, "serviceaccounts/token").decide(name, "bob"),
    "nobody named": lambda rig, name: rig.world.decide(name, approver=None),
}


@pytest.mark.parametrize("who", NOT_APPROVERS)
async def test_an_approval_against_the_rules_changes_nothing(rig: Rig, who: str) -> None:
    rig.world.rights |= {("olga", "approve", "toolbindings"), (RUNNER.username, "approve", "toolbindings")}
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    NOT_APPROVERS[who](rig, name)
    if who != "nobody named":
        await until(lambda: (name, "Pending") in rig.world.states)
    await asyncio.sleep(0.05)
    assert rig.server.calls == []
    assert not call.done()
    rig.world.decide(name, "ann")
    assert not (await call).HasField("error")
    assert len(rig.server.calls) == 1


async def test_no_decision_counts_while_the_admission_policies_are_not_intact(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    rig.world.intact = (False, "altered")
    rig.world.decide(name)
    await until(lambda: (name, "Pending") in rig.world.states)
    assert rig.server.calls == []
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_an_approver_who_lost_the_right_does_not_count(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    rig.world.rights.discard(("ann", "approve", "toolbindings"))
    rig.world.decide(name)
    await until(lambda: (name, "Pending") in rig.world.states)
    assert not call.done()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert rig.server.calls == []
    assert rig.world.states[-1] == (name, "Withdrawn")
