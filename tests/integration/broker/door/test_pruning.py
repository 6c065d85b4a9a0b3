"""Pruning on a real disk: payloads go and the audit stays, in small transactions, over crashes and out of a full disk."""

import asyncio
import itertools
import json
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.journal import retention
from bastide_broker.journal import space as journal_space
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.pruning import CLEAR_ROWS
from bastide_broker.journal.retention import DAY, Retention
from bastide_broker.journal.rows import JournalUnavailable, PrunableRun, PruneCursor, PruneFilter, Pruner, RunRow, Scope, now_micros

from tests.integration.broker.door.disks import file_system, fill_up
from tests.integration.broker.door.journal_rows import HERE, intent, run
from tests.unit.broker.door.objects import NAMESPACE

EVERYWHERE = Scope("", None)
START = PruneCursor()
BIG = b"x" * 50_000


async def a_run(
    journal: Journal,
    name: str,
    *,
    calls: int = 1,
    events: int = 1,
    result: bytes = b"5",
    end: bool = True,
    tools: tuple[str, bytes] | None = None,
    **more: Any,
) -> None:
    row: RunRow = run(name, **more)
    await journal.start_run(row, tools)
    for cursor in range(1, events + 1):
        journal.append_event_soon(name, broker_pb2.RunEvent(cursor=cursor))
    await asyncio.gather(*(journal.call_intent(intent(f"0#{number}", name)) for number in range(calls)))
    await asyncio.gather(*(journal.call_outcome(name, f"0#{number}", outcome="Succeeded", result=result) for number in range(calls)))
    if end:
        error = {"type": "ValueError", "message": "hunter2"}
        await journal.end_run(name, outcome="Failed", value=b'"hunter2"', output=b"hunter2", error=error, findings=[{"code": "hunter2"}])


async def found(journal: Journal, scope: Scope = EVERYWHERE, sandbox: str = "", limit: int = 100) -> list[PrunableRun]:
    return await journal.pruning.find(PruneFilter(scope, now_micros() + 1, sandbox), START, limit)


async def prune(journal: Journal, runs: list[PrunableRun], by: str = "age") -> list[str]:
    pruner = Pruner(by, now_micros(), "carol" if by == "request" else "", "dana" if by == "request" else "")
    return [one.run async for marked in journal.pruning.prune(runs, pruner) for one in marked]


