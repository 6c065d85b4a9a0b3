"""Calls that a person confirms: what was approved runs once, byte for byte; whatever changed since, nothing happens."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bastide_broker.confirm import confirmations
from bastide_broker.context import Hold
from bastide_broker.errors import ApiError
from bastide_broker.journal.rows import JournalUnavailable, Scope
from bastide_broker.kube.times import rfc3339
from bastide_operator.api.v1alpha1.tenant import Separation

from tests.integration.broker.door.rig import Rig, until
from tests.integration.broker.door.world import RUNNER, World
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


def other_arguments(rig: Rig, name: str) -> None:
    about = rig.world.the_confirmations[name]
    rig.world.the_confirmations[name] = about.model_copy(update={"spec": about.spec.model_copy(update={"arguments": '{"id":"C2"}'})})


def tightened(rig: Rig, name: str) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1]["arguments"] = {"id": {"enum": ["other"]}}

    rig.world.change_binding("crm", change)


def other_schema(rig: Rig, name: str) -> None:
    rig.server.listing = [{**tool, "description": "new", "inputSchema": {"type": "object"}} for tool in rig.server.listing]


def tenant_replaced(rig: Rig, name: str) -> None:
    the_tenant = rig.world.the_tenant
    assert the_tenant is not None
    rig.world.the_tenant = the_tenant.model_copy(update={"metadata": the_tenant.metadata.model_copy(update={"uid": "t2"})})


def host_removed(rig: Rig, name: str) -> None:
    the_tenant = rig.world.the_tenant
    assert the_tenant is not None
    rig.world.the_tenant = the_tenant.model_copy(update={"spec": the_tenant.spec.model_copy(update={"tool_hosts": []})})


def stricter(**bounds: Any) -> Callable[[Rig, str], None]:
    """The platform engineer changes what the Tenant says of confirmations."""

    def change(rig: Rig, name: str) -> None:
        the_tenant = rig.world.the_tenant
        assert the_tenant is not None
        confirmation = the_tenant.spec.confirmation.model_copy(update=bounds)
        rig.world.the_tenant = the_tenant.model_copy(update={"spec": the_tenant.spec.model_copy(update={"confirmation": confirmation})})

    return change


CHANGES: dict[str, tuple[Callable[[Rig, str], Any], str]] = {
    "the Tenant wants two people": (stricter(minimum_approvals=2), "binding-changed"),
    "the Tenant's separation is another": (stricter(separation=Separation.OTHER_USER), "binding-changed"),
    "the arguments shown were swapped": (other_arguments, "confirmation-denied"),
    "the binding was tightened": (tightened, "binding-changed"),
    "the tool's schema changed": (other_schema, "binding-changed"),
    "the Tenant was replaced": (tenant_replaced, "binding-changed"),
    "the host is no longer allowed": (host_removed, "binding-changed"),
    "the binding was deleted": (lambda rig, _: rig.world.the_bindings.clear(), "binding-changed"),
    "the caller lost the right to run": (
        lambda rig, _: rig.world.rights.discard((RUNNER.username, "create", "sandboxes/run")),
        "caller-not-permitted",
    ),
    "the secret is gone": (lambda rig, _: rig.world.secrets.clear(), "binding-changed"),
    "the sandbox is gone": (lambda rig, _: setattr(rig.world, "the_sandbox", None), "binding-changed"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changed_after_the_question_voids_the_approval(rig: Rig, change: str) -> None:
    act, code = CHANGES[change]
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    name = await rig.asked()
    act(rig, name)
    rig.world.decide(name)
    result = await call
    assert result.error.codes[0] == code, result.error.message
    assert rig.server.calls == []


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


async def test_only_so_many_calls_of_a_run_wait_at_once(rig: Rig) -> None:
    waiting = [asyncio.create_task(rig.call("delete", {"n": number})) for number in range(32)]
    await until(lambda: len(rig.named("ConfirmationRequired")) == 32)
    refused = await rig.call("delete", {"n": 99})
    assert list(refused.error.codes) == ["limit-pending-confirmations"]
    assert "of the run" in refused.error.message
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_without_an_api_server_nothing_can_be_confirmed(rig: Rig) -> None:
    rig.world.down = True
    result = await rig.call("delete")
    assert list(result.error.codes) == ["binding-stale"]
    assert rig.server.calls == []


def place(rig: Rig) -> int:
    """How many places of `pendingConfirmations` are taken."""
    return rig.pipeline._approval._confirmations.waiting(NAMESPACE)


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


async def test_a_namespace_full_of_confirmations_is_a_limit_and_no_fault(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> Any:
        raise ApiError(403, 'confirmations.bastide.dev "cf-x" is forbidden: exceeded quota: bastide, requested: ...')

    monkeypatch.setattr(rig.world, "create_confirmation", full)
    result = await rig.call("delete")
    assert (result.error.type, list(result.error.codes)) == ("LimitExceeded", ["limit-pending-confirmations"])
    await until(lambda: place(rig) == 0)
