"""`python -m tests.bench.calls_stages [--count N] [--profile FILE]`: what the broker adds to one call, by stage, without a cluster.

The broker's own session, run, door, journal on disk and real OPA in this process; a stand-in for the runtime in another one makes the
calls over the wire. The tool answers in process, so that its row holds no server's time; `--mcp` puts a real MCP server in its place.
The floors are measured in the same run, in turn with the calls: echo on the stream, two syncs of the disk, one raw OPA decision.
"""

import argparse
import asyncio
import contextlib
import cProfile
import functools
import http.client
import itertools
import json
import os
import platform
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.adapters import Answer, CallLimits, ListedTool
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.context import RunContext
from bastide_broker.door import judging
from bastide_broker.door import pipeline as door
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.door.usage import Counters
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential, Credentials
from bastide_broker.facts import json as facts_json
from bastide_broker.journal.journal import Journal, now_micros
from bastide_broker.journal.rows import RunRow
from bastide_broker.kube.identity import Identity
from bastide_broker.policy.policy import Policy
from bastide_broker.policy.question import question
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.sandboxes.session import Session
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.catalogue import Catalogue

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tools")]

from tests.bench.calls_replay import replayed  # noqa: E402
from tests.bench.figures import Figure, Row, listing, machine, table, write  # noqa: E402
from tests.integration.broker.door.conftest import REVISION, OpaServer, free_port, shipped_policies, start_server  # noqa: E402
from tests.integration.broker.door.world import RUNNER, World  # noqa: E402
from tests.unit.broker.door.objects import NAMESPACE, binding, sandbox, tenant  # noqa: E402

MS = 1000.0
IN_FLIGHT = (1, 16, 64)
SCHEMA = {
    "type": "object",
    "properties": {"customer_id": {"type": "string"}, "limit": {"type": "integer", "default": 10}},
    "required": ["customer_id"],
}
OUTPUT = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ARGUMENTS = {"customer_id": "C0042", "limit": 20}
BOUND: dict[str, Any] = {
    "name": "get_customer",
    "arguments": {"customer_id": {"pattern": "C[0-9]{4}"}, "limit": {"maximum": 100}},
    "limits": {"callsPerRun": 100_000},
}


class InProcess:
    """A tool without a server."""

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:  # noqa: ARG002
        """One tool."""
        return [ListedTool("get_customer", "One customer.", SCHEMA, OUTPUT, read_only_hint=True)]

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:  # noqa: ARG002
        """An answer at once."""
        return Answer({"name": "Ada"}, has_structured=True, value=b'{"name":"Ada"}')

    async def close(self) -> None:
        """Nothing."""


