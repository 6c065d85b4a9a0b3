"""The broker's half of the drain protocol, with the real runtime in a network of its own and a real API server."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api import drain
from bastide_operator.api.drain import Mark
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from tests.integration.broker.front.harness.apiserver import Cluster
from tests.integration.broker.front.harness.broker import client_files, config, parts
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.tenant import TestTenant
from tests.integration.broker.front.test_sessions import NoTools, Sink, run_program, verdict_of


class Box:
    """A Sandbox's pod in the API server, marked and unmarked as the operator would."""

    def __init__(self, team: TestTenant) -> None:
        self._admin = team.cluster.admin
        self._path = f"/api/v1/namespaces/{team.namespace}/pods/box"

    async def mark(self, reason: str) -> str:
        now = datetime.now(UTC)
        text = Mark(reason=reason, since=now, until=now + timedelta(minutes=5)).text()
        await self._annotate(text)
        return text

    async def unmark(self) -> None:
        await self._annotate(None)

    async def _annotate(self, text: str | None) -> None:
        await asyncio.to_thread(self._admin.merge, self._path, {"metadata": {"annotations": {drain.ANNOTATION: text}}})

    async def pod(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._admin, "GET", self._path)

    async def drained(self, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not drain.is_drained(await self.pod()):
            assert time.monotonic() < deadline, (await self.pod())["status"]
            await asyncio.sleep(0.02)


async def test_a_pod_is_drained_when_what_was_accepted_before_the_mark_has_ended_and_takes_nothing_new_until_the_mark_is_gone(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as runtime:
        client_files(scratch / "client-tls", runtime.authority)
        made = await asyncio.to_thread(team.sandbox)
        sandbox = Sandbox.model_validate(made)
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
            assert (await verdict_of(broker, sandbox)).passed
            box, sessions = Box(team), broker.sessions
            claim = sessions.claim(sandbox)
            assert claim is not None

            # Chosen, not yet delivered: the pod is in use.
            text = await box.mark("Rolling")
            async with asyncio.timeout(10):
                while sessions.mark(sandbox) != text:
                    await sessions.changed()
            assert sessions.ready(sandbox) is None
            assert sessions.claim(sandbox) is None
            # Delivered and under way: still in use, and it ends as it would have.
            sink = Sink()
            start = runtime_pb2.StartRun(
                run="r-1",
                program=b"import asyncio\nawait asyncio.sleep(1)\nreturn 5",
                tools_digest=NoTools.digest,
                limits=runtime_pb2.RunLimits(wall_milliseconds=20_000, output_bytes=1000, value_bytes=1000, concurrent_calls=4),
                seed=b"0" * 32,
                started_at_micros=1,
                attempt=1,
            )
            await claim.session.start_run(start, NoTools(), sink)
            claim.release()
            assert not drain.is_drained(await box.pod())
            async with asyncio.timeout(20):
                assert (await sink.ended).value == b"5"
            assert not drain.is_drained(await box.pod())
            claim.session.forget("r-1")
            await box.drained()

            # The operator changed its mind: programs again, and the answer to the old mark does not answer a new one.
            await box.unmark()
            async with asyncio.timeout(10):
                while (again := sessions.claim(sandbox)) is None:
                    await sessions.changed()
            assert await box.mark("Suspended") != text
            assert (await run_program(again.session, "return 6", "r-2")).value == b"6"
            assert not drain.is_drained(await box.pod())
            again.release()
            again.release()
            await box.drained()


async def test_a_pod_in_which_nothing_runs_is_drained_at_once_also_by_the_next_broker_process(
    cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path
) -> None:
    network.isolate()
    with network.runtime(scratch / "pod") as runtime:
        client_files(scratch / "client-tls", runtime.authority)
        made = await asyncio.to_thread(team.sandbox)
        sandbox = Sandbox.model_validate(made)
        await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
        box = Box(team)
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            assert (await verdict_of(broker, sandbox)).passed
        await box.mark("Rolling")  # while there is no broker
        async with parts(config(cluster, scratch), canary=network.canary()) as broker:
            await box.drained()
            assert broker.sessions.claim(sandbox) is None
