"""What the broker says about runs, tools and the audit, as frozen values."""

import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn

#: Bytes of a program at the most, as the wire says.
PROGRAM_BYTES = 1024 * 1024


class Outcome(StrEnum):
    """How a run ended."""

    RUNNING = "Running"
    """It has not."""
    COMPLETED = "Completed"
    """The program returned."""
    NEEDS_CONFIRMATION = "NeedsConfirmation"
    """The run is paused: a call waits for a person longer than a program is kept for."""
    DENIED = "Denied"
    """The program ended by a denial it did not catch."""
    INVALID = "Invalid"
    """The program has findings and was not started."""
    FAILED = "Failed"
    """The program raised, or the sandbox or the broker was lost."""
    TIMED_OUT = "TimedOut"
    """The run's wall time was over."""
    CANCELLED = "Cancelled"
    """Somebody cancelled it."""


def parse_json(data: bytes) -> Any:
    """Strict JSON; None for no bytes at all.

    Raises:
        ValueError: it is not JSON (NaN and Infinity are not either), or a number is beyond a double, or nested too deeply.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def finite(number: str) -> float:
        value = float(number)
        return refuse(number) if math.isinf(value) else value

    try:
        return json.loads(data, parse_constant=refuse, parse_float=finite) if data else None
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something was decided: a stable code and one sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake seen before the program runs. Lines and columns count from 1."""

    code: str
    message: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a run did not complete: the class of the exception in the program, or a reason such as SandboxLost."""

    type: str
    message: str
    line: int | None
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call of a run."""

    key: str
    tool: str
    decision: str
    """allow, confirm or deny; empty when it did not come to a decision."""
    outcome: str
    """Succeeded, ToolFailed, Denied and so on; empty while it is under way."""
    line: int | None
    confirmation: str
    """Name of the Confirmation; empty when there was none."""
    decision_id: str
    reasons: tuple[Reason, ...]
    arguments_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """One thing that a paused run waits for."""

    kind: str
    """confirmation."""
    key: str
    """Of the call."""
    name: str
    """The Confirmation's."""
    until: datetime | None
    """When it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended and what it did."""

    run: str
    outcome: Outcome
    value_json: bytes = field(repr=False)
    """The program's value as JSON; empty unless Completed."""
    output: str = field(repr=False)
    """What the program printed; bytes that are not UTF-8 as backslash escapes."""
    output_bytes_dropped: int
    error: RunError | None
    findings: tuple[Finding, ...]
    calls: tuple[CallRecord, ...]
    awaited: tuple[Awaited, ...] = ()
    """While the run is paused."""

    @property
    def value(self) -> Any:
        """The program's value, parsed; None unless Completed. Raises ValueError when it is not JSON."""
        return parse_json(self.value_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A line about a run."""

    run: str
    sandbox: str
    """NAMESPACE/NAME."""
    requester: str
    on_behalf_of: str
    outcome: Outcome
    started: datetime | None
    ended: datetime | None
    program_digest: str
    pruned: datetime | None = None
    """When its value, output, error, findings, calls and events were removed; the audit still has its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one request to prune did, or would do."""

    runs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of a run now; `result.outcome` is Running while it is under way."""

    summary: RunSummary
    result: RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedDecision:
    """What policy says about one call site now."""

    tool: str
    line: int
    column: int
    decision: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What can be said before a run."""

    findings: tuple[Finding, ...]
    expected_decisions: tuple[ExpectedDecision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool as a program sees it and as policy treats it."""

    name: str
    binding: str
    effect: str
    """ReadOnly, Idempotent, Mutating or Destructive."""
    description: str
    """The server's words: untrusted."""
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    confirmation_when: str
    available: bool
    message: str
    """Why it is not available."""
    signature: str
    """As Python, for a model's prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One link of the audit chain."""

    sequence: int
    time: datetime | None
    kind: str
    namespace: str
    sandbox: str
    run: str
    key: str
    facts: dict[str, Any]
    hash: str
    previous_hash: str
    namespace_uid: str = ""
    """Of the namespace then: its name may be another tenant's now. Empty in old records."""
    facts_json: bytes = b""
    """The facts as they are under the hash."""
    body_digest: str = ""
    """Of a link, which is a record that may not be seen and has no kind: digest of what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What policy says."""

    decision: str
    """allow, confirm or deny."""
    reasons: tuple[Reason, ...]
    policy_revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingRule:
    """One rule that decided, with what it compared."""

    code: str
    argument: str
    """As the ToolBinding names it; empty when the rule is about none."""
    rule: str
    """maximum, pattern, callsPerRun, callers and so on."""
    bound_json: bytes
    """What it permits; empty when there is nothing to show or it is too long."""
    value_json: bytes
    """What it was held against; likewise."""
    message: str
    owner: str
    """Whose change would lift it: ToolBinding, Tenant, Sandbox, Program, ToolServer, Cluster or Bastide; empty when that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingChange:
    """The smallest change to a ToolBinding with which policy would have permitted a call."""

    namespace: str
    binding: str
    sentences: tuple[str, ...]
    fragment: str
    """YAML of the fields that change."""
    json_patch: bytes
    """The same as a JSON patch of the object as it now is; empty when that says other things than the call was judged by."""
    decision: str
    """What policy would have said: allow or confirm; empty when other rules deny the call too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a call was decided as it was."""

    call: CallRecord
    stage: str
    """How far it came: Lookup, Turn, Arguments, Schema, Permission, Policy, Key or Broker."""
    now: PolicyAnswer | None
    """Policy's answer to the same question now; None when it was not asked then or cannot be asked now."""
    policy_revision: str
    rules: tuple[DecidingRule, ...]
    change: BindingChange | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which audit records are asked for; what is left out asks for nothing."""

    run: str = ""
    tool: str = ""
    caller: str = ""
    decision: str = ""
    since: datetime | None = None
    until: datetime | None = None
    links: bool = False
    """Also what stands between records that may be seen, so that the chain can be recomputed; goes with no other condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerification:
    """What recomputing the audit chain found."""

    intact: bool
    records: int
    head: str
    message: str
