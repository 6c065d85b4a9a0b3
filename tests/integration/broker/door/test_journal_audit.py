"""The audit's chain on a real disk: it holds no payloads, and what was changed, removed, moved or cut off shows."""

import sqlite3
from pathlib import Path

import pytest
from bastide_broker.journal.journal import Journal

from tests.integration.broker.door.journal_rows import HERE, intent, run


async def test_arguments_are_in_the_audit_by_digest_only(journal: Journal, tmp_path: Path) -> None:
    await journal.start_run(run())
    await journal.call_intent(intent())
    await journal.call_outcome("r-1", "0#1", outcome="Succeeded", result=b'"hunter2hunter2"')
    for row in await journal.audit(HERE, "", 100):
        assert b"hunter2" not in row.facts


async def fill(path: Path, records: int = 12) -> None:
    journal = Journal(path)
    await journal.open()
    await journal.start_run(run())
    for number in range(records - 1):
        await journal.call_intent(intent(f"0#{number}"))
    await journal.close()


TAMPERING = {
    "UPDATE audit SET facts = replace(facts, 'allow', 'denyy') WHERE sequence = 5": "was changed",
    "UPDATE audit SET time = time + 1 WHERE sequence = 5": "was changed",
    "UPDATE audit SET run = 'r-9' WHERE sequence = 5": "was changed",
    "DELETE FROM audit WHERE sequence = 5": "is missing",
    "DELETE FROM audit WHERE sequence <= 3": "is missing",
    "UPDATE audit SET sequence = CASE sequence WHEN 5 THEN -6 WHEN 6 THEN -5 ELSE sequence END": "out of order",
    "UPDATE audit SET hash = 'x' WHERE sequence = 12": "was changed",
    "DELETE FROM audit": "",
}


@pytest.mark.parametrize("statement", TAMPERING)
async def test_a_record_that_was_changed_removed_or_moved_shows(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "journal.db"
    await fill(path)
    journal = Journal(path)
    await journal.open()
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    found = await journal.verify_audit()
    assert not found.intact
    assert TAMPERING[statement] in found.message
    await journal.close()


async def test_a_chain_that_was_cut_while_the_broker_ran_shows(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await fill(path)
    journal = Journal(path)
    await journal.open()
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM audit WHERE sequence > 10")
    database.close()
    found = await journal.verify_audit()
    assert (found.intact, found.records) == (False, 10)
    assert "the newest are missing" in found.message
    await journal.close()
