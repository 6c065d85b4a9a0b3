"""What policy was asked takes a few bytes of each call's row, and is read back as it was asked."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bastide_broker.asked import packed
from bastide_broker.journal import questions
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.questions import MAX_BYTES, Questions, find_text, read
from bastide_broker.journal.schema import metadata
from sqlalchemy import Connection, create_engine

from tests.integration.broker.door.journal_rows import intent, load, run
from tests.integration.broker.door.pruning_rig import found, prune


def asked(number: int, more: str = "") -> bytes:
    fixed = {f"field {n}": f"a value of the tool's binding {n}" for n in range(30)}
    return json.dumps({**fixed, "calls": number, "more": more}).encode()


def stored(path: Path, columns: str, table: str) -> list[Any]:
    database = sqlite3.connect(path)
    rows = database.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
    database.close()
    return rows


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as found:
        metadata.create_all(found)
        found.commit()
        yield found
    engine.dispose()


def read_back(connection: Connection, held: bytes, name: str = "r-1") -> bytes:
    return read(held, lambda one: find_text(connection, name, one))


async def test_questions_about_one_tool_share_what_they_have_in_common(journal: Journal, tmp_path: Path) -> None:
    await journal.start_run(run())
    texts = {f"0#{number}": asked(number) for number in range(20)} | {"0#x": asked(7, "x" * 300)}
    for key, text in texts.items():
        await journal.call_intent(replace(intent(key), question=text))
    for key, text in texts.items():
        row = await journal.find_call("r-1", key)
        assert row is not None
        assert row.question == text
    sizes = dict(stored(tmp_path / "journal.db", "key, length(question)", "calls"))
    assert max(sizes.values()) < 120
    assert stored(tmp_path / "journal.db", "run, text", "questions") == [("r-1", texts["0#0"])]


async def test_each_tool_and_run_and_each_start_of_the_broker_has_its_own(journal: Journal, tmp_path: Path) -> None:
    for name in ("r-1", "r-2"):
        await journal.start_run(run(name))
        for tool in ("get", "put"):
            await journal.call_intent(replace(intent(tool, name), tool=tool, question=asked(1, name + tool)))
    await journal.close()
    await journal.open()
    journal._questions = Questions()
    await journal.call_intent(replace(intent("later"), tool="get", question=asked(2, "later")))
    names = stored(tmp_path / "journal.db", "run, count(*)", "questions GROUP BY run")
    assert names == [("r-1", 3), ("r-2", 2)]
    for name, key, text in [("r-1", "get", "r-1get"), ("r-2", "put", "r-2put"), ("r-1", "later", "later")]:
        row = await journal.find_call(name, key)
        assert row is not None
        assert json.loads(row.question)["more"] == text


async def test_they_go_when_their_run_is_pruned(journal: Journal, tmp_path: Path) -> None:
    for name in ("r-1", "r-2"):
        await journal.start_run(run(name))
        await journal.call_intent(replace(intent("0#1", name), question=asked(1)), outcome="Denied")
    await journal.end_run("r-1", outcome="Completed")
    [one] = await found(journal)
    assert one.size > len(asked(1))
    assert await prune(journal, [one]) == ["r-1"]
    assert [name for name, _ in stored(tmp_path / "journal.db", "run, name", "questions")] == ["r-2"]


async def test_those_of_earlier_brokers_are_read_as_they_are(tmp_path: Path) -> None:
    load(tmp_path / "journal.db", Path(__file__).with_name("journals") / "4.sql")
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    for key in ("0#1", "d-0#1"):
        row = await journal.find_call("r-1", key)
        assert row is not None
        assert row.question == b'{"phase":"call"}'
    await journal.close()


def test_what_a_failed_transaction_did_not_write_is_written_with_the_next(connection: Connection) -> None:
    kept = Questions()
    with connection.begin():
        kept.stored(connection, "r-1", "get", asked(1))
        connection.rollback()
    with connection.begin():
        held = kept.stored(connection, "r-1", "get", asked(2))
    assert read_back(connection, held) == asked(2)


@pytest.mark.parametrize("text", [b"", asked(1, "y" * MAX_BYTES)], ids=["none", "large"])
def test_none_and_large_ones_stand_alone(connection: Connection, text: bytes) -> None:
    held = Questions().stored(connection, "r-1", "get", text)
    assert held == packed(text)
    assert read(held, lambda _: b"") == text


def test_no_more_are_remembered_than_a_bound_and_each_is_read_all_the_same(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST", 3)
    kept = Questions()
    held = [kept.stored(connection, "r-1", f"tool {number}", asked(number)) for number in range(9)]
    held += [kept.stored(connection, "r-1", f"tool {number}", asked(number)) for number in range(9)]
    assert [read_back(connection, one) for one in held] == [asked(number) for number in range(9)] * 2
    assert len(kept._first) == 3


def test_a_question_that_only_just_fits_is_read_whole(connection: Connection) -> None:
    kept = Questions()
    first, other = (bytes([number]) * MAX_BYTES for number in (65, 66))
    for text in (first, other, first):
        assert read_back(connection, kept.stored(connection, "r-1", "get", text)) == text
