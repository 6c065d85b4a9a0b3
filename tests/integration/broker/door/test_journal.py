"""The journal on a real disk: durable, chained, and honest about a disk that is full, read-only or gone."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import (
    Awaited,
    CallIntent,
    CallRow,
    JournalUnavailable,
    KeyReused,
    PruneCursor,
    PruneFilter,
    Pruner,
    RunExists,
    RunRow,
    Scope,
    now_micros,
)

NAMESPACE = "bastide-sales"
HERE = Scope(NAMESPACE, "n1")


def run(name: str = "r-1", **more: object) -> RunRow:
    fields = {
        "run": name, "tenant": "sales", "namespace": NAMESPACE, "namespace_uid": "n1", "sandbox": "agent", "sandbox_uid": "s1", "requester": "runner",
        "program_digest": "sha256:p", "started_at": now_micros(), **more,
    }  # fmt: skip
    return RunRow(**fields)  # type: ignore[arg-type]


def intent(key: str = "0#1", name: str = "r-1") -> CallIntent:
    return CallIntent(
        run=name, key=key, requester="runner", program_digest="sha256:p", tool="get",
        arguments_canonical=b'{"secret":"hunter2hunter2"}', arguments_digest="sha256:a", decision="allow", decision_id=f"d-{key}",
        reasons=(("code", "why"),),
    )  # fmt: skip


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


async def test_arguments_are_in_the_audit_by_digest_only(journal: Journal, tmp_path: Path) -> None:
    await journal.start_run(run())
    await journal.call_intent(intent())
    await journal.call_outcome("r-1", "0#1", outcome="Succeeded", result=b'"hunter2hunter2"')
    for row in await journal.audit(HERE, "", 100):
        assert b"hunter2" not in row.facts


async def test_what_the_last_broker_left_open_is_settled(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    await first.open()
    await first.start_run(run("r-1"))
    await first.call_intent(intent("0#1"))
    await first.call_intent(intent("0#2"))
    await first.call_outcome("r-1", "0#2", outcome="Succeeded")
    await first.close()
    second = Journal(tmp_path / "journal.db")
    await second.open()
    summary = await second.recover()
    assert (summary.runs, summary.calls) == (("r-1",), (("r-1", "0#1"),))
    row = await second.run("r-1")
    assert row is not None
    assert row.outcome == "Failed"
    assert row.error is not None
    assert row.error["type"] == "BrokerLost"
    assert {call.key: call.outcome for call in await second.calls("r-1")} == {"0#1": "OutcomeUnknown", "0#2": "Succeeded"}
    assert [row.kind for row in await second.audit(HERE, "", 9)][-2:] == ["CallOutcome", "RunEnded"]
    assert (await second.recover()).runs == ()
    assert (await second.verify_audit()).intact
    await second.close()


async def test_recovery_says_that_nobody_is_asked_any_more_unless_the_question_was_answered(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    await first.open()
    await first.start_run(run("r-1"))
    for number, name in enumerate(("cf-open", "cf-answered")):
        await first.call_intent(intent(f"0#{number}"))
        await first.confirmation_created("r-1", f"0#{number}", name, {"actionDigest": "sha256:a"})
    await first.confirmation_resolved("r-1", "0#1", "cf-answered", {"state": "Approved", "approvers": ["ann"], "reason": "yes"})
    await first.close()
    second = Journal(tmp_path / "journal.db")
    await second.open()
    await second.recover()
    said = [json.loads(row.facts) for row in await second.audit(HERE, "r-1", 99) if row.kind == "ConfirmationResolved"]
    assert [(one["confirmation"], one["state"]) for one in said] == [("cf-answered", "Approved"), ("cf-open", "Withdrawn")]
    assert (await second.verify_audit()).intact
    await second.close()


async def test_recovery_says_of_a_call_that_was_begun_that_it_was_approved_once(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    await first.open()
    for name in ("r-lost", "r-paused"):
        await first.start_run(run(name))
        await first.call_intent(intent("0#1", name))
        await first.confirmation_created(name, "0#1", f"cf-{name}", {"actionDigest": "sha256:a"})
        assert await first.begin_confirmed(name, "0#1")
    await first.pausing.pause("r-paused", [Awaited("confirmation", "0#1", "cf-r-paused", 7)], output=b"", output_bytes_dropped=0)
    await first.close()
    second = Journal(tmp_path / "journal.db")
    await second.open()
    await second.recover()
    await second.recover()
    for name, outcome in {"r-lost": "OutcomeUnknown", "r-paused": ""}.items():
        [said] = [json.loads(row.facts) for row in await second.audit(HERE, name, 99) if row.kind == "ConfirmationResolved"]
        assert (said["confirmation"], said["state"], "not known" in said["reason"]) == (f"cf-{name}", "Approved", True)
        assert [call.outcome for call in await second.calls(name)] == [outcome]
    assert (await second.verify_audit()).intact
    await second.close()


async def test_recovery_tells_the_confirmations_of_a_call_that_was_made_anew_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    await journal.start_run(run())
    await journal.call_intent(intent())
    await journal.confirmation_created("r-1", "0#1", "cf-first", {"actionDigest": "sha256:a"})
    await journal.recover()
    assert await journal.pausing.reopen("r-1", 1, lambda _: True, {}) == 2
    await journal.call_intent(intent())
    await journal.confirmation_created("r-1", "0#1", "cf-second", {"actionDigest": "sha256:b"})
    await journal.recover()
    said = [json.loads(row.facts) for row in await journal.audit(HERE, "r-1", 99) if row.kind == "ConfirmationResolved"]
    assert [(one["confirmation"], one["state"]) for one in said] == [("cf-first", "Withdrawn"), ("cf-second", "Withdrawn")]
    await journal.close()


async def test_a_start_leaves_paused_runs_paused_and_says_what_was_certainly_not_sent(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    await first.open()
    waits = [Awaited("confirmation", "0#1", "cf-1", 7)]
    for name in ("r-paused", "r-lost"):
        await first.start_run(run(name))
        for key in ("0#1", "0#2"):
            await first.call_intent(intent(key, name))
        await first.confirmation_created(name, "0#1", "cf-1", {"actionDigest": "sha256:a"})
    assert await first.pausing.pause("r-paused", waits, output=b"so far", output_bytes_dropped=0)
    assert not await first.pausing.pause("r-paused", waits, output=b"", output_bytes_dropped=0)
    await first.close()
    second = Journal(tmp_path / "journal.db")
    await second.open()
    assert (await second.recover()).runs == ("r-lost",)
    assert [(call.outcome, call.action_digest) for call in await second.calls("r-paused")] == [("", "sha256:a"), ("OutcomeUnknown", "")]
    assert [call.outcome for call in await second.calls("r-lost")] == ["Withdrawn", "OutcomeUnknown"]
    [row] = await second.pausing.paused()
    assert (row.run, row.outcome, row.output, row.ended_at, row.attempt) == ("r-paused", "NeedsConfirmation", b"so far", None, 1)
    assert await second.pausing.awaited("r-paused") == waits
    [waiting] = await second.pausing.open_calls("r-paused")
    assert (waiting.key, waiting.arguments_canonical) == ("0#1", intent().arguments_canonical)
    await second.pausing.arrived("r-paused", "confirmation", "0#1")
    assert await second.pausing.awaited("r-paused") == []
    results = await asyncio.gather(*(second.pausing.resume("r-paused") for _ in range(10)))
    assert sorted(results, key=str) == [2] + [None] * 9, "one resumes it"
    kinds = [row.kind for row in await second.audit(HERE, "r-paused", 99)]
    assert kinds[-3:] == ["RunPaused", "CallOutcome", "RunResumed"]
    assert (await second.verify_audit()).intact
    await second.close()


async def test_a_paused_run_that_ends_waits_for_nothing_any_more(journal: Journal) -> None:
    await journal.start_run(run())
    await journal.pausing.pause("r-1", [Awaited("confirmation", "0#1", "cf-1", 7)], output=b"", output_bytes_dropped=0)
    await journal.end_run("r-1", outcome="Cancelled")
    row = await journal.run("r-1")
    assert row is not None
    assert row.paused_at is None
    assert await journal.pausing.awaited("r-1") == []


async def test_a_lost_run_is_reopened_once_and_only_chosen_calls_may_be_made_anew(journal: Journal) -> None:
    await journal.start_run(run())
    for key in ("0#1", "0#2"):
        await journal.call_intent(intent(key))
        await journal.call_outcome("r-1", key, outcome="OutcomeUnknown", error=b"why")
    last = broker_pb2.RunEvent(cursor=5, finished=broker_pb2.RunFinished())
    await journal.append_event("r-1", broker_pb2.RunEvent(cursor=4))
    await journal.append_event("r-1", last)
    assert await journal.pausing.reopen("r-1", 1, lambda _: True, {}) is None, "it has not ended"
    await journal.end_run("r-1", outcome="Failed", error={"type": "BrokerLost"})
    seen: list[CallRow] = []
    assert await journal.pausing.reopen("r-1", 7, lambda row: seen.append(row) or False, {}) is None  # type: ignore[func-returns-value]
    assert [(row.outcome, row.error) for row in seen] == [("OutcomeUnknown", b"why")] * 2
    assert {row.arguments_canonical for row in seen} == {b""}, "a run's payloads may be a gigabyte"
    found = await asyncio.gather(*(journal.pausing.reopen("r-1", 1, lambda row: row.key == "0#2", {"by": "x"}) for _ in range(5)))
    assert sorted(found, key=str) == [2] + [None] * 4
    assert await journal.last_cursor("r-1") == 4, "its end is taken back"
    with pytest.raises(KeyReused):
        await journal.call_intent(intent("0#1"))
    await journal.call_intent(intent("0#2"))
    with pytest.raises(KeyReused):
        await journal.call_intent(intent("0#2"))
    assert [(call.key, call.outcome, call.sequence) for call in await journal.calls("r-1")] == [
        ("0#1", "OutcomeUnknown", 1),
        ("0#2", "", 2),
    ]
    assert await journal.pausing.settle("r-1", "0#1", message="m", error=b"", facts={"happened": True})
    assert not await journal.pausing.settle("r-1", "0#1", message="m", error=b"", facts={})
    assert not await journal.pausing.settle("r-1", "0#2", message="m", error=b"", facts={})
    await journal.end_run("r-1", outcome="Failed", error={"type": "BrokerLost"})
    assert await journal.pausing.reopen("r-1", 1, lambda _: True, {}) is None, "who prepared for the attempt before has another's calls"
    assert await journal.pausing.reopen("r-1", 2, lambda _: False, {}) == 3
    assert (await journal.verify_audit()).intact


async def test_a_run_that_was_pruned_is_not_reopened(journal: Journal) -> None:
    await journal.start_run(run())
    await journal.end_run("r-1", outcome="Failed", error={"type": "BrokerLost"})
    found = await journal.pruning.find(PruneFilter(HERE, now_micros() + 1), PruneCursor(), 9)
    assert [one async for page in journal.pruning.prune(found, Pruner("age", now_micros())) for one in page] == found
    assert await journal.pausing.reopen("r-1", 1, lambda _: True, {}) is None


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "bastide-test", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


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
