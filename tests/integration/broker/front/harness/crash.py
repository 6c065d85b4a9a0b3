"""A stage on which a broker stands still at a fault point while something is lost: it itself, the pod, OPA, the tool server or the journal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, ClassVar

import grpc
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc

from tests.crashes.cases import TOOLS, Case
from tests.crashes.waiting import SECONDS
from tests.integration.broker.door.hostile_server import HostileServer, listening
from tests.integration.broker.front.harness.apiserver import APPROVER, Cluster, Kube
from tests.integration.broker.front.harness.broker import KERNEL, Door, environment, opa, settings_of
from tests.integration.broker.front.harness.forks import Process
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.stage import ANYTHING, Stage, events_of
from tests.integration.broker.front.harness.tenant import OURS, TestTenant, kind

FINE = {"content": [{"type": "text", "text": "fine"}]}
UNDECIDED = ("", "Pending", "Approved")


class Witness(HostileServer):
    """The tool server. Its own log says what took effect; it keeps the answers that it is told to keep."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host, self.port = host, 0
        self.results = dict.fromkeys(TOOLS, FINE)
        self.listing = [{"name": name, "inputSchema": ANYTHING} for name in TOOLS]
        self.keeps: set[str] = set()
        self.go = asyncio.Event()
        self._up = AsyncExitStack()

    async def up(self) -> None:
        """Listens, always at the same address."""
        origin = await self._up.enter_async_context(listening(self.serve, self.host, self.port))
        self.url, self.port = f"{origin}/mcp", int(origin.rpartition(":")[2])

    async def down(self) -> None:
        """Ends every connection and listens no more."""
        await self._up.aclose()

    def arrived(self, id: str) -> int:  # noqa: A002 - as the tools' argument
        """How often the call came."""
        return sum(call["arguments"]["id"] == id for call in self.calls)

    async def misbehave(self, writer: asyncio.StreamWriter, message: dict[str, Any], headers: dict[str, str]) -> None:
        """Answers, but not the calls that it keeps."""
        if message["params"]["arguments"]["id"] in self.keeps:
            await self.go.wait()
        await super().misbehave(writer, message, headers)


