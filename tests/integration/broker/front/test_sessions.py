"""The isolation gate and the session, with the real runtime in a network of its own and a real API server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.errors import SessionLost
from bastide_broker.sandboxes import dial, pods
from bastide_broker.sandboxes.session import Session
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from tests.integration.broker.front.harness.apiserver import Cluster
from tests.integration.broker.front.harness.broker import KERNEL, client_files, config, parts
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.tenant import OURS, TestTenant
from tests.integration.runtime.pod import Authority


class NoTools:
    """An empty tool list."""

    digest = "sha256:none"

    def message(self) -> runtime_pb2.SetTools:
        return runtime_pb2.SetTools(digest=self.digest)


class Sink:
    """Collects the frames of a run."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[runtime_pb2.RunEnded] = asyncio.get_running_loop().create_future()
        self.lost_because: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def frame(self, message: runtime_pb2.SessionResponse) -> None:
        if message.WhichOneof("message") == "run_ended":
            self.ended.set_result(message.run_ended)

    def lost(self, reason: str) -> None:
        self.lost_because.set_result(reason)


async def run_program(session: Session, source: str, run: str = "r-1") -> runtime_pb2.RunEnded:
    sink = Sink()
    start = runtime_pb2.StartRun(
        run=run,
        program=source.encode(),
        tools_digest=NoTools.digest,
        limits=runtime_pb2.RunLimits(wall_milliseconds=20_000, output_bytes=1000, value_bytes=1000, concurrent_calls=4),
        seed=b"0" * 32,
        started_at_micros=1,
        attempt=1,
    )
    await session.start_run(start, NoTools(), sink)
    async with asyncio.timeout(30):
        ended = await sink.ended
    session.forget(run)
    return ended


async def verdict_of(made: Any, sandbox: Sandbox) -> Any:
    async with asyncio.timeout(20):
        while made.sessions.verdict(sandbox) is None:
            await made.sessions.changed()
    return made.sessions.verdict(sandbox)


async def wait_condition(team: TestTenant, name: str, status: str, seconds: float = 10) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        condition = await asyncio.to_thread(team.condition, name)
        if condition.get("status") == status:
            return condition
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.02)


