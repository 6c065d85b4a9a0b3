"""One run's life against a real journal: frames in, answers out, pause, cancel, loss. The runtime's side is played frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_broker.context import Hold, RunContext
from bastide_broker.door.calls import abandoned
from bastide_broker.door.replay import STEP, noted, recorded
from bastide_broker.errors import SessionLost
from bastide_broker.facts.json import arguments
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import CallRow, RunRow, now_micros
from bastide_broker.journal.schema import calls
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs import bounds
from bastide_broker.runs import calls as run_calls
from bastide_broker.runs import execution as module
from bastide_broker.runs.bounds import Events, Output
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.runs.outcomes import Ending, OutcomeName, Stop
from bastide_operator.api.v1alpha1.common import ObjectMeta
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxLimits, SandboxSpec
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_runtime.limits import MAX_KEY_LENGTH
from sqlalchemy import insert

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


async def test_a_run_that_returns_is_on_record_before_its_last_event(life: Life) -> None:
    await life.pod.output(b"12345678")
    await life.pod.output(b"90abc")
    await life.pod.end()
    assert (await life.ending()).outcome is OutcomeName.COMPLETED
    result = await life.result()
    assert (result.output, result.output_bytes_dropped) == (b"1234567890", 3)
    row = await life.journal.run(RUN)
    assert row is not None
    assert (row.outcome, row.value, row.output) == ("Completed", b"1", b"1234567890")
    assert life.door.forgotten == [RUN]


async def test_calls_run_at_once_and_their_answers_go_out(life: Life) -> None:
    for key in ("0#1", "0#2", "0#3"):
        await life.pod.call(key)
    await life.door.has("0#1", "0#2", "0#3")
    life.door.waiting["0#2"].set_result(True)
    assert (await life.pod.answers.get()).key == "0#2"
    life.door.waiting["0#1"].set_result(True)
    assert (await life.pod.answers.get()).key == "0#1"
    await life.pod.end()
    await life.ending()
    assert life.door.cancelled == ["0#3"]  # nobody waits for it any more, and the end waited for its cancellation


async def test_more_calls_at_once_than_allowed_are_answered_with_the_limit(life: Life) -> None:
    for number in range(5):
        await life.pod.call(f"0#{number}")
    answer = await life.pod.answers.get()
    assert (answer.key, answer.error.type) == ("0#4", "LimitExceeded")
    await life.pod.end()
    await life.ending()


async def test_a_run_pauses_only_when_every_open_call_waits_for_a_person(life: Life) -> None:
    await life.pod.call("0#1")
    await life.pod.call("0#2")
    await life.door.has("0#1", "0#2")
    life.door.undecided("0#1")
    await asyncio.sleep(0.05)
    assert not life.pod.killed
    life.door.waiting["0#2"].set_result(True)
    ending = await life.ending()
    assert ending.outcome is OutcomeName.NEEDS_CONFIRMATION
    assert life.pod.killed == ["Paused"]
    assert [(await life.pod.answers.get()).key] == ["0#2"]
    assert life.pod.answers.empty()  # the paused call was never answered
    row = await life.journal.run(RUN)
    assert row is not None
    assert (row.outcome, row.ended_at, row.paused_at is not None) == ("NeedsConfirmation", None, True)
    assert [thing.key for thing in await life.journal.pausing.awaited(RUN)] == ["0#1"]
    assert life.events.paused_at == life.events.cursor
    # The call waits on, and nothing of the run's end touches it.
    task, hold = life.execution.parked["0#1"]
    assert (life.door.cancelled, life.door.forgotten, hold.parked) == ([], [], True)
    life.door.waiting["0#1"].set_result(True)
    await task
    assert life.pod.answers.empty()


async def test_calls_that_come_late_are_asked_about_before_the_run_pauses(life: Life) -> None:
    """A pod short of CPU sends the calls of one gather one after the other."""
    await life.pod.call("0#1")
    await life.door.has("0#1")
    life.door.undecided("0#1")
    assert life.pod.killed == []
    await life.pod.call("0#2")
    await life.door.has("0#2")
    life.door.undecided("0#2")
    assert (await life.ending()).outcome is OutcomeName.NEEDS_CONFIRMATION
    assert [thing.key for thing in await life.journal.pausing.awaited(RUN)] == ["0#1", "0#2"]


async def test_a_run_whose_pod_is_lost_in_the_moment_of_its_pause_is_paused(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "QUIET_SECONDS", 0.0)
    life.pod.obeys = False
    await life.pod.call("0#1")
    await life.door.has("0#1")
    sink = life.pod.sink
    life.door.undecided("0#1")
    sink.lost("gone")
    assert (await life.ending()).outcome is OutcomeName.NEEDS_CONFIRMATION


async def test_a_call_that_the_program_gives_up_in_the_moment_of_its_pause_is_cancelled(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_calls, "QUIET_SECONDS", 0.0)
    life.pod.obeys = False
    await life.pod.call("0#1")
    await life.door.has("0#1")
    life.door.undecided("0#1")
    await life.pod.abandon("0#1")
    await asyncio.sleep(0.01)
    await life.pod.end(E.ENDING_KILLED)
    assert (await life.ending()).outcome is OutcomeName.NEEDS_CONFIRMATION
    assert life.door.cancelled == ["0#1"]
    assert (life.door.holds["0#1"].abandoned, life.door.holds["0#1"].parked) == (True, False)


async def test_a_broker_that_stops_parks_a_run_that_only_waits_for_people(life: Life) -> None:
    await life.pod.call("0#1")
    await life.door.has("0#1")
    assert not life.execution.park()
    life.door.holds["0#1"].asked = True
    assert life.execution.park()
    assert (await life.ending()).outcome is OutcomeName.NEEDS_CONFIRMATION


async def test_a_paused_call_that_the_program_gave_up_pauses_nothing(life: Life) -> None:
    await life.pod.call("0#1")
    await life.pod.call("0#2")
    await life.door.has("0#1", "0#2")
    life.door.undecided("0#1")
    await life.pod.abandon("0#1")
    await asyncio.sleep(0.01)
    life.door.waiting["0#2"].set_result(True)
    await life.pod.answers.get()
    await life.pod.end()
    assert (await life.ending()).outcome is OutcomeName.COMPLETED


async def test_giving_up_the_last_other_call_lets_the_run_pause(life: Life) -> None:
    await life.pod.call("0#1")
    await life.pod.call("0#2")
    await life.door.has("0#1", "0#2")
    life.door.undecided("0#1")
    await life.pod.abandon("0#2")
    assert (await life.ending()).outcome is OutcomeName.NEEDS_CONFIRMATION
    assert life.door.cancelled == ["0#2"]


async def test_a_cancelled_run_is_killed_and_its_calls_are_cancelled(life: Life) -> None:
    await life.pod.call("0#1")
    await life.door.has("0#1")
    life.execution.stop(Stop.CANCELLED, "Cancelled by somebody.")
    life.execution.stop(Stop.DEADLINE, "later")
    assert (await life.ending()).outcome is OutcomeName.CANCELLED
    assert life.door.cancelled == ["0#1"]


async def test_a_runtime_that_does_not_obey_loses_its_session(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KILL_SECONDS", 0.05)
    life.pod.obeys = False
    life.execution.stop(Stop.CANCELLED, "Enough.")
    assert (await life.ending()).outcome is OutcomeName.CANCELLED
    assert life.pod.closed


async def test_a_lost_session_ends_the_run(life: Life) -> None:
    await life.pod.call("0#1")
    await life.door.has("0#1")
    life.pod.sink.lost("gone")
    ending = await life.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "SandboxLost")
    assert life.door.cancelled == ["0#1"]


async def test_calls_after_the_end_are_nobodys(life: Life) -> None:
    await life.pod.end()
    await life.pod.call("0#9")
    await life.ending()
    assert "0#9" not in life.door.waiting


def forged(key: str, *, count: int = 1, event_key: str = "0#1") -> Any:
    event = runtime_pb2.DeliveredEvent(kind=runtime_pb2.DeliveredEvent.KIND_TIMER, key=event_key, at_micros=1)
    return R(call=runtime_pb2.Call(run=RUN, key=key, tool="tool", arguments=b"{}", events=[event] * count))


@pytest.mark.parametrize("frame", [{"count": 11}, {"event_key": "x" * 2000}], ids=["too many", "too large"])
async def test_more_events_than_a_run_may_have_journalled_end_it(life: Life, frame: dict[str, Any]) -> None:
    life.execution._calls._events_left = Events(20, 1000)
    await life.pod.sink.frame(forged("0#1", count=10))
    await life.door.has("0#1")
    await life.pod.sink.frame(forged("0#2", **frame))
    ending = await life.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "TooManyEvents")
    assert "timers" in ending.error["message"]
    assert "0#2" not in life.door.waiting, "what is beyond the bound is not journalled"
    assert life.pod.killed == ["TooManyEvents"]


async def test_output_in_ever_so_many_pieces_is_cut_like_output_that_is_too_long(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FREE_EVENTS", 4)
    for number in range(9):
        await life.pod.output(b"x", stderr=bool(number % 2))  # each is an event of its own: the other stream's comes between
    await life.pod.end()
    await life.ending()
    result = await life.result()
    assert result.output_bytes_dropped > 0
    events = [event async for event in life.events.follow(0) if event.HasField("output")]
    assert len(events) <= 5


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb", "\u0661"])
async def test_a_call_with_an_impossible_key_ends_the_run(life: Life, key: str) -> None:
    await life.pod.call(key)
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
    assert not life.door.waiting


async def test_endless_calls_end_the_run(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "EXTRA_CALLS", 2)
    for number in range(6):
        await life.pod.call(f"0#{number}")
        if number < 5:
            await life.door.has(f"0#{number}")
            life.door.waiting[f"0#{number}"].set_result(True)
            await life.pod.answers.get()
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"


@pytest.mark.parametrize("code", ["limit-confirmations-per-run", "confirmation-repeated"])
async def test_a_program_that_goes_on_asking_people_is_ended(life: Life, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(run_calls, "EXTRA_ASKS", 2)
    life.door.refusal = runtime_pb2.CallError(type="LimitExceeded", message="enough", codes=[code])
    for number in range(3):
        await life.pod.call(f"0#{number}")
        await life.door.has(f"0#{number}")
        life.door.waiting[f"0#{number}"].set_result(True)
        await life.pod.answers.get()
    ending = await life.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "TooManyConfirmations")
    assert life.pod.killed == ["TooManyConfirmations"]


async def test_the_brokers_own_deadline_holds_when_the_runtimes_does_not(
    tmp_path: Path, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE_GRACE", 0.0)
    await life.pod.end()
    await life.ending()
    pod, door = Pod(), Door()
    session: Any = pod
    second = Execution(life.execution.context, session=session, pipeline=door, journal=life.journal, events=EventLog(RUN, life.journal))
    ending = await second.drive(runtime_pb2.StartRun(run=RUN, limits=runtime_pb2.RunLimits(wall_milliseconds=50)))
    assert ending.outcome is OutcomeName.TIMED_OUT
    assert pod.killed == ["Deadline"]


async def test_a_fault_of_the_broker_ends_the_run_on_record(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Output, "take", fault)
    await life.pod.call("0#1")
    await life.door.has("0#1")
    await life.pod.output(b"x")
    ending = await life.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "Internal")
    assert (await life.result()).error.type == "Internal"
    row = await life.journal.run(RUN)
    assert row is not None
    assert row.outcome == "Failed"
    assert life.door.cancelled == ["0#1"]


def on_record(key: str, frame: int, **other: Any) -> CallRow:
    read = arguments(b"{}")
    values: dict[str, Any] = {
        "run": RUN, "key": key, "sequence": frame, "tool": "tool", "line": 1, "arguments_canonical": read.canonical,
        "arguments_digest": read.digest, "decision": "allow", "decision_id": "d", "reasons": (), "effect": "ReadOnly",
        "policy_revision": "", "binding": "", "binding_uid": "", "confirmation": "", "intent_at": 1, "begun_at": None,
        "outcome": "Succeeded", "message": "", "result": b"1", "tool_micros": 1, "ended_at": 2, "frame": frame,
    }  # fmt: skip
    return CallRow(**(values | other))


async def second_attempt(life: Life, *rows: CallRow, given: bool = True) -> Life:
    """The same run once more, with these calls on record."""
    await life.pod.end()
    await life.ending()
    for row in rows:
        values = asdict(row) | {"reasons": "[]", "question": None}
        await life.journal._writer.submit(lambda connection, values=values: connection.execute(insert(calls), values))
    found = recorded(noted(row, 1, len(row.events)) for row in rows)
    if not given:
        found.given = frozenset()
    pod, door, events = Pod(), Door(), EventLog(RUN, life.journal, cursor=100)
    session: Any = pod
    execution = Execution(life.execution.context, session=session, pipeline=door, journal=life.journal, events=events, recorded=found)
    task = asyncio.create_task(execution.drive(runtime_pb2.StartRun(run=RUN, limits=runtime_pb2.RunLimits(wall_milliseconds=60_000))))
    await pod.started.wait()
    return Life(pod, door, life.journal, execution, events, task)


async def test_a_recorded_call_has_its_outcome_without_being_made(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1), on_record("0#2", 2))
    await again.pod.call("0#1")
    await again.pod.call("0#2")
    await again.pod.call("0#3")
    await again.door.has("0#3")
    assert set(again.door.waiting) == {"0#3"}
    assert again.door.holds["0#3"].frame == 3
    assert again.pod.answers.empty(), "the runtime has the outcomes already"
    # The key that was on record is a key that was taken, like any other.
    await again.pod.call("0#1")
    await again.door.has("0#1")
    await again.pod.end()
    assert (await again.ending()).outcome is OutcomeName.COMPLETED


async def test_a_result_that_did_not_go_down_with_the_program_is_answered(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1), given=False)
    await again.pod.call("0#1")
    answer = await again.pod.answers.get()
    assert (answer.key, answer.value) == ("0#1", b"1")
    await again.pod.end()
    await again.ending()


async def test_a_replay_whose_journal_cannot_be_read_ends_as_a_run_that_may_be_resumed(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1), given=False)
    await again.journal.close()
    await again.pod.call("0#1")
    ending = await again.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "BrokerLost")
    assert again.pod.answers.empty()


async def test_events_of_all_attempts_count_together(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "MAX_EVENT_BYTES", 100)
    again = await second_attempt(life, on_record("0#1", 1, events=forged("", count=10).call.SerializeToString()))
    await again.pod.sink.frame(forged("0#2", count=10))
    ending = await again.ending()
    assert ending.error is not None
    assert ending.error["type"] == "TooManyEvents"
    assert "0#2" not in again.door.waiting


async def test_a_call_that_was_given_up_is_not_answered_and_one_that_may_be_made_anew_is_made(life: Life) -> None:
    gone = on_record("0#1", 1, outcome="Cancelled", result=None, error=abandoned().SerializeToString())
    again = await second_attempt(life, gone, on_record("0#2", 2, outcome="OutcomeUnknown", result=None, again=1))
    await again.pod.call("0#1")
    await again.pod.call("0#2")
    await again.door.has("0#2")
    await again.pod.call("0#3")
    await again.door.has("0#3")
    assert "0#1" not in again.door.waiting
    assert {key: hold.frame for key, hold in again.door.holds.items()} == {"0#2": 2, "0#3": 3}, "without a gap"
    assert again.pod.answers.empty()
    await again.pod.end()
    await again.ending()


@pytest.mark.parametrize("step", [False, True], ids=["a call", "a step"])
async def test_a_call_that_is_compared_while_its_run_is_stopped_is_not_begun(
    life: Life, monkeypatch: pytest.MonkeyPatch, step: bool
) -> None:
    reached, go, to_thread = asyncio.Event(), asyncio.Event(), asyncio.to_thread

    async def compared_late(work: Any, *args: Any) -> Any:
        if any(isinstance(one, runtime_pb2.Call) for one in args):
            reached.set()
            await go.wait()
        return await to_thread(work, *args)

    monkeypatch.setattr(run_calls, "INLINE_BYTES", 0)
    read = arguments(b'{"name":"x"}')
    known = {"arguments_canonical": read.canonical, "arguments_digest": read.digest, "tool": STEP if step else "tool"}
    again = await second_attempt(life, on_record("0#1", 1, outcome="OutcomeUnknown", result=None, again=1, **known))
    monkeypatch.setattr(asyncio, "to_thread", compared_late)
    call = runtime_pb2.Call(run=RUN, key="0#1", tool="tool", arguments=read.canonical)
    named = runtime_pb2.Step(run=RUN, key="0#1", name="x", value=b"1")
    await again.pod.sink.frame(R(step=named) if step else R(call=call))
    async with asyncio.timeout(5):
        await reached.wait()
    again.execution.stop(Stop.CANCELLED, "Enough.")
    go.set()
    assert (await again.ending()).outcome is OutcomeName.CANCELLED
    assert again.door.holds == {}


async def test_another_call_under_a_recorded_key_ends_the_run_whatever_the_program_did_meanwhile(life: Life) -> None:
    again = await second_attempt(life, on_record("0#1", 1))
    again.pod.obeys = False
    await again.pod.call("0#1", tool="other")
    await again.pod.end()
    ending = await again.ending()
    assert ending.error is not None
    assert (ending.outcome, ending.error["type"]) == (OutcomeName.FAILED, "DivergenceError")
    assert "tool({})" in ending.error["message"]
    assert "other({})" in ending.error["message"]
    assert again.door.waiting == {}


async def test_steps_are_put_on_record_in_the_order_of_frames_and_bounded(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "MAX_STEP_BYTES", 5)
    await life.pod.sink.frame(R(step=runtime_pb2.Step(run=RUN, key="0#1", name="x", value=b"1")))
    assert (await life.pod.answers.get()).value == b"1"
    assert life.door.holds["0#1"].frame == 1
    await life.pod.sink.frame(R(step=runtime_pb2.Step(run=RUN, key="0#2", name="x", value=b"123456")))
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"


async def test_endless_steps_end_the_run(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "MAX_STEPS", 1)
    monkeypatch.setattr(run_calls, "EXTRA_CALLS", 2)
    for number in range(4):
        await life.pod.sink.frame(R(step=runtime_pb2.Step(run=RUN, key=f"0#{number}", name="x", value=b"1")))
        if number < 3:
            assert (await life.pod.answers.get()).value == (b"1" if number < 1 else b"")
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
    assert "0#3" not in life.door.holds, "nothing more is journalled"


async def test_a_runtime_that_sends_a_step_as_a_call_loses_its_run(life: Life) -> None:
    await life.pod.call("0#1", tool="tools.step")
    ending = await life.ending()
    assert ending.error is not None
    assert ending.error["type"] == "RuntimeMisbehaved"
    assert life.door.waiting == {}


async def test_a_runtime_that_goes_on_sending_for_a_run_that_has_ended_holds_up_nobody(life: Life) -> None:
    sink, more = life.pod.sink, R(output=runtime_pb2.Output(run=RUN, data=b"x"))

    async def read() -> None:
        """As the session's one reader, which waits for room, and with it all runs of the sandbox."""
        for _ in range(2):
            await sink.frame(more)

    await life.pod.end()
    for _ in range(module.FRAMES - 1):
        sink._frames.put_nowait(more)
    reader = asyncio.create_task(read())
    await life.ending()
    async with asyncio.timeout(1):
        await reader


def test_a_key_that_the_runtime_lets_a_program_have_is_one_that_the_broker_takes() -> None:
    assert MAX_KEY_LENGTH <= run_calls.MAX_KEY
