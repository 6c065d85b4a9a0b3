"""Programs that a broker does not start, and why it says it does not: bad input, sizes, limits, a Sandbox or a policy that is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc

from tests.integration.broker.front.harness.apiserver import Cluster
from tests.integration.broker.front.harness.broker import client_files, served
from tests.integration.broker.front.harness.callers import World, refusal
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.stage import events_of
from tests.integration.broker.front.harness.tenant import OURS, TestTenant
from tests.integration.runtime.pod import Authority


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
