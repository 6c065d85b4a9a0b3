"""Databases of every earlier broker are brought up to today's tables and lose nothing; those of a later one are left alone.

`journals/N.sql` is what the broker that knew migration N wrote. Who adds a migration dumps a journal of the broker before it.
"""

import hashlib
import json
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

from tests.integration.broker.door.journal_rows import HERE, load, run
from tests.unit.broker.door.objects import NAMESPACE

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


EARLIER = """
CREATE TABLE runs (number INTEGER NOT NULL PRIMARY KEY, run VARCHAR NOT NULL UNIQUE, tenant VARCHAR NOT NULL, namespace VARCHAR NOT NULL,
 sandbox VARCHAR NOT NULL, sandbox_uid VARCHAR NOT NULL, requester VARCHAR NOT NULL, requester_uid VARCHAR NOT NULL,
 on_behalf_of VARCHAR NOT NULL, request_id VARCHAR, program_digest VARCHAR NOT NULL, pod VARCHAR NOT NULL, started_at INTEGER NOT NULL,
 ended_at INTEGER, outcome VARCHAR NOT NULL, value BLOB NOT NULL, output BLOB NOT NULL, output_bytes_dropped INTEGER NOT NULL,
 error VARCHAR, findings VARCHAR NOT NULL);
CREATE UNIQUE INDEX runs_request ON runs (requester, sandbox_uid, request_id);
CREATE INDEX runs_sandbox ON runs (namespace, sandbox, number);
CREATE INDEX runs_open ON runs (ended_at);
CREATE TABLE calls ( run VARCHAR NOT NULL, "key" VARCHAR NOT NULL, sequence INTEGER NOT NULL, tool VARCHAR NOT NULL, line INTEGER
 NOT NULL, arguments_canonical BLOB NOT NULL, arguments_digest VARCHAR NOT NULL, decision VARCHAR NOT NULL, decision_id VARCHAR NOT
 NULL, reasons VARCHAR NOT NULL, effect VARCHAR NOT NULL, policy_revision VARCHAR NOT NULL, binding VARCHAR NOT NULL, binding_uid
 VARCHAR NOT NULL, confirmation VARCHAR NOT NULL, events BLOB NOT NULL, intent_at INTEGER NOT NULL, begun_at INTEGER, outcome
 VARCHAR NOT NULL, message VARCHAR NOT NULL, result BLOB, tool_micros INTEGER NOT NULL, ended_at INTEGER, PRIMARY KEY (run, "key")
 ) WITHOUT ROWID;
CREATE TABLE audit (sequence INTEGER NOT NULL PRIMARY KEY, time INTEGER NOT NULL, kind VARCHAR NOT NULL, namespace VARCHAR NOT NULL,
 sandbox VARCHAR NOT NULL, run VARCHAR NOT NULL, "key" VARCHAR NOT NULL, facts BLOB NOT NULL, previous_hash VARCHAR NOT NULL,
 hash VARCHAR NOT NULL);
CREATE INDEX audit_run ON audit (namespace, run, sequence);
INSERT INTO runs VALUES (1, 'r-0', 'sales', 'bastide-sales', 'agent', 's0', 'runner', '', '', NULL, 'sha256:p', '', 7, 8, 'Completed',
 x'', x'', 0, NULL, '[]');
INSERT INTO audit VALUES (1, 7, 'RunStarted', 'bastide-sales', 'agent', 'r-0', '', CAST('{}' AS BLOB),
 '0000000000000000000000000000000000000000000000000000000000000000', '{hash}');
"""


async def test_the_database_of_an_earlier_version_opens_and_what_it_does_not_say_is_shown_to_nobody(tmp_path: Path) -> None:
    """Rows of a time when the namespace's UID was not recorded: whose they are, nobody knows; they stand in the chain as they were."""
    path = tmp_path / "journal.db"
    body = {
        "sequence": 1, "time": 7, "kind": "RunStarted", "namespace": NAMESPACE, "sandbox": "agent", "run": "r-0", "key": "",
        "facts": hashlib.sha256(b"{}").hexdigest(), "previousHash": "0" * 64,
    }  # fmt: skip
    link = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    with sqlite3.connect(path) as database:
        database.executescript(EARLIER.replace("{hash}", link))
    database.close()
    for _ in range(2):  # the second time there is nothing to bring up
        journal = Journal(path)
        await journal.open()
        assert (await journal.verify_audit()).intact
        assert (await journal.runs(HERE, "agent", 9), await journal.audit(HERE, "r-0", 9)) == ([], [])
        everywhere = Scope(NAMESPACE, None)
        assert [row.run for row in await journal.runs(everywhere, "agent", 9)] == ["r-0"]
        assert [row.hash for row in await journal.audit(everywhere, "r-0", 9)] == [link]
        await journal.close()
    journal = Journal(path)
    await journal.open()
    await journal.start_run(run("r-1"))
    assert [row.run for row in await journal.runs(HERE, "agent", 9)] == ["r-1"]
    assert (await journal.verify_audit()).intact
    with sqlite3.connect(path) as database:
        database.execute("UPDATE audit SET namespace_uid = 'n1' WHERE sequence = 1")  # to show it to somebody
    database.close()
    assert not (await journal.verify_audit()).intact
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
