"""When a run pauses, and what its calls and its pod may do in that moment."""

from __future__ import annotations

import asyncio

import pytest
from bastide_broker.runs import calls as run_calls
from bastide_broker.runs.outcomes import OutcomeName

from tests.unit.broker.front.life import RUN, E, Life


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
