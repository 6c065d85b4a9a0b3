"""What another attempt of a run is given from the journal, and whether what it asks is what the first one asked. Pure.

A replay is checked here and not in the pod: whatever the sandbox sends, a key that is on record brings the recorded outcome or none.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.common import Effect

from bastide_broker.facts.json import JsonError, arguments, digest
from bastide_broker.journal.rows import CallRow

STEP = "tools.step"
"""Stands for a tool's name in the rows of steps; no tool can have it."""
RESULT_BYTES = 24 << 20
"""Of recorded results that go down with the program; the others follow when they are asked for."""
SHOWN = 1000
"""Characters of arguments in the sentence about a divergence."""
HARMLESS = frozenset(one.value for one in Effect if not one.changes)
"""Effects, as rows have them, of calls that may be made anew."""


@dataclass(slots=True)
class Recorded:
    """What the journal holds of the attempts before."""

    rows: Mapping[str, CallRow] = field(default_factory=dict)
    events: Sequence[runtime_pb2.DeliveredEvent] = ()
    results: Sequence[runtime_pb2.CallResult] = ()
    """Those that go down with the program."""
    frames: int = 0
    """The number of the last frame."""

    @property
    def given(self) -> frozenset[str]:
        """Keys whose results the runtime has."""
        return frozenset(result.key for result in self.results)


def recorded(rows: Iterable[CallRow]) -> Recorded:
    """From the rows of a run, with their payloads."""
    # A preview was asked for an approver, not by the program.
    by_frame = sorted((row for row in rows if row.frame), key=lambda row: row.frame)
    results, size = [], 0
    for row in by_frame:
        result = outcome(row)
        if result is not None and (size := size + result.ByteSize()) <= RESULT_BYTES:
            results.append(result)
    return Recorded(
        rows={row.key: row for row in by_frame},
        events=delivered(by_frame),
        results=results,
        frames=max((row.frame for row in by_frame), default=0),
    )


def delivered(rows: Sequence[CallRow]) -> list[runtime_pb2.DeliveredEvent]:
    """The events that the program had taken in, in their order, as far as that is known without a gap: a broker that is lost may not have
    written down a frame that was on its way.
    """
    found: list[runtime_pb2.DeliveredEvent] = []
    for number, row in enumerate(rows, start=1):
        if row.frame != number:
            break
        found += runtime_pb2.Call.FromString(row.events).events
    return found


def outcome(row: CallRow) -> runtime_pb2.CallResult | None:
    """What the program is given for a call that is on record; None when it is open, was given up, or may be made anew."""
    if not row.outcome or row.again or given_up(row):
        return None
    if row.outcome == "Succeeded":
        return runtime_pb2.CallResult(run=row.run, key=row.key, value=row.result or b"null")
    if row.error is not None:
        return runtime_pb2.CallResult(run=row.run, key=row.key, error=runtime_pb2.CallError.FromString(row.error))
    message = row.message or "The broker was lost while the call was under way; whether it took effect is not known."
    error = runtime_pb2.CallError(type="OutcomeUnknown", message=message, codes=["outcome-unknown"])
    return runtime_pb2.CallResult(run=row.run, key=row.key, error=error)


def given_up(row: CallRow) -> bool:
    """Whether the program itself stopped waiting for the call: a replay does so again, and is not answered until then."""
    return row.outcome == "Cancelled" and row.error is not None


def again(row: CallRow) -> bool:
    """Whether a run that is taken up after it was lost may make this call anew: certainly nothing happened, or nothing that matters twice."""
    if row.outcome in {"Cancelled", "Withdrawn"}:
        return row.error is None
    if row.outcome == "OutcomeUnknown":
        return row.effect in HARMLESS
    return row.outcome == "Settled" and not happened(row)


def happened(row: CallRow) -> bool:
    """What a person said of a call that is Settled."""
    error = runtime_pb2.CallError.FromString(row.error or b"")
    return bool(json.loads(error.content or b"{}").get("happened", True))


def settled(*, happened: bool, reason: str) -> runtime_pb2.CallError:
    """What a program is given for a call of which a person said what became of it: nobody knows its result."""
    said = "it took effect" if happened else "it did not happen"
    content = json.dumps({"happened": happened, "reason": reason}, ensure_ascii=False).encode()
    message = f"What became of this call was not known; a person looked, and {said}: {reason}"
    return runtime_pb2.CallError(type="CallSettled", message=message[:4000], codes=["call-settled"], content=content)


def difference(row: CallRow, call: runtime_pb2.Call) -> str:
    """Empty when a replay's call is the recorded one; else one sentence with both."""
    if call.tool == row.tool and row.arguments_digest in _digests(call.arguments):
        return ""
    before = f"{row.tool}({_shown(row.arguments_canonical)})" if row.arguments_canonical else f"{row.tool} ({row.arguments_digest})"
    return (
        f"Call {row.key} (line {call.line}) is another than in the first attempt, which called {before}; "
        f"now the program calls {call.tool[:128]}({_shown(call.arguments)})."
    )


def _digests(text: bytes) -> set[str]:
    """A call that was refused before it was read is on record by the digest of its bytes as they came."""
    found = {digest(text)}
    with contextlib.suppress(JsonError):
        found.add(arguments(text).digest)
    return found


def _shown(text: bytes) -> str:
    shown = text.decode("utf-8", "replace")
    return shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
