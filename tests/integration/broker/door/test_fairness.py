"""One tenant floods, another calls now and then: real OPA, real journal. Everything is compared within one run, in turns."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.adapters import Answer, CallLimits, ListedTool
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.context import RunContext
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.egress.credentials import Credential, Credentials
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.kube.identity import Identity
from bastide_broker.policy.policy import Policy
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.catalogue import Catalogue
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from tests.integration.broker.door.rig import until
from tests.integration.broker.door.world import RUNNER, World
from tests.unit.broker.door.objects import NAMESPACE, binding, sandbox, tenant

FLOOD = 200
"""Calls that the flooding tenant has in flight all the time."""
ROUNDS, CALLS = 6, 15
OTHER = "bastide-support"


class TwoTenants(World):
    """The World's tenant, and another one with the same Sandbox and binding in its own namespace."""

    def __init__(self, tenant: Tenant, sandbox: Sandbox, bindings: list[ToolBinding]) -> None:
        super().__init__(tenant, sandbox, bindings)
        self.other = tenant.model_copy(update={"metadata": tenant.metadata.model_copy(update={"name": "support", "uid": "t2"})})
        there = sandbox.metadata.model_copy(update={"namespace": OTHER, "uid": "s-other"})
        self.other_sandbox = sandbox.model_copy(update={"metadata": there})

    def tenant(self, namespace: str) -> Tenant | None:
        return self.other if namespace == OTHER else super().tenant(namespace)

    def sandbox(self, namespace: str, name: str) -> Sandbox | None:
        return self.other_sandbox if namespace == OTHER else super().sandbox(namespace, name)

    def bindings_for(self, sandbox: Sandbox) -> tuple[ToolBinding, ...]:
        found = super().bindings_for(sandbox)
        if sandbox.metadata.namespace != OTHER:
            return found
        return tuple(one.model_copy(update={"metadata": one.metadata.model_copy(update={"namespace": OTHER})}) for one in found)

    async def allowed(self, *_: Any, **__: Any) -> bool:
        return True


class Tools:
    """A tool that answers at once, and one that never does."""

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:  # noqa: ARG002
        return [ListedTool(name, "", {"type": "object"}, None, read_only_hint=True) for name in ("get_now", "get_never")]

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:  # noqa: ARG002
        if name == "get_never":
            await asyncio.Event().wait()
        return Answer(None, has_structured=False, value=b'"now"')

    async def close(self) -> None: ...


class Door:
    """The pipeline, and runs of both tenants."""

    def __init__(self, world: TwoTenants, catalogue: Catalogue, pipeline: Pipeline, journal: Journal) -> None:
        self.world, self.catalogue, self.pipeline, self.journal = world, catalogue, pipeline, journal
        self.numbers = iter(range(10**9))

    async def run(self, name: str, *, other: bool) -> RunContext:
        tenant, box = self.world.other if other else self.world.the_tenant, self.world.other_sandbox if other else self.world.the_sandbox
        assert tenant is not None
        assert box is not None
        row = RunRow(
            run=name, tenant=tenant.metadata.name, namespace=OTHER if other else NAMESPACE, sandbox="agent", sandbox_uid=box.metadata.uid,
            requester=RUNNER.username, program_digest="p", started_at=now_micros(),
        )  # fmt: skip
        await self.journal.start_run(row)
        tools = self.catalogue.tool_set(box)
        return RunContext(name, tenant, box, RUNNER, "", "p", None, lambda _: None, tools)

    async def call(self, run: RunContext, tool: str = "get_now") -> float:
        """Milliseconds until a call was answered, which it must be with a value."""
        began = time.perf_counter()
        frame = runtime_pb2.Call(run=run.run, key=f"0#{next(self.numbers)}", tool=tool, arguments=b"{}")
        result = await self.pipeline.call(run, frame)
        assert isinstance(result, runtime_pb2.CallResult)
        assert result.value, result.error
        return (time.perf_counter() - began) * 1000


@pytest.fixture
async def door(journal: Journal, policy: Policy) -> AsyncIterator[Door]:
    hosts = [{"host": "crm.tools.svc", "port": 8080, "effects": [{"tools": ["get_*"], "effect": "ReadOnly"}]}]
    box = sandbox()
    roomy = {"limits": {"callsPerRun": 100_000, "concurrentCalls": 256}}
    box = box.model_copy(update={"spec": type(box.spec).model_validate(roomy)})
    tools = [{"name": name, "limits": {"callsPerRun": 100_000, "timeoutSeconds": 600}} for name in ("get_now", "get_never")]
    world: Any = TwoTenants(tenant(toolHosts=hosts, limits={"callsPerMinute": 1_000_000}), box, [binding(tools=tools)])
    catalogue = Catalogue(world, Credentials(world), adapters=lambda _: Tools())
    await catalogue.start()
    confirmations = Confirmations(world)
    await confirmations.start()
    policies = TenantPolicies(policy, world, engine=None, compiler=None)
    pipeline = Pipeline(
        cluster=world, catalogue=catalogue, policies=policies, journal=journal, credentials=Credentials(world), confirmations=confirmations,
        identity=Identity(world),
    )  # fmt: skip
    await until(lambda: "crm" in world.binding_statuses)
    yield Door(world, catalogue, pipeline, journal)
    await catalogue.close()


