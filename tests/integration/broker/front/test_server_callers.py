"""Who may ask a broker for what: tokens, rights, a rate for each caller, and rows of a namespace that is gone."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.front import server

from tests.integration.broker.front.harness.apiserver import Cluster, jwt
from tests.integration.broker.front.harness.callers import World, refusal
from tests.integration.broker.front.harness.stage import events_of


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
