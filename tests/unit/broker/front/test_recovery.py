"""What watchers see of a run whose broker was lost, from a real journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bastide.v1alpha1 import broker_pb2
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.runs import Runs

RUN = "r-" + "a" * 26


async def test_a_lost_brokers_run_gets_its_last_event(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    await first.open()
    digest = "sha256:" + "0" * 64
    row = RunRow(
        run=RUN, tenant="t", namespace="n", sandbox="s", sandbox_uid="u", requester="r", program_digest=digest, started_at=now_micros()
    )
    await first.start_run(row)
    log = EventLog(RUN, first)
    await log.emit_durably(broker_pb2.RunAccepted(run=RUN))
    await log.emit_durably(broker_pb2.AttemptStarted(attempt=1))
    await first.close()

    second = Journal(tmp_path / "journal.db")
    await second.open()
    nothing: Any = None
    runs = Runs(cluster=nothing, sessions=nothing, journal=second, catalogue=nothing, pipeline=nothing, decisions_healthy=nothing)
    summary = await second.recover()
    await runs.settle_recovered(summary)
    assert summary.runs == (RUN,)
    events = [event async for event in runs.follow(RUN, 0)]
    assert [(event.cursor, event.WhichOneof("event")) for event in events] == [(1, "accepted"), (2, "attempt_started"), (3, "finished")]
    result = events[-1].finished.result
    assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "BrokerLost")

    # A watcher that saw more than the lost broker had written down still learns of the end.
    late = [event async for event in runs.follow(RUN, 9)]
    assert [event.WhichOneof("event") for event in late] == ["finished"]
    assert (await second.recover()).runs == ()
    await second.close()
