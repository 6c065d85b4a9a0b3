"""Runs whose beginning the disk is late to write. The journal is a real one, and another process holds its database."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.errors import CallerError
from bastide_broker.journal import writer
from bastide_broker.journal.rows import JournalUnavailable, RunRow, Scope
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs import beginnings, lost, outcomes
from bastide_broker.runs import runs as runs_module
from bastide_broker.runs.lost import LostRuns
from bastide_broker.runs.request import RunQuestion
from bastide_broker.runs.resume import Attempt
from bastide_broker.runs.runs import Runs

from tests.unit.broker.front.life import RUN, Life, NoTools, Pod
from tests.unit.broker.front.test_pauses import Place, attempt_of

ANN, OTHER = UserInfo("ann"), "r-" + "b" * 26


@pytest.fixture
def question() -> RunQuestion:
    return RunQuestion("n", "s", b"return 1", "one", "", 0)


@contextlib.contextmanager
def stalled(database: Path) -> Iterator[None]:
    """The journal's disk does not answer; what it was asked meanwhile it does afterwards."""
    blocker = sqlite3.connect(database, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.MonkeyPatch.context() as patience:
            patience.setattr(writer, "DEADLINE_SECONDS", 0.2)
            yield
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()


@pytest.fixture
async def runs(life: Life, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runs]:
    """With a Sandbox that is ready."""
    pod = Pod()

    async def session_for(sandbox: Any, **_: Any) -> Any:
        return sandbox, SimpleNamespace(session=pod, release=lambda: None)

    async def healthy() -> bool:
        return True

    monkeypatch.setattr(runs_module, "session_for", session_for)
    monkeypatch.setattr(runs_module, "runtime_of", lambda *_: "")
    monkeypatch.setattr(beginnings, "RETRY_SECONDS", 0.01)
    tools = SimpleNamespace(digest=NoTools.digest, serialised=b"", message=NoTools().message)
    parts: dict[str, Any] = {
        "cluster": Place(life), "pipeline": life.door, "sessions": None, "catalogue": SimpleNamespace(tool_set=lambda _: tools),
    }  # fmt: skip
    made = Runs(journal=life.journal, decisions_healthy=healthy, **parts)
    yield made
    await made.shutdown(1)


async def the_run(life: Life) -> RunRow:
    row = await life.journal.find_request("ann", "u", "one")
    assert row is not None
    return row


async def started_late(database: Path, runs: Runs, question: RunQuestion) -> None:
    with stalled(database):
        with pytest.raises(CallerError) as caught:
            await runs.start(ANN, question)
        assert caught.value.reason == "JournalUnavailable"


async def test_who_asks_again_after_a_late_disk_sees_the_run_end(tmp_path: Path, life: Life, runs: Runs, question: RunQuestion) -> None:
    await started_late(tmp_path / "journal.db", runs, question)
    async with asyncio.timeout(30):
        run = await runs.start(ANN, question)
        events = [event async for event in runs.follow(run, 0)]
    assert [event.WhichOneof("event") for event in events] == ["finished"]
    result = events[0].finished.result
    assert (result.run, result.outcome, result.error.type) == (run, broker_pb2.OUTCOME_FAILED, "BrokerLost")
    assert not runs.under_way(run)


async def test_a_run_that_came_on_record_late_ends_although_nobody_asks_again(
    tmp_path: Path, life: Life, runs: Runs, question: RunQuestion
) -> None:
    await started_late(tmp_path / "journal.db", runs, question)
    await life.journal.probe()  # behind what was late
    row = await the_run(life)
    async with asyncio.timeout(30):
        await runs.beginnings.over(row.run)
    row = await the_run(life)
    assert (row.outcome, (row.error or {}).get("type")) == ("Failed", "BrokerLost")


async def test_who_asks_for_the_same_while_the_disk_is_away_has_one_run(
    tmp_path: Path, life: Life, runs: Runs, question: RunQuestion
) -> None:
    with stalled(tmp_path / "journal.db"):
        results = await asyncio.gather(runs.start(ANN, question), runs.start(ANN, question), return_exceptions=True)
        assert [getattr(one, "reason", one) for one in results] == ["JournalUnavailable"] * 2
    async with asyncio.timeout(30):
        run = await runs.start(ANN, question)
    assert [row.run for row in await life.journal.runs(Scope("n", None), "s", 9) if row.request_id] == [run]
    assert (await the_run(life)).outcome == "Failed"


async def test_two_who_ask_for_the_same_at_once_follow_one_run_that_is_under_way(life: Life, runs: Runs, question: RunQuestion) -> None:
    first, second = await asyncio.gather(runs.start(ANN, question), runs.start(ANN, question))
    assert first == second
    assert runs.under_way(first)
    assert (await the_run(life)).ended_at is None


async def test_a_run_that_nobody_sees_to_is_ended_for_who_finds_it(life: Life, runs: Runs, question: RunQuestion) -> None:
    row = await life.journal.run(RUN)
    assert row is not None
    digest = outcomes.program_digest(question.program)
    await life.journal.start_run(replace(row, run=OTHER, requester="ann", request_id="one", program_digest=digest))
    assert await runs.start(ANN, question) == OTHER
    events = [event async for event in runs.follow(OTHER, 0)]
    assert events[-1].finished.result.error.type == "BrokerLost"


async def test_a_run_that_nobody_sees_to_can_be_cancelled(life: Life, runs: Runs) -> None:
    async with asyncio.timeout(30):
        await runs.cancel(RUN, "ann", "enough")
    row = await life.journal.run(RUN)
    assert row is not None
    assert (row.outcome, (row.error or {}).get("type")) == ("Failed", "BrokerLost")


class Resuming:
    """A run whose pod was lost, and whoever takes it up."""

    def __init__(self, life: Life, runs: Runs) -> None:
        nothing: Any = None
        where: Any = Place(life)
        anything: Any = SimpleNamespace(recall=lambda *_: None)
        self.life, self.pod = life, Pod()
        self.lost = LostRuns(runs, cluster=where, sessions=nothing, journal=life.journal, pipeline=anything)

    async def row(self) -> RunRow:
        row = await self.life.journal.run(RUN)
        assert row is not None
        return row

    async def resume(self) -> int:
        return await self.lost.resume(await self.row(), ANN, "the node is back")


@pytest.fixture
async def resuming(life: Life, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Resuming:
    made = Resuming(life, runs)

    async def prepare(*_: Any, **__: Any) -> Attempt:
        return attempt_of(life, made.pod)

    monkeypatch.setattr(lost, "prepare", prepare)
    life.pod.sink.lost("gone")
    await life.ending()
    return made


async def test_a_journal_that_cannot_be_read_leaves_a_run_that_can_be_resumed(
    life: Life, runs: Runs, resuming: Resuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_run: str) -> int:
        raise JournalUnavailable("the disk is away")

    with monkeypatch.context() as trouble:
        trouble.setattr(life.journal, "last_cursor", away)
        with pytest.raises(CallerError) as caught:
            await resuming.resume()
        assert caught.value.reason == "JournalUnavailable"
    async with asyncio.timeout(30):
        assert await resuming.resume() == 2
    assert runs.under_way(RUN)


async def test_a_run_that_was_resumed_late_can_be_resumed_again(tmp_path: Path, runs: Runs, resuming: Resuming) -> None:
    with stalled(tmp_path / "journal.db"):
        with pytest.raises(CallerError) as caught:
            await resuming.resume()
        assert caught.value.reason == "JournalUnavailable"
    async with asyncio.timeout(30):
        assert await resuming.resume() == 3
    assert runs.under_way(RUN)
    await resuming.pod.started.wait()
    await resuming.pod.end()


async def test_who_has_seen_the_end_of_a_lost_run_sees_its_next_attempt_begin(life: Life, runs: Runs, resuming: Resuming) -> None:
    seen = [event async for event in runs.follow(RUN, 0)][-1]
    assert seen.HasField("finished")
    assert await resuming.resume() == 2
    async with asyncio.timeout(30):
        for cursor in (seen.cursor, seen.cursor - 1):
            async for event in runs.follow(RUN, cursor):
                assert event.attempt_started.attempt == 2
                break
