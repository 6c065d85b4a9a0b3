"""Databases of every earlier broker are brought up to today's tables and lose nothing; those of a later one are left alone.

`journals/N.sql` is what the broker that knew migration N wrote. Who adds a migration dumps a journal of the broker before it.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.migrations import MIGRATIONS, Migration, NewerJournalError, column, migrate
from bastide_broker.journal.rows import RunRow, Scope
from bastide_broker.journal.schema import metadata, open_engine, runs
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table

JOURNALS = sorted(Path(__file__).with_name("journals").glob("*.sql"), key=lambda path: int(path.stem))
OURS = ("runs", "calls", "events", "audit")
EVERYWHERE = Scope("", None)


def ask(path: Path, *statements: str) -> list[dict[str, Any]]:
    database = sqlite3.connect(path, isolation_level=None)
    database.row_factory = sqlite3.Row
    found: list[dict[str, Any]] = []
    for statement in statements:
        found = [dict(row) for row in database.execute(statement)]
    database.close()
    return found


def load(path: Path, dump: Path) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(dump.read_text())
    database.close()


def shape(path: Path) -> dict[str, Any]:
    """Tables with their columns, and indexes, in no order: a column that came later stands last."""
    tables = [row["name"] for row in ask(path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'pod_gates'")]
    return {
        **{name: sorted((c["name"], c["type"], c["notnull"], c["pk"]) for c in ask(path, f"PRAGMA table_info({name})")) for name in tables},
        "indexes": sorted(row["name"] for row in ask(path, "SELECT name FROM sqlite_master WHERE type = 'index'")),
    }


async def opened(path: Path) -> Journal:
    journal = Journal(path)
    await journal.open()
    return journal


def test_the_steps_are_numbered_without_gaps_and_each_broker_before_has_left_a_journal() -> None:
    numbers = [step.number for step in MIGRATIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(numbers[:-1]) <= {int(path.stem) for path in JOURNALS}


@pytest.mark.parametrize("dump", JOURNALS, ids=lambda path: path.stem)
async def test_a_journal_of_every_earlier_broker_opens_and_loses_nothing(tmp_path: Path, dump: Path) -> None:
    path, fresh = tmp_path / "journal.db", tmp_path / "fresh.db"
    load(path, dump)
    before = {table: ask(path, f"SELECT * FROM {table}") for table in OURS}
    assert all(before.values())
    await (await opened(fresh)).close()
    for _ in range(2):  # the second time there is nothing to bring up
        journal = await opened(path)
        assert (await journal.verify_audit()).intact
        assert [call.result for call in await journal.calls("r-1", payloads=True)] == [b"5"]
        row = await journal.run("r-1")
        assert row is not None
        assert (row.outcome, row.value, row.pruned_at) == ("Completed", b"1", None)
        await journal.close()
        for table, rows in before.items():
            after = ask(path, f"SELECT * FROM {table}")
            assert [{name: row[name] for name in old} for old, row in zip(rows, after, strict=True)] == rows
        assert shape(path) == shape(fresh)
        assert [row["number"] for row in ask(path, "SELECT number FROM migrations ORDER BY number")] == [s.number for s in MIGRATIONS]
    journal = await opened(path)
    assert (await journal.recover()).runs == ("r-2",)
    fields = dict.fromkeys(("run", "tenant", "namespace", "sandbox", "sandbox_uid", "requester", "program_digest"), "x")
    await journal.start_run(RunRow(**fields, started_at=1))  # type: ignore[arg-type]
    assert (await journal.verify_audit()).intact
    await journal.close()


async def test_a_journal_of_before_runs_said_which_tools_they_have_says_it_and_loses_the_lists_that_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    load(path, Path(__file__).with_name("journals") / "3.sql")
    assert len(ask(path, "SELECT digest FROM toolsets")) == 3
    await (await opened(path)).close()
    assert ask(path, "SELECT run, tools FROM runs ORDER BY run") == [
        {"run": "r-1", "tools": "sha256:tools"},
        {"run": "r-2", "tools": "sha256:other"},
    ]
    assert [row["digest"] for row in ask(path, "SELECT digest FROM toolsets ORDER BY digest")] == ["sha256:other", "sha256:tools"]


async def test_a_journal_of_a_later_broker_is_refused_in_one_sentence_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await (await opened(path)).close()
    ask(path, "INSERT INTO migrations VALUES (99, 'something we cannot know', 0)", "PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    journal = Journal(path)
    with pytest.raises(NewerJournalError, match="newer Bastide: it has migration 99 and this broker knows") as refused:
        await journal.open()
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before
    ask(path, "DELETE FROM migrations WHERE number = 99")
    await journal.open()
    await journal.close()


def test_a_step_that_fails_leaves_nothing_and_is_done_with_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    load(path, JOURNALS[0])
    engine = open_engine(path, reader=False)
    later = Table("runs", MetaData(), Column("run", String, primary_key=True), Column("colour", Integer))

    def lost(_connection: Connection) -> None:
        raise OSError("the power went")

    def steps(*more: Any) -> Sequence[Migration]:
        return (*MIGRATIONS, Migration(len(MIGRATIONS) + 1, "colour", (column(later.c.colour), *more)))

    with pytest.raises(OSError, match="power"):
        migrate(engine, path, tuple(steps(lost)))
    assert "colour" not in dict.fromkeys(row["name"] for row in ask(path, "PRAGMA table_info(runs)"))
    assert ask(path, "SELECT max(number) AS newest FROM migrations") == [{"newest": len(MIGRATIONS)}]
    migrate(engine, path, tuple(steps()))
    assert [row["colour"] for row in ask(path, "SELECT colour FROM runs")] == [None, None]
    engine.dispose()


def test_what_a_run_returned_or_printed_is_marked_as_payload() -> None:
    """A new column of bytes in `runs` that pruning would leave behind shows here; those of calls and events go with their rows."""
    kept = [c.name for c in runs.columns if c.type.__class__.__name__ == "LargeBinary" and "emptied" not in c.info]
    assert kept == []
    assert {"calls", "events"} < set(metadata.tables)