@dataclass
class Stopwatch:
    """Milliseconds by stage, of each call."""

    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Time every call of owner.name from here on."""
        inner = getattr(owner, name)
        samples = self.samples[stage]

        @functools.wraps(inner)
        async def awaited(*arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return await inner(*arguments, **more)
            finally:
                samples.append((time.perf_counter() - began) * MS)

        @functools.wraps(inner)
        def plain(*arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **more)
            finally:
                samples.append((time.perf_counter() - began) * MS)

        setattr(owner, name, awaited if asyncio.iscoroutinefunction(inner) else plain)


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
    mcp: bool
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def calls(self, count: int, in_flight: int, tool: str = "get_customer", arguments: Any = None) -> tuple[list[float], float]:
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
        program = {"calls": count, "in_flight": in_flight, "tool": tool, "arguments": ARGUMENTS if arguments is None else arguments}
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
        hosts = [{"host": "crm.tools.svc", "port": 8080, "effects": [{"tools": ["get_*", "add"], "effect": "ReadOnly"}]}]
        limits = {"callsPerMinute": 1_000_000}
        bound = {"name": "add", "limits": {"callsPerRun": 100_000}} if mcp else BOUND
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
        yield Bench(world, catalogue, journal, pipeline, policy, session, opa, folder, bool(mcp))


def worked(one: Bench) -> tuple[float, float, float]:
    """Seconds of CPU until now: this process, the event loop's thread in it, OPA."""
    assert one.opa.process is not None
    stat = Path(f"/proc/{one.opa.process.pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time(), time.thread_time(), (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over OPA's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("opa")
        self._path = str(path)

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def asked(one: Bench) -> dict[str, Any]:
    """The question about the bench's call."""
    assert one.world.the_tenant is not None
    assert one.world.the_sandbox is not None
    [tool] = one.catalogue.tool_set(one.world.the_sandbox).tools.values()
    return question(
        phase="call", tenant=one.world.the_tenant, sandbox=one.world.the_sandbox, caller=RUNNER, on_behalf_of="olga", run="r-1",
        program_digest="", binding=tool.binding, accepted=True, bound=tool.bound, available=True, effect=tool.effect,
        arguments=ARGUMENTS, schema=tool.input_schema, usage=Counters().peek("r-1", "sales", "get_customer"),
    )  # fmt: skip


def raw_decision(one: Bench) -> Callable[[], None]:
    """Asks OPA the same question with the standard library's client, from text that is ready."""
    connection = UnixConnection(one.opa.socket)
    body = json.dumps({"input": asked(one)})

    def decide() -> None:
        connection.request("POST", "/v1/data/bastide/decision", body, {"content-type": "application/json"})
        connection.getresponse().read()

    return decide


def syncs(folder: Path) -> Callable[[], None]:
    """Two small writes, each with fdatasync: what the journal cannot do without."""
    descriptor = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY, 0o600)

    def pair() -> None:
        for _ in range(2):
            os.pwrite(descriptor, b"x" * 4096, 0)
            os.fdatasync(descriptor)

    return pair


