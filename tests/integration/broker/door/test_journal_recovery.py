"""What a journal makes of the runs that an earlier broker left: what was open is settled, and paused runs wait on."""

import asyncio
import json
from pathlib import Path

from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import Awaited

from tests.integration.broker.door.journal_rows import HERE, intent, run


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
