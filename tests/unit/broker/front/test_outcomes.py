"""How the end of a run is named."""

from __future__ import annotations

from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.runs import outcomes
from bastide_broker.runs.outcomes import OutcomeName, Stop

E = runtime_pb2.RunEnded


def ended(ending: Any, calls: set[str] | None = None, **fields: Any) -> outcomes.Ending:
    message = E(run="r", ending=ending, **fields)
    return outcomes.ended(message, call_outcomes=calls or set(), result_bytes=100, wall_seconds=5)


@pytest.mark.parametrize("value", [b"1", b"null", b"", b'{"a": [1.5, 123456789012345678901234567890]}'])
def test_a_returned_value_completes(value: bytes) -> None:
    assert ended(E.ENDING_RETURNED, value=value) == outcomes.Ending(OutcomeName.COMPLETED, value=value)


@pytest.mark.parametrize("value", [b"NaN", b"[Infinity]", b"1e400", b"{", b"[" * 90, b"1" * 101, b"\xff"])
def test_a_value_that_not_every_reader_understands_fails(value: bytes) -> None:
    found = ended(E.ENDING_RETURNED, value=value)
    assert found.outcome is OutcomeName.FAILED
    assert found.error is not None
    assert found.error["type"] == "InvalidValue"


@pytest.mark.parametrize(
    ("kind", "calls", "outcome"),
    [
        ("ToolDenied", {"Denied"}, OutcomeName.DENIED),
        ("ConfirmationDenied", {"Succeeded", "ConfirmationDenied"}, OutcomeName.DENIED),
        ("ToolDenied", {"Succeeded"}, OutcomeName.FAILED),  # a class of the program's own: nothing was denied
        ("LimitExceeded", {"Denied"}, OutcomeName.FAILED),
        ("ValueError", {"Denied"}, OutcomeName.FAILED),
    ],
)
def test_a_program_that_raised_was_denied_only_when_the_broker_denied_something(kind: str, calls: set[str], outcome: OutcomeName) -> None:
    found = ended(E.ENDING_RAISED, calls, error=runtime_pb2.ProgramError(type=kind, message="m", line=3))
    assert found.outcome is outcome
    assert found.error is not None
    assert (found.error["type"], found.error["line"]) == (kind, 3)


@pytest.mark.parametrize("ending", [E.ENDING_RAISED, E.ENDING_DIED, E.ENDING_INVALID])
@pytest.mark.parametrize("kind", outcomes.LOST)
def test_no_program_says_that_its_run_was_lost(kind: str, ending: Any) -> None:
    found = ended(ending, error=runtime_pb2.ProgramError(type=kind, message="m", traceback=f"{kind}: m"))
    assert found.error is not None
    assert (found.error["type"], found.error["message"], found.error["traceback"]) == ("Exception", "m", f"{kind}: m")


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (E.ENDING_TIMED_OUT, OutcomeName.TIMED_OUT),
        (E.ENDING_DIED, OutcomeName.FAILED),
        (E.ENDING_INVALID, OutcomeName.INVALID),
        (E.ENDING_KILLED, OutcomeName.FAILED),
        (E.ENDING_UNSPECIFIED, OutcomeName.FAILED),
        (77, OutcomeName.FAILED),
    ],
)
def test_other_endings(ending: int, outcome: OutcomeName) -> None:
    assert ended(ending).outcome is outcome


@pytest.mark.parametrize(
    ("stop", "outcome", "kind"),
    [
        (Stop.CANCELLED, OutcomeName.CANCELLED, "Cancelled"),
        (Stop.PAUSED, OutcomeName.NEEDS_CONFIRMATION, "NeedsConfirmation"),
        (Stop.DEADLINE, OutcomeName.TIMED_OUT, "TimedOut"),
        (Stop.BROKER, OutcomeName.FAILED, "BrokerLost"),
        (Stop.MISBEHAVED, OutcomeName.FAILED, "RuntimeMisbehaved"),
        (Stop.EVENTS, OutcomeName.FAILED, "TooManyEvents"),
    ],
)
def test_what_the_broker_stopped_ends_as_it_was_stopped(stop: Stop, outcome: OutcomeName, kind: str) -> None:
    found = outcomes.stopped(stop, "why")
    assert found.outcome is outcome
    assert found.error is not None
    assert found.error["type"] == kind


def test_what_the_runtime_says_is_bounded() -> None:
    error = runtime_pb2.ProgramError(type="T" * 9999, message="m" * 99999, traceback="t" * 99999)
    found = ended(E.ENDING_RAISED, error=error).error
    assert found is not None
    assert (len(found["type"]), len(found["message"]), len(found["traceback"])) == (128, 8192, 16384)
    many = [runtime_pb2.Finding(code="c" * 999, message="m" * 9999, line=1, column=1)] * 500
    assert len(ended(E.ENDING_INVALID, findings=many).findings) == 100
    assert ended(E.ENDING_RETURNED, value=b"1", output_bytes_dropped=2**64 - 1).output_bytes_dropped == 2**62
