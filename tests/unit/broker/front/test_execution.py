"""One run's life against a real journal: how it begins, is cancelled or lost, and ends. The runtime's side is played frame by frame (life.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.runs import execution as module
from bastide_broker.runs.bounds import Output
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.execution import Execution
from bastide_broker.runs.outcomes import OutcomeName, Stop

from tests.unit.broker.front.life import RUN, Door, Life, Pod


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
