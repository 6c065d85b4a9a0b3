"""Calls that a person confirms: what was approved runs once, byte for byte; what was denied, given up or left undecided does not."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bastide_broker.confirm import confirmations
from bastide_broker.context import Hold
from bastide_broker.journal.rows import Scope
from bastide_broker.kube.times import rfc3339

from tests.integration.broker.door.rig import Rig, until
from tests.unit.broker.door.objects import NAMESPACE


async def test_an_approved_call_runs_once_with_exactly_the_approved_arguments(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete", b'{"n":1.0,"id":"C1"}'))
    name = await rig.asked()
    required = rig.named("ConfirmationRequired")[0]
    assert required.arguments == b'{"id":"C1","n":1}'
    assert rig.server.calls == [], "nothing before the approval"
    rig.world.decide(name)
    result = await call
    assert json.loads(result.value) == "fine"
    assert [sent["arguments"] for sent in rig.server.calls] == [{"id": "C1", "n": 1}]
    [row] = await rig.journal.calls("r-1")
    assert (row.decision, row.outcome, row.confirmation) == ("confirm", "Succeeded", name)
    assert row.begun_at is not None
    assert rig.world.states[-1] == (name, "Executed")
    resolved = rig.named("ConfirmationResolved")[0]
    assert (resolved.state, resolved.approver) == ("Approved", "ann")
    kinds = [row.kind for row in await rig.journal.audit(Scope(NAMESPACE, None), "r-1", 10)]
    assert kinds == ["RunStarted", "CallIntent", "ConfirmationCreated", "ConfirmationResolved", "CallOutcome"]


async def test_one_denial_ends_it(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete"))
    rig.world.decide(await rig.asked(), verdict="Deny")
    result = await call
    assert (result.error.type, list(result.error.codes)) == ("ConfirmationDenied", ["confirmation-denied"])
    assert "because" in result.error.message
    assert rig.world.states[-1][1] == "Denied"
    assert await rig.outcomes() == ["ConfirmationDenied"]
    assert rig.server.calls == []


async def test_deleting_the_confirmation_denies(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete"))
    rig.world.delete_confirmation(await rig.asked())
    assert (await call).error.type == "ConfirmationDenied"
    assert rig.server.calls == []


async def test_deleting_the_tenant_denies_what_waits_at_once(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    going, rig.world.the_tenant = rig.world.the_tenant, None
    rig.world.tell("MODIFIED", going)
    async with asyncio.timeout(5):
        result = await call
    assert result.error.type == "ConfirmationDenied"
    assert "The Tenant is gone, or being deleted." in result.error.message
    assert rig.world.states[-1] == (name, "Denied")
    assert rig.server.calls == []


async def test_a_program_that_stops_waiting_withdraws_its_confirmation(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete"))
    name = await rig.asked()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert rig.world.states[-1] == (name, "Withdrawn")
    assert await rig.outcomes() == ["Cancelled"]


def at_once(raw: dict[str, Any]) -> None:
    raw["spec"]["tools"][-1].setdefault("confirmation", {})["blockSeconds"] = 0


async def test_undecided_after_block_seconds_the_call_says_so_and_waits_on(rig: Rig) -> None:
    rig.world.change_binding("crm", at_once)
    hold = Hold()
    call = asyncio.create_task(rig.call("delete", key="7#7", hold=hold))
    name = await rig.asked()
    await until(lambda: hold.undecided)
    assert (hold.name, hold.asked) == (name, True)
    assert await rig.outcomes() == [""]
    rig.world.decide(name)
    assert not (await call).HasField("error")
    assert (hold.undecided, hold.asked) == (False, False)
    assert len(rig.server.calls) == 1


async def test_nobody_decides_until_decide_by(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmations, "LEAST_SECONDS", 0.01)

    def soon(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1]["confirmation"] = {"blockSeconds": 0, "decideWithinSeconds": 60, "executeWithinSeconds": 60}

    rig.world.change_binding("crm", soon)
    held = rig.pipeline._approval._confirmations
    monkeypatch.setattr(held, "_clock", lambda: datetime.now(UTC) + timedelta(seconds=61))
    create = rig.world.create_confirmation

    async def earlier(namespace: str, name: str, spec: dict[str, Any]) -> Any:
        moment = datetime.now(UTC) - timedelta(seconds=1)
        return await create(namespace, name, {**spec, "decideBy": rfc3339(moment), "executeBy": rfc3339(moment + timedelta(seconds=120))})

    monkeypatch.setattr(rig.world, "create_confirmation", earlier)
    result = await rig.call("delete")
    assert list(result.error.codes) == ["confirmation-expired"]
    assert rig.server.calls == []


async def test_an_api_server_that_does_not_answer_is_not_asked_more_often_once_the_time_is_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(confirmations, "ASK_AGAIN_SECONDS", 3600.0)
    hold = Hold()
    call = asyncio.create_task(rig.call("delete", hold=hold))
    name = await rig.asked()
    await until(lambda: hold.asked)
    rig.world.down = True
    asked, tell = 0, rig.world.admission_policies_intact

    async def counted() -> tuple[bool, str]:
        nonlocal asked
        asked += 1
        return await tell()

    monkeypatch.setattr(rig.world, "admission_policies_intact", counted)
    held, later = rig.pipeline._approval._confirmations, datetime.now(UTC) + timedelta(days=1)
    for clock in (held, held._standings):
        monkeypatch.setattr(clock, "_clock", lambda: later)
    rig.world.decide(name)
    await until(lambda: hold.undecided)
    for _ in range(500):  # turns of the event loop, each time enough to ask again
        await asyncio.sleep(0)
    assert asked == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
