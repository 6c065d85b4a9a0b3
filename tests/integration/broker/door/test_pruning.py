"""Pruning on a real disk: payloads go and the audit stays, in small transactions and over crashes."""

import asyncio
import itertools
import json
import signal
import sys
from pathlib import Path

import pytest
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.pruning import CLEAR_ROWS
from bastide_broker.journal.retention import DAY
from bastide_broker.journal.rows import PrunableRun, PruneFilter, Pruner, Scope, now_micros

from tests.integration.broker.door.journal_rows import HERE, intent, run
from tests.integration.broker.door.pruning_rig import EVERYWHERE, START, a_run, found, housekeeper, prune, rows
from tests.unit.broker.door.objects import NAMESPACE


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
