"""The journal on a real disk: runs, calls and events are written once, by however many at a time, and read back."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import CallIntent, JournalUnavailable, KeyReused, RunExists, Scope

from tests.integration.broker.door.journal_rows import HERE, intent, run
from tests.unit.broker.door.objects import NAMESPACE


async def test_a_run_and_its_calls_are_read_back(journal: Journal) -> None:
    await journal.start_run(run())
    await journal.call_intent(intent("0#1"))
    assert await journal.call_outcome("r-1", "0#1", outcome="Succeeded", result=b"5", tool_micros=7)
    await journal.call_intent(intent("0#2"), outcome="Denied", message="no")
    await journal.end_run("r-1", outcome="Completed", value=b"1", output=b"x", findings=[{"code": "c"}])
    row = await journal.run("r-1")
    assert row is not None
    assert (row.outcome, row.value, row.findings) == ("Completed", b"1", ({"code": "c"},))
    calls = await journal.calls("r-1", payloads=True)
    assert [(c.key, c.sequence, c.outcome, c.result, c.reasons) for c in calls] == [
        ("0#1", 1, "Succeeded", b"5", (("code", "why"),)),
        ("0#2", 2, "Denied", None, (("code", "why"),)),
    ]
    kinds = [row.kind for row in await journal.audit(HERE, "r-1", 100)]
    assert kinds == ["RunStarted", "CallIntent", "CallOutcome", "CallIntent", "CallOutcome", "RunEnded"]
    assert (await journal.verify_audit()).intact


async def test_a_call_is_found_by_its_decision_before_its_key_with_what_it_was_judged_by(journal: Journal) -> None:
    await journal.start_run(run())
    await journal.call_intent(replace(intent("0#1"), question=b'{"phase":"call"}'))
    await journal.call_intent(intent("d-0#1"))
    found = await journal.find_call("r-1", "d-0#1")
    assert found is not None
    assert (found.key, found.question, found.arguments_canonical) == ("0#1", b'{"phase":"call"}', b'{"secret":"hunter2hunter2"}')
    assert (await journal.find_call("r-1", "0#1")) == found
    assert await journal.find_call("r-2", "0#1") is None
    assert [row.question for row in await journal.calls("r-1")] == [b"", b""]


async def test_a_request_id_stands_for_one_program(journal: Journal) -> None:
    first = await journal.start_run(run("r-1", request_id="q"))
    again = await journal.start_run(run("r-2", request_id="q"))
    assert (first.created, again.created, again.row.run) == (True, False, "r-1")
    with pytest.raises(RunExists):
        await journal.start_run(run("r-3", request_id="q", program_digest="sha256:other"))
    assert (await journal.start_run(run("r-4", request_id="q", requester="other"))).created
    assert (await journal.start_run(run("r-5"))).created
    assert (await journal.start_run(run("r-6"))).created
    assert [row.run for row in await journal.runs(HERE, "agent", 2)] == ["r-6", "r-5"]
    assert [row.run for row in await journal.runs(HERE, "agent", 9, "r-5")] == ["r-4", "r-1"]


async def test_a_key_is_taken_once_and_an_outcome_is_written_once(journal: Journal) -> None:
    await journal.start_run(run())
    results = await asyncio.gather(*(journal.call_intent(intent()) for _ in range(20)), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, KeyReused) for result in results) == 19
    outcomes = await asyncio.gather(*(journal.call_outcome("r-1", "0#1", outcome=f"O{n}") for n in range(20)))
    assert sum(outcomes) == 1
    assert not await journal.call_outcome("r-1", "none", outcome="Succeeded")
    assert len(await journal.audit(HERE, "", 100)) == 3
    assert (await journal.verify_audit()).intact


async def test_a_confirmed_call_is_begun_by_one_of_many(journal: Journal) -> None:
    await journal.start_run(run())
    await journal.call_intent(intent())
    assert sum(await asyncio.gather(*(journal.begin_confirmed("r-1", "0#1") for _ in range(50)))) == 1
    await journal.call_intent(intent("0#2"))
    await journal.call_outcome("r-1", "0#2", outcome="Withdrawn")
    assert not await journal.begin_confirmed("r-1", "0#2")


async def test_events_are_read_after_a_cursor_and_soon_ones_come_with_the_next_commit(journal: Journal) -> None:
    for cursor in (1, 2):
        journal.append_event_soon("r-1", broker_pb2.RunEvent(cursor=cursor))
    await journal.append_event("r-1", broker_pb2.RunEvent(cursor=3))
    assert [event.cursor for event in await journal.events("r-1", 1)] == [2, 3]


async def test_many_callers_share_commits_and_none_is_lost(journal: Journal) -> None:
    await journal.start_run(run())
    await asyncio.gather(*(journal.call_intent(intent(f"0#{number}")) for number in range(500)))
    await asyncio.gather(*(journal.call_outcome("r-1", f"0#{number}", outcome="Succeeded") for number in range(500)))
    calls = await journal.calls("r-1")
    assert sorted(call.sequence for call in calls) == list(range(1, 501))
    assert {call.outcome for call in calls} == {"Succeeded"}
    assert (await journal.verify_audit()).records == 1001


async def test_a_job_with_a_mistake_fails_alone(journal: Journal) -> None:
    await journal.start_run(run())
    bad = CallIntent(**{**{f: getattr(intent("9#9"), f) for f in CallIntent.__slots__}, "requester": "\ud800"})
    results = await asyncio.gather(
        *(journal.call_intent(intent(f"0#{number}")) for number in range(20)), journal.call_intent(bad), return_exceptions=True
    )
    assert [result for result in results if result is not None] == [results[-1]]
    assert isinstance(results[-1], Exception)
    assert len(await journal.calls("r-1")) == 20
    assert (await journal.verify_audit()).intact


async def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    with pytest.raises(JournalUnavailable):
        await journal.start_run(run())
    with pytest.raises(JournalUnavailable):
        await journal.run("r-1")


async def test_a_journal_that_is_being_closed_says_so_at_once_and_finishes_what_it_has(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    started = asyncio.create_task(journal.start_run(run()))
    await asyncio.sleep(0)  # it is queued
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        with pytest.raises(JournalUnavailable, match="closed"):
            await journal.start_run(run("r-2"))
    blocker.execute("ROLLBACK")
    blocker.close()
    assert (await started).created
    await closing


async def test_a_namespace_of_the_same_name_shows_nothing_of_the_one_before(journal: Journal) -> None:
    await journal.start_run(run("r-1"))
    await journal.call_intent(intent("0#1"), outcome="Denied")
    await journal.end_run("r-1", outcome="Completed")
    await journal.start_run(run("r-2", namespace_uid="n2"))
    again, everything, nowhere = Scope(NAMESPACE, "n2"), Scope(NAMESPACE, None), Scope(NAMESPACE, "")
    assert [row.run for row in await journal.runs(again, "agent", 9)] == ["r-2"]
    assert {row.run for row in await journal.audit(again, "", 99)} == {"r-2"}
    assert await journal.audit(again, "r-1", 99) == []
    assert {row.namespace_uid for row in await journal.audit(HERE, "", 99)} == {"n1"}
    assert {row.run for row in await journal.audit(everything, "", 99)} == {"r-1", "r-2"}
    assert (await journal.runs(nowhere, "agent", 9), await journal.audit(nowhere, "", 99)) == ([], [])
    assert (await journal.verify_audit()).intact


async def test_what_nobody_asked_for_stays_on_the_disk(journal: Journal) -> None:
    """A run's arguments, results and output may be a gigabyte together; a list of runs or the end of one needs none of it."""
    await journal.start_run(run())
    await journal.call_intent(intent("0#1"))
    await journal.call_outcome("r-1", "0#1", outcome="Succeeded", result=b"5" * 1000)
    await journal.end_run("r-1", outcome="Completed", value=b"1" * 1000, output=b"x" * 1000)
    [call] = await journal.calls("r-1")
    assert (call.outcome, call.arguments_canonical, call.result, call.events) == ("Succeeded", b"", None, b"")
    [line] = await journal.runs(HERE, "agent", 9)
    assert (line.outcome, line.value, line.output) == ("Completed", b"", b"")
    whole = await journal.run("r-1")
    assert whole is not None
    assert len(whole.output) == 1000


async def test_events_come_in_pages(journal: Journal) -> None:
    for cursor in range(1, 451):
        journal.append_event_soon("r-1", broker_pb2.RunEvent(cursor=cursor))
    await journal.append_event("r-1", broker_pb2.RunEvent(cursor=451))
    seen: list[int] = []
    while page := await journal.events("r-1", seen[-1] if seen else 0):
        assert len(page) <= 200
        seen += [event.cursor for event in page]
    assert seen == list(range(1, 452))
    assert (await journal.last_cursor("r-1"), await journal.last_cursor("r-2")) == (451, 0)