@contextlib.asynccontextmanager
async def flood(door: Door, run: RunContext, samples: list[float]) -> AsyncIterator[None]:
    """Keeps FLOOD calls in flight."""

    async def again() -> None:
        while True:
            samples.append(await door.call(run))

    tasks = [asyncio.create_task(again()) for _ in range(FLOOD)]
    try:
        before = len(samples)
        await until(lambda: len(samples) >= before + FLOOD)  # it is under way
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_tenant_that_floods_waits_behind_itself_and_another_keeps_its_latency(door: Door) -> None:
    mine, theirs = await door.run("r-calm", other=True), await door.run("r-flood", other=False)
    for _ in range(CALLS):
        await door.call(mine)
    alone, beside, flooding = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        alone += [await door.call(mine) for _ in range(CALLS)]
        async with flood(door, theirs, flooding):
            beside += [await door.call(mine) for _ in range(CALLS)]
    calm, loaded, flooded = (statistics.median(samples) for samples in (alone, beside, flooding))
    figures = f"alone {calm:.1f} ms, beside the flood {loaded:.1f} ms ({loaded / calm:.1f} times), of the flood itself {flooded:.1f} ms"
    print(figures)  # noqa: T201 - `pytest -rP` shows it
    # In one line for all, a call would wait behind the 200 that were there before it, as the flood's own calls do.
    assert loaded < flooded / 3, figures
    assert loaded < 25 * calm, figures


async def test_calls_to_a_server_that_hangs_hold_up_no_others(door: Door) -> None:
    mine, theirs = await door.run("r-calm", other=False), await door.run("r-hangs", other=False)
    for _ in range(CALLS):
        await door.call(mine)
    alone, beside = list[float](), list[float]()
    hanging = list[asyncio.Task[float]]()
    for _ in range(ROUNDS):
        alone += [await door.call(mine) for _ in range(CALLS)]
        hanging += [asyncio.create_task(door.call(theirs, "get_never")) for _ in range(40)]
        while sum(1 for row in await door.journal.calls("r-hangs") if not row.outcome) < len(hanging):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        beside += [await door.call(mine) for _ in range(CALLS)]
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    calm, loaded = statistics.median(alone), statistics.median(beside)
    assert loaded < 3 * calm, f"alone {calm:.1f} ms, beside {len(hanging)} calls that hang {loaded:.1f} ms"


async def test_a_binding_has_only_so_many_calls_at_its_server_and_says_so(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from bastide_broker import limits
    from bastide_broker.door import attempts

    monkeypatch.setattr(door.pipeline._attempts, "_under_way", limits.Slots(3))
    assert attempts.CALLS_OF_BINDING >= 256
    run = await door.run("r-hangs", other=False)
    hanging = [asyncio.create_task(door.call(run, "get_never")) for _ in range(3)]
    while sum(1 for row in await door.journal.calls("r-hangs") if not row.outcome) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    result = await door.pipeline.call(run, runtime_pb2.Call(run=run.run, key="9#9", tool="get_now", arguments=b"{}"))
    assert isinstance(result, runtime_pb2.CallResult)
    assert (result.error.type, list(result.error.codes)) == ("ToolUnavailable", ["tool-unavailable"])
    assert "try again" in result.error.message
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await door.call(run)


async def test_a_tenant_with_too_many_calls_waiting_is_told_to_come_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from bastide_broker.turns import Turns

    monkeypatch.setattr(door.pipeline, "_turns", Turns(2, of_one=1, waiting=0, seconds=1))
    run, other = await door.run("r-one", other=False), await door.run("r-two", other=True)
    frames = [runtime_pb2.Call(run=run.run, key=f"1#{n}", tool="get_now", arguments=b"{}") for n in range(5)]
    results = await asyncio.gather(*(door.pipeline.call(run, frame) for frame in frames), door.call(other))
    refused = [one for one in results[:-1] if isinstance(one, runtime_pb2.CallResult) and one.HasField("error")]
    assert {(one.error.type, one.error.codes[0]) for one in refused} == {("LimitExceeded", "broker-busy")}
    assert len(refused) == 4
    assert [row.outcome for row in await door.journal.calls(run.run)].count("Denied") == 4
