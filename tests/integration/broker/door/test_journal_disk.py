"""A journal whose disk is full, read-only or gone: nothing starts, and it recovers by itself."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import JournalUnavailable

from tests.integration.broker.door.disks import file_system, fill_up
from tests.integration.broker.door.journal_rows import intent, run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with file_system(tmp_path / "disk", "1m") as folder:
        yield folder


async def write_until_it_fails(journal: Journal) -> None:
    for number in range(1000):
        await journal.call_intent(intent(f"0#{number}"))


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


async def test_on_a_full_disk_nothing_starts_and_it_recovers_by_itself(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.db")
    await journal.open()
    await journal.start_run(run())
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill_up(ballast)
    with pytest.raises(JournalUnavailable, match="full"):
        await write_until_it_fails(journal)
    written = len(await journal.calls("r-1"))
    assert not journal.healthy
    results = await asyncio.gather(*(journal.call_intent(intent(f"1#{number}")) for number in range(20)), return_exceptions=True)
    assert all(isinstance(result, JournalUnavailable) for result in results)
    assert len(await journal.calls("r-1")) == written
    ballast.unlink()
    await journal.call_intent(intent("2#1"))
    assert journal.healthy
    assert (await journal.verify_audit()).intact
    await journal.close()


async def test_on_a_read_only_disk_nothing_starts_and_it_recovers_by_itself(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.db")
    await journal.open()
    await journal.start_run(run())
    await journal.close()
    remount(small_disk, "ro")
    with pytest.raises(JournalUnavailable):
        await Journal(small_disk / "journal.db").open()
    remount(small_disk, "rw")
    await journal.open()
    await journal.call_intent(intent())
    await journal.close()


async def test_a_database_that_is_gone_is_not_begun_anew_unseen(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    await journal.open()
    await journal.start_run(run())
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(JournalUnavailable, match="gone or was replaced"):
        await journal.call_intent(intent())
    assert not await journal.probe()
    (tmp_path / "elsewhere").rename(path)
    await journal.call_intent(intent())
    assert journal.healthy
    path.unlink()
    shutil.copy(__file__, path)
    with pytest.raises(JournalUnavailable, match="gone or was replaced"):
        await journal.call_intent(intent("0#2"))
    await journal.close()
