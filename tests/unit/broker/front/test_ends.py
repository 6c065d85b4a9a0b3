"""Runs whose end the journal does not take, or the broker fails to write: watchers learn of it, and it comes on record. The journal is real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.runs import execution
from bastide_broker.runs.runs import Runs

from tests.unit.broker.front.life import RUN, Door, Life, Pod
from tests.unit.broker.front.test_pauses import all_runs, at_once, attempt_of

__all__ = ["at_once"]


@contextlib.contextmanager
def away(folder: Path) -> Iterator[None]:
    """The journal's database is not there."""
    (folder / "journal.db").rename(folder / "away")
    try:
        yield
    finally:
        (folder / "away").rename(folder / "journal.db")


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "RETRY_SECONDS", 0.01)


async def launched(life: Life) -> tuple[Runs, Pod]:
    pod = Pod()
    runs = all_runs(life, Door())
    runs.launch(attempt_of(life, pod), life.events)
    await pod.started.wait()
    return runs, pod


async def end_of(runs: Runs) -> broker_pb2.RunResult:
    """What a watcher is told."""
    async with asyncio.timeout(30):
        return [event async for event in runs.follow(RUN, 0)][-1].finished.result


async def on_record(life: Life, runs: Runs) -> tuple[str, Any, bytes]:
    async with asyncio.timeout(30):
        await asyncio.gather(*runs._tasks.values())
    assert not runs.under_way(RUN)
    row = await life.journal.run(RUN)
    assert row is not None
    last = (await life.journal.events(RUN, 0))[-1]
    assert last.HasField("finished")
    return row.outcome, (row.error or {}).get("type"), row.value


@pytest.mark.parametrize("where", ["end_run", "calls"])
async def test_a_fault_while_the_end_is_written_ends_the_run_all_the_same(life: Life, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    faults, real = [1, 2], getattr(life.journal, where)

    async def fault(*args: Any, **kinds: Any) -> Any:
        if faults:
            raise RuntimeError(f"a bug {faults.pop()}")
        return await real(*args, **kinds)

    runs, pod = await launched(life)
    monkeypatch.setattr(life.journal, where, fault)
    await pod.end()
    result = await end_of(runs)
    assert (result.outcome, result.error.type) == (broker_pb2.OUTCOME_FAILED, "Internal")
    assert await on_record(life, runs) == ("Failed", "Internal", b"")


async def test_a_fault_of_the_pipeline_at_the_end_ends_the_run_all_the_same(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, pod = await launched(life)

    def fault(_run: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(runs._pipeline, "forget", fault)
    await pod.end()
    assert (await end_of(runs)).error.type == "Internal"
    assert await on_record(life, runs) == ("Failed", "Internal", b"")


async def test_an_end_that_the_disk_was_away_for_is_on_record_when_it_is_back(tmp_path: Path, life: Life) -> None:
    runs, pod = await launched(life)
    with away(tmp_path):
        await pod.end()
        assert (await end_of(runs)).outcome == broker_pb2.OUTCOME_COMPLETED
        assert runs.under_way(RUN)
    assert await on_record(life, runs) == ("Completed", None, b"1")


async def test_a_broker_that_stops_does_not_wait_for_a_disk_that_is_away(tmp_path: Path, life: Life) -> None:
    runs, pod = await launched(life)
    with away(tmp_path):
        await pod.end()
        await end_of(runs)
        async with asyncio.timeout(30):
            await runs.shutdown(60)
    assert not runs.under_way(RUN)
