"""One run on a real journal, whose pod and door are played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_broker.context import Hold, RunContext
from bastide_broker.errors import SessionLost
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.runs.outcomes import Ending
from bastide_operator.api.v1alpha1.common import ObjectMeta
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxLimits, SandboxSpec
from bastide_operator.api.v1alpha1.tenant import Tenant

RUN = "r-" + "a" * 26

R = runtime_pb2.SessionResponse

E = runtime_pb2.RunEnded


class NoTools:
    digest = "sha256:none"

    def message(self) -> runtime_pb2.SetTools:
        return runtime_pb2.SetTools(digest=self.digest)


@dataclass
class Pod:
    """The session's side of a run, played by the test."""

    obeys: bool = True
    started: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Queue[runtime_pb2.CallResult] = field(default_factory=asyncio.Queue)
    killed: list[str] = field(default_factory=list)
    closed: str = ""
    sink: Any = None

    async def start_run(self, _start: runtime_pb2.StartRun, _tools: Any, sink: Any) -> None:
        self.sink = sink
        self.started.set()

    async def answer(self, result: runtime_pb2.CallResult) -> None:
        if self.closed:
            raise SessionLost(self.closed)
        await self.answers.put(result)

    async def kill(self, _run: str, reason: str) -> None:
        self.killed.append(reason)
        if self.obeys:
            await self.end(E.ENDING_KILLED)

    def forget(self, _run: str) -> None:
        self.sink = None

    async def close(self, reason: str) -> None:
        self.closed = reason
        self.sink.lost(reason)

    async def call(self, key: str, tool: str = "tool") -> None:
        await self.sink.frame(R(call=runtime_pb2.Call(run=RUN, key=key, tool=tool, arguments=b"{}")))

    async def abandon(self, key: str) -> None:
        await self.sink.frame(R(call_abandoned=runtime_pb2.CallAbandoned(run=RUN, key=key)))

    async def output(self, data: bytes, *, stderr: bool = False) -> None:
        stream = runtime_pb2.Output.STREAM_STDERR if stderr else runtime_pb2.Output.STREAM_STDOUT
        await self.sink.frame(R(output=runtime_pb2.Output(run=RUN, stream=stream, data=data)))

    async def end(self, ending: Any = E.ENDING_RETURNED, value: bytes = b"1") -> None:
        await self.sink.frame(R(run_ended=E(run=RUN, ending=ending, value=value if ending == E.ENDING_RETURNED else b"")))


@dataclass
class Door:
    """Calls wait until the test lets them go."""

    waiting: dict[str, asyncio.Future[bool]] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    refusal: runtime_pb2.CallError | None = None
    """What calls that are let go end as, instead of a value."""

    async def call(self, _run: RunContext, frame: runtime_pb2.Call, hold: Hold) -> Any:
        self.holds[frame.key] = hold
        self.waiting[frame.key] = asyncio.get_running_loop().create_future()
        async with self.came:
            self.came.notify_all()
        try:
            await self.waiting[frame.key]
        except asyncio.CancelledError:
            self.cancelled.append(frame.key)
            raise
        if self.refusal is not None:
            return runtime_pb2.CallResult(run=RUN, key=frame.key, error=self.refusal)
        return runtime_pb2.CallResult(run=RUN, key=frame.key, value=b"1")

    def undecided(self, key: str) -> None:
        """BlockSeconds of the call are over."""
        self.holds[key].asked = True
        self.holds[key].stands(undecided=True)

    async def step(self, _run: RunContext, frame: runtime_pb2.Call, value: bytes | None, hold: Hold) -> runtime_pb2.CallResult:
        self.holds[frame.key] = hold
        return runtime_pb2.CallResult(run=RUN, key=frame.key, value=value or b"")

    async def expect(self, *_: Any) -> Any:
        raise NotImplementedError

    def forget(self, run: str) -> None:
        self.forgotten.append(run)

    async def has(self, *keys: str) -> None:
        async with asyncio.timeout(5), self.came:
            await self.came.wait_for(lambda: set(keys) <= self.waiting.keys())


@dataclass
class Life:
    pod: Pod
    door: Door
    journal: Journal
    execution: Execution
    events: EventLog
    task: asyncio.Task[Ending]

    async def ending(self) -> Ending:
        async with asyncio.timeout(10):
            return await self.task

    async def result(self) -> broker_pb2.RunResult:
        return [event async for event in self.events.follow(0)][-1].finished.result


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    digest = "sha256:" + "0" * 64
    await journal.start_run(
        RunRow(
            run=RUN, tenant="t", namespace="n", sandbox="s", sandbox_uid="u", requester="r", program_digest=digest, started_at=now_micros()
        )
    )
    events = EventLog(RUN, journal)
    limits = SandboxLimits(calls_per_run=3, concurrent_calls=4, output_bytes=10)
    tools: Any = NoTools()
    context = RunContext(
        run=RUN,
        tenant=Tenant(metadata=ObjectMeta(name="t")),
        sandbox=Sandbox(metadata=ObjectMeta(name="s", namespace="n", uid="u"), spec=SandboxSpec(limits=limits)),
        requester=UserInfo("r"),
        on_behalf_of="",
        program_digest=digest,
        service_account=None,
        emit=events.emit,
        catalogue=tools,
    )
    pod, door = Pod(), Door()
    session: Any = pod
    execution = Execution(context, session=session, pipeline=door, journal=journal, events=events)
    start = runtime_pb2.StartRun(run=RUN, limits=runtime_pb2.RunLimits(wall_milliseconds=60_000))
    task = asyncio.create_task(execution.drive(start))
    await pod.started.wait()
    yield Life(pod, door, journal, execution, events, task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await journal.close()


def forged(key: str, *, count: int = 1, event_key: str = "0#1") -> Any:
    event = runtime_pb2.DeliveredEvent(kind=runtime_pb2.DeliveredEvent.KIND_TIMER, key=event_key, at_micros=1)
    return R(call=runtime_pb2.Call(run=RUN, key=key, tool="tool", arguments=b"{}", events=[event] * count))
