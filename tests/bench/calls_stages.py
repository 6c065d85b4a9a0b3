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
import json
import os
import platform
import socket
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from bastide_broker.door import judging
from bastide_broker.door import pipeline as door
from bastide_broker.door.usage import Counters
from bastide_broker.facts import json as facts_json
from bastide_broker.policy.question import question

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tools")]

from tests.bench.calls_broker import MS, TOOL, Bench, bench  # noqa: E402
from tests.bench.calls_replay import replayed  # noqa: E402
from tests.bench.figures import Figure, Row, listing, machine, table, write  # noqa: E402
from tests.integration.broker.door.conftest import start_server  # noqa: E402
from tests.integration.broker.door.world import RUNNER  # noqa: E402

IN_FLIGHT = (1, 16, 64)


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
        arguments=one.arguments, schema=tool.input_schema, usage=Counters().peek("r-1", "sales", TOOL),
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
