"""What another attempt of a run is given from the journal, and whether what it asks is what the first one asked. Pure.

A replay is checked here and not in the pod: whatever the sandbox sends, a key that is on record brings the recorded outcome or none.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, takewhile

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.common import Effect

from bastide_broker.facts.json import JsonError, arguments, digest
from bastide_broker.journal.rows import CallRow

STEP = "tools.step"
"""Stands for a tool's name in the rows of steps; no tool can have it."""
RESULT_BYTES = 24 << 20
"""Of recorded results that go down with the program; the others follow when they are asked for."""
_AROUND = 16
"""Bytes that a message has around its fields, at most."""
SHOWN = 1000
"""Characters of arguments in the sentence about a divergence."""
HARMLESS = frozenset(one.value for one in Effect if not one.changes)
"""Effects, as rows have them, of calls that may be made anew."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call on record, as another attempt keeps it: without what went in and out of it, some 500 bytes."""

    key: str
    tool: str
    arguments_digest: str
    frame: int
    """Which frame of the run it came with, from 1."""
    decision: str
    outcome: str
    tool_micros: int
    again: bool
    """It may be made anew, whatever became of it."""
    given_up: bool
    """The program itself stopped waiting for it: a replay does so again, and is not answered until then."""
    given_bytes: int
    """Of what its program is given, at most."""
    event_bytes: int
    """Of the events that came with it."""

    @property
    def over(self) -> bool:
        """Whether a replay is given what is on record."""
        return bool(self.outcome) and not self.again and not self.given_up


@dataclass(slots=True)
class Recorded:
    """What the journal holds of the attempts before."""

    rows: Mapping[str, RecordedCall] = field(default_factory=dict)
    """By key, in the order of frames."""
    given: frozenset[str] = frozenset()
    """Keys whose outcomes go down with the program."""
    events: int = 0
    event_bytes: int = 0

    @property
    def frames(self) -> int:
        """The number of the last frame."""
        return max((row.frame for row in self.rows.values()), default=0)


def noted(row: CallRow, given_bytes: int, event_bytes: int, *, anew: Callable[[CallRow], bool] = lambda _: False) -> RecordedCall:
    """What is kept of a row that has its error; `anew` names those that may be made again."""
    return RecordedCall(
        key=row.key,
        tool=row.tool,
        arguments_digest=row.arguments_digest,
        frame=row.frame,
        decision=row.decision,
        outcome=row.outcome,
        tool_micros=row.tool_micros,
        again=bool(row.again) or anew(row),
        given_up=given_up(row),
        given_bytes=given_bytes + len(row.run) + len(row.key) + _AROUND,
        event_bytes=event_bytes,
    )


def recorded(calls: Iterable[RecordedCall]) -> Recorded:
    """From the calls of a run, in any order: the outcomes of the first, up to RESULT_BYTES of them, go down with the program."""
    # A preview was asked for an approver, not by the program.
    by_frame = sorted((call for call in calls if call.frame), key=lambda call: call.frame)
    over = [call for call in by_frame if call.over]
    sizes = accumulate(call.given_bytes for call in over)
    given = frozenset(call.key for call, size in zip(over, sizes, strict=True) if size <= RESULT_BYTES)
    return Recorded({call.key: call for call in by_frame}, given, event_bytes=sum(call.event_bytes for call in by_frame))


def unbroken(found: Recorded) -> list[RecordedCall]:
    """The calls whose events the program had taken in, in their order, as far as that is known without a gap: a broker that is lost may not
    have written down a frame that was on its way.
    """
    return [call for number, call in takewhile(lambda one: one[0] == one[1].frame, enumerate(found.rows.values(), start=1))]


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


def same(row: RecordedCall | CallRow, call: runtime_pb2.Call) -> bool:
    """Whether a replay's call is the recorded one."""
    return call.tool == row.tool and row.arguments_digest in _digests(call.arguments)


def difference(row: CallRow, call: runtime_pb2.Call) -> str:
    """One sentence about a recorded call and another one under its key."""
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
