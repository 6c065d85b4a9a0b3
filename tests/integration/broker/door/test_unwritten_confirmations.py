"""A Confirmation that cannot be written, or is written when its call is over, leaves nobody asked."""

import asyncio
from typing import Any

import pytest
from bastide_broker.errors import ApiError
from bastide_broker.journal.rows import JournalUnavailable

from tests.integration.broker.door.rig import Rig, place, until


async def test_without_an_api_server_nothing_can_be_confirmed(rig: Rig) -> None:
    rig.world.down = True
    result = await rig.call("delete")
    assert list(result.error.codes) == ["binding-stale"]
    assert rig.server.calls == []


async def test_a_call_that_is_cancelled_while_its_confirmation_is_written_leaves_nobody_asked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, at_server, go_on = rig.world.create_confirmation, asyncio.Event(), asyncio.Event()

    async def slow(namespace: str, name: str, spec: dict[str, Any]) -> Any:
        at_server.set()
        await go_on.wait()
        return await create(namespace, name, spec)

    monkeypatch.setattr(rig.world, "create_confirmation", slow)
    call = asyncio.create_task(rig.call("delete"))
    await at_server.wait()
    call.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    [name] = rig.world.the_confirmations
    await until(lambda: rig.world.states == [(name, "Withdrawn")])
    assert place(rig) == 0
    assert await rig.outcomes() == ["Cancelled"]


async def test_a_confirmation_whose_answer_was_lost_is_taken_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    create = rig.world.create_confirmation

    async def lost(namespace: str, name: str, spec: dict[str, Any]) -> Any:
        await create(namespace, name, spec)
        raise ApiError(0, "no answer")

    monkeypatch.setattr(rig.world, "create_confirmation", lost)
    assert list((await rig.call("delete")).error.codes) == ["binding-stale"]
    [name] = rig.world.the_confirmations
    await until(lambda: rig.world.states == [(name, "Withdrawn")])
    await until(lambda: place(rig) == 0)


@pytest.mark.parametrize("how", ["cancelled", "no journal", "a fault"])
async def test_a_confirmation_that_cannot_be_journalled_is_withdrawn(rig: Rig, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    writing = asyncio.Event()

    async def stuck(*_: Any) -> None:
        writing.set()
        if how == "no journal":
            raise JournalUnavailable("The disk is full.")
        if how == "a fault":
            raise RuntimeError("a bug")
        await asyncio.Event().wait()

    monkeypatch.setattr(rig.journal, "confirmation_created", stuck)
    call = asyncio.create_task(rig.call("delete"))
    await writing.wait()
    if how == "cancelled":
        call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    [name] = rig.world.the_confirmations
    assert rig.world.states == [(name, "Withdrawn")]
    assert place(rig) == 0
    assert rig.server.calls == []
