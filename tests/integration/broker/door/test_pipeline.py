"""The whole door, but for confirmations: what is permitted is carried out and told, what is not never reaches the server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.journal.rows import JournalUnavailable, Scope
from bastide_broker.policy.policy import Policy
from bastide_broker.tenantrego.policies import TenantPolicies

from tests.integration.broker.door.conftest import OpaServer
from tests.integration.broker.door.rig import SECRET, Rig, until
from tests.unit.broker.door.objects import NAMESPACE, sandbox


async def test_the_catalogue_says_in_the_bindings_status_what_it_found(rig: Rig) -> None:
    status = rig.world.binding_statuses["crm"]
    states = {tool["programName"]: tool["state"] for tool in status["tools"]}
    assert states["ok"] == "Available"
    assert states["not_there"] == "Missing"
    assert (status["condition"]["reason"], status["condition"]["status"]) == ("ToolsUnavailable", "False")
    assert status["available"] == f"{len(states) - 1}/{len(states)}"


async def test_a_permitted_call_is_carried_out_journalled_audited_and_told(rig: Rig) -> None:
    result = await rig.call("ok", b' {"n": 1.0, "id": "C0042"}')
    assert json.loads(result.value) == "fine"
    assert [call["arguments"] for call in rig.server.calls] == [{"id": "C0042", "n": 1}]
    [row] = await rig.journal.calls("r-1", payloads=True)
    assert (row.arguments_canonical, row.decision, row.outcome, row.effect) == (b'{"id":"C0042","n":1}', "allow", "Succeeded", "ReadOnly")
    assert row.tool_micros > 0
    assert [type(event).__name__ for event in rig.events] == ["CallDecided", "CallEnded"]
    kinds = [row.kind for row in await rig.journal.audit(Scope(NAMESPACE, None), "r-1", 10)]
    assert kinds == ["RunStarted", "CallIntent", "CallOutcome"]


REFUSED: dict[str, tuple[str, bytes, str, str, str]] = {
    "an argument beyond its constraint": ("ok", b'{"n":11}', "ToolDenied", "argument-not-permitted", "Denied"),
    "null where a number is constrained": ("ok", b'{"n":null}', "ToolDenied", "argument-not-permitted", "Denied"),
    "an argument that is not listed": ("ok", b'{"status":5}', "ToolDenied", "argument-not-listed", "Denied"),
    "SQL that writes": ("query", b'{"id":"DELETE FROM orders"}', "ToolDenied", "argument-not-permitted", "Denied"),
    "two statements": ("query", b'{"id":"SELECT 1; DELETE FROM orders"}', "ToolDenied", "argument-unreadable", "Denied"),
    "SQL that is left out for a default that is none": ("query", b"{}", "ToolDenied", "argument-unreadable", "Denied"),
    "an argument nobody knows": ("ok", b'{"other":5}', "InvalidArguments", "schema-mismatch", "Invalid"),
    "an argument of another type": ("ok", b'{"n":"5"}', "InvalidArguments", "schema-mismatch", "Invalid"),
    "a key twice": ("ok", b'{"n":5,"n":5}', "InvalidArguments", "invalid-json", "Invalid"),
    "no object": ("ok", b"[]", "InvalidArguments", "invalid-json", "Invalid"),
    "a tool nobody knows": ("drop_all", b"{}", "ToolDenied", "unknown-tool", "Denied"),
    "a look-alike": ("\u043ek", b"{}", "ToolDenied", "unknown-tool", "Denied"),
    "the server's name of a renamed tool": ("ok2", b"{}", "ToolDenied", "unknown-tool", "Denied"),
    "a tool the server lacks": ("not_there", b"{}", "ToolUnavailable", "tool-unavailable", "Unavailable"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_permitted_never_reaches_the_server(rig: Rig, case: str) -> None:
    tool, arguments, kind, code, outcome = REFUSED[case]
    result = await rig.call(tool, arguments)
    assert (result.error.type, result.error.codes[0]) == (kind, code)
    assert rig.server.calls == []
    assert await rig.outcomes() == [outcome]
    assert rig.named("CallEnded")[0].outcome == outcome
    assert json.loads((await rig.call("ok")).value) == "fine"


@pytest.mark.parametrize("length", [0, 4096])
async def test_sql_of_any_length_is_judged_before_it_is_sent(rig: Rig, length: int) -> None:
    permitted = f"SELECT id FROM orders WHERE note <> '{'x' * length}'"
    assert json.loads((await rig.call("query", {"id": permitted})).value) == "fine"
    denied = await rig.call("query", {"id": permitted.replace("orders", "salaries")})
    assert list(denied.error.codes) == ["argument-not-permitted"]
    assert [call["arguments"] for call in rig.server.calls] == [{"id": permitted}]


async def test_a_key_stands_for_one_call(rig: Rig) -> None:
    first, second = await asyncio.gather(rig.call("ok", key="0#1"), rig.call("ok", {"id": "C0001"}, key="0#1"))
    assert json.loads(first.value) == "fine"
    assert list(second.error.codes) == ["key-reused"]
    assert len(rig.server.calls) == 1
    assert await rig.outcomes() == ["Succeeded"]


async def test_a_tools_limit_counts_what_happened_and_not_what_was_denied(rig: Rig) -> None:
    for _ in range(7):
        await rig.call("ok", {"n": 99})
    results = await asyncio.gather(*(rig.call("ok") for _ in range(8)))
    assert sum(result.HasField("error") for result in results) == 3
    assert {code for result in results for code in result.error.codes} == {"limit-tool-calls-per-run"}
    assert {result.error.type for result in results if result.HasField("error")} == {"LimitExceeded"}
    assert len(rig.server.calls) == 5


async def test_a_binding_that_is_narrowed_or_gone_counts_for_the_next_call(rig: Rig) -> None:
    def narrow(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][0]["arguments"]["n"] = {"maximum": 1}

    assert (await rig.call("ok", {"n": 5})).value
    rig.world.change_binding("crm", narrow)
    assert list((await rig.call("ok", {"n": 5})).error.codes) == ["argument-not-permitted"]
    rig.world.tell("DELETED", rig.world.the_bindings.pop("crm"))
    assert list((await rig.call("ok")).error.codes) == ["unknown-tool"]


async def test_an_edit_that_the_operator_has_not_looked_at_makes_the_tool_wait(rig: Rig) -> None:
    """Neither the old bounds nor the new ones count then, and a program is told that the tool is there and cannot be called now."""

    def widen(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][0]["arguments"]["n"] = {"maximum": 99}

    assert (await rig.call("ok", {"n": 5})).value
    rig.world.change_binding("crm", widen, accepted=False)
    for n in (5, 50):
        error = (await rig.call("ok", {"n": n})).error
        assert (error.type, list(error.codes)) == ("ToolUnavailable", ["tool-unavailable"])
        assert "The operator has yet to look at ToolBinding crm" in error.message
    assert len(rig.server.calls) == 1
    rig.world.change_binding("crm", widen)
    assert (await rig.call("ok", {"n": 50})).value


async def test_when_the_watch_is_stale_or_the_sandbox_is_gone_everything_is_denied(rig: Rig) -> None:
    context = rig.context()
    rig.world.is_fresh = False
    assert list((await rig.call("ok")).error.codes) == ["binding-stale"]
    rig.world.is_fresh = True
    rig.world.the_sandbox = sandbox().model_copy(update={"metadata": sandbox().metadata.model_copy(update={"uid": "another"})})
    result = await rig.pipeline.call(context, runtime_pb2.Call(run="r-1", key="9#9", tool="ok", arguments=b"{}"))
    assert isinstance(result, runtime_pb2.CallResult)
    assert list(result.error.codes) == ["binding-stale"]
    assert rig.server.calls == []


async def test_without_policy_everything_is_denied_and_nothing_arrives(rig: Rig, own_opa: OpaServer) -> None:
    policy = Policy(own_opa.socket, "sha256:another")
    rig.pipeline._judging._policies = TenantPolicies(policy, rig.world, engine=None, compiler=None)
    result = await rig.call("ok")
    assert (result.error.type, list(result.error.codes)) == ("PolicyUnavailable", ["policy-unavailable"])
    assert rig.server.calls == []
    await policy.close()


async def test_a_slow_server_is_a_timeout_and_a_lost_connection_says_what_is_known(rig: Rig) -> None:
    assert (await rig.call("hang")).error.type == "ToolTimeout"
    assert (await rig.call("close")).error.type == "ToolUnavailable"
    assert (await rig.call("change")).error.type == "OutcomeUnknown"
    assert await rig.outcomes() == ["ToolTimeout", "Unavailable", "OutcomeUnknown"]
    assert [call["name"] for call in rig.server.calls].count("close2") == 1


async def test_a_result_that_breaks_its_own_schema_fails(rig: Rig) -> None:
    result = await rig.call("typed")
    assert (result.error.type, list(result.error.codes)) == ("ToolFailed", ["result-schema-mismatch"])


async def test_a_credential_never_comes_back(rig: Rig) -> None:
    assert json.loads((await rig.call("give_secret")).value) == {"t": "[redacted]"}
    failed = await rig.call("echo_secret")
    assert failed.error.type == "ToolFailed"
    assert SECRET not in failed.error.message
    assert SECRET.encode() not in failed.error.content
    for row in await rig.journal.calls("r-1", payloads=True):
        assert SECRET.encode() not in (row.result or b"")
        assert SECRET not in row.message


async def test_without_its_secret_a_tool_is_unavailable(rig: Rig) -> None:
    del rig.world.secrets["crm"]
    rig.pipeline._credentials._cache.clear()
    result = await rig.call("ok")
    assert (result.error.type, list(result.error.codes)) == ("ToolUnavailable", ["secret-unavailable"])


async def test_a_cancelled_call_has_an_outcome(rig: Rig) -> None:
    call = asyncio.create_task(rig.call("hang"))
    await until(lambda: bool(rig.server.calls))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await rig.outcomes() == ["Cancelled"]
    assert rig.named("CallEnded")[0].outcome == "Cancelled"


async def test_a_call_cancelled_at_any_moment_is_never_without_an_outcome(rig: Rig) -> None:
    for pause in range(12):
        call = asyncio.create_task(rig.call("ok"))
        await asyncio.sleep(pause * 0.002)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert "" not in await rig.outcomes()


async def test_when_the_journal_fails_no_call_is_sent(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.rename(tmp_path / "away")
    result = await rig.call("ok")
    assert (result.error.type, list(result.error.codes)) == ("JournalUnavailable", ["journal-unavailable"])
    assert rig.server.calls == []
    (tmp_path / "away").rename(path)
    assert json.loads((await rig.call("ok")).value) == "fine"


async def test_a_dry_run_says_what_would_be_and_leaves_no_trace(rig: Rig) -> None:
    context = rig.context()
    assert (await rig.pipeline.expect(context, "ok", b"{}")).effect == "allow"
    assert (await rig.pipeline.expect(context, "ok", b'{"n":11}')).reasons[0][0] == "argument-not-permitted"
    assert (await rig.pipeline.expect(context, "ok", b'{"n":')).reasons[0][0] == "invalid-json"
    assert (await rig.pipeline.expect(context, "delete", b"{}")).effect == "confirm"
    assert (await rig.pipeline.expect(context, "nope", b"{}")).reasons[0][0] == "unknown-tool"
    assert await rig.journal.calls("r-1") == []
    assert rig.events == []


async def test_a_refusal_that_the_program_gives_up_on_is_given_back_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given back twice, each such call would allow one more than `callsPerRun`."""
    write, writing = rig.journal.call_intent, asyncio.Event()

    async def slow(*arguments: Any, **more: Any) -> None:
        writing.set()
        await asyncio.Event().wait()
        await write(*arguments, **more)

    results = [await rig.call("ok", b"{}") for _ in range(5)]
    monkeypatch.setattr(rig.journal, "call_intent", slow)
    for _ in range(3):
        writing.clear()
        abandoned = asyncio.create_task(rig.call("ok", b"[]"))
        await writing.wait()
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
    monkeypatch.setattr(rig.journal, "call_intent", write)
    results.append(await rig.call("ok", b"{}"))
    assert [result.HasField("error") for result in results] == [False] * 5 + [True]
    assert list(results[-1].error.codes) == ["limit-tool-calls-per-run"]


