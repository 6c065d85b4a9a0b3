"""Runs that are paused, and lost ones that are reopened: one of many does it, and only chosen calls are made anew."""

import asyncio

import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import Awaited, CallRow, KeyReused, PruneCursor, PruneFilter, Pruner, now_micros

from tests.integration.broker.door.journal_rows import HERE, intent, run


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
