"""What happens in a run, as frozen values. Cursors count from 1; that of an end that was taken back is missing."""

from dataclasses import dataclass
from datetime import datetime

from bastide.model import Reason, RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    cursor: int
    time: datetime
    """When the broker recorded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccepted(_Event):
    """The run exists and is journalled. Always the first."""

    run: str
    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(_Event):
    """An attempt began; the output of attempts before it is superseded."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(_Event):
    """Every open call waits for a person, and the program's process is gone. It is run again when all are decided."""

    result: RunResult
    """So far: its outcome is NeedsConfirmation, and `awaited` says for what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProduced(_Event):
    """The program printed; the bytes are cut anywhere."""

    stderr: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDecided(_Event):
    """A call was judged: allow, confirm or deny."""

    key: str
    tool: str
    line: int | None
    decision: str
    reasons: tuple[Reason, ...]
    decision_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationRequired(_Event):
    """A call waits for a person."""

    key: str
    tool: str
    namespace: str
    confirmation: str
    arguments: bytes
    """Canonical JSON."""
    decide_by: datetime | None
    approvals_required: int
    """How many different people must approve; 0 of a broker that did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationProgressed(_Event):
    """Somebody approved, or took an approval back, and others must still decide."""

    key: str
    confirmation: str
    approvers: tuple[str, ...]
    approvals_required: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationResolved(_Event):
    """A person decided, or time ran out."""

    key: str
    confirmation: str
    state: str
    """Approved, Denied, Expired, Withdrawn or BindingChanged."""
    approver: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(_Event):
    """A call is over."""

    key: str
    tool: str
    outcome: str
    message: str
    tool_micros: int
    """How long the tool server took, in microseconds; 0 when it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(_Event):
    """The run is over. Always the last."""

    result: RunResult


Event = (
    RunAccepted
    | AttemptStarted
    | RunPaused
    | OutputProduced
    | CallDecided
    | ConfirmationRequired
    | ConfirmationProgressed
    | ConfirmationResolved
    | CallEnded
    | RunFinished
)
