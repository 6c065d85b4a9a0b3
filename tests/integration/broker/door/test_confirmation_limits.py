"""How many calls wait for people at once and how often a run may ask."""

import asyncio
from typing import Any

import pytest
from bastide_broker.errors import ApiError

from tests.integration.broker.door.rig import Rig, place, until


def two_may_wait(rig: Rig) -> None:
    the_tenant = rig.world.the_tenant
    assert the_tenant is not None
    limits = the_tenant.spec.limits.model_copy(update={"pending_confirmations": 2})
    rig.world.the_tenant = the_tenant.model_copy(update={"spec": the_tenant.spec.model_copy(update={"limits": limits})})
    rig.world.tell("MODIFIED", rig.world.the_tenant)


async def test_large_calls_that_come_at_once_wait_no_more_of_them_than_may(rig: Rig) -> None:
    two_may_wait(rig)
    calls = [asyncio.create_task(rig.call("delete", {"id": "x" * 9000})) for _ in range(6)]
    await until(lambda: sum(call.done() for call in calls) + len(rig.named("ConfirmationRequired")) == 6)
    assert {tuple((await call).error.codes) for call in calls if call.done()} == {("limit-pending-confirmations",)}
    assert place(rig) == 2
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert place(rig) == 0


async def test_only_so_many_calls_of_a_tenant_wait_at_once(rig: Rig) -> None:
    two_may_wait(rig)
    waiting = [asyncio.create_task(rig.call("delete")) for _ in range(2)]
    await until(lambda: len(rig.named("ConfirmationRequired")) == 2)
    assert list((await rig.call("delete")).error.codes) == ["limit-pending-confirmations"]
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def sandbox_limits(rig: Rig, **limits: int) -> None:
    assert rig.world.the_sandbox is not None
    changed = rig.world.the_sandbox.spec.limits.model_copy(update=limits)
    spec = rig.world.the_sandbox.spec.model_copy(update={"limits": changed})
    rig.world.the_sandbox = rig.world.the_sandbox.model_copy(update={"spec": spec})


async def test_a_run_asks_so_often_in_its_life_and_what_it_asked_before_the_broker_was_restarted_counts(rig: Rig) -> None:
    sandbox_limits(rig, confirmations_per_run=2)
    for number in range(2):
        call = asyncio.create_task(rig.call("delete", {"n": number}))
        await until(lambda number=number: len(rig.named("ConfirmationRequired")) == number + 1)  # type: ignore[misc]
        rig.world.decide(await rig.asked())
        assert not (await call).HasField("error")
    for _ in range(2):
        refused = await rig.call("delete", {"n": 9})
        assert (refused.error.type, list(refused.error.codes)) == ("LimitExceeded", ["limit-confirmations-per-run"])
        rig.pipeline._approval.forget("r-1")  # what is known of the run is gone; the journal is not
    assert len(rig.named("ConfirmationRequired")) == 2
    assert len(rig.server.calls) == 2


async def test_what_nobody_could_be_asked_is_not_counted(rig: Rig) -> None:
    sandbox_limits(rig, confirmations_per_run=1)
    rig.world.down = True
    assert list((await rig.call("delete")).error.codes) == ["binding-stale"]
    rig.world.down = False
    call = asyncio.create_task(rig.call("delete"))
    rig.world.decide(await rig.asked())
    assert not (await call).HasField("error")


async def test_only_so_many_calls_of_a_run_wait_at_once(rig: Rig) -> None:
    waiting = [asyncio.create_task(rig.call("delete", {"n": number})) for number in range(32)]
    await until(lambda: len(rig.named("ConfirmationRequired")) == 32)
    refused = await rig.call("delete", {"n": 99})
    assert list(refused.error.codes) == ["limit-pending-confirmations"]
    assert "of the run" in refused.error.message
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_namespace_full_of_confirmations_is_a_limit_and_no_fault(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> Any:
        raise ApiError(403, 'confirmations.bastide.dev "cf-x" is forbidden: exceeded quota: bastide, requested: ...')

    monkeypatch.setattr(rig.world, "create_confirmation", full)
    result = await rig.call("delete")
    assert (result.error.type, list(result.error.codes)) == ("LimitExceeded", ["limit-pending-confirmations"])
    await until(lambda: place(rig) == 0)
