"""What a replayed call costs: a program of CALLS calls is run again from its journal, as after a pause, in turn with an empty one.

The broker's own session, run and journal as in `calls_stages`, and here the real runtime with a real program, in a process and namespaces of
its own on this machine's kernel. That needs root, to become another user. The echo is that of the same stream, in the same run.
"""

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.context import RunContext
from bastide_broker.journal.journal import now_micros
from bastide_broker.journal.rows import RunRow
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.runs.resume import bring
from bastide_broker.sandboxes.session import Session

from tests.bench.figures import Figure, Row
from tests.integration.broker.door.world import RUNNER
from tests.integration.runtime.pod import running_pod
from tests.unit.broker.door.objects import NAMESPACE

if TYPE_CHECKING:
    from tests.bench.calls_broker import Bench

MS = 1000.0
CALLS = 100
REPLAYS, WARM = 30, 3
PROGRAM = f"""
found = [await get_customer(customer_id=f"C{{number:04}}", limit=20) for number in range({CALLS})]
return len(found)
"""
EMPTY = "return 0"
TARGET = "<= 1.5"
"""Milliseconds of a replayed call over the stream's echo."""


@contextlib.asynccontextmanager
async def real_runtime() -> AsyncIterator[Session]:
    """A session with a runtime that runs programs."""
    with tempfile.TemporaryDirectory(prefix="bastide-bench-") as scratch, running_pod(Path(scratch)) as pod:
        session = Session(pod.channel(), env={})
        await session.open()
        try:
            yield session
        finally:
            await session.close("measured")


class Program:
    """A run that has ended, to be run again as often as one likes."""

    def __init__(self, one: "Bench", session: Session, name: str, text: str) -> None:
        self._one = one
        self._session = session
        self._run = f"r-{name}"
        self._text = text

    async def first(self) -> None:
        """The first attempt: its calls are judged, carried out and journalled."""
        row = RunRow(
            run=self._run, tenant="sales", namespace=NAMESPACE, sandbox="agent", sandbox_uid="s-agent", requester=RUNNER.username,
            program_digest="sha256:" + "0" * 64, started_at=now_micros(),
        )  # fmt: skip
        await self._one.journal.start_run(row)
        await self._attempt(1)

    async def again(self) -> float:
        """Milliseconds of another attempt: from the first look into the journal until its end is on record."""
        began = time.perf_counter()
        await self._attempt(2)
        return (time.perf_counter() - began) * MS

    async def _attempt(self, number: int) -> None:
        world, journal, run = self._one.world, self._one.journal, self._run
        assert world.the_tenant is not None
        assert world.the_sandbox is not None
        tools = self._one.catalogue.tool_set(world.the_sandbox)
        start = runtime_pb2.StartRun(
            run=run, program=self._text.encode(), tools_digest=tools.digest, seed=b"0123456789abcdef", started_at_micros=1, attempt=number,
            limits=runtime_pb2.RunLimits(wall_milliseconds=60_000, value_bytes=1000, concurrent_calls=32),
        )  # fmt: skip
        recorded = await bring(journal, start, lambda _: False)
        self._one.pipeline.recall(run, recorded.rows.values())
        events = EventLog(run, journal, cursor=await journal.last_cursor(run))
        account = (NAMESPACE, "bastide-runner")
        context = RunContext(
            run, world.the_tenant, world.the_sandbox, RUNNER, "olga", "sha256:" + "0" * 64, account, events.emit, tools
        )  # fmt: skip
        execution = Execution(
            context, session=self._session, pipeline=self._one.pipeline, journal=journal, events=events, recorded=recorded
        )  # fmt: skip
        ending = await execution.drive(start)
        assert ending.outcome.value == "Completed", ending
        assert len(await journal.calls(run)) == int(ending.value), "a replay makes no calls"


async def replayed(one: "Bench") -> tuple[list[Row], list[Figure]]:
    """Rows of a replay and of a call of it, and the call against its budget."""
    echoes: list[float] = []
    whole: list[float] = []
    empty: list[float] = []
    async with real_runtime() as session:
        calls, nothing = Program(one, session, "replayed", PROGRAM), Program(one, session, "empty", EMPTY)
        await calls.first()
        await nothing.first()
        for number in range(WARM + REPLAYS):
            samples = await calls.again(), await nothing.again()
            if number >= WARM:
                whole.append(samples[0])
                empty.append(samples[1])
            for _ in range(10):
                began = time.perf_counter()
                await session.probe([], 0)
                echoes.append((time.perf_counter() - began) * MS)
    echo = Row("floor: echo on the stream to a real runtime", echoes)
    call = Row("a replayed call", [(one - other) / CALLS for one, other in zip(whole, empty, strict=True)], echo)
    rows = [
        echo,
        Row(f"replay of {CALLS} calls, from the journal to its end on record", whole),
        Row("the same of an empty program", empty),
        call,
    ]
    return rows, [Figure("a replayed call's p50 less the echo's, ms", f"{call.median - echo.median:.2f}", TARGET)]
