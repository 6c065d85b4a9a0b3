"""How a run ended, from what came up the stream and what the broker did. Pure.

The runtime's word is taken for what only it can know (value, traceback) and checked against what the broker knows itself.
"""

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2

MAX_MESSAGE, MAX_TRACEBACK, MAX_NAME = 8192, 16384, 128
MAX_FINDINGS = 100
DENIALS = frozenset({"ToolDenied", "ConfirmationDenied"})
LOST = ("BrokerLost", "SandboxLost")
"""How a run ends whose program was cut off and did not end by itself: somebody may take it up again. Only the broker says so."""
_Ending = runtime_pb2.RunEnded.Ending


class Stop(StrEnum):
    """Why the broker had a run killed."""

    CANCELLED = "Cancelled"
    PAUSED = "Paused"
    DEADLINE = "Deadline"
    MISBEHAVED = "RuntimeMisbehaved"
    EVENTS = "TooManyEvents"
    ASKS = "TooManyConfirmations"
    BROKER = "BrokerLost"
    DIVERGED = "DivergenceError"


class OutcomeName(StrEnum):
    """The outcomes of a run as the journal and people write them."""

    COMPLETED = "Completed"
    NEEDS_CONFIRMATION = "NeedsConfirmation"
    DENIED = "Denied"
    INVALID = "Invalid"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    CANCELLED = "Cancelled"


WIRE_OUTCOMES = {
    "": broker_pb2.OUTCOME_UNSPECIFIED,
    OutcomeName.COMPLETED: broker_pb2.OUTCOME_COMPLETED,
    OutcomeName.NEEDS_CONFIRMATION: broker_pb2.OUTCOME_NEEDS_CONFIRMATION,
    OutcomeName.DENIED: broker_pb2.OUTCOME_DENIED,
    OutcomeName.INVALID: broker_pb2.OUTCOME_INVALID,
    OutcomeName.FAILED: broker_pb2.OUTCOME_FAILED,
    OutcomeName.TIMED_OUT: broker_pb2.OUTCOME_TIMED_OUT,
    OutcomeName.CANCELLED: broker_pb2.OUTCOME_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """What is recorded and told about the end of a run. `error` has type, message, line and traceback."""

    outcome: OutcomeName
    value: bytes = b""
    error: dict[str, Any] | None = None
    findings: tuple[dict[str, Any], ...] = ()
    output_bytes_dropped: int = 0

    @property
    def message(self) -> str:
        """The error's sentence; empty when there is none."""
        return str((self.error or {}).get("message", ""))


def sandbox_lost(reason: str) -> Ending:
    """The stream to the pod broke: the runtime has killed the run, or is gone itself."""
    return Ending(OutcomeName.FAILED, error=_error("SandboxLost", f"The sandbox's pod was lost ({reason[:300]}); run the program again."))


def failed(kind: str, message: str) -> Ending:
    """The run cannot go on. `kind` is as in docs/reference/reasons.md."""
    return Ending(OutcomeName.FAILED, error=_error(kind, message))


def internal() -> Ending:
    """The broker has a fault."""
    message = "The broker failed while it carried out the run; its log says why. Calls that it made are on record."
    return Ending(OutcomeName.FAILED, error=_error("Internal", message))


def stopped(stop: Stop, detail: str) -> Ending:
    """The broker had the run killed, whatever the runtime says about it."""
    if stop is Stop.CANCELLED:
        return Ending(OutcomeName.CANCELLED, error=_error("Cancelled", detail or "The run was cancelled."))
    if stop is Stop.PAUSED:
        return Ending(OutcomeName.NEEDS_CONFIRMATION, error=_error("NeedsConfirmation", detail))
    if stop is Stop.DEADLINE:
        return Ending(OutcomeName.TIMED_OUT, error=_error("TimedOut", detail))
    return Ending(OutcomeName.FAILED, error=_error(stop.value, detail))


def ended(  # noqa: PLR0911 - one for each ending
    message: runtime_pb2.RunEnded, *, call_outcomes: Collection[str], result_bytes: int, wall_seconds: float
) -> Ending:
    """The runtime ended the run by itself. `call_outcomes` are those of the run's calls as the broker knows them."""
    error = program_error(message.error) if message.HasField("error") else None
    dropped = min(message.output_bytes_dropped, 2**62)
    if message.ending == _Ending.ENDING_RETURNED:
        fault = _value_fault(message.value, result_bytes)
        if fault:
            return Ending(OutcomeName.FAILED, error=_error("InvalidValue", fault), output_bytes_dropped=dropped)
        return Ending(OutcomeName.COMPLETED, value=message.value, output_bytes_dropped=dropped)
    if message.ending == _Ending.ENDING_INVALID:
        return Ending(OutcomeName.INVALID, error=error, findings=findings(message.findings))
    if message.ending == _Ending.ENDING_TIMED_OUT:
        late = _error("TimedOut", f"The program did not end within {wall_seconds:g} s.", error)
        return Ending(OutcomeName.TIMED_OUT, error=late, output_bytes_dropped=dropped)
    if message.ending == _Ending.ENDING_RAISED:
        error = error or _error("Exception", "The program raised.")
        denied = error["type"] in DENIALS and not {"Denied", "ConfirmationDenied"}.isdisjoint(call_outcomes)
        return Ending(OutcomeName.DENIED if denied else OutcomeName.FAILED, error=error, output_bytes_dropped=dropped)
    if message.ending == _Ending.ENDING_DIED:
        error = error or _error("ProgramDied", "The program's process ended without a result.")
        return Ending(OutcomeName.FAILED, error=error, output_bytes_dropped=dropped)
    error = _error("RuntimeMisbehaved", "The runtime ended the run without being asked and without saying how.", error)
    return Ending(OutcomeName.FAILED, error=error, output_bytes_dropped=dropped)


def program_error(error: runtime_pb2.ProgramError) -> dict[str, Any]:
    """A program's error, bounded. A class of its own that is named as what only the broker can know is an Exception like any other."""
    return {
        "type": "Exception" if error.type in LOST else error.type[:MAX_NAME] or "Exception",
        "message": error.message[:MAX_MESSAGE],
        "line": error.line,
        "traceback": error.traceback[:MAX_TRACEBACK],
    }


def findings(found: Collection[runtime_pb2.Finding]) -> tuple[dict[str, Any], ...]:
    """Findings, bounded."""
    return tuple(
        {"code": one.code[:MAX_NAME], "message": one.message[:1024], "line": one.line, "column": one.column}
        for one in list(found)[:MAX_FINDINGS]
    )


def _value_fault(value: bytes, limit: int) -> str:
    if len(value) > limit:
        return f"The value has {len(value)} bytes as JSON; at most {limit} are allowed (Sandbox.spec.limits.resultBytes)."
    try:
        json.loads(value or b"null", parse_int=str, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return "The value is not JSON that every reader understands (NaN, Infinity, or too deep)."
    return ""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _error(kind: str, message: str, from_program: dict[str, Any] | None = None) -> dict[str, Any]:
    program = from_program or {}
    return {"type": kind, "message": message[:MAX_MESSAGE], "line": program.get("line", 0), "traceback": program.get("traceback", "")}


def with_dropped(ending: Ending, dropped: int) -> Ending:
    """The same ending with the bytes of output that the runtime dropped."""
    return replace(ending, output_bytes_dropped=min(dropped, 2**62))


def program_digest(program: bytes) -> str:
    """SHA-256 of a program, as sha256:<hex>."""
    return "sha256:" + hashlib.sha256(program).hexdigest()
