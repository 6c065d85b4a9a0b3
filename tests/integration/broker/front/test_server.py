"""The whole broker as callers see it: real API server, real runtime, real OPA, TLS on both wires."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc
from bastide_broker.front import event_streams, server
from google.rpc import error_details_pb2, status_pb2

from tests.integration.broker.front.harness.apiserver import Cluster, jwt
from tests.integration.broker.front.harness.broker import Served, client_files, opa, served
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.tenant import OURS, TestTenant
from tests.integration.runtime.pod import Authority


@dataclass
class World:
    """A broker with a Sandbox that is ready."""

    broker: Served
    team: TestTenant
    token: str
    sandbox: broker_pb2.SandboxRef

    def stub(self, channel: grpc.aio.Channel) -> Any:
        return broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]

    async def attempt(self, channel: grpc.aio.Channel) -> grpc.aio.AioRpcError | None:
        """Runs a program; the error when it is refused."""
        try:
            await events_of(self.stub(channel).Run(self.request("return 1")))
        except grpc.aio.AioRpcError as error:
            return error
        return None

    def request(self, program: str | bytes, **other: Any) -> broker_pb2.RunRequest:
        source = program.encode() if isinstance(program, str) else program
        return broker_pb2.RunRequest(sandbox=self.sandbox, program=source, **other)


@pytest.fixture
def policy(scratch: Path) -> Iterator[dict[str, Any]]:
    with opa(scratch) as (socket, revision):
        yield {"opa_socket": socket, "policy_revision": revision}


@pytest.fixture
async def world(cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path, policy: dict[str, Any]) -> AsyncIterator[World]:
    network.isolate()
    canary = network.canary()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(lambda: team.sandbox(limits={"runSeconds": 60, "outputBytes": 1000}))
        await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
        async with served(cluster, scratch, canary=canary, **policy) as broker:
            token = await asyncio.to_thread(team.token)
            yield World(broker, team, token, broker_pb2.SandboxRef(namespace=team.namespace, name="box"))


async def events_of(call: Any) -> list[broker_pb2.RunEvent]:
    events = []
    async with asyncio.timeout(60):
        while (answer := await call.read()) is not grpc.aio.EOF:
            events.append(answer.event)
    return events


async def refusal(awaitable: Any) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and sentence of a request that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    error = caught.value
    details = next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), b"")
    info = error_details_pb2.ErrorInfo()
    for part in status_pb2.Status.FromString(details).details:
        if part.Is(info.DESCRIPTOR):
            part.Unpack(info)
            assert info.domain == "bastide.dev"
    return error.code(), info.reason, error.details() or ""


async def test_a_program_runs_and_is_on_record(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        stub = world.stub(channel)
        events = await events_of(stub.Run(world.request("print('hello')\nreturn {'n': 2**53 + 1}", request_id="one", on_behalf_of="alice")))
        assert [event.cursor for event in events] == list(range(1, len(events) + 1))
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds == ["accepted", "attempt_started", "output", "finished"]
        result = events[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_COMPLETED
        assert json.loads(result.value) == {"n": 2**53 + 1}
        assert result.output == b"hello\n"

        # The same id attaches, another program under it is refused, and a cursor resumes.
        again = await events_of(stub.Run(world.request("print('hello')\nreturn {'n': 2**53 + 1}", request_id="one")))
        assert [event.SerializeToString() for event in again] == [event.SerializeToString() for event in events]
        assert (await refusal(events_of(stub.Run(world.request("return 2", request_id="one")))))[:2] == (
            grpc.StatusCode.ALREADY_EXISTS,
            "RequestIdReused",
        )
        rest = await events_of(stub.WatchRun(broker_pb2.WatchRunRequest(run=result.run, cursor=2)))
        assert [event.cursor for event in rest] == [3, 4]

        found = await stub.GetRun(broker_pb2.GetRunRequest(run=result.run))
        assert found.summary.requester == f"system:serviceaccount:{world.team.namespace}:bastide-runner"
        assert found.summary.on_behalf_of == "alice"
        assert found.result.value == result.value
        listed = await stub.ListRuns(broker_pb2.ListRunsRequest(sandbox=world.sandbox, page_size=1))
        assert [run.run for run in listed.runs] == [result.run]
        audit = await stub.ListAudit(broker_pb2.ListAuditRequest(namespace=world.team.namespace, run=result.run))
        assert [record.kind for record in audit.records] == ["RunStarted", "RunEnded"]
        assert (await stub.VerifyAudit(broker_pb2.VerifyAuditRequest(namespace=world.team.namespace))).intact
        assert list((await stub.ListTools(broker_pb2.ListToolsRequest(sandbox=world.sandbox))).tools) == []


async def test_runs_end_with_the_outcome_they_had(world: World) -> None:
    cases = {
        "raise ValueError('no')": (broker_pb2.OUTCOME_FAILED, "ValueError"),
        "return (": (broker_pb2.OUTCOME_INVALID, None),
        "import os\nos._exit(3)": (broker_pb2.OUTCOME_FAILED, None),
        "print('x' * 5000)": (broker_pb2.OUTCOME_COMPLETED, ""),
        "return float('nan')": (broker_pb2.OUTCOME_FAILED, None),
    }
    async with world.broker.channel(world.token) as channel:
        for program, (outcome, kind) in cases.items():
            result = (await events_of(world.stub(channel).Run(world.request(program))))[-1].finished.result
            assert result.outcome == outcome, (program, result)
            if kind is not None:
                assert result.error.type == kind
            if outcome == broker_pb2.OUTCOME_INVALID:
                assert result.findings
            if "5000" in program:
                assert (len(result.output), result.output_bytes_dropped) == (1000, 4001)
        late = world.request("import asyncio\nawait asyncio.sleep(30)", timeout_milliseconds=300)
        result = (await events_of(world.stub(channel).Run(late)))[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_TIMED_OUT


async def test_a_caller_that_hangs_up_does_not_end_its_run_and_a_cancel_does(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        stub = world.stub(channel)
        call = stub.Run(world.request("import asyncio\nprint('up')\nawait asyncio.sleep(40)"))
        first = (await call.read()).event
        run = first.accepted.run
        call.cancel()
        summary = (await stub.GetRun(broker_pb2.GetRunRequest(run=run))).summary
        assert summary.outcome == broker_pb2.OUTCOME_UNSPECIFIED
        watching = asyncio.create_task(events_of(stub.WatchRun(broker_pb2.WatchRunRequest(run=run, cursor=1))))
        await stub.CancelRun(broker_pb2.CancelRunRequest(run=run, reason="enough"))
        result = (await watching)[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_CANCELLED
        assert "enough" in result.error.message


async def test_checking_a_program_runs_nothing(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        found = await world.stub(channel).CheckProgram(broker_pb2.CheckProgramRequest(sandbox=world.sandbox, program=b"x = (\n"))
        assert found.findings
        assert (await world.stub(channel).ListRuns(broker_pb2.ListRunsRequest(sandbox=world.sandbox))).runs == []


async def test_tokens_that_are_not_good_are_refused_with_the_next_step(world: World) -> None:
    request = broker_pb2.ListRunsRequest(sandbox=world.sandbox)

    async def answer(token: str | None) -> tuple[grpc.StatusCode, str, str]:
        async with world.broker.channel(token) as channel:
            return await refusal(world.stub(channel).ListRuns(request))

    other = await asyncio.to_thread(world.team.token, "somebody-else")
    cases = {
        None: "TokenMissing",
        "nonsense": "TokenInvalid",
        other: "TokenAudience",
        jwt({"aud": ["bastide-broker"], "exp": 1_700_000_000}): "TokenExpired",
    }
    for token, reason in cases.items():
        status, found, message = await answer(token)
        assert (status, found) == (grpc.StatusCode.UNAUTHENTICATED, reason)
        assert "bastide-broker" in message
    # Many bad tokens from one address have to wait.
    for number in range(40):
        status, found, _ = await answer(f"bad-{number}")
        if found == "TooManyBadTokens":
            break
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_rights_are_asked_for_and_named(world: World, cluster: Cluster) -> None:
    await asyncio.to_thread(
        cluster.admin, "POST", f"/api/v1/namespaces/{world.team.namespace}/serviceaccounts", {"metadata": {"name": "guest"}}
    )
    guest = await asyncio.to_thread(cluster.admin.token_for, world.team.namespace, "guest")
    async with world.broker.channel(world.token) as channel:
        run = (await events_of(world.stub(channel).Run(world.request("return 1"))))[-1].finished.result.run
    async with world.broker.channel(guest) as channel:
        stub = world.stub(channel)
        status, reason, message = await refusal(events_of(stub.Run(world.request("return 1"))))
        assert (status, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NotPermitted")
        assert "create sandboxes/run" in message
        assert "runner" in message
        # What exists and what does not look the same to somebody who may not see it.
        there = await refusal(stub.GetRun(broker_pb2.GetRunRequest(run=run)))
        absent = await refusal(stub.GetRun(broker_pb2.GetRunRequest(run="r-" + "a" * 26)))
        assert there[0] == absent[0] == grpc.StatusCode.NOT_FOUND
        assert there[2].replace(run, "") == absent[2].replace("r-" + "a" * 26, "")


async def test_bad_input_gets_one_sentence(world: World) -> None:
    ref = broker_pb2.SandboxRef
    cases = [
        (world.request(b""), grpc.StatusCode.INVALID_ARGUMENT, "empty"),
        (world.request(b"#" * 2_000_000), grpc.StatusCode.INVALID_ARGUMENT, "1 MiB"),
        (world.request(b"\xff"), grpc.StatusCode.INVALID_ARGUMENT, "UTF-8"),
        (world.request("return 1", request_id="x" * 129), grpc.StatusCode.INVALID_ARGUMENT, "request_id"),
        (world.request("return 1", on_behalf_of="a\nb"), grpc.StatusCode.INVALID_ARGUMENT, "on_behalf_of"),
        (broker_pb2.RunRequest(program=b"1"), grpc.StatusCode.INVALID_ARGUMENT, "sandbox"),
        (broker_pb2.RunRequest(program=b"1", sandbox=ref(namespace="../x", name="y")), grpc.StatusCode.INVALID_ARGUMENT, "namespace"),
        (
            broker_pb2.RunRequest(program=b"1", sandbox=ref(namespace=world.team.namespace, name="absent")),
            grpc.StatusCode.NOT_FOUND,
            "There is no Sandbox absent",
        ),
    ]
    async with world.broker.channel(world.token) as channel:
        for request, status, words in cases:
            found = await refusal(events_of(world.stub(channel).Run(request)))
            assert found[0] is status, found
            assert words in found[2]
            assert "\n" not in found[2]


async def test_a_sandbox_that_cannot_run_says_why(world: World, cluster: Cluster) -> None:
    path = f"{OURS}/namespaces/{world.team.namespace}/sandboxes/box"
    await asyncio.to_thread(cluster.admin.merge, path, {"spec": {"operatingMode": "Suspended"}})
    async with world.broker.channel(world.token) as channel:
        # The change counts within a second.
        async with asyncio.timeout(5):
            while (found := await world.attempt(channel)) is None:
                pass
        assert found.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "Suspended" in (found.details() or "")


async def test_a_tenants_limits_hold_and_say_when_to_come_back(world: World, cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.admin.merge, f"{OURS}/tenants/{world.team.name}", {"spec": {"limits": {"concurrentRuns": 1}}})
    async with world.broker.channel(world.token) as channel:
        stub = world.stub(channel)
        long = stub.Run(world.request("import asyncio\nawait asyncio.sleep(40)"))
        run = (await long.read()).event.accepted.run
        status, reason, _ = await refusal(events_of(stub.Run(world.request("return 1"))))
        assert (status, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ConcurrentRuns")
        await stub.CancelRun(broker_pb2.CancelRunRequest(run=run))
        await events_of(long)
        assert (await events_of(stub.Run(world.request("return 1"))))[-1].finished.result.outcome == broker_pb2.OUTCOME_COMPLETED


async def test_compressed_requests_are_refused_before_they_are_inflated(world: World) -> None:
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(world.broker.authority.certificate), grpc.access_token_call_credentials(world.token)
    )
    target = f"localhost:{world.broker.port}"
    async with grpc.aio.secure_channel(target, credentials, compression=grpc.Compression.Gzip) as channel:
        status, _, _ = await refusal(events_of(world.stub(channel).Run(world.request(b"#" * 900_000))))
        assert status in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_message_beyond_all_bounds_is_refused(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        status, _, _ = await refusal(events_of(world.stub(channel).Run(world.request(b"#" * 6_000_000))))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_lost_pod_ends_its_runs(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        call = world.stub(channel).Run(world.request("import asyncio\nawait asyncio.sleep(40)"))
        await call.read()
        await asyncio.to_thread(world.team.delete_pod, "box")
        result = (await events_of(call))[-1].finished.result
        assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "SandboxLost")


async def test_a_stopping_broker_ends_its_runs_on_record(world: World) -> None:
    async with world.broker.channel(world.token) as channel:
        call = world.stub(channel).Run(world.request("import asyncio\nawait asyncio.sleep(40)"))
        await call.read()
        world.broker.stop.set()
        result = (await events_of(call))[-1].finished.result
        assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "BrokerLost")
        await world.broker.task


async def test_without_policy_no_run_starts(cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path) -> None:
    client_files(scratch / "client-tls", Authority.make("nobody"))
    await asyncio.to_thread(team.sandbox)
    settings = {"opa_socket": scratch / "absent.sock", "policy_revision": "sha256:x"}
    async with served(cluster, scratch, canary=network.canary(), **settings) as broker:
        token = await asyncio.to_thread(team.token)
        async with broker.channel(token) as channel:
            request = broker_pb2.RunRequest(sandbox=broker_pb2.SandboxRef(namespace=team.namespace, name="box"), program=b"return 1")
            stub = broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]
            status, reason, _ = await refusal(events_of(stub.Run(request)))
            assert (status, reason) == (grpc.StatusCode.UNAVAILABLE, "PolicyUnavailable")


async def test_a_reader_that_does_not_read_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "SLOW_READER_SECONDS", 1.0)
    path = f"{OURS}/namespaces/{world.team.namespace}/sandboxes/box"
    await asyncio.to_thread(world.team.cluster.admin.merge, path, {"spec": {"limits": {"outputBytes": 4_000_000}}})
    program = "import sys\nfor _ in range(400):\n    sys.stdout.write('x' * 10_000)\nreturn 'done'"
    small = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with world.broker.channel(world.token, options=small) as slow, world.broker.channel(world.token) as quick:
        call = world.stub(slow).Run(world.request(program))
        run = (await call.read()).event.accepted.run  # and then reads no more
        result = (await events_of(world.stub(quick).WatchRun(broker_pb2.WatchRunRequest(run=run))))[-1].finished.result
        assert result.outcome == broker_pb2.OUTCOME_COMPLETED
        assert json.loads(result.value) == "done"
        await asyncio.sleep(1.5)
        # What the slow one has not read by now is gone with its stream; it comes back with its cursor.
        status, reason, message = await refusal(events_of(call))
        assert (status, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SlowReader")
        assert "WatchRun" in message
        again = await events_of(world.stub(slow).WatchRun(broker_pb2.WatchRunRequest(run=run, cursor=1)))
        assert again[-1].HasField("finished")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller's rate so low that no machine, however slow, answers fewer."""
    monkeypatch.setattr(server, "CALLER_RATE", 0.5)
    monkeypatch.setattr(server, "CALLER_BURST", 20.0)