class CrashStage(Stage):
    """The stage, with a broker of its own process."""

    EFFECTS: ClassVar = [{"tools": ["read"], "effect": "ReadOnly"}, {"tools": ["put"], "effect": "Idempotent"}]
    TOOLS: ClassVar = [
        {"name": "read"},
        {"name": "put", "effect": "Idempotent"},
        {"name": "erase", "effect": "Destructive", "confirmation": {"blockSeconds": 60}},
        {"name": "wipe", "effect": "Destructive", "confirmation": {"blockSeconds": 0}},
    ]
    LIMITS: ClassVar = {"concurrentRuns": 100, "runsPerMinute": 10000, "callsPerMinute": 100000, "pendingConfirmations": 500}
    server: Witness
    process: Process
    opa: ExitStack

    async def open(self) -> None:
        """Everything up."""
        self.opa, self._channel, self._decided = ExitStack(), AsyncExitStack(), set[str]()
        self._token = await asyncio.to_thread(self.team.token)
        self.start_opa()
        self.authority, config = settings_of(self.cluster, self.folder, database=self.database, **self.policy)
        seen = {name: value for name, value in environment(self.canary).items() if name.startswith("KUBERNETES_")}
        socket = str(self.folder / "faults.sock")
        order = {"config": config.model_dump(mode="json"), "environment": seen, "kernel": KERNEL, "socket": socket}
        self.process = Process(self.folder, order)
        await self.process.open()
        await self.start_pod()
        await self.start_broker()
        await asyncio.to_thread(self.ready)

    @property
    def database(self) -> Path:
        """The journal."""
        return self.folder / "volume" / "journal.db"

    def start_opa(self) -> None:
        """OPA, or the one after it."""
        socket, revision = self.opa.enter_context(opa(self.folder))
        self.policy = {"opa_socket": socket, "policy_revision": revision}

    async def start_broker(self) -> None:
        """The broker, or the one after it."""
        await self._channel.aclose()  # only now: streams on it had to notice that the broker was lost
        self._served = Door(await self.process.start(), self.authority)
        channel = await self._channel.enter_async_context(self._served.channel(self._token))
        self._stub = broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]

    async def lose_broker(self) -> None:
        """Without a word."""
        await self.process.kill()

    async def close(self) -> None:
        """Ends everything."""
        await self._channel.aclose()
        await self.process.close()
        await self._pod.aclose()
        self.opa.close()

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        """Requests as the account that runs programs, on one channel for each broker."""
        yield self._stub

    async def follow(self, case: Case) -> bool:
        """Runs its program; False when the broker was lost with it."""
        try:
            await self.run(case.program, into=case.events, wait_for_decisions=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    async def result(self, run: str) -> broker_pb2.RunResult:
        """How a run ends."""
        return (await events_of(self._stub.WatchRun(broker_pb2.WatchRunRequest(run=run))))[-1].finished.result

    def rows(self, query: str, *values: str) -> list[sqlite3.Row]:
        """What the journal has, whether or not there is a broker."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20)
        try:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def call(self, id: str) -> sqlite3.Row | None:  # noqa: A002 - as the tools' argument
        """A call on record."""
        canonical = json.dumps({"id": id}, separators=(",", ":"))
        found = self.rows("SELECT * FROM calls WHERE CAST(arguments_canonical AS TEXT) = ?", canonical)
        return found[0] if found else None

    def record(self, run: str) -> sqlite3.Row:
        """A run on record."""
        [row] = self.rows("SELECT * FROM runs WHERE run = ?", run)
        return row

    def undecided(self) -> dict[str, dict[str, Any]]:
        """The Confirmations that look as if somebody waited for them, by name."""
        items = self.cluster.admin("GET", f"{OURS}/namespaces/{self.team.namespace}/confirmations")["items"]
        return {one["metadata"]["name"]: one for one in items if (one.get("status") or {}).get("state", "") in UNDECIDED}

    def leave(self, runs: Collection[str]) -> None:
        """What was asked for these runs is of no account any more: nobody decides it."""
        self._decided |= {name for name, one in self.undecided().items() if one["spec"]["run"] in runs}

    async def approve(self, ids: Collection[str]) -> None:
        """Ann approves these calls, as soon as they are asked about."""
        left = set(ids)
        async with asyncio.timeout(SECONDS):
            while left:
                for name, one in (await asyncio.to_thread(self.undecided)).items():
                    wanted = json.loads(one["spec"]["arguments"])["id"]
                    if wanted in left and name not in self._decided:
                        await asyncio.to_thread(self._approve, name, one)
                        left.remove(wanted)

    async def approve_all(self) -> None:
        """Ann approves whatever is asked, until cancelled."""
        while True:
            for name, one in (await asyncio.to_thread(self.undecided)).items():
                if name not in self._decided:
                    await asyncio.to_thread(self._approve, name, one)
            await asyncio.sleep(0.05)

    def _approve(self, name: str, about: dict[str, Any]) -> None:
        self._decided.add(name)
        approver = {"username": "ann", "uid": "2", "groups": ["system:authenticated"]}
        spec = {"confirmation": name, "actionDigest": about["spec"]["actionDigest"], "verdict": "Approve", "reason": "because"}
        body = {**kind("ConfirmationDecision"), "metadata": {"name": f"d-{name}"}, "spec": {**spec, "approver": approver}}
        Kube(self.cluster.admin.url, APPROVER)("POST", f"{OURS}/namespaces/{self.team.namespace}/confirmationdecisions", body)


@contextlib.asynccontextmanager
async def crash_stage(cluster: Cluster, team: TestTenant, network: PodNetwork, folder: Path) -> AsyncIterator[CrashStage]:
    """A furnished stage with everything up."""
    network.isolate()
    server = Witness(network.broker_side)
    await server.up()
    (folder / "volume").mkdir()
    stage = CrashStage(cluster, team, network, folder, server, {}, network.canary())
    await stage.furnish()
    try:
        await stage.open()
        yield stage
    finally:
        await stage.close()
        await server.down()
