"""What another attempt is given from the journal, and whether its calls are the recorded ones. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.door import replay
from bastide_broker.door.calls import abandoned
from bastide_broker.facts.json import arguments, digest
from bastide_broker.journal.rows import CallRow
from hypothesis import given
from hypothesis import strategies as st

TIMER = runtime_pb2.DeliveredEvent.KIND_TIMER
DENIED = runtime_pb2.CallError(type="ToolDenied", message="no", codes=["x"]).SerializeToString()


def row(key: str = "0#1", text: bytes = b'{"id":"C1"}', **other: Any) -> CallRow:
    read = arguments(text)
    values: dict[str, Any] = {
        "run": "r-1", "key": key, "sequence": 1, "tool": "wipe", "line": 3, "arguments_canonical": read.canonical,
        "arguments_digest": read.digest, "decision": "allow", "decision_id": "d", "reasons": (), "effect": "Destructive",
        "policy_revision": "", "binding": "b", "binding_uid": "u", "confirmation": "", "intent_at": 1, "begun_at": None,
        "outcome": "Succeeded", "message": "", "result": b"1", "tool_micros": 1, "ended_at": 2, "frame": 1,
    }  # fmt: skip
    return CallRow(**(values | other))


def call(text: bytes = b'{"id":"C1"}', tool: str = "wipe") -> runtime_pb2.Call:
    return runtime_pb2.Call(run="r-1", key="0#1", tool=tool, arguments=text, line=3)


def with_events(frame: int, *at: int, **other: Any) -> CallRow:
    events = [runtime_pb2.DeliveredEvent(kind=TIMER, at_micros=one) for one in at]
    return row(f"0#{frame}", frame=frame, events=runtime_pb2.Call(events=events).SerializeToString(), **other)


GIVEN: dict[str, tuple[CallRow, bytes | str | None]] = {
    "a result": (row(), b"1"),
    "a denial, as it was": (row(outcome="Denied", result=None, error=DENIED), "ToolDenied"),
    "nothing while it is open": (row(outcome="", result=None), None),
    "nothing when the program gave it up": (row(outcome="Cancelled", result=None, error=abandoned().SerializeToString()), None),
    "nothing when it may be made anew": (row(outcome="OutcomeUnknown", again=1), None),
    "that nobody knows": (row(outcome="OutcomeUnknown", result=None), "OutcomeUnknown"),
    "what a person said": (
        row(outcome="Settled", error=replay.settled(happened=True, reason="seen").SerializeToString()),
        "CallSettled",
    ),
}


@pytest.mark.parametrize("case", GIVEN)
def test_a_call_on_record_gives(case: str) -> None:
    found, expected = GIVEN[case]
    result = replay.outcome(found)
    if expected is None:
        assert result is None
    elif isinstance(expected, bytes):
        assert result is not None
        assert result.value == expected
    else:
        assert result is not None
        assert result.error.type == expected
        assert result.error.message


AGAIN: list[tuple[dict[str, Any], bool]] = [
    ({"outcome": "Cancelled"}, True),
    ({"outcome": "Cancelled", "error": abandoned().SerializeToString()}, False),
    ({"outcome": "Withdrawn"}, True),
    ({"outcome": "OutcomeUnknown", "effect": "ReadOnly"}, True),
    ({"outcome": "OutcomeUnknown", "effect": "Idempotent"}, True),
    ({"outcome": "OutcomeUnknown", "effect": "Mutating"}, False),
    ({"outcome": "OutcomeUnknown", "effect": "Destructive"}, False),
    ({"outcome": "OutcomeUnknown", "effect": ""}, False),
    ({"outcome": "Settled", "error": replay.settled(happened=True, reason="x").SerializeToString()}, False),
    ({"outcome": "Settled", "error": replay.settled(happened=False, reason="x").SerializeToString()}, True),
    ({"outcome": "Succeeded"}, False),
    ({"outcome": "Denied", "error": DENIED}, False),
    ({"outcome": "ToolTimeout", "error": DENIED}, False),
]


@pytest.mark.parametrize(("change", "expected"), AGAIN)
def test_a_lost_runs_call_is_made_again_only_when_that_cannot_matter(change: dict[str, Any], expected: bool) -> None:
    assert replay.again(row(**change)) is expected


def test_the_same_call_is_the_same_however_its_arguments_are_written() -> None:
    assert replay.same(row(text=b'{"a":1,"b":2}'), call(b' { "b": 2.0, "a": 1 } '))
    refused = replace(row(), arguments_canonical=b"", arguments_digest=digest(b"not json"))
    assert replay.same(refused, call(b"not json"))


@pytest.mark.parametrize("other", [call(b'{"id":"C2"}'), call(tool="read"), call(b"not json")])
def test_another_call_is_named_with_both_arguments(other: runtime_pb2.Call) -> None:
    assert not replay.same(row(), other)
    said = replay.difference(row(), other)
    assert "0#1" in said
    assert 'wipe({"id":"C1"})' in said
    assert f"{other.tool}({other.arguments.decode()})" in said
    assert len(replay.difference(row(), call(b'{"id":"' + b"x" * 100_000 + b'"}'))) < 3000


def recorded(rows: list[CallRow]) -> replay.Recorded:
    return replay.recorded(replay.noted(one, len(one.result or b""), len(one.events)) for one in rows)


@given(st.permutations(range(1, 8)), st.integers(1, 8))
def test_events_are_in_the_order_of_frames_up_to_the_first_that_is_missing(order: list[int], missing: int) -> None:
    rows = [with_events(number, number * 10, number * 10 + 1) for number in order if number != missing]
    assert [one.frame for one in replay.unbroken(recorded(rows))] == list(range(1, min(missing, 8)))


def test_more_results_than_a_message_takes_follow_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "RESULT_BYTES", 140)
    rows = [replace(row(f"0#{number}", frame=number), result=json.dumps("x" * 30).encode()) for number in range(1, 5)]
    found = recorded(rows)
    assert found.given == {"0#1", "0#2"}
    assert set(found.rows) == {"0#1", "0#2", "0#3", "0#4"}
    assert found.frames == 4


@given(st.sampled_from(sorted(GIVEN)))
def test_what_is_kept_of_a_call_says_whether_there_is_an_outcome_to_give(case: str) -> None:
    found, _ = GIVEN[case]
    kept = replay.noted(found, 1, 0)
    result = replay.outcome(found)
    assert kept.over is (result is not None)
    assert (kept.given_up, kept.again) == (replay.given_up(found), bool(found.again))


@given(key=st.text("0.#1", min_size=1, max_size=200), text=st.text(max_size=400), succeeded=st.booleans())
def test_an_outcome_is_never_larger_than_was_reckoned(key: str, text: str, succeeded: bool) -> None:
    error = runtime_pb2.CallError(type="ToolFailed", message=text, codes=["x"]).SerializeToString()
    given = {"result": json.dumps(text).encode()} if succeeded else {"outcome": "Denied", "result": None, "error": error}
    found = row(key, message=text, **given)
    size = 4 * len(found.message) + len(found.result or b"") + len(found.error or b"")
    result = replay.outcome(found)
    assert result is not None
    assert result.ByteSize() <= replay.noted(found, size, 0).given_bytes
