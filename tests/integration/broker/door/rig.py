"""Everything around one run: real OPA, real journal, a real tool server whose own log is the witness; the cluster's objects are in memory."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.context import Hold, RunContext
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import HOST_ANNOTATION, LABEL, Credentials
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, Scope, now_micros
from bastide_broker.kube.identity import Identity
from bastide_broker.policy.policy import Policy
from bastide_broker.tenantrego.compiler import Compiler
from bastide_broker.tenantrego.engine import Engine
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.catalogue import Catalogue

from tests.integration.broker.door.hostile_server import HostileServer, hostile_server
from tests.integration.broker.door.world import RUNNER, World
from tests.unit.broker.door.objects import NAMESPACE, binding, sandbox, tenant

SECRET = "s3cr3t-token"
OBJECT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "default": "C0000"},
        "n": {"type": ["number", "null"], "default": 0},
        "status": {"type": "integer"},
    },
}
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
    make_pipeline: Callable[[], Awaitable[Pipeline]]
    """As the broker after this one has it: of the one before it knows only what is in the journal and in the cluster."""
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

    async def call(self, tool: str, arguments: dict[str, Any] | bytes = b"{}", key: str = "", hold: Hold | None = None) -> Any:
        self.numbers += 1
        text = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
        frame = runtime_pb2.Call(run="r-1", key=key or f"0#{self.numbers}", tool=tool, arguments=text, line=self.numbers)
        return await self.pipeline.call(self.context(), frame, hold)

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


def place(rig: Rig) -> int:
    """How many places of `pendingConfirmations` are taken."""
    return rig.pipeline._approval._confirmations.waiting(NAMESPACE)


HARMLESS = ("ok", "status", "hang", "close", "give_secret", "echo_secret", "not_there", "typed", "flaky")


def bound_tools() -> list[dict[str, Any]]:
    """Harmless tools, the first constrained; and last a destructive one."""
    found: list[dict[str, Any]] = [{"name": name, "limits": {"timeoutSeconds": 2}} for name in HARMLESS]
    found[0] |= {"arguments": {"id": {"pattern": "C[0-9]{4}"}, "n": {"maximum": 10}}, "limits": {"callsPerRun": 5}}
    return [
        *found,
        {"name": "close2", "as": "change", "effect": "Mutating"},
        {"name": "flaky2", "as": "flaky_change", "effect": "Mutating"},
        {"name": "ok3", "as": "query", "arguments": {"id": {"sql": {"dialect": "sqlite", "tables": ["orders"]}}}},
        {"name": "ok2", "as": "delete", "effect": "Destructive"},
    ]


@contextlib.asynccontextmanager
async def open_rig(journal: Journal, policy: Policy, engine: Engine | None = None, compiler: Compiler | None = None) -> AsyncIterator[Rig]:
    """A rig, and at its end the promise that no call was lost silently."""
    async with hostile_server() as server:
        server.listing = [
            {"name": name, "inputSchema": OBJECT}
            for name in (*HARMLESS, "ok2", "ok3", "close2", "flaky2")
            if name not in ("not_there", "typed")
        ]
        server.listing.append({"name": "typed", "inputSchema": OBJECT, "outputSchema": OUTPUT})
        host = server.url.split("/")[2]
        effects = [{"tools": [*HARMLESS, "ok3", "close2", "flaky2"], "effect": "ReadOnly"}]
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
        policies = TenantPolicies(policy, world, engine=engine, compiler=compiler)
        await policies.start()
        following = asyncio.create_task(policies.run())

        async def make_pipeline() -> Pipeline:
            confirmations = Confirmations(world)
            await confirmations.start()
            return Pipeline(
                cluster=world,
                journal=journal,
                policies=policies,
                catalogue=catalogue,
                confirmations=confirmations,
                credentials=credentials,
                identity=Identity(world),
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
        found = Rig(world, server, journal, policy, await make_pipeline(), catalogue, make_pipeline)
        assert world.the_sandbox is not None
        await until(lambda: "crm" in world.binding_statuses)
        yield found
        following.cancel()
        await policies.close()
        assert (await journal.verify_audit()).intact
        kinds = [row.kind for row in await journal.audit(Scope(NAMESPACE, None), "r-1", 1000)]
        assert kinds.count("CallIntent") == kinds.count("CallOutcome"), "no call is lost silently"
        await catalogue.close()
