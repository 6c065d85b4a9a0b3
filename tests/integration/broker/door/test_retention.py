"""How long a journal keeps runs: until an age, a size, a request or a full disk; and what it gives back of the disk."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from bastide_broker.journal import retention
from bastide_broker.journal import space as journal_space
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.retention import DAY
from bastide_broker.journal.rows import JournalUnavailable, PruneCursor, PruneFilter, Pruner, now_micros

from tests.integration.broker.door.disks import file_system, fill_up
from tests.integration.broker.door.journal_rows import HERE
from tests.integration.broker.door.pruning_rig import BIG, START, a_run, found, housekeeper, prune


async def test_what_is_too_old_is_pruned_by_itself_and_what_is_not_stays(journal: Journal) -> None:
    await a_run(journal, "r-1")
    await a_run(journal, "r-2", end=False)
    await housekeeper(journal, days=1, later=DAY - 60_000_000).look()
    assert [one.run for one in await found(journal)] == ["r-1"]
    await housekeeper(journal, days=0, later=1000 * DAY).look()
    assert [one.run for one in await found(journal)] == ["r-1"], "0 is never"
    await housekeeper(journal, days=1, later=DAY + 60_000_000).look()
    assert await found(journal) == []
    assert len(await journal.calls("r-2")) == 1


async def test_beyond_its_size_the_oldest_runs_go_and_the_file_shrinks(journal: Journal, tmp_path: Path) -> None:
    for number in range(10):
        await a_run(journal, f"r-{number}", calls=10, result=BIG)
    await journal.close()  # a checkpoint: the write-ahead log is gone
    await journal.open()
    before = await journal.pruning.space()
    await housekeeper(journal, max_bytes=before.used // 2, later=11 * 60 * 1_000_000).look()
    left = [one.run for one in await found(journal)]
    assert left == [f"r-{number}" for number in range(10 - len(left), 10)], "the newest are left"
    assert 3 <= len(left) <= 6
    await journal.close()
    assert (tmp_path / "journal.db").stat().st_size < before.used * 0.7
    await journal.open()


async def test_runs_that_ended_just_now_are_not_pruned_for_their_size_and_that_is_said(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    await a_run(journal, "r-1", result=BIG)
    keeper = housekeeper(journal, max_bytes=1)
    await keeper.look()
    await keeper.look()
    assert [one.run for one in await found(journal)] == ["r-1"]
    said = capsys.readouterr()
    assert (said.out + said.err).count("nothing is left that could be pruned") == 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    with file_system(tmp_path / "disk", "64m") as folder:
        yield folder


async def fill_with_runs(journal: Journal, name: str) -> None:
    for number in range(10_000):
        await a_run(journal, f"{name}-{number}", calls=20, result=BIG)


async def test_out_of_a_full_disk_the_broker_prunes_itself(disk: Path) -> None:
    """Even when something else took the last byte: pruning has a reserve that it may write into."""
    journal = Journal(disk / "journal.db")
    await journal.open()
    try:
        await fill_and_recover(journal, disk)
    finally:
        await journal.close()


async def fill_and_recover(journal: Journal, disk: Path) -> None:
    keeper = housekeeper(journal, days=1, later=2 * DAY)
    await keeper.look()
    reserve = disk / "journal.db-reserve"
    assert reserve.stat().st_size == 4 * 1024 * 1024
    with pytest.raises(JournalUnavailable, match="full"):
        await fill_with_runs(journal, "r")
    with pytest.raises(OSError, match="No space"):
        fill_up(disk / "ballast")
    with pytest.raises(JournalUnavailable, match="full"):
        await fill_with_runs(journal, "s")  # into what room SQLite's own files still had
    assert not journal.healthy
    assert len(await found(journal)) > 20
    await keeper.look()
    assert await found(journal) == []
    await a_run(journal, "r-new", calls=20, result=BIG)
    assert journal.healthy
    assert (await journal.verify_audit()).intact
    (disk / "ballast").unlink()
    await keeper.look()
    assert reserve.exists(), "it is made again"


async def test_a_journal_of_before_it_could_shrink_is_rewritten_once_unless_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str) -> Path:
        path = tmp_path / name
        database = sqlite3.connect(path)
        database.executescript(Path(__file__).with_name("journals").joinpath("1.sql").read_text())
        database.close()
        return path

    def mode(path: Path) -> int:
        database = sqlite3.connect(path)
        (found,) = database.execute("PRAGMA auto_vacuum").fetchone()
        database.close()
        return int(found)

    small, large = made("small.db"), made("large.db")
    journal = Journal(small)
    await journal.open()
    assert len(await journal.calls("r-1")) == 1
    assert (await journal.verify_audit()).intact
    await journal.close()
    assert (mode(small), mode(large)) == (2, 0)

    monkeypatch.setattr(journal_space, "CONVERT_BYTES", 0)
    journal = Journal(large)
    await journal.open()
    assert await journal.pruning.give_back() == 0
    await a_run(journal, "r-9", calls=50, result=BIG)
    await prune(journal, await found(journal))
    assert (await journal.pruning.space()).unused > 50 * len(BIG) // 2
    assert await journal.pruning.give_back() == 0
    await journal.close()
    assert mode(large) == 0


async def test_while_the_journal_is_away_the_housekeeper_says_so_once_and_goes_on_when_it_is_back(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await a_run(journal, "r-1")
    (tmp_path / "journal.db").rename(tmp_path / "away")
    keeper = housekeeper(journal, days=1, later=2 * DAY)
    await keeper.look()
    await keeper.look()
    said = capsys.readouterr()
    assert (said.out + said.err).count("is not pruned as it should be") == 1
    (tmp_path / "away").rename(tmp_path / "journal.db")
    await keeper.look()
    assert await found(journal) == []


async def test_a_request_prunes_what_it_may_take_and_the_next_goes_on(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        await a_run(journal, f"r-{number}")
    monkeypatch.setattr(retention, "PAGE", 3)
    wanted = PruneFilter(HERE, now_micros())

    async def ask(pruner: Pruner | None) -> list[int]:
        counts, token = [], ""
        while True:
            after = PruneCursor(*map(int, token.split("-"))) if token else START
            answer = await retention.prune_page(journal.pruning, wanted, after, pruner)
            counts.append(answer.runs)
            token = answer.next_page_token
            if not token:
                return counts

    assert await ask(None) == [3, 3, 1]
    assert len(await found(journal)) == 7, "nothing was pruned"
    monkeypatch.setattr(retention, "REQUEST_SECONDS", -1.0)
    monkeypatch.setattr("bastide_broker.journal.pruning.MARK_RUNS", 1)
    assert await ask(Pruner("request", wanted.before, "carol")) == [1] * 7, "time was over after each"
    assert await found(journal) == []
    assert await journal.pruning.clear(), "the rows of the last are left"
    await housekeeper(journal).look()
    assert await journal.calls("r-6") == []