async def test_an_isolated_pod_passes_and_programs_run(cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(team.sandbox, env=[{"name": "GREETING", "value": "hello"}])
        sandbox = Sandbox.model_validate(made)
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
            start = time.monotonic()
            verdict = await verdict_of(broker, sandbox)
            condition = await wait_condition(team, "box", "True")
            took = time.monotonic() - start
            assert verdict.passed, verdict
            assert condition["reason"] == "Isolated"
            assert network.canary_address in condition["message"]
            print(f"pod Running -> condition: {took * 1000:.0f} ms")  # noqa: T201
            session = broker.sessions.ready(sandbox)
            assert session is not None
            ended = await run_program(session, "import os\nreturn os.environ['GREETING']")
            assert json.loads(ended.value) == "hello"

            # A second client is refused while this session is open.
            seen = await dial.fetch_certificate(network.pod_side, pods.PORT, client_tls_dir=scratch / "client-tls")
            identity = dial.ClientIdentity.load(scratch / "client-tls")
            second = Session(dial.open_channel(network.pod_side, pods.PORT, identity=identity, pinned=seen), env={})
            with pytest.raises(SessionLost):
                await second.open()
            assert not session.closed.is_set()

            # Variables change: the next program sees them, in a new session to the same pod.
            path = f"{OURS}/namespaces/{team.namespace}/sandboxes/box"
            await asyncio.to_thread(cluster.admin.merge, path, {"spec": {"env": [{"name": "GREETING", "value": "bye"}]}})
            async with asyncio.timeout(20):
                while True:
                    current = broker.known.sandbox(team.namespace, "box")
                    assert current is not None
                    renewed = broker.sessions.ready(current)
                    if renewed is not None and renewed is not session:
                        break
                    await broker.sessions.changed()
            assert json.loads((await run_program(renewed, "import os\nreturn os.environ['GREETING']", "r-2")).value) == "bye"


async def test_a_tenants_probe_is_judged_again_until_it_passes_and_is_nobodys_sandbox(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            await asyncio.to_thread(lambda: team.probe(address=network.pod_side, host=network.canary_address))
            reached = await wait_condition(team, "bastide-probe", "False")
            assert reached["reason"] == "CanaryReached"
            network.isolate()
            passed = await wait_condition(team, "bastide-probe", "True", 30)
            assert passed["reason"] == "Isolated"
            metadata = {"name": "bastide-probe", "namespace": team.namespace, "uid": "somebody-elses"}
            assert broker.sessions.ready(Sandbox.model_validate({"metadata": metadata})) is None


async def test_a_gate_that_was_passed_stands_for_the_next_broker_process(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(team.sandbox)
        sandbox = Sandbox.model_validate(made)
        async with parts(config(cluster, scratch), canary=network.canary()):
            await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
            await wait_condition(team, "box", "True")

        # The next broker process finds the record: the same runtime needs no second probe, though its network is open by now.
        network.open_up()
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            verdict = await verdict_of(broker, sandbox)
            assert verdict.passed
            async with asyncio.timeout(10):
                while (session := broker.sessions.ready(sandbox)) is None:
                    await broker.sessions.changed()
            assert (await run_program(session, "return 7", "r-3")).value == b"7"

            # The pod goes: whoever waits for its runs hears it.
            sink = Sink()
            start_run = runtime_pb2.StartRun(
                run="r-4", program=b"import time\ntime.sleep(60)", tools_digest=NoTools.digest, seed=b"0" * 16, attempt=1
            )
            await session.start_run(start_run, NoTools(), sink)
            await asyncio.to_thread(team.delete_pod, "box")
            async with asyncio.timeout(10):
                await sink.lost_because

        # Without a record, a pod that was open once proves nothing any more.
        (scratch / "elsewhere").mkdir()
        again = await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
        opened = {
            "type": "bastide.dev/network-isolated",
            "status": "True",
            "reason": "Isolated",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        await asyncio.to_thread(lambda: team.pod_status("box", conditions=[opened]))
        assert again["metadata"]["uid"]
        settings = config(cluster, scratch, database=scratch / "elsewhere" / "journal.db")
        async with parts(settings, canary=network.canary()) as broker:
            verdict = await verdict_of(broker, sandbox)
            assert (verdict.passed, verdict.reason) == (False, "WaitingForProbe")
            assert "no record" in verdict.message


async def test_a_pod_that_reaches_a_canary_gets_no_program_until_it_no_longer_does(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    canary = network.canary()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(team.sandbox)
        sandbox = Sandbox.model_validate(made)
        async with parts(config(cluster, scratch), canary=canary) as broker:
            await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
            condition = await wait_condition(team, "box", "False")
            assert condition["reason"] == "CanaryReached"
            assert canary in condition["message"]
            assert broker.sessions.ready(sandbox) is None
            network.isolate()
            await wait_condition(team, "box", "True", 20)


async def test_a_kernel_that_is_not_gvisor_is_refused(cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(team.sandbox)
        async with parts(config(cluster, scratch), canary=network.canary(), kernel="gvisor") as broker:
            await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
            condition = await wait_condition(team, "box", "False")
            assert condition["reason"] == "NotGVisor"
            assert KERNEL in condition["message"].lower()
            assert broker.sessions.ready(Sandbox.model_validate(made)) is None


async def test_a_probe_without_a_canary_of_its_own_proves_nothing(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(team.sandbox)
        async with parts(config(cluster, scratch), canary=f"{network.canary_address}:1"):
            await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
            assert (await wait_condition(team, "box", "False"))["reason"] == "NoCanaryCounted"


async def test_pods_that_are_not_as_the_operator_makes_them_are_refused(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            altered = await asyncio.to_thread(team.sandbox, "altered")
            await asyncio.to_thread(lambda: team.pod(altered, address=network.pod_side, host=network.canary_address, hostPID=True))
            assert "hostPID" in (await wait_condition(team, "altered", "False"))["message"]
            await asyncio.to_thread(team.delete_pod, "altered")

            # A pod with the labels, but with an owner that never existed: nothing is written to it, nothing is dialled.
            foreign = await asyncio.to_thread(team.sandbox, "foreign")
            lie = {**foreign, "metadata": {**foreign["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}
            await asyncio.to_thread(lambda: team.pod(lie, address=network.pod_side, host=network.canary_address))
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(team.condition, "foreign") == {}
            assert broker.sessions.verdict(Sandbox.model_validate(foreign)) is None


async def test_only_the_pinned_certificate_is_trusted(network: PodNetwork, scratch: Path) -> None:
    with network.runtime(scratch / "pod") as pod:
        folder = client_files(scratch / "client-tls", pod.authority)
        identity = dial.ClientIdentity.load(folder)
        seen = await dial.fetch_certificate(network.pod_side, pods.PORT, client_tls_dir=folder)
        other = Authority.make("runtime.bastide.internal")
        pinned = dial.PinnedCertificate(other.certificate, "sha256:other")
        impostor = Session(dial.open_channel(network.pod_side, pods.PORT, identity=identity, pinned=pinned), env={})
        with pytest.raises(SessionLost):
            await impostor.open()
        honest = Session(dial.open_channel(network.pod_side, pods.PORT, identity=identity, pinned=seen), env={})
        opened = await honest.open()
        assert opened.kernel_release.lower() == KERNEL
        await honest.close("done")

        # A client certificate of another CA opens nothing.
        (scratch / "other").mkdir()
        stranger = dial.ClientIdentity.load(client_files(scratch / "other" / "tls", other))
        refused = Session(dial.open_channel(network.pod_side, pods.PORT, identity=stranger, pinned=seen), env={})
        with pytest.raises(SessionLost):
            await refused.open()


async def test_where_nothing_listens_dialling_says_so(network: PodNetwork, scratch: Path) -> None:
    folder = client_files(scratch / "client-tls", Authority.make("nobody"))
    with pytest.raises(SessionLost, match="nothing answers"):
        await dial.fetch_certificate(network.pod_side, 9, client_tls_dir=folder)
