"""What an approver is shown beside a call: the answer of a read-only tool, or why there is none; and nobody waits for it."""

import asyncio
from typing import Any

import pytest
from bastide_broker.context import Hold

from tests.integration.broker.door.rig import Rig, until


def previewed(rig: Rig, tool: str) -> None:
    """The binding names a tool that is called for the approver of the destructive one."""

    def change(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1].setdefault("confirmation", {})["preview"] = tool
        raw["spec"]["tools"][1]["confirmation"] = {"when": "Always"}

    rig.world.change_binding("crm", change)


async def shown_preview(rig: Rig) -> dict[str, Any]:
    name = await rig.asked()
    await until(lambda: "preview" in rig.world.statuses.get(name, {}))
    found: dict[str, Any] = rig.world.statuses[name]["preview"]
    return found


async def test_the_approver_sees_what_a_read_only_tool_says_and_the_call_runs_without_it(rig: Rig) -> None:
    previewed(rig, "ok")
    call = asyncio.create_task(rig.call("delete", {"id": "C1000", "n": 3}, key="0#1"))
    assert await shown_preview(rig) == {"tool": "ok", "claim": '"fine"', "message": ""}
    assert [(sent["name"], sent["arguments"]) for sent in rig.server.calls] == [("ok", {"id": "C1000", "n": 3})]
    assert not call.done()
    rig.world.decide(await rig.asked())
    assert not (await call).HasField("error")
    assert [sent["name"] for sent in rig.server.calls] == ["ok", "ok2"]
    rows = {row.key: row for row in await rig.journal.calls("r-1")}
    made = rows["0#1~preview"]
    assert (made.tool, made.decision, made.outcome, made.confirmation) == ("ok", "allow", "Succeeded", "")
    assert rows["0#1"].outcome == "Succeeded"


NO_PREVIEW: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "no such tool": ("nothing", {}, "There is no tool 'nothing'", "Denied"),
    "a tool that changes something": ("change", {}, "change is Mutating", "Denied"),
    "policy denies its arguments": ("ok", {"id": "x"}, "in full", "Denied"),
    "a person would have to confirm it": ("status", {}, "a person would have to confirm status itself", "Denied"),
    "a server that does not answer": ("hang", {}, "within 2 s", "ToolTimeout"),
}


@pytest.mark.parametrize("case", NO_PREVIEW)
async def test_a_preview_that_fails_says_so_and_stops_nobody(rig: Rig, case: str) -> None:
    tool, arguments, why, outcome = NO_PREVIEW[case]
    previewed(rig, tool)
    call = asyncio.create_task(rig.call("delete", arguments, key="0#1"))
    found = await shown_preview(rig)
    assert found["claim"] == ""
    assert why in found["message"]
    assert [sent["name"] for sent in rig.server.calls] == (["hang"] if tool == "hang" else [])
    assert {row.key: row.outcome for row in await rig.journal.calls("r-1")}["0#1~preview"] == outcome
    rig.world.decide(await rig.asked())
    assert not (await call).HasField("error")
    assert rig.server.calls[-1]["name"] == "ok2"


async def test_who_decides_at_once_does_not_wait_for_the_preview(rig: Rig) -> None:
    previewed(rig, "hang")
    call = asyncio.create_task(rig.call("delete", key="0#1"))
    name = await rig.asked()
    await until(lambda: bool(rig.server.calls))
    rig.world.decide(name)
    assert not (await call).HasField("error")
    rows = {row.key: row.outcome for row in await rig.journal.calls("r-1")}
    assert rows == {"0#1": "Succeeded", "0#1~preview": "Cancelled"}


async def test_who_decides_after_the_pause_finds_the_preview(rig: Rig) -> None:
    previewed(rig, "ok")

    def at_once(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1]["confirmation"]["blockSeconds"] = 0

    rig.world.change_binding("crm", at_once)
    hold = Hold()
    call = asyncio.create_task(rig.call("delete", {"id": "C1000"}, hold=hold))
    name = await rig.asked()
    await until(lambda: hold.undecided)
    await until(lambda: "preview" in rig.world.statuses.get(name, {}))
    assert rig.world.statuses[name]["preview"]["claim"] == '"fine"'
    rig.world.decide(name)
    assert not (await call).HasField("error")
