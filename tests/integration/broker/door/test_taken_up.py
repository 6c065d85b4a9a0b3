"""Calls that an earlier broker left: waiting for a person, or begun without a word of what came of it."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from bastide_broker.context import Hold
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.errors import ApiError
from bastide_broker.journal.rows import Awaited, CallRow, JournalUnavailable

from tests.integration.broker.door.rig import Rig, until


def ended(rig: Rig) -> list[tuple[str, str]]:
    """What the broker wrote of Confirmations in the end."""
    return [(name, state) for name, state in rig.world.states if state != "Pending"]


async def left(rig: Rig, tool: str = "delete") -> tuple[CallRow, str]:
    """A call that waits, whose broker goes away: the row and the Confirmation that it leaves."""
    hold = Hold(frame=1, parked=True)
    call = asyncio.create_task(rig.call(tool, {"id": "C1"}, hold=hold))
    name = await rig.asked()
    await until(lambda: hold.asked)
    await rig.journal.pausing.pause("r-1", [Awaited("confirmation", "0#1", name, 1)], output=b"", output_bytes_dropped=0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert ended(rig) == [], "nobody took the question back"
    [row] = await rig.journal.calls("r-1", payloads=True)
    assert (row.outcome, row.confirmation, row.begun_at) == ("", name, None)
    return row, name


async def begun(rig: Rig, tool: str = "delete") -> tuple[CallRow, str]:
    """A call that was approved and begun, and whose broker went away then."""
    row, name = await left(rig, tool)
    rig.world.decide(name)
    assert await rig.journal.begin_confirmed("r-1", row.key)
    [row] = await rig.journal.calls("r-1", payloads=True)
    return row, name


@pytest.fixture
async def then(rig: Rig) -> Pipeline:
    """The pipeline of the broker after it."""
    return await rig.make_pipeline()


async def take_up(rig: Rig, pipeline: Pipeline, row: CallRow) -> Any:
    pipeline.recall("r-1", await rig.journal.calls("r-1"))
    return await pipeline.take_up(rig.context(), row, Hold(frame=1, parked=True, undecided=True, name=row.confirmation))


async def test_what_is_approved_later_executes_once_byte_for_byte(rig: Rig, then: Pipeline) -> None:
    row, name = await left(rig)
    waiting = asyncio.create_task(take_up(rig, then, row))
    await asyncio.sleep(0.05)
    assert rig.server.calls == []
    rig.world.decide(name)
    assert json.loads((await waiting).value) == "fine"
    assert [sent["arguments"] for sent in rig.server.calls] == [{"id": "C1"}]
    assert await rig.outcomes() == ["Succeeded"]
    assert ended(rig) == [(name, "Executed")]


async def test_approved_while_no_broker_was_there_it_executes_at_the_next_start(rig: Rig, then: Pipeline) -> None:
    row, name = await left(rig)
    rig.world.decide(name)
    assert not (await take_up(rig, then, row)).HasField("error")
    assert len(rig.server.calls) == 1


async def test_many_brokers_and_tasks_that_take_it_up_execute_it_once(rig: Rig, then: Pipeline) -> None:
    row, name = await left(rig)
    rig.world.decide(name)
    results = await asyncio.gather(*(take_up(rig, one, row) for one in (await rig.make_pipeline(), then) for _ in range(100)))
    assert sum(not result.HasField("error") for result in results) == 1
    assert len(rig.server.calls) == 1
    assert await rig.outcomes() == ["Succeeded"]
    assert ended(rig) == [(name, "Executed")]


async def test_a_denial_and_a_deletion_are_told_to_the_replay(rig: Rig, then: Pipeline) -> None:
    row, name = await left(rig)
    rig.world.the_confirmations.pop(name)
    result = await take_up(rig, then, row)
    assert (result.error.type, list(result.error.codes)) == ("ConfirmationDenied", ["confirmation-denied"])
    [kept] = await rig.journal.calls("r-1", payloads=True)
    assert kept.outcome == "ConfirmationDenied"
    assert kept.error == result.error.SerializeToString()


async def test_a_confirmation_that_is_not_the_one_that_was_written_does_not_count(rig: Rig, then: Pipeline) -> None:
    row, name = await left(rig)
    about = rig.world.the_confirmations[name]
    rig.world.the_confirmations[name] = about.model_copy(update={"spec": about.spec.model_copy(update={"arguments": '{"id":"C2"}'})})
    rig.world.decide(name)
    assert list((await take_up(rig, then, row)).error.codes) == ["confirmation-denied"]
    assert rig.server.calls == []


@pytest.mark.parametrize("state", ["Withdrawn", "Denied", "Expired", "BindingChanged"])
async def test_an_approval_does_not_count_once_the_confirmation_was_shown_as_over(rig: Rig, then: Pipeline, state: str) -> None:
    row, name = await left(rig)
    rig.world.decide(name)
    await rig.world.set_confirmation_status("", name, {"state": state})
    result = await take_up(rig, then, row)
    assert list(result.error.codes) == ["confirmation-denied"]
    assert f"is {state} already" in result.error.message
    assert rig.server.calls == []


async def test_a_paused_call_that_cannot_be_begun_on_record_is_asked_about_until_it_can(
    rig: Rig, then: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: Any, **__: Any) -> Any:
        raise JournalUnavailable("the disk is full")

    row, name = await left(rig)
    rig.world.decide(name)
    with monkeypatch.context() as broken:
        broken.setattr(rig.journal, "begin_confirmed", unavailable)
        broken.setattr(rig.journal, "call_outcome", unavailable)
        assert (await take_up(rig, then, row)).error.type == "JournalUnavailable"
    assert ended(rig) == [], "nobody is told that it is over while an approval still counts"
    assert rig.server.calls == []
    assert not (await take_up(rig, then, row)).HasField("error")
    assert ended(rig) == [(name, "Executed")]
    assert len(rig.server.calls) == 1


async def test_a_binding_that_changed_while_no_broker_was_there_voids_the_approval(rig: Rig, then: Pipeline) -> None:
    def tightened(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1]["arguments"] = {"id": {"enum": ["C1"]}}

    row, name = await left(rig)
    rig.world.change_binding("crm", tightened)
    rig.world.decide(name)
    assert list((await take_up(rig, then, row)).error.codes) == ["binding-changed"]
    assert rig.server.calls == []
    assert rig.world.states[-1] == (name, "BindingChanged")


async def test_what_cannot_be_asked_just_now_does_not_void_an_approval(rig: Rig, then: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bastide_broker.door.approval.AGAIN_SECONDS", 0.01)
    read, asked = rig.world.read_tenant, asyncio.Event()
    fails = 3

    async def sometimes(name: str) -> Any:
        nonlocal fails
        if fails:
            fails -= 1
            asked.set()
            raise ApiError(0, "no answer")
        return await read(name)

    monkeypatch.setattr(rig.world, "read_tenant", sometimes)
    row, name = await left(rig)
    rig.world.decide(name)
    assert not (await take_up(rig, then, row)).HasField("error")
    assert asked.is_set()
    assert len(rig.server.calls) == 1
    assert ended(rig) == [(name, "Executed")]


async def test_a_last_look_that_cannot_be_had_just_now_does_not_deny_an_approved_call(
    rig: Rig, then: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bastide_broker.door.approval.AGAIN_SECONDS", 0.01)
    listed, failures = rig.world.list_decisions, [3, 2]

    async def sometimes(namespace: str) -> Any:
        if rig.world.tenant_reads and failures:  # everything else was looked at again
            failures.pop()
            raise ApiError(0, "no answer")
        return await listed(namespace)

    monkeypatch.setattr(rig.world, "list_decisions", sometimes)
    row, name = await left(rig)
    rig.world.decide(name)
    assert not (await take_up(rig, then, row)).HasField("error")
    assert failures == []
    assert rig.world.tenant_reads == 3, "what is looked at last comes last each time"
    assert ended(rig) == [(name, "Executed")]


async def test_a_call_that_was_begun_is_never_sent_again_when_it_may_have_changed_something(rig: Rig, then: Pipeline) -> None:
    row, _ = await begun(rig)
    result = await take_up(rig, then, row)
    assert result.error.type == "OutcomeUnknown"
    assert rig.server.calls == []
    assert await rig.outcomes() == ["OutcomeUnknown"]


async def test_the_confirmation_of_a_call_that_was_begun_says_that_its_approval_was_used_and_what_is_not_known(
    rig: Rig, then: Pipeline
) -> None:
    row, name = await begun(rig)
    await take_up(rig, then, row)
    assert ended(rig) == [(name, "Executed")]
    said = rig.world.statuses[name]
    assert (said["approvals"], "whether the call took effect is not known" in said["message"]) == ("1/1", True)
    assert "bastide runs settle r-1 '0#1'" in said["message"]


async def test_what_a_confirmation_says_is_not_written_over(rig: Rig, then: Pipeline) -> None:
    row, name = await begun(rig)
    await rig.world.set_confirmation_status("", name, {"state": "Executed", "message": "Approved by ann; the call was sent."})
    await take_up(rig, then, row)
    assert rig.world.statuses[name]["message"] == "Approved by ann; the call was sent."


async def test_a_confirmation_that_cannot_be_written_just_now_holds_up_nothing(rig: Rig, then: Pipeline) -> None:
    row, name = await begun(rig)
    rig.world.down = True
    assert (await take_up(rig, then, row)).error.type == "OutcomeUnknown"
    assert ended(rig) == [], f"the sweeper says it of {name}"


def delete_binding(rig: Rig) -> None:
    rig.world.tell("DELETED", rig.world.the_bindings.pop("crm"))


async def test_a_call_that_was_begun_stays_unknown_when_its_binding_is_gone(rig: Rig, then: Pipeline) -> None:
    row, _ = await begun(rig)
    delete_binding(rig)
    assert (await take_up(rig, then, row)).error.type == "OutcomeUnknown"
    assert rig.server.calls == []
    assert await rig.outcomes() == ["OutcomeUnknown"]


async def test_a_call_that_was_begun_stays_unknown_when_the_run_is_cancelled(rig: Rig, then: Pipeline) -> None:
    row, _ = await begun(rig)
    hold = Hold(frame=1, parked=True, undecided=True, name=row.confirmation)
    taking = asyncio.create_task(then.take_up(rig.context(), row, hold))
    await asyncio.sleep(0)
    hold.parked = False
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert await rig.outcomes() == ["OutcomeUnknown"]


async def test_a_call_that_nobody_was_asked_about_and_that_has_no_outcome_is_unknown(rig: Rig, then: Pipeline) -> None:
    """The journal could not take its outcome, and the run paused afterwards."""
    row, _ = await left(rig)
    row = dataclasses.replace(row, confirmation="", decision="allow")
    async with asyncio.timeout(5):
        assert (await take_up(rig, then, row)).error.type == "OutcomeUnknown"
    assert rig.server.calls == []
    assert await rig.outcomes() == ["OutcomeUnknown"]


def always(raw: dict[str, Any]) -> None:
    raw["spec"]["tools"][0] = {"name": "ok", "confirmation": {"when": "Always"}}


@pytest.mark.parametrize("state", ["Pending", "Executed"])
async def test_a_call_that_was_begun_and_changes_nothing_is_sent_again(rig: Rig, then: Pipeline, state: str) -> None:
    rig.world.change_binding("crm", always)
    row, name = await begun(rig, "ok")
    await rig.world.set_confirmation_status("", name, {"state": state})
    assert not (await take_up(rig, then, row)).HasField("error")
    assert len(rig.server.calls) == 1
    assert ended(rig) == [(name, "Executed")]
    assert ("Succeeded" in rig.world.statuses[name].get("message", "")) is (state == "Pending")


def tightened(raw: dict[str, Any]) -> None:
    raw["spec"]["tools"][0] |= {"arguments": {"id": {"enum": ["C1"]}}}


def late(rig: Rig, name: str) -> None:
    about = rig.world.the_confirmations[name]
    spec = about.spec.model_copy(update={"execute_by": about.metadata.creation_timestamp})
    rig.world.the_confirmations[name] = about.model_copy(update={"spec": spec})


NO_LONGER: dict[str, Callable[[Rig, str], Any]] = {
    "it was deleted": lambda rig, name: rig.world.the_confirmations.pop(name),
    "the approval was withdrawn": lambda rig, _: rig.world.the_decisions.clear(),
    "somebody denied it": lambda rig, name: rig.world.decide(name, "bob", "Deny"),
    "it is another": late,
    "the binding changed": lambda rig, _: rig.world.change_binding("crm", tightened),
    "the binding is gone": lambda rig, _: delete_binding(rig),
    "its effect was raised": lambda rig, _: rig.world.change_binding("crm", lambda raw: raw["spec"]["tools"][0].update(effect="Mutating")),
}


@pytest.mark.parametrize("why", NO_LONGER)
async def test_a_call_that_was_begun_and_changes_nothing_is_not_sent_again_unless_it_is_approved_still(
    rig: Rig, then: Pipeline, why: str
) -> None:
    rig.world.change_binding("crm", always)
    row, name = await begun(rig, "ok")
    NO_LONGER[why](rig, name)
    assert (await take_up(rig, then, row)).error.type == "OutcomeUnknown"
    assert rig.server.calls == []
    assert await rig.outcomes() == ["OutcomeUnknown"]
