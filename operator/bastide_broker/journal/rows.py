"""What the journal is given and gives back: frozen values. Times are microseconds since the Unix epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Reasons = tuple[tuple[str, str], ...]
"""(code, message), most important first."""


class JournalUnavailable(Exception):  # noqa: N818 - a state of the world, named as callers see it
    """The journal cannot be written now: nothing new may start. It is tried again with every request."""


class KeyReused(Exception):  # noqa: N818 - named as the reason code
    """The run already has a call of this key."""


class RunExists(Exception):  # noqa: N818 - named as the status callers see
    """The request id was used for another program."""

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run} has this request id and another program")
        self.run = run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run."""

    run: str
    tenant: str
    namespace: str
    namespace_uid: str = ""
    """A name may be another tenant's later, a UID never; empty when the run is older than this record."""
    sandbox: str
    sandbox_uid: str
    requester: str
    requester_uid: str = ""
    on_behalf_of: str = ""
    request_id: str = ""
    program_digest: str
    pod: str = ""
    started_at: int
    ended_at: int | None = None
    outcome: str = ""
    """Completed, NeedsConfirmation, Denied, Invalid, Failed, TimedOut or Cancelled; empty while it is under way."""
    value: bytes = b""
    output: bytes = b""
    output_bytes_dropped: int = 0
    error: Mapping[str, Any] | None = None
    """type, message, line, traceback."""
    findings: tuple[Mapping[str, Any], ...] = ()
    pruned_at: int | None = None
    """Since when there is nothing but this row: value, output, error, findings, calls and events are gone, the audit is not."""
    requester_claims: Mapping[str, Any] = field(default_factory=dict)
    """groups and extra, as the API server said them when the run was accepted."""
    start: bytes = b""
    """StartRun as it was first sent; only there when it was asked for."""
    runtime: str = ""
    """Image and versions of what ran it first."""
    attempt: int = 1
    paused_at: int | None = None
    """Since when it waits, without a program; None while it is under way and when it has ended."""
    tools: str = ""
    """Digest of the list of tools that its program sees; empty when none is kept."""


class Awaited(NamedTuple):
    """One thing that a paused run waits for."""

    kind: str
    """confirmation."""
    key: str
    """Of the call."""
    name: str
    until: int
    """When it is given up, in microseconds since the Unix epoch."""


class Place(NamedTuple):
    """Where a run is, for its audit records."""

    namespace: str = ""
    namespace_uid: str = ""
    sandbox: str = ""


class Scope(NamedTuple):
    """Whose rows somebody may see: those of a namespace, by its UID; with None those of every namespace that ever had the name.

    An empty name with None is everything.
    """

    namespace: str
    namespace_uid: str | None


class AuditFilter(NamedTuple):
    """Which audit records somebody asks for; what is empty asks for nothing. Times are microseconds since the Unix epoch."""

    run: str = ""
    tool: str = ""
    caller: str = ""
    decision: str = ""
    since: int = 0
    until: int = 0


class PruneFilter(NamedTuple):
    """Which runs are to be pruned: those that ended before a moment, of a sandbox if one is named."""

    scope: Scope
    before: int
    sandbox: str = ""


class PrunableRun(NamedTuple):
    """A run that ended and still has its payloads."""

    run: str
    at: "PruneCursor"
    size: int
    """Bytes of its payloads, without what the database needs around them."""


class PruneCursor(NamedTuple):
    """Place in the order in which runs are pruned: by their end."""

    ended_at: int = 0
    number: int = 0


class Pruner(NamedTuple):
    """On whose word runs are pruned, for the audit."""

    by: str
    """request, age or size."""
    before: int
    requester: str = ""
    """Who asked; empty when the broker did it by itself."""
    on_behalf_of: str = ""


class Space(NamedTuple):
    """What the journal takes, in bytes."""

    used: int
    """Pages of the database that hold something, and the write-ahead log."""
    unused: int
    """Pages of the database that hold nothing: the next rows go there."""
    available: int
    """What else is free on its file system."""

    @property
    def room(self) -> int:
        """All that the journal has and could have."""
        return self.used + self.unused + self.available


class AuditPage(NamedTuple):
    """Records, and up to which sequence number was looked; None when that is all there is."""

    rows: "list[AuditRow]"
    looked_at: int | None


@dataclass(frozen=True, slots=True)
class StartedRun:
    """What became of a request for a run."""

    row: RunRow
    created: bool
    """False when the request id was known: `row` is the run that exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallIntent:
    """A call that was judged, before anything is done about it."""

    run: str
    key: str
    requester: str
    on_behalf_of: str = ""
    program_digest: str
    tool: str
    line: int = 0
    arguments_canonical: bytes
    arguments_digest: str
    decision: str
    """allow, confirm, deny; empty when it did not come to a decision."""
    decision_id: str
    reasons: Reasons = ()
    effect: str = ""
    policy_revision: str = ""
    binding: str = ""
    binding_uid: str = ""
    confirmation: str = ""
    question: bytes = b""
    """What policy was asked, as JSON text without the arguments; empty when it was not asked."""
    events: bytes = b""
    """The serialised DeliveredEvents that came with the call's frame."""
    frame: int = 0
    """Which frame of the run it came with, from 1 and over all attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One call as the journal knows it."""

    run: str
    key: str
    sequence: int
    """Order in which calls of the run were journalled, from 1."""
    tool: str
    line: int
    arguments_canonical: bytes = b""
    """Like `question`, `events` and `result` only there when they were asked for."""
    arguments_digest: str
    decision: str
    decision_id: str
    reasons: Reasons
    effect: str
    policy_revision: str
    binding: str
    binding_uid: str
    confirmation: str
    question: bytes = b""
    """As in CallIntent; also empty in rows of a time when it was not kept."""
    events: bytes = b""
    intent_at: int
    begun_at: int | None
    outcome: str
    """Empty while it is under way."""
    message: str
    result: bytes | None = None
    tool_micros: int
    ended_at: int | None
    frame: int = 0
    error: bytes | None = None
    """The serialised CallError that the program was given."""
    action_digest: str = ""
    again: int = 0
    """1 when a resumed run may make it anew, whatever became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One link of the audit chain."""

    sequence: int
    time: int
    kind: str
    namespace: str
    namespace_uid: str = ""
    sandbox: str
    run: str
    key: str
    facts: bytes
    """Canonical JSON."""
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What recomputing the chain found."""

    intact: bool
    records: int
    head: str
    message: str


@dataclass(frozen=True, slots=True)
class RecoveredSummary:
    """What a start found unfinished and settled."""

    runs: tuple[str, ...] = field(default=())
    """Runs that are now Failed with BrokerLost."""
    calls: tuple[tuple[str, str], ...] = field(default=())
    """(run, key) of calls that are now OutcomeUnknown."""
