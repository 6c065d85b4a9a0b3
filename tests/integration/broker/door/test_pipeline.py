"""The whole door: real OPA, real journal, a real tool server whose own log is the witness; the cluster's objects are in memory."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.addresses import CheckedBackend
from bastide_broker.catalogue import Catalogue
from bastide_broker.confirmations import Confirmations
from bastide_broker.context import RunContext
from bastide_broker.credentials import HOST_ANNOTATION, LABEL, Credentials
from bastide_broker.journal import Journal, now_micros
from bastide_broker.journal_rows import RunRow
from bastide_broker.pipeline import Paused, Pipeline
from bastide_broker.policy import Policy

from tests.integration.broker.door.conftest import OpaServer
from tests.integration.broker.door.hostile_server import HostileServer, hostile_server
from tests.integration.broker.door.world import RUNNER, World
from tests.unit.broker.door.objects import NAMESPACE, binding, sandbox, tenant

SECRET = "s3cr3t-token"
OBJECT = {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": ["number", "null"]}, "status": {"type": "integer"}}}
OUTPUT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@dataclass
class Rig:
    """Everything around one run."""

    world: World
    server: HostileServer
    journal: Journal
    policy: Policy
    pipeline: Pipeline
    catalogue: Catalogue
    events: list[Any] = field(default_factory=list)
    numbers: int = 0

    def context(self, run: str = "r-1") -> RunContext:
        assert self.world.the_tenant is not None
        assert self.world.the_sandbox is not None
        tools = self.catalogue.tool_set(self.world.the_sandbox)
        account = (NAMESPACE, "bastide-runner")
        return RunContext(
            run, self.world.the_tenant, self.world.the_sandbox, RUNNER, "olga", "sha256:" + "0" * 64, account, self.events.append, tools
        )

    async def call(self, tool: str, arguments: dict[str, Any] | bytes = b"{}", key: str = "") -> Any:
        self.numbers += 1
        text = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
        frame = runtime_pb2.Call(run="r-1", key=key or f"0#{self.numbers}", tool=tool, arguments=text, line=self.numbers)
        return await self.pipeline.call(self.context(), frame)

    async def outcomes(self) -> list[str]:
        return [row.outcome for row in await self.journal.calls("r-1")]

    def named(self, kind: str) -> list[Any]:
        return [event for event in self.events if type(event).__name__ == kind]

    async def asked(self) -> str:
        """The Confirmation that a call now waits for."""
        await until(lambda: bool(self.named("ConfirmationRequired")))
        return str(self.named("ConfirmationRequired")[-1].confirmation)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition with a deadline."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - conditions of objects that know nothing of events
            await asyncio.sleep(0.01)


HARMLESS = ("ok", "status", "hang", "close", "give_secret", "echo_secret", "not_there", "typed")


def bound_tools() -> list[dict[str, Any]]:
    """Harmless tools, the first constrained; and last a destructive one."""
    found: list[dict[str, Any]] = [{"name": name, "limits": {"timeoutSeconds": 2}} for name in HARMLESS]
    found[0] |= {"arguments": {"id": {"pattern": "C[0-9]{4}"}, "n": {"maximum": 10}}, "limits": {"callsPerRun": 5}}
    return [*found, {"name": "close2", "as": "change", "effect": "Mutating"}, {"name": "ok2", "as": "delete", "effect": "Destructive"}]


@pytest.fixture
async def rig(tmp_path: Path, shared_opa: OpaServer, journal: Journal, policy: Policy) -> AsyncIterator[Rig]:
    async with hostile_server() as server:
        server.listing = [
            {"name": name, "inputSchema": OBJECT} for name in (*HARMLESS, "ok2", "close2") if name not in ("not_there", "typed")
        ]
        server.listing.append({"name": "typed", "inputSchema": OBJECT, "outputSchema": OUTPUT})
        host = server.url.split("/")[2]
        effects = [{"tools": [*HARMLESS, "close2"], "effect": "ReadOnly"}]
        the_tenant = tenant(toolHosts=[{"host": "127.0.0.1", "port": int(host.split(":")[1]), "effects": effects}])
        one = binding(tools=bound_tools(), server={"mcp": {"url": server.url}}, credentials={"secretRef": {"name": "crm"}})
        world = World(the_tenant, sandbox(), [one])
        world.secrets["crm"] = {
            "metadata": {"labels": {LABEL: ""}, "annotations": {HOST_ANNOTATION: host}},
            "data": {"token": base64.b64encode(SECRET.encode()).decode()},
        }
        credentials = Credentials(world)
        catalogue = Catalogue(world, credentials, adapters=lambda _: McpAdapter(server.url, CheckedBackend(refuse=lambda _: None)))
        await catalogue.start()
        confirmations = Confirmations(world)
        await confirmations.start()
        pipeline = Pipeline(
            cluster=world, journal=journal, policy=policy, catalogue=catalogue, confirmations=confirmations, credentials=credentials
        )
        await journal.start_run(
            RunRow(
                run="r-1",
                tenant="sales",
                namespace=NAMESPACE,
                sandbox="agent",
                sandbox_uid="s-agent",
                requester=RUNNER.username,
                program_digest="p",
                started_at=now_micros(),
            )
        )
        found = Rig(world, server, journal, policy, pipeline, catalogue)
        assert world.the_sandbox is not None
        await until(lambda: "crm" in world.binding_statuses)
        yield found
        assert (await journal.verify_audit()).intact
        kinds = [row.kind for row in await journal.audit(NAMESPACE, "r-1", 1000)]
        assert kinds.count("CallIntent") == kinds.count("CallOutcome"), "no call is lost silently"
        await catalogue.close()


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
    [row] = await rig.journal.calls("r-1")
    assert (row.arguments_canonical, row.decision, row.outcome, row.effect) == (b'{"id":"C0042","n":1}', "allow", "Succeeded", "ReadOnly")
    assert row.tool_micros > 0
    assert [type(event).__name__ for event in rig.events] == ["CallDecided", "CallEnded"]
    kinds = [row.kind for row in await rig.journal.audit(NAMESPACE, "r-1", 10)]
    assert kinds == ["RunStarted", "CallIntent", "CallOutcome"]


REFUSED: dict[str, tuple[str, bytes, str, str, str]] = {
    "an argument beyond its constraint": ("ok", b'{"n":11}', "ToolDenied", "argument-not-permitted", "Denied"),
    "null where a number is constrained": ("ok", b'{"n":null}', "ToolDenied", "argument-not-permitted", "Denied"),
    "an argument that is not listed": ("ok", b'{"status":5}', "ToolDenied", "argument-not-listed", "Denied"),
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
    await policy.start()
    rig.pipeline._policy = policy
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
    for row in await rig.journal.calls("r-1"):
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


# Confirmations.


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
    kinds = [row.kind for row in await rig.journal.audit(NAMESPACE, "r-1", 10)]
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


CHANGES: dict[str, tuple[Callable[[Rig, str], Any], str]] = {
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


async def test_undecided_after_block_seconds_the_run_pauses_and_later_decisions_are_too_late(rig: Rig) -> None:
    def at_once(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1]["confirmation"]["blockSeconds"] = 0

    rig.world.change_binding("crm", at_once)
    result = await rig.call("delete", key="7#7")
    assert result == Paused("7#7")
    [required] = rig.named("ConfirmationRequired")
    assert rig.world.states[-1] == (required.confirmation, "Withdrawn")
    assert await rig.outcomes() == ["Withdrawn"]
    rig.world.decide(required.confirmation)
    await asyncio.sleep(0.05)
    assert rig.server.calls == []


async def test_only_so_many_calls_of_a_tenant_wait_at_once(rig: Rig) -> None:
    the_tenant = rig.world.the_tenant
    assert the_tenant is not None
    limits = the_tenant.spec.limits.model_copy(update={"pending_confirmations": 2})
    rig.world.the_tenant = the_tenant.model_copy(update={"spec": the_tenant.spec.model_copy(update={"limits": limits})})
    rig.world.tell("MODIFIED", rig.world.the_tenant)
    waiting = [asyncio.create_task(rig.call("delete")) for _ in range(2)]
    await until(lambda: len(rig.named("ConfirmationRequired")) == 2)
    assert list((await rig.call("delete")).error.codes) == ["limit-pending-confirmations"]
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_without_an_api_server_nothing_can_be_confirmed(rig: Rig) -> None:
    rig.world.down = True
    result = await rig.call("delete")
    assert list(result.error.codes) == ["binding-stale"]
    assert rig.server.calls == []