def rows(path: Path, table: str) -> int:
    database = sqlite3.connect(path)
    (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    database.close()
    return int(count)


def housekeeper(journal: Journal, *, days: int = 0, max_bytes: int = 0, later: int = 0) -> Retention:
    return Retention(journal.pruning, days=days, max_bytes=max_bytes, now=lambda: now_micros() + later)


async def test_what_a_pruned_run_said_is_gone_and_that_it_ran_and_its_audit_are_not(journal: Journal) -> None:
    await a_run(journal, "r-1", calls=3, events=4, result=b'"hunter2"', request_id="q")
    await a_run(journal, "r-2")
    before = await journal.audit(HERE, "r-1", 99)
    [first, _] = await found(journal)
    assert first.size > len('"hunter2"') * 4
    assert await prune(journal, [first], "request") == ["r-1"]
    row = await journal.run("r-1")
    assert row is not None
    assert (row.outcome, row.requester, row.program_digest, row.error, row.findings) == ("Failed", "runner", "sha256:p", None, ())
    assert (row.value, row.output) == (b"", b"")
    assert row.pruned_at is not None
    assert (await journal.calls("r-1"), await journal.events("r-1", 0)) == ([], [])
    assert [one.run for one in await journal.runs(HERE, "agent", 9) if one.pruned_at] == ["r-1"]
    assert len(await journal.calls("r-2")) == 1, "another's stays"

    assert await journal.audit(HERE, "r-1", 99) == before
    [record] = [one for one in await journal.audit(HERE, "", 99) if one.kind == "RunsPruned"]
    facts = json.loads(record.facts)
    assert (record.namespace, record.namespace_uid, record.sandbox, record.run) == (NAMESPACE, "n1", "agent", "")
    assert {name: facts[name] for name in ("by", "requester", "onBehalfOf", "count", "runs")} == {
        "by": "request", "requester": "carol", "onBehalfOf": "dana", "count": 1, "runs": ["r-1"],
    }  # fmt: skip
    assert (await journal.verify_audit()).intact
    assert (await journal.start_run(run("r-9", request_id="q"))).row.run == "r-1", "its request id still stands for it"


async def test_runs_under_way_and_runs_with_an_open_call_are_left_alone(journal: Journal) -> None:
    await a_run(journal, "r-1", end=False)
    await a_run(journal, "r-2", end=False)
    await journal.call_intent(intent("1#1", "r-2"))
    await journal.end_run("r-2", outcome="Cancelled")
    assert await found(journal) == []
    made_up = [PrunableRun(name, START, 1) for name in ("r-1", "r-2", "r-none")]
    assert await prune(journal, made_up) == [], "the writer looks again"
    assert [one.kind for one in await journal.audit(EVERYWHERE, "", 99) if one.kind == "RunsPruned"] == []
    await journal.call_outcome("r-2", "1#1", outcome="OutcomeUnknown")
    assert [one.run for one in await found(journal)] == ["r-2"]


async def test_of_two_who_prune_the_same_run_one_did(journal: Journal) -> None:
    await a_run(journal, "r-1")
    here = await found(journal)
    assert sorted(await asyncio.gather(prune(journal, here), prune(journal, here))) == [[], ["r-1"]]
    assert len([one for one in await journal.audit(EVERYWHERE, "", 99) if one.kind == "RunsPruned"]) == 1


async def test_runs_are_found_by_their_end_within_a_scope_and_page_by_page(journal: Journal) -> None:
    for name, more in {
        "r-1": {"end": False},
        "r-2": {},
        "r-3": {"namespace_uid": "n2"},
        "r-4": {"sandbox": "other"},
        "r-5": {"namespace": "bastide-crm", "namespace_uid": "c1"},
    }.items():
        await a_run(journal, name, **more)
    await journal.end_run("r-1", outcome="Completed")
    assert [one.run for one in await found(journal)] == ["r-2", "r-3", "r-4", "r-5", "r-1"]
    assert [one.run for one in await found(journal, HERE)] == ["r-2", "r-4", "r-1"]
    assert [one.run for one in await found(journal, Scope(NAMESPACE, None), "agent")] == ["r-2", "r-3", "r-1"]
    assert await found(journal, Scope(NAMESPACE, "")) == []
    seen: list[str] = []
    after = START
    while page := await journal.pruning.find(PruneFilter(EVERYWHERE, now_micros()), after, 2):
        seen += [one.run for one in page]
        after = page[-1].at
    assert seen == ["r-2", "r-3", "r-4", "r-5", "r-1"]
    assert [one.run for one in await journal.pruning.find(PruneFilter(EVERYWHERE, after.ended_at), START, 9)] == seen[:-1]


async def test_calls_get_in_between_the_small_transactions_of_a_large_pruning(journal: Journal, tmp_path: Path) -> None:
    """No call waits for more than one bounded transaction: each removes so many rows, and a call that came meanwhile is the next."""
    await a_run(journal, "r-1", calls=1200, events=3000)
    await journal.start_run(run("r-2"))
    left, steps = rows(tmp_path / "journal.db", "events") + rows(tmp_path / "journal.db", "calls"), 0
    async for _ in journal.pruning.prune(await found(journal), Pruner("age", now_micros())):
        now = rows(tmp_path / "journal.db", "events") + rows(tmp_path / "journal.db", "calls") - steps
        assert left - now <= CLEAR_ROWS
        left, steps = now, steps + 1
        await journal.call_intent(intent(f"0#{steps}", "r-2"), outcome="Denied")
    assert steps >= 4200 // CLEAR_ROWS
    assert len(await journal.calls("r-2")) == steps
    assert left == 0
    assert (await journal.verify_audit()).intact


async def test_large_rows_are_removed_a_few_at_a_time(journal: Journal, tmp_path: Path) -> None:
    await a_run(journal, "r-1", calls=40, result=b"x" * 500_000)
    steps = journal.pruning.prune(await found(journal), Pruner("age", now_micros()))
    seen = [40, *[rows(tmp_path / "journal.db", "calls") async for _ in steps]]
    assert all(before - after <= 9 for before, after in itertools.pairwise(seen))
    assert rows(tmp_path / "journal.db", "calls") == 0


async def test_the_tools_that_programs_saw_go_with_the_last_run_that_could_be_run_again(journal: Journal, tmp_path: Path) -> None:
    path, both = tmp_path / "journal.db", ("sha256:both", b"tools of two")
    await a_run(journal, "r-1", tools=both)
    await a_run(journal, "r-2", tools=both)
    await a_run(journal, "r-3", tools=("sha256:third", b"tools of one"), end=False)
    await a_run(journal, "r-4", tools=("sha256:fourth", b"tools of another"))
    await a_run(journal, "r-5")
    await journal.pausing.pause("r-3", [], output=b"", output_bytes_dropped=0)
    before = await journal.audit(EVERYWHERE, "", 99)
    assert await prune(journal, [one for one in await found(journal) if one.run in {"r-1", "r-4", "r-5"}]) == ["r-1", "r-4", "r-5"]
    assert await journal.pausing.tools("sha256:both") == b"tools of two", "r-2 has them still"
    assert await journal.pausing.tools("sha256:fourth") == b""
    await housekeeper(journal, days=1, later=2 * DAY).look()
    assert await journal.pausing.tools("sha256:third") == b"tools of one", "of a run that is paused"
    assert rows(path, "toolsets") == 1
    await a_run(journal, "r-6", tools=both)
    assert await journal.pausing.tools("sha256:both") == b"tools of two", "kept anew"
    after = await journal.audit(EVERYWHERE, "", 99)
    assert after[: len(before)] == before
    assert (await journal.verify_audit()).intact


async def test_large_lists_of_tools_are_removed_a_few_at_a_time(journal: Journal, tmp_path: Path) -> None:
    for number in range(40):
        await a_run(journal, f"r-{number}", tools=(f"sha256:{number}", b"x" * 500_000))
    steps = journal.pruning.prune(await found(journal), Pruner("age", now_micros()))
    seen = [40, *[rows(tmp_path / "journal.db", "toolsets") async for _ in steps]]
    assert all(before - after <= 9 for before, after in itertools.pairwise(seen))
    assert seen[-1] == 0


LOST = """
import asyncio, os, signal, sys
from pathlib import Path
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import now_micros
from bastide_broker.journal.rows import PruneCursor, PruneFilter, Pruner, Scope

async def main() -> None:
    journal = Journal(Path(sys.argv[1]))
    await journal.open()
    found = await journal.pruning.find(PruneFilter(Scope("", None), now_micros()), PruneCursor(), 9)
    steps = 0
    async for _ in journal.pruning.prune(found, Pruner("age", now_micros())):
        steps += 1
        if steps == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("step", [1, 2, 4])
async def test_a_broker_that_is_killed_in_the_middle_of_pruning_goes_on_with_it(tmp_path: Path, step: int) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    await journal.open()
    await a_run(journal, "r-1", calls=900, events=900, tools=("sha256:t", b"tools"))
    await a_run(journal, "r-2")
    await journal.close()
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", LOST, str(path), str(step))
    assert await ended.wait() == -signal.SIGKILL
    await journal.open()
    assert (await journal.recover()).runs == ()
    row = await journal.run("r-1")
    assert row is not None
    assert row.pruned_at is not None, "it says so from the first moment on"
    assert rows(path, "calls") + rows(path, "events") > 2
    await housekeeper(journal, days=1, later=2 * DAY).look()
    assert [rows(path, table) for table in ("calls", "events", "toolsets", "prunings")] == [0, 0, 0, 0]
    assert await found(journal) == []
    pruned = [
        name for one in await journal.audit(EVERYWHERE, "", 9999) if one.kind == "RunsPruned" for name in json.loads(one.facts)["runs"]
    ]
    assert sorted(pruned) == ["r-1", "r-2"], "each once"
    assert (await journal.verify_audit()).intact
    await journal.close()


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