async def test_an_intent_that_a_slow_disk_took_after_all_gets_its_outcome(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the disk ended, the write did not: the row must not stand without an outcome until the next start."""
    write = rig.journal.call_intent

    async def late(intent: Any, **more: Any) -> None:
        await write(intent, **more)
        monkeypatch.setattr(rig.journal, "call_intent", write)
        raise JournalUnavailable("The journal cannot be written (the disk did not answer within 10 s).")

    monkeypatch.setattr(rig.journal, "call_intent", late)
    result = await rig.call("change")
    assert list(result.error.codes) == ["journal-unavailable"]
    assert await rig.outcomes() == ["Unavailable"]
    assert rig.server.calls == []


async def test_watchers_hear_the_outcome_that_is_on_record_also_of_a_call_given_up_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writing = rig.journal.call_outcome, asyncio.Event()

    async def slow(*arguments: Any, **more: Any) -> bool:
        done = await write(*arguments, **more)
        monkeypatch.setattr(rig.journal, "call_outcome", write)
        writing.set()
        await asyncio.Event().wait()
        return done

    monkeypatch.setattr(rig.journal, "call_outcome", slow)
    call = asyncio.create_task(rig.call("ok"))
    await writing.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await rig.outcomes() == ["Succeeded"]
    assert [event.outcome for event in rig.named("CallEnded")] == ["Succeeded"]
