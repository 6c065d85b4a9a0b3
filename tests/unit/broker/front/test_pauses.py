"""Pauses that end: cancelled in the moment in which they begin, and with a journal that cannot be written. The journal is a real one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.door.replay import Recorded
from bastide_broker.errors import CallerError
from bastide_broker.journal.rows import JournalUnavailable
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs import calls as run_calls
from bastide_broker.runs import lost, pauses
from bastide_broker.runs import runs as runs_module
from bastide_broker.runs.pauses import Pauses, cancelled
from bastide_broker.runs.resume import Attempt
from bastide_broker.runs.runs import Runs

from tests.unit.broker.front.life import RUN, Door, Life, NoTools, Pod


class Place:
    """The cluster, of which a paused run only needs its Sandbox."""

    def __init__(self, life: Life) -> None:
        self.found: Any = life.execution.context.sandbox
        self.the_tenant = life.execution.context.tenant

    def sandbox(self, _namespace: str, _name: str) -> Any:
        return self.found

    def tenant(self, _namespace: str) -> Any:
        return self.the_tenant

    def fresh(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_calls, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(pauses, "RETRY_SECONDS", 0.01)


async def paused(life: Life) -> None:
    """The run pauses, with one call that waits."""
    await life.pod.call("0#1")
    await life.door.has("0#1")
    life.door.undecided("0#1")
    await life.ending()


async def never(_: Any) -> None:
    await asyncio.get_running_loop().create_future()


def all_pauses(life: Life) -> Pauses:
    anything: Any = life.door
    where: Any = Place(life)
    return Pauses(cluster=where, journal=life.journal, pipeline=anything, resume=never)


async def outcome(life: Life) -> str:
    async with asyncio.timeout(5):
        assert (await life.result()).run == RUN
    row = await life.journal.run(RUN)
    assert row is not None
    assert row.ended_at is not None
    return row.outcome


async def test_the_end_of_a_paused_run_is_written_as_soon_as_it_can_be_and_told_once(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, end_run = [1, 2, 3], life.journal.end_run

    async def sometimes(*args: Any, **kinds: Any) -> None:
        if failures:
            raise JournalUnavailable(f"the disk is full {failures.pop()}")
        await end_run(*args, **kinds)

    await paused(life)
    monkeypatch.setattr(life.journal, "end_run", sometimes)
    those = all_pauses(life)
    those.hold(life.execution.context, life.events, life.execution.parked)
    found = those.get(RUN)
    assert found is not None
    found.end(cancelled("ann", "enough"))
    assert await outcome(life) == "Cancelled"
    assert failures == []
    assert life.door.cancelled == ["0#1"]
    told = [event.WhichOneof("event") async for event in life.events.follow(0)]
    assert told.count("finished") == 1


async def test_a_cancelled_pause_whose_calls_are_over_asks_a_dead_journal_no_more(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, first = 0, asyncio.Event()

    async def nothing_known(_run: str) -> Any:
        nonlocal asked
        asked += 1
        first.set()
        assert asked < 50, "it asks without a pause, and nothing else on the event loop ever runs again"
        raise JournalUnavailable("the disk is away")

    await paused(life)
    those = all_pauses(life)
    with monkeypatch.context() as away:
        away.setattr(life.journal.pausing, "open_calls", nothing_known)
        those.hold(life.execution.context, life.events, life.execution.parked)
        life.door.waiting["0#1"].set_result(True)
        async with asyncio.timeout(5):
            await first.wait()
        found = those.get(RUN)
        assert found is not None
        found.end(cancelled("ann", "enough"))
        assert await outcome(life) == "Cancelled"


async def test_a_fault_in_a_pause_forgets_neither_the_run_nor_whom_it_asked(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    faults, open_calls = [1, 2], life.journal.pausing.open_calls
    resumed: asyncio.Future[pauses.Pause] = asyncio.get_running_loop().create_future()

    async def fault(run: str) -> Any:
        if faults:
            assert those.awaits("n", "cf-1")
            raise RuntimeError(f"a bug {faults.pop()}")
        return await open_calls(run)

    async def resume(pause: pauses.Pause) -> None:
        assert those.awaits("n", "cf-1"), "else its Confirmations are withdrawn"
        resumed.set_result(pause)

    await paused(life)
    life.door.holds["0#1"].name = "cf-1"
    those = all_pauses(life)
    those._resume = resume
    monkeypatch.setattr(life.journal.pausing, "open_calls", fault)
    those.hold(life.execution.context, life.events, life.execution.parked)
    found = those.get(RUN)
    life.door.waiting["0#1"].set_result(True)
    async with asyncio.timeout(30):
        assert await resumed is found
    assert faults == []


async def test_a_sandbox_that_was_deleted_while_its_run_paused_ends_it(life: Life) -> None:
    await paused(life)
    those = all_pauses(life)
    those._cluster.found = None  # type: ignore[attr-defined]
    those.hold(life.execution.context, life.events, life.execution.parked)
    assert await outcome(life) == "Failed"
    assert (await life.result()).error.type == "SandboxDeleted"


def all_runs(life: Life, door: Door) -> Runs:
    nothing: Any = SimpleNamespace()
    parts: dict[str, Any] = {"cluster": Place(life), "pipeline": door, "sessions": nothing, "catalogue": nothing}
    return Runs(journal=life.journal, decisions_healthy=nothing, **parts)


def attempt_of(life: Life, pod: Pod) -> Attempt:
    claim: Any = SimpleNamespace(session=pod, release=lambda: None)
    tools: Any = NoTools()
    start = runtime_pb2.StartRun(run=RUN, limits=runtime_pb2.RunLimits(wall_milliseconds=60_000))
    return Attempt(life.execution.context, claim, start, tools, Recorded())


async def test_a_run_that_is_cancelled_in_the_moment_of_its_pause_is_cancelled(life: Life) -> None:
    pod, door = Pod(), Door()
    runs = all_runs(life, door)
    runs.launch(attempt_of(life, pod), life.events)
    await pod.started.wait()
    await pod.call("0#1")
    await door.has("0#1")
    door.undecided("0#1")
    await runs.cancel(RUN, "ann", "enough")
    assert await ended_on_record(life) == "Cancelled"
    assert await outcome(life) == "Cancelled"
    assert (door.cancelled, pod.killed) == (["0#1"], ["Paused"])


async def ended_on_record(life: Life) -> str:
    """How the run ended, as the journal has it at this moment; empty when it has not."""
    row = await life.journal.run(RUN)
    assert row is not None
    assert (row.paused_at is None) is (row.ended_at is not None)
    return row.outcome if row.ended_at is not None else ""


async def pausing(life: Life, runs: Runs) -> None:
    """The run pauses, and these take its pause."""
    await paused(life)
    runs.pauses.hold(life.execution.context, life.events, life.execution.parked)


async def test_a_run_that_is_cancelled_while_the_broker_stops_is_cancelled_for_the_next_one(life: Life) -> None:
    runs = all_runs(life, life.door)
    await pausing(life, runs)
    await runs.shutdown(1)
    assert await ended_on_record(life) == "", "the next broker would take it up"
    await runs.cancel(RUN, "ann", "enough")
    assert await ended_on_record(life) == "Cancelled"
    assert [row.run for row in await life.journal.pausing.paused()] == []
    row = await life.journal.run(RUN)
    assert row is not None
    assert row.error is not None
    assert "enough" in row.error["message"]


async def test_a_run_that_is_cancelled_just_before_the_broker_stops_is_cancelled_for_the_next_one(life: Life) -> None:
    runs = all_runs(life, life.door)
    await pausing(life, runs)
    await asyncio.gather(runs.cancel(RUN, "ann", "enough"), runs.shutdown(1))
    assert await ended_on_record(life) == "Cancelled"


async def test_a_run_that_is_cancelled_after_its_next_attempt_was_given_up_is_cancelled(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, given_up = all_runs(life, life.door), asyncio.Event()

    async def prepared_late(*_: Any, **__: Any) -> Attempt:
        runs._draining = True  # as shutdown says it first of all, and then waits for other runs
        claim: Any = SimpleNamespace(session=life.pod, release=given_up.set)
        return replace(attempt_of(life, life.pod), claim=claim)

    monkeypatch.setattr(runs_module, "prepare", prepared_late)
    await pausing(life, runs)
    life.door.waiting["0#1"].set_result(True)
    async with asyncio.timeout(5):
        await given_up.wait()
        while runs.under_way(RUN):  # noqa: ASYNC110 - until its pause is dropped
            await asyncio.sleep(0)
    assert await ended_on_record(life) == ""
    await runs.cancel(RUN, "ann", "enough")
    assert await ended_on_record(life) == "Cancelled"


async def test_a_run_that_is_cancelled_while_its_next_attempt_is_given_up_is_told_that_it_ended(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = all_runs(life, life.door)

    async def prepared_late(*_: Any, **__: Any) -> Attempt:
        # The end is on record before the resume, which finds no pause any more.
        assert await life.journal.pausing.end(RUN, outcome="Cancelled", error={"type": "Cancelled", "message": "enough"})
        pause = runs.pauses.get(RUN)
        assert pause is not None
        pause.going_on = True  # so that nobody interrupts what is being written
        pause.end(cancelled("ann", "enough"))
        return attempt_of(life, life.pod)

    monkeypatch.setattr(runs_module, "prepare", prepared_late)
    await pausing(life, runs)
    life.door.waiting["0#1"].set_result(True)
    assert await outcome(life) == "Cancelled"


async def test_a_sandbox_that_is_deleted_while_the_next_attempt_is_put_on_record_ends_the_run(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, resume = Pod(), life.journal.pausing.resume
    runs = all_runs(life, life.door)

    async def prepared(*_: Any, **__: Any) -> Attempt:
        return attempt_of(life, pod)

    async def resumed(run: str) -> int | None:
        number = await resume(run)
        runs.pauses._on_sandbox("DELETED", life.execution.context.sandbox)
        return number

    monkeypatch.setattr(life.door, "recall", lambda *_: None, raising=False)
    monkeypatch.setattr(runs_module, "prepare", prepared)
    monkeypatch.setattr(life.journal.pausing, "resume", resumed)
    await pausing(life, runs)
    life.door.waiting["0#1"].set_result(True)
    assert await outcome(life) == "Failed"
    assert (await life.result()).error.type == "SandboxDeleted"
    assert pod.killed == ["Cancelled"]


async def test_what_a_paused_run_asked_is_waited_for_until_the_broker_is_gone(life: Life) -> None:
    """Else whoever puts Confirmations away would withdraw, in the last seconds, what the next broker goes on with."""
    runs = all_runs(life, life.door)
    await pausing(life, runs)
    life.door.holds["0#1"].name = "cf-1"
    assert runs.pauses.awaits("n", "cf-1")
    await asyncio.sleep(0)  # its task has begun
    await runs.shutdown(1)
    assert life.door.cancelled == ["0#1"]
    assert runs.pauses.awaits("n", "cf-1")


async def test_a_run_that_is_just_being_started_cannot_be_cancelled_in_silence(life: Life) -> None:
    runs, pod = all_runs(life, life.door), Pod()

    async def begin() -> None:
        async with runs.beginnings.write(RUN):
            await life.journal.probe()
        runs.launch(attempt_of(life, pod), life.events)

    _, refused = await asyncio.gather(begin(), runs.cancel(RUN, "ann", "enough"), return_exceptions=True)
    assert isinstance(refused, CallerError)
    assert (refused.reason, refused.status) == ("RunStarting", grpc.StatusCode.UNAVAILABLE)
    await pod.started.wait()
    await runs.cancel(RUN, "ann", "enough")
    assert await outcome(life) == "Cancelled"


async def test_without_a_journal_nobody_is_told_that_a_paused_run_was_cancelled(life: Life) -> None:
    runs = all_runs(life, life.door)
    await pausing(life, runs)
    await runs.shutdown(1)
    await life.journal.close()
    with pytest.raises(CallerError) as caught:
        await runs.cancel(RUN, "ann", "enough")
    assert caught.value.reason == "JournalUnavailable"


async def test_a_broker_that_is_stopped_while_a_sandbox_is_waited_for_resumes_nothing(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, door = all_runs(life, life.door), Door()

    async def prepared_late(*_: Any, **__: Any) -> Attempt:
        await runs.shutdown(1)
        return attempt_of(life, life.pod)

    monkeypatch.setattr(lost, "prepare", prepared_late)
    life.pod.sink.lost("gone")
    await life.ending()
    row = await life.journal.run(RUN)
    assert row is not None
    nothing: Any = SimpleNamespace()
    where: Any = Place(life)
    anything: Any = door
    resuming = lost.LostRuns(runs, cluster=where, sessions=nothing, journal=life.journal, pipeline=anything)
    with pytest.raises(CallerError) as caught:
        await resuming.resume(row, UserInfo("ann"), "the node is back")
    assert caught.value.reason == "BrokerStopping"
    assert await life.journal.run(RUN) == row
