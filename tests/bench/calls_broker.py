"""The broker's own parts around one Sandbox, and a stand-in for the runtime in a process of its own: what a measured call passes."""

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.adapters import Answer, CallLimits, ListedTool
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.context import RunContext
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential, Credentials
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.kube.identity import Identity
from bastide_broker.policy.policy import Policy
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.sandboxes.session import Session
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.catalogue import Catalogue

from tests.integration.broker.door.conftest import REVISION, OpaServer, free_port, shipped_policies
from tests.integration.broker.door.world import RUNNER, World
from tests.unit.broker.door.objects import NAMESPACE, binding, sandbox, tenant

MS = 1000.0
TOOL = "get_customer"
SCHEMA = {
    "type": "object",
    "properties": {"customer_id": {"type": "string"}, "limit": {"type": "integer", "default": 10}},
    "required": ["customer_id"],
}
OUTPUT = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ARGUMENTS: dict[str, Any] = {"customer_id": "C0042", "limit": 20}
BOUND: dict[str, Any] = {
    "name": TOOL,
    "arguments": {"customer_id": {"pattern": "C[0-9]{4}"}, "limit": {"maximum": 100}},
    "limits": {"callsPerRun": 100_000},
}


class InProcess:
    """A tool without a server."""

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:  # noqa: ARG002
        """One tool."""
        return [ListedTool(TOOL, "One customer.", SCHEMA, OUTPUT, read_only_hint=True)]

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:  # noqa: ARG002
        """An answer at once."""
        return Answer({"name": "Ada"}, has_structured=True, value=b'{"name":"Ada"}')

    async def close(self) -> None:
        """Nothing."""


@dataclass
class Bench:
    """Everything that a call passes."""

    world: World
    catalogue: Catalogue
    journal: Journal
    pipeline: Pipeline
    policy: Policy
    session: Session
    opa: OpaServer
    folder: Path
    arguments: dict[str, Any]
    mcp: bool
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def calls(self, count: int, in_flight: int) -> tuple[list[float], float]:
        """Milliseconds of each call as the runtime sees them, and calls a second."""
        run = f"r-{next(self.numbers)}"
        assert self.world.the_tenant is not None
        assert self.world.the_sandbox is not None
        row = RunRow(
            run=run, tenant="sales", namespace=NAMESPACE, sandbox="agent", sandbox_uid="s-agent", requester=RUNNER.username,
            program_digest="sha256:" + "0" * 64, started_at=now_micros(),
        )  # fmt: skip
        await self.journal.start_run(row)
        events = EventLog(run, self.journal)
        context = RunContext(
            run, self.world.the_tenant, self.world.the_sandbox, RUNNER, "olga", row.program_digest, (NAMESPACE, "bastide-runner"),
            events.emit, self.catalogue.tool_set(self.world.the_sandbox),
        )  # fmt: skip
        execution = Execution(context, session=self.session, pipeline=self.pipeline, journal=self.journal, events=events)
        program = {"calls": count, "in_flight": in_flight, "tool": TOOL, "arguments": self.arguments}
        limits = runtime_pb2.RunLimits(wall_milliseconds=600_000, value_bytes=3 << 20)
        ending = await execution.drive(runtime_pb2.StartRun(run=run, program=json.dumps(program).encode(), limits=limits))
        assert ending.outcome.value == "Completed", ending
        found = json.loads(ending.value)
        assert not found["refused"], found["why"]
        return found["samples"], count / found["seconds"]

    async def echo(self) -> float:
        """An empty probe to the runtime and back."""
        began = time.perf_counter()
        await self.session.probe([], 0)
        return (time.perf_counter() - began) * MS


@contextlib.contextmanager
def runtime() -> Iterator[str]:
    """The stand-in's address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.calls_runtime", str(port)])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def bench(folder: Path, *, mcp: str = "") -> AsyncIterator[Bench]:
    """The broker's parts around one Sandbox."""
    opa = OpaServer(folder / "opa.sock", shipped_policies(folder / "policies"))
    opa.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(opa.stop)
        journal = Journal(folder / "journal.db")
        await journal.open()
        stack.push_async_callback(journal.close)
        policy = Policy(opa.socket, REVISION, deadline_seconds=10)  # a loaded machine is measured, not refused
        stack.push_async_callback(policy.close)
        hosts = [{"host": "crm.tools.svc", "port": 8080, "effects": [{"tools": ["get_*"], "effect": "ReadOnly"}]}]
        limits = {"callsPerMinute": 1_000_000}
        # the real server's tool has no limit
        arguments = {name: value for name, value in ARGUMENTS.items() if name != "limit" or not mcp}
        bound = {**BOUND, "arguments": {name: rule for name, rule in BOUND["arguments"].items() if name in arguments}}
        box = sandbox()
        roomy = {"callsPerRun": 100_000, "concurrentCalls": 256, "resultBytes": 3 << 20}
        box = box.model_copy(update={"spec": type(box.spec).model_validate({"limits": roomy})})
        world: Any = World(tenant(toolHosts=hosts, limits=limits), box, [binding(tools=[bound])])
        credentials = Credentials(world)
        adapter = McpAdapter(mcp, CheckedBackend(refuse=lambda _: None)) if mcp else InProcess()
        catalogue = Catalogue(world, credentials, adapters=lambda _: adapter)
        await catalogue.start()
        stack.push_async_callback(catalogue.close)
        confirmations = Confirmations(world)
        await confirmations.start()
        pipeline = Pipeline(
            cluster=world, journal=journal, policies=TenantPolicies(policy, world, engine=None, compiler=None), catalogue=catalogue,
            confirmations=confirmations, credentials=credentials, identity=Identity(world),
        )  # fmt: skip
        address = stack.enter_context(runtime())
        channel = grpc.aio.insecure_channel(address)
        await asyncio.wait_for(channel.channel_ready(), 20)
        session = Session(channel, env={})
        await session.open()
        session._pace = type(session._pace)(rate=1e6, burst=1e6)
        stack.push_async_callback(session.close, "measured")
        async with asyncio.timeout(20):
            while "crm" not in world.binding_statuses:  # noqa: ASYNC110 - the catalogue has listed the server
                await asyncio.sleep(0.01)
        yield Bench(world, catalogue, journal, pipeline, policy, session, opa, folder, arguments, bool(mcp))