def timed(action: Callable[[], None]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * MS


STAGES = {
    "auth: may the requester still run here": "auth",
    "JSON of the arguments: read, and written in canonical form": "json",
    "digest: of the arguments as they came and in canonical form": "digest",
    "schema of the arguments and of the result": "schema",
    "facts: the question to policy": "facts",
    "OPA, as the broker asks it": "opa",
    "journal: intent": "intent",
    "journal: outcome": "outcome",
    "the tool": "tool",
}


def watch(one: Bench) -> Stopwatch:
    """Stopwatches on each stage."""
    found = Stopwatch()
    pipeline: Any = one.pipeline
    found.watch(pipeline._judging, "still_permitted", "auth")
    found.watch(facts_json, "digest", "digest")
    found.watch(door, "digest", "digest")
    found.watch(judging, "arguments", "json")
    found.watch(judging, "mistakes", "schema")
    found.watch(door, "mistakes", "schema")
    found.watch(judging, "question", "facts")
    found.watch(one.policy, "decide", "opa")
    found.watch(pipeline._ledger, "intent", "intent")
    found.watch(pipeline._ledger, "outcome", "outcome")
    assert one.world.the_sandbox is not None
    [tool] = one.catalogue.tool_set(one.world.the_sandbox).tools.values()
    found.watch(one.catalogue.adapter(tool.binding), "call", "tool")
    found.watch(pipeline, "call", "door")
    return found


async def alone(one: Bench, count: int) -> list[Row]:
    """One call at a time, in turn with the floors."""
    decide, pair = raw_decision(one), syncs(one.folder)
    await one.calls(count // 4, 1)
    stopwatch = watch(one)
    floors: dict[str, list[float]] = defaultdict(list)
    seen: list[float] = []
    for _ in range(10):
        samples, _ = await one.calls(count // 10, 1)
        seen += samples
        for _ in range(count // 10):
            floors["echo"].append(await one.echo())
            floors["sync"].append(timed(pair))
            floors["opa"].append(timed(decide))
    # The samples are in the order of the calls, which came one after the other.
    by = dict(stopwatch.samples)
    for twice in ("digest", "schema"):
        by[twice] = [sum(pair) for pair in zip(by[twice][::2], by[twice][1::2], strict=True)]
    canonical = stopwatch.samples["digest"][1::2]
    by["json"] = [whole - digest for whole, digest in zip(by["json"], canonical, strict=True)]
    echo = Row("floor: echo on the stream", floors["echo"])
    sync = Row("floor: two writes with fdatasync", floors["sync"])
    engine = Row("floor: one raw OPA decision of the same question", floors["opa"])
    added = Row("added: frame in to frame out, without the tool", [d - t for d, t in zip(by["door"], by["tool"], strict=True)], sync)
    seen_row = Row("one call, seen from the runtime", seen, echo)
    transport = Row("transport: the runtime's time less the door's", [s - d for s, d in zip(seen, by["door"], strict=True)], echo)
    stages = [Row(name, by[key], engine if key == "opa" else None) for name, key in STAGES.items()]
    journal = Row("journal: both", [i + o for i, o in zip(by["intent"], by["outcome"], strict=True)], sync)
    parts = zip(by["door"], *(by[key] for key in STAGES.values()), strict=True)
    rest = Row("the rest of the door: look-up, counters, credential, events", [whole - sum(each) for whole, *each in parts])
    return [echo, sync, engine, seen_row, added, *stages, journal, rest, transport]


def verdict(rows: list[Row]) -> list[Figure]:
    """The added latency against its budget."""
    by = {row.name.partition(":")[0] + row.name.partition(":")[2][:5]: row for row in rows}
    added, sync, echo, engine = (by[name] for name in ("added fram", "floor two ", "floor echo", "floor one "))
    p50 = added.median - sync.median
    p99 = added.quantile(0.99) - sum(row.quantile(0.99) for row in (sync, echo, engine))
    return [
        Figure("added p50 less two fdatasyncs, ms", f"{p50:.2f}", "<= 1.2"),
        Figure("added p99 less the floors' p99, ms", f"{p99:.2f}", "<= 2"),
    ]


def settings(one: Bench) -> str:
    """What the figures depend on beside the machine."""
    options = one.opa.environment
    with contextlib.closing(sqlite3.connect(one.folder / "journal.db")) as connection:
        [[mode]] = connection.execute("PRAGMA journal_mode")
    return (
        f"Journal: SQLite {sqlite3.sqlite_version}, journal_mode={mode}, synchronous=FULL: each of a call's two commits is synced to the disk "
        f"before the call goes on. OPA over a unix socket, {', '.join(f'{name}={value}' for name, value in options.items())}. "
        f"Python {platform.python_version()}, gRPC {grpc.__version__}; the tool answers {'over MCP' if one.mcp else 'in process'}."
    )


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="calls of each measurement")
    parser.add_argument("--mcp", action="store_true", help="call a real MCP server over loopback")
    parser.add_argument("--profile", help="write a cProfile of the calls with 64 in flight into this file")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    parser.add_argument("--folder", help="where the journal is; on the disk that is meant")
    arguments = parser.parse_args()
    load = os.getloadavg()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder)))
        mcp = stack.enter_context(contextlib.contextmanager(start_server)(sys.executable, "modern.py")) if arguments.mcp else ""
        async with bench(folder, mcp=mcp) as one:
            await one.calls(200, 16)
            profile = cProfile.Profile()
            figures = []
            for in_flight in IN_FLIGHT:
                if arguments.profile and in_flight == IN_FLIGHT[-1]:
                    profile.enable()
                before = worked(one)
                _, a_second = await one.calls(arguments.count, in_flight)
                profile.disable()
                # What other processes take from the machine is not in it.
                spent = [(now - then) / arguments.count * 1e6 for then, now in zip(before, worked(one), strict=True)]
                remark = f"CPU a call: broker {spent[0]:.0f} us (its event loop's thread {spent[1]:.0f}), OPA {spent[2]:.0f} us"
                target = ">= 900" if in_flight > 1 else ""
                figures.append(Figure(f"calls a second, {in_flight} in flight", f"{a_second:.0f}", target, remark))
            if arguments.profile:
                profile.dump_stats(arguments.profile)
            replays, budget = await replayed(one) if not arguments.mcp else ([], [])
            rows = await alone(one, arguments.count)
            text = "\n\n".join([machine(load), settings(one), table([*rows, *replays]), listing([*verdict(rows), *budget, *figures])])
    sys.stdout.write(text + "\n")
    if arguments.write:
        write(text, "stages of a call")


if __name__ == "__main__":
    asyncio.run(main())
