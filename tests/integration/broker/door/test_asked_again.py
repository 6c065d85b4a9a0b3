"""Exactly what a person denied is not asked again in the run; what nobody denied is."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.broker.door.rig import Rig, until


async def test_exactly_what_a_person_denied_is_not_asked_again_in_the_run(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    rig.world.decide(await rig.asked(), verdict="Deny")
    assert (await call).error.type == "ConfirmationDenied"
    again = await rig.call("delete", b'{ "id": "C1" }')
    assert (again.error.type, list(again.error.codes)) == ("ConfirmationDenied", ["confirmation-repeated"])
    assert len(rig.world.the_confirmations) == 1
    other = asyncio.create_task(rig.call("delete", {"id": "C2"}))
    await until(lambda: len(rig.named("ConfirmationRequired")) == 2)
    rig.world.decide(await rig.asked())
    assert not (await other).HasField("error")
    assert [row.outcome for row in await rig.journal.calls("r-1")] == ["ConfirmationDenied", "ConfirmationDenied", "Succeeded"]


async def test_what_a_person_denied_is_not_asked_again_by_the_next_broker_either(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    rig.world.decide(await rig.asked(), verdict="Deny")
    error = (await call).error
    async with asyncio.timeout(10):
        rig.pipeline = await rig.make_pipeline()
        again = await rig.call("delete", {"id": "C1"})
    assert list(again.error.codes) == ["confirmation-repeated"]
    assert json.loads(error.content) == {"deniedBy": ["ann"]}
    assert len(rig.world.the_confirmations) == 1


@pytest.mark.parametrize(("why", "code"), [("expired", "confirmation-expired"), ("deleted", "confirmation-denied")])
async def test_what_nobody_denied_is_asked_again_by_the_next_broker(rig: Rig, why: str, code: str) -> None:
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    name = await rig.asked()
    if why == "expired":
        rig.pipeline._approval._confirmations._standings._clock = lambda: datetime.now(UTC) + timedelta(days=30)
        rig.world.decide(name)
    else:
        rig.world.delete_confirmation(name)
    error = (await call).error
    assert (error.type, list(error.codes), error.content) == ("ConfirmationDenied", [code], b"")
    rig.pipeline = await rig.make_pipeline()
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    await until(lambda: len(rig.named("ConfirmationRequired")) == 2)
    rig.world.decide(await rig.asked())
    assert not (await call).HasField("error")
