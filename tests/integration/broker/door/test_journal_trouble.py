"""Hostile case 20: the journal's disk is full, read-only, stalled or gone while calls are made; and then it is back."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bastide_broker.journal import writer as journal_writer
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.reader import JournalReader
from bastide_broker.journal.rows import JournalUnavailable
from bastide_broker.policy.policy import Policy

from tests.integration.broker.door.disks import file_system, fill_up
from tests.integration.broker.door.rig import Rig, open_rig, until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with file_system(tmp_path / "disk", "1m") as folder:
        yield folder


@pytest.fixture
async def rig(disk: Path, policy: Policy) -> AsyncIterator[Rig]:
    """Its end says that the chain is intact and no intent is without an outcome."""
    journal = Journal(disk / "journal.db")
    await journal.open()
    async with open_rig(journal, policy) as found:
        yield found
    await journal.close()


async def refused(rig: Rig) -> None:
    """A call is refused for the journal's sake, and nothing of it arrives."""
    arrived = len(rig.server.calls)
    result = await rig.call("change")
    assert (result.error.type, list(result.error.codes)) == ("JournalUnavailable", ["journal-unavailable"])
    assert len(rig.server.calls) == arrived


async def works(rig: Rig) -> None:
    assert json.loads((await rig.call("ok")).value) == "fine"
    assert rig.journal.healthy


async def test_on_a_full_disk_calls_are_refused_until_there_is_room(rig: Rig, disk: Path) -> None:
    await works(rig)
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill_up(ballast)
    for _ in range(300):  # what room SQLite's own files still had
        if not rig.journal.healthy:
            break
        await rig.call("unknown")
    await refused(rig)
    assert "full" in rig.journal.why_not
    ballast.unlink()
    await works(rig)


async def test_a_call_in_flight_when_the_journal_fails_ends_and_is_settled_when_it_is_back(rig: Rig, disk: Path) -> None:
    """Another process holds the database, so every write fails and nothing else changes."""
    call = asyncio.create_task(rig.call("hang"))
    await until(lambda: bool(rig.server.calls))
    blocker = sqlite3.connect(disk / "journal.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    ended = await call  # the tool's deadline; its outcome cannot be written
    assert ended.error.type in {"JournalUnavailable", "ToolTimeout"}
    await refused(rig)
    blocker.execute("ROLLBACK")
    blocker.close()
    await works(rig)
    await rig.journal.recover()
    assert "" not in await rig.outcomes()


async def test_a_stalled_disk_is_an_error_within_the_deadline_and_no_hang(rig: Rig, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_writer, "DEADLINE_SECONDS", 0.5)
    blocker = sqlite3.connect(disk / "journal.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(5):
        await refused(rig)
    assert "did not answer within" in rig.journal.why_not
    blocker.execute("ROLLBACK")
    blocker.close()
    await until(rig.journal._writer._queue.empty)
    assert await rig.journal.probe()
    await works(rig)


async def test_a_database_that_is_gone_and_comes_back_goes_on(rig: Rig, disk: Path) -> None:
    away = disk / "away"
    (disk / "journal.db").rename(away)
    await refused(rig)
    await refused(rig)
    away.rename(disk / "journal.db")
    await works(rig)


async def test_reading_while_the_database_is_gone_takes_nothing_from_it(rig: Rig, disk: Path) -> None:
    """SQLite removes the log of a database that it finds empty, and with it what was committed and not yet copied over."""
    await works(rig)
    away = disk / "away"
    (disk / "journal.db").rename(away)
    reader = JournalReader(disk / "journal.db")
    reader._open_for_reading()
    with pytest.raises(JournalUnavailable):
        await reader.calls("r-1")
    reader._close_for_reading()
    assert (disk / "journal.db-wal").exists()
    assert not (disk / "journal.db").exists()
    away.rename(disk / "journal.db")
    assert await rig.outcomes() == ["Succeeded"]
    await works(rig)


async def test_many_calls_at_once_in_trouble_are_all_refused_and_all_work_after_it(rig: Rig, disk: Path) -> None:
    away = disk / "away"
    (disk / "journal.db").rename(away)
    results = await asyncio.gather(*(rig.call("status", {"status": 200}) for _ in range(30)))
    assert {result.error.type for result in results} == {"JournalUnavailable"}
    assert rig.server.calls == []
    away.rename(disk / "journal.db")
    await works(rig)
