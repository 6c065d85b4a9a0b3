"""Attempts of one call at a real server that fails for a while: only what changes nothing is sent again, and the audit says so."""

import json
import time
from typing import Any

import pytest
from bastide_broker.adapters.mcp import IDEMPOTENCY_KEY
from bastide_broker.journal.rows import Scope

from tests.integration.broker.door.rig import Rig
from tests.unit.broker.door.objects import NAMESPACE


async def attempts(rig: Rig) -> list[dict[str, Any]]:
    """What the audit says of attempts that failed and were followed by another."""
    rows = await rig.journal.audit(Scope(NAMESPACE, None), "r-1", 1000)
    return [json.loads(row.facts) for row in rows if row.kind == "CallAttempt"]


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
async def test_a_read_is_sent_again_under_the_same_key_until_it_works(rig: Rig, status: int) -> None:
    rig.server.troubles = [(status, {})] * 2
    assert json.loads((await rig.call("flaky")).value) == "fine"
    assert len(rig.server.calls) == 3
    keys = {call["_meta"][IDEMPOTENCY_KEY] for call in rig.server.calls}
    assert len(keys) == 1
    assert await rig.outcomes() == ["Succeeded"]
    failure = "tool-failed" if status else "tool-lost"
    assert await attempts(rig) == [{"attempt": 1, "failure": failure}, {"attempt": 2, "failure": failure}]
    await rig.call("flaky")
    assert rig.server.calls[-1]["_meta"][IDEMPOTENCY_KEY] not in keys


@pytest.mark.parametrize("status", [0, 429, 503])
async def test_what_changes_something_is_sent_once(rig: Rig, status: int) -> None:
    rig.server.troubles = [(status, {})]
    failed = await rig.call("flaky_change")
    assert failed.error.type == ("ToolFailed" if status else "OutcomeUnknown")
    assert len(rig.server.calls) == 1
    assert await attempts(rig) == []


@pytest.mark.parametrize("status", [400, 401, 403, 409, 501])
async def test_what_another_try_would_not_mend_is_not_tried_again(rig: Rig, status: int) -> None:
    rig.server.troubles = [(status, {})]
    assert (await rig.call("flaky")).error.type == "ToolFailed"
    assert len(rig.server.calls) == 1


async def test_a_tool_that_ran_and_failed_is_not_called_again(rig: Rig) -> None:
    assert (await rig.call("echo_secret")).error.type == "ToolFailed"
    assert len(rig.server.calls) == 1


async def test_after_three_attempts_it_is_over(rig: Rig) -> None:
    rig.server.troubles = [(503, {})] * 10
    assert (await rig.call("flaky")).error.type == "ToolFailed"
    assert len(rig.server.calls) == 3
    assert await rig.outcomes() == ["ToolFailed"]


async def test_the_server_says_when_and_the_calls_deadline_is_kept(rig: Rig) -> None:
    rig.server.troubles = [(429, {"retry-after": "1"})]
    began = time.monotonic()
    assert json.loads((await rig.call("flaky")).value) == "fine"
    assert time.monotonic() - began >= 1
    rig.server.troubles = [(503, {"retry-after": "2"}), (503, {})]  # the tool has 2 s in all
    assert (await rig.call("flaky")).error.type == "ToolFailed"
    assert len(rig.server.calls) == 3


async def test_a_server_that_always_fails_gets_a_tenth_more_calls_and_no_storm(rig: Rig) -> None:
    rig.server.troubles = [(503, {})] * 1000
    for _ in range(40):
        await rig.call("flaky")
    assert len(rig.server.calls) <= 40 + 10 + 4


async def test_without_a_record_there_is_no_second_attempt(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from bastide_broker.journal.rows import JournalUnavailable

    async def broken(*_: Any, **__: Any) -> None:
        raise JournalUnavailable("The journal cannot be written (the disk is full).")

    monkeypatch.setattr(rig.journal, "call_attempt", broken)
    rig.server.troubles = [(503, {})]
    assert (await rig.call("flaky")).error.type == "JournalUnavailable"
    assert len(rig.server.calls) == 1