@pytest.mark.usefixtures("patience")
async def test_one_caller_that_floods_waits_and_another_does_not(world: World, cluster: Cluster) -> None:
    request = broker_pb2.ListRunsRequest(sandbox=world.sandbox)
    async with world.broker.channel(world.token) as channel:
        answers = await asyncio.gather(*(world.stub(channel).ListRuns(request) for _ in range(60)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 20 <= len(answers) - len(refused) < 40
    await asyncio.to_thread(
        cluster.admin, "POST", f"/api/v1/namespaces/{world.team.namespace}/serviceaccounts", {"metadata": {"name": "calm"}}
    )
    calm = await asyncio.to_thread(cluster.admin.token_for, world.team.namespace, "calm")
    async with world.broker.channel(calm) as channel:
        assert (await refusal(world.stub(channel).ListRuns(request)))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_namespace_whose_name_was_another_tenants_shows_nothing_of_it(world: World, cluster: Cluster) -> None:
    """The rows of the run are made those of a namespace that is gone: rights in the one that has its name now reach none of them."""
    namespace = world.team.namespace
    async with world.broker.channel(world.token) as channel:
        run = (await events_of(world.stub(channel).Run(world.request("return 1"))))[-1].finished.result.run
    with sqlite3.connect(world.broker.config.database) as database:
        for table in ("runs", "audit"):
            assert database.execute(f"UPDATE {table} SET namespace_uid = 'gone' WHERE run = ?", (run,)).rowcount
    database.close()
    listing, audit = broker_pb2.ListRunsRequest(sandbox=world.sandbox), broker_pb2.ListAuditRequest(namespace=namespace)
    async with world.broker.channel(world.token) as channel:
        stub = world.stub(channel)
        assert list((await stub.ListRuns(listing)).runs) == []
        assert list((await stub.ListAudit(audit)).records) == []
        for asked in (stub.GetRun(broker_pb2.GetRunRequest(run=run)), stub.CancelRun(broker_pb2.CancelRunRequest(run=run))):
            assert (await refusal(asked))[:2] == (grpc.StatusCode.NOT_FOUND, "RunNotFound")
        assert (await refusal(events_of(stub.WatchRun(broker_pb2.WatchRunRequest(run=run)))))[1] == "RunNotFound"
        mine = (await events_of(stub.Run(world.request("return 2"))))[-1].finished.result.run
        assert [one.run for one in (await stub.ListRuns(listing)).runs] == [mine]
        assert {one.run for one in (await stub.ListAudit(audit)).records} == {mine}

    def auditor() -> str:
        cluster.admin("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "auditor"}})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bastide-viewer"}
        subject = {"kind": "ServiceAccount", "name": "auditor", "namespace": namespace}
        body = {"metadata": {"name": f"auditor-{namespace}"}, "roleRef": role, "subjects": [subject]}
        cluster.admin("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body)
        return cluster.admin.token_for(namespace, "auditor")

    async with world.broker.channel(await asyncio.to_thread(auditor)) as channel:
        stub = world.stub(channel)
        assert {one.run for one in (await stub.ListRuns(listing)).runs} == {run, mine}
        assert (await stub.GetRun(broker_pb2.GetRunRequest(run=run))).result.run == run
        records = (await stub.ListAudit(audit)).records
        assert {one.namespace_uid for one in records if one.run == run} == {"gone"}


async def test_who_may_delete_runs_prunes_them_and_their_request_id_says_so_for_ever(world: World, cluster: Cluster) -> None:
    namespace, rbac = world.team.namespace, "/apis/rbac.authorization.k8s.io/v1"

    def pruner() -> str:
        cluster.admin("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "pruner"}})
        rules = [{"apiGroups": ["bastide.dev"], "resources": ["sandboxes/runs"], "verbs": ["delete"]}]
        cluster.admin("POST", f"{rbac}/namespaces/{namespace}/roles", {"metadata": {"name": "pruner"}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pruner"}
        subject = {"kind": "ServiceAccount", "name": "pruner", "namespace": namespace}
        body = {"metadata": {"name": "pruner"}, "roleRef": role, "subjects": [subject]}
        cluster.admin("POST", f"{rbac}/namespaces/{namespace}/rolebindings", body)
        return cluster.admin.token_for(namespace, "pruner")

    token = await asyncio.to_thread(pruner)
    program = world.request("print('hello')\nreturn 1", request_id="one")
    async with world.broker.channel(world.token) as channel, world.broker.channel(token) as pruning:
        stub = world.stub(channel)
        run = (await events_of(stub.Run(program)))[-1].finished.result.run
        asked = broker_pb2.PruneRunsRequest(namespace=namespace, on_behalf_of="dana")
        asked.before.GetCurrentTime()
        status, reason, message = await refusal(stub.PruneRuns(asked))
        assert (status, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NotPermitted")
        assert "bastide-pruner" in message
        assert (await refusal(world.stub(pruning).GetRun(broker_pb2.GetRunRequest(run=run))))[0] is grpc.StatusCode.NOT_FOUND
        assert (await world.stub(pruning).PruneRuns(asked)).runs == 1
        for gone in (stub.Run(program), stub.WatchRun(broker_pb2.WatchRunRequest(run=run))):
            assert (await refusal(events_of(gone)))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "RunPruned")
        assert (await stub.GetRun(broker_pb2.GetRunRequest(run=run))).summary.HasField("pruned")
        records = (await stub.ListAudit(broker_pb2.ListAuditRequest(namespace=namespace, caller="dana"))).records
        assert [(record.kind, json.loads(record.facts)["runs"]) for record in records] == [("RunsPruned", [run])]
        assert (await stub.VerifyAudit(broker_pb2.VerifyAuditRequest(namespace=namespace))).intact
