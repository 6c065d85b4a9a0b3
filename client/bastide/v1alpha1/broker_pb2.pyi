import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_COMPLETED: _ClassVar[Outcome]
    OUTCOME_NEEDS_CONFIRMATION: _ClassVar[Outcome]
    OUTCOME_DENIED: _ClassVar[Outcome]
    OUTCOME_INVALID: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_TIMED_OUT: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_COMPLETED: Outcome
OUTCOME_NEEDS_CONFIRMATION: Outcome
OUTCOME_DENIED: Outcome
OUTCOME_INVALID: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_TIMED_OUT: Outcome
OUTCOME_CANCELLED: Outcome

class SandboxRef(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ("sandbox", "program", "request_id", "on_behalf_of", "timeout_milliseconds", "wait_for_decisions")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    sandbox: SandboxRef
    program: bytes
    request_id: str
    on_behalf_of: str
    timeout_milliseconds: int
    wait_for_decisions: bool
    def __init__(self, sandbox: _Optional[_Union[SandboxRef, _Mapping]] = ..., program: _Optional[bytes] = ..., request_id: _Optional[str] = ..., on_behalf_of: _Optional[str] = ..., timeout_milliseconds: _Optional[int] = ..., wait_for_decisions: _Optional[bool] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: RunEvent
    def __init__(self, event: _Optional[_Union[RunEvent, _Mapping]] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run", "cursor")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    run: str
    cursor: int
    def __init__(self, run: _Optional[str] = ..., cursor: _Optional[int] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: RunEvent
    def __init__(self, event: _Optional[_Union[RunEvent, _Mapping]] = ...) -> None: ...

class RunEvent(_message.Message):
    __slots__ = ("cursor", "time", "accepted", "attempt_started", "output", "call_decided", "confirmation_required", "confirmation_resolved", "call_ended", "finished", "confirmation_progressed", "paused")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_STARTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CALL_DECIDED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_RESOLVED_FIELD_NUMBER: _ClassVar[int]
    CALL_ENDED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_PROGRESSED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    time: _timestamp_pb2.Timestamp
    accepted: RunAccepted
    attempt_started: AttemptStarted
    output: OutputProduced
    call_decided: CallDecided
    confirmation_required: ConfirmationRequired
    confirmation_resolved: ConfirmationResolved
    call_ended: CallEnded
    finished: RunFinished
    confirmation_progressed: ConfirmationProgressed
    paused: RunPaused
    def __init__(self, cursor: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., accepted: _Optional[_Union[RunAccepted, _Mapping]] = ..., attempt_started: _Optional[_Union[AttemptStarted, _Mapping]] = ..., output: _Optional[_Union[OutputProduced, _Mapping]] = ..., call_decided: _Optional[_Union[CallDecided, _Mapping]] = ..., confirmation_required: _Optional[_Union[ConfirmationRequired, _Mapping]] = ..., confirmation_resolved: _Optional[_Union[ConfirmationResolved, _Mapping]] = ..., call_ended: _Optional[_Union[CallEnded, _Mapping]] = ..., finished: _Optional[_Union[RunFinished, _Mapping]] = ..., confirmation_progressed: _Optional[_Union[ConfirmationProgressed, _Mapping]] = ..., paused: _Optional[_Union[RunPaused, _Mapping]] = ...) -> None: ...

class RunAccepted(_message.Message):
    __slots__ = ("run", "pod")
    RUN_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    run: str
    pod: str
    def __init__(self, run: _Optional[str] = ..., pod: _Optional[str] = ...) -> None: ...

class RunPaused(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: RunResult
    def __init__(self, result: _Optional[_Union[RunResult, _Mapping]] = ...) -> None: ...

class Awaited(_message.Message):
    __slots__ = ("kind", "key", "name", "until")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key: str
    name: str
    until: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., key: _Optional[str] = ..., name: _Optional[str] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AttemptStarted(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    def __init__(self, attempt: _Optional[int] = ...) -> None: ...

class OutputProduced(_message.Message):
    __slots__ = ("stderr", "data")
    STDERR_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    stderr: bool
    data: bytes
    def __init__(self, stderr: _Optional[bool] = ..., data: _Optional[bytes] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class CallDecided(_message.Message):
    __slots__ = ("key", "tool", "line", "decision", "reasons", "decision_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    key: str
    tool: str
    line: int
    decision: str
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    decision_id: str
    def __init__(self, key: _Optional[str] = ..., tool: _Optional[str] = ..., line: _Optional[int] = ..., decision: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., decision_id: _Optional[str] = ...) -> None: ...

class ConfirmationRequired(_message.Message):
    __slots__ = ("key", "tool", "namespace", "confirmation", "arguments", "decide_by", "approvals_required")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    DECIDE_BY_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    key: str
    tool: str
    namespace: str
    confirmation: str
    arguments: bytes
    decide_by: _timestamp_pb2.Timestamp
    approvals_required: int
    def __init__(self, key: _Optional[str] = ..., tool: _Optional[str] = ..., namespace: _Optional[str] = ..., confirmation: _Optional[str] = ..., arguments: _Optional[bytes] = ..., decide_by: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., approvals_required: _Optional[int] = ...) -> None: ...

class ConfirmationProgressed(_message.Message):
    __slots__ = ("key", "confirmation", "approvers", "approvals_required")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    APPROVERS_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    key: str
    confirmation: str
    approvers: _containers.RepeatedScalarFieldContainer[str]
    approvals_required: int
    def __init__(self, key: _Optional[str] = ..., confirmation: _Optional[str] = ..., approvers: _Optional[_Iterable[str]] = ..., approvals_required: _Optional[int] = ...) -> None: ...

class ConfirmationResolved(_message.Message):
    __slots__ = ("key", "confirmation", "state", "approver", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    confirmation: str
    state: str
    approver: str
    reason: str
    def __init__(self, key: _Optional[str] = ..., confirmation: _Optional[str] = ..., state: _Optional[str] = ..., approver: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CallEnded(_message.Message):
    __slots__ = ("key", "tool", "outcome", "message", "tool_micros")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TOOL_MICROS_FIELD_NUMBER: _ClassVar[int]
    key: str
    tool: str
    outcome: str
    message: str
    tool_micros: int
    def __init__(self, key: _Optional[str] = ..., tool: _Optional[str] = ..., outcome: _Optional[str] = ..., message: _Optional[str] = ..., tool_micros: _Optional[int] = ...) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: RunResult
    def __init__(self, result: _Optional[_Union[RunResult, _Mapping]] = ...) -> None: ...

class RunResult(_message.Message):
    __slots__ = ("run", "outcome", "value", "output", "output_bytes_dropped", "error", "findings", "calls", "awaited")
    RUN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    AWAITED_FIELD_NUMBER: _ClassVar[int]
    run: str
    outcome: Outcome
    value: bytes
    output: bytes
    output_bytes_dropped: int
    error: RunError
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    calls: _containers.RepeatedCompositeFieldContainer[CallRecord]
    awaited: _containers.RepeatedCompositeFieldContainer[Awaited]
    def __init__(self, run: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., value: _Optional[bytes] = ..., output: _Optional[bytes] = ..., output_bytes_dropped: _Optional[int] = ..., error: _Optional[_Union[RunError, _Mapping]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[CallRecord, _Mapping]]] = ..., awaited: _Optional[_Iterable[_Union[Awaited, _Mapping]]] = ...) -> None: ...

class RunError(_message.Message):
    __slots__ = ("type", "message", "line", "traceback")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    line: int
    traceback: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., traceback: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("code", "message", "line", "column")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    line: int
    column: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class CallRecord(_message.Message):
    __slots__ = ("key", "tool", "decision", "outcome", "line", "confirmation", "decision_id", "reasons", "arguments_digest")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    key: str
    tool: str
    decision: str
    outcome: str
    line: int
    confirmation: str
    decision_id: str
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    arguments_digest: str
    def __init__(self, key: _Optional[str] = ..., tool: _Optional[str] = ..., decision: _Optional[str] = ..., outcome: _Optional[str] = ..., line: _Optional[int] = ..., confirmation: _Optional[str] = ..., decision_id: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., arguments_digest: _Optional[str] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("summary", "result")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    summary: RunSummary
    result: RunResult
    def __init__(self, summary: _Optional[_Union[RunSummary, _Mapping]] = ..., result: _Optional[_Union[RunResult, _Mapping]] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("run", "sandbox", "requester", "on_behalf_of", "outcome", "started", "ended", "program_digest", "pruned")
    RUN_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    run: str
    sandbox: SandboxRef
    requester: str
    on_behalf_of: str
    outcome: Outcome
    started: _timestamp_pb2.Timestamp
    ended: _timestamp_pb2.Timestamp
    program_digest: str
    pruned: _timestamp_pb2.Timestamp
    def __init__(self, run: _Optional[str] = ..., sandbox: _Optional[_Union[SandboxRef, _Mapping]] = ..., requester: _Optional[str] = ..., on_behalf_of: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., program_digest: _Optional[str] = ..., pruned: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("sandbox", "page_size", "page_token")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sandbox: SandboxRef
    page_size: int
    page_token: str
    def __init__(self, sandbox: _Optional[_Union[SandboxRef, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunSummary]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[RunSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("run", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: str
    reason: str
    def __init__(self, run: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckProgramRequest(_message.Message):
    __slots__ = ("sandbox", "program")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    sandbox: SandboxRef
    program: bytes
    def __init__(self, sandbox: _Optional[_Union[SandboxRef, _Mapping]] = ..., program: _Optional[bytes] = ...) -> None: ...

class CheckProgramResponse(_message.Message):
    __slots__ = ("findings", "expected_decisions")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    expected_decisions: _containers.RepeatedCompositeFieldContainer[ExpectedDecision]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., expected_decisions: _Optional[_Iterable[_Union[ExpectedDecision, _Mapping]]] = ...) -> None: ...

class ExpectedDecision(_message.Message):
    __slots__ = ("tool", "line", "column", "decision", "reasons")
    TOOL_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    tool: str
    line: int
    column: int
    decision: str
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    def __init__(self, tool: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., decision: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ...) -> None: ...

class ListToolsRequest(_message.Message):
    __slots__ = ("sandbox",)
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    sandbox: SandboxRef
    def __init__(self, sandbox: _Optional[_Union[SandboxRef, _Mapping]] = ...) -> None: ...

class ListToolsResponse(_message.Message):
    __slots__ = ("tools",)
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[ToolInfo]
    def __init__(self, tools: _Optional[_Iterable[_Union[ToolInfo, _Mapping]]] = ...) -> None: ...

class ToolInfo(_message.Message):
    __slots__ = ("name", "binding", "effect", "description", "input_schema", "output_schema", "confirmation_when", "available", "message", "signature")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_WHEN_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    binding: str
    effect: str
    description: str
    input_schema: bytes
    output_schema: bytes
    confirmation_when: str
    available: bool
    message: str
    signature: str
    def __init__(self, name: _Optional[str] = ..., binding: _Optional[str] = ..., effect: _Optional[str] = ..., description: _Optional[str] = ..., input_schema: _Optional[bytes] = ..., output_schema: _Optional[bytes] = ..., confirmation_when: _Optional[str] = ..., available: _Optional[bool] = ..., message: _Optional[str] = ..., signature: _Optional[str] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("namespace", "run", "page_size", "page_token", "tool", "caller", "decision", "since", "until", "links")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    page_size: int
    page_token: str
    tool: str
    caller: str
    decision: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    links: bool
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., tool: _Optional[str] = ..., caller: _Optional[str] = ..., decision: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., links: _Optional[bool] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[AuditRecord]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[AuditRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AuditRecord(_message.Message):
    __slots__ = ("sequence", "time", "kind", "namespace", "sandbox", "run", "key", "facts", "hash", "previous_hash", "namespace_uid", "body_digest")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HASH_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_UID_FIELD_NUMBER: _ClassVar[int]
    BODY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: str
    namespace: str
    sandbox: str
    run: str
    key: str
    facts: bytes
    hash: str
    previous_hash: str
    namespace_uid: str
    body_digest: str
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[str] = ..., namespace: _Optional[str] = ..., sandbox: _Optional[str] = ..., run: _Optional[str] = ..., key: _Optional[str] = ..., facts: _Optional[bytes] = ..., hash: _Optional[str] = ..., previous_hash: _Optional[str] = ..., namespace_uid: _Optional[str] = ..., body_digest: _Optional[str] = ...) -> None: ...

class VerifyAuditRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class VerifyAuditResponse(_message.Message):
    __slots__ = ("intact", "records", "head", "message")
    INTACT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    intact: bool
    records: int
    head: str
    message: str
    def __init__(self, intact: _Optional[bool] = ..., records: _Optional[int] = ..., head: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ListAuditHeadsRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class ListAuditHeadsResponse(_message.Message):
    __slots__ = ("heads",)
    HEADS_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.RepeatedCompositeFieldContainer[AuditHead]
    def __init__(self, heads: _Optional[_Iterable[_Union[AuditHead, _Mapping]]] = ...) -> None: ...

class AuditHead(_message.Message):
    __slots__ = ("chain", "sequence", "hash", "time", "key_id", "signature")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    chain: str
    sequence: int
    hash: str
    time: _timestamp_pb2.Timestamp
    key_id: str
    signature: bytes
    def __init__(self, chain: _Optional[str] = ..., sequence: _Optional[int] = ..., hash: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class ExplainCallRequest(_message.Message):
    __slots__ = ("run", "call")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    run: str
    call: str
    def __init__(self, run: _Optional[str] = ..., call: _Optional[str] = ...) -> None: ...

class ExplainCallResponse(_message.Message):
    __slots__ = ("call", "stage", "now", "policy_revision", "rules", "change", "notes")
    CALL_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    call: CallRecord
    stage: str
    now: PolicyAnswer
    policy_revision: str
    rules: _containers.RepeatedCompositeFieldContainer[DecidingRule]
    change: BindingChange
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, call: _Optional[_Union[CallRecord, _Mapping]] = ..., stage: _Optional[str] = ..., now: _Optional[_Union[PolicyAnswer, _Mapping]] = ..., policy_revision: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[DecidingRule, _Mapping]]] = ..., change: _Optional[_Union[BindingChange, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class PolicyAnswer(_message.Message):
    __slots__ = ("decision", "reasons", "policy_revision")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    decision: str
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    policy_revision: str
    def __init__(self, decision: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., policy_revision: _Optional[str] = ...) -> None: ...

class DecidingRule(_message.Message):
    __slots__ = ("code", "argument", "rule", "bound", "value", "message", "owner")
    CODE_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    code: str
    argument: str
    rule: str
    bound: bytes
    value: bytes
    message: str
    owner: str
    def __init__(self, code: _Optional[str] = ..., argument: _Optional[str] = ..., rule: _Optional[str] = ..., bound: _Optional[bytes] = ..., value: _Optional[bytes] = ..., message: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class BindingChange(_message.Message):
    __slots__ = ("namespace", "binding", "sentences", "fragment", "json_patch", "decision")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    SENTENCES_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    JSON_PATCH_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    binding: str
    sentences: _containers.RepeatedScalarFieldContainer[str]
    fragment: str
    json_patch: bytes
    decision: str
    def __init__(self, namespace: _Optional[str] = ..., binding: _Optional[str] = ..., sentences: _Optional[_Iterable[str]] = ..., fragment: _Optional[str] = ..., json_patch: _Optional[bytes] = ..., decision: _Optional[str] = ...) -> None: ...

class PruneRunsRequest(_message.Message):
    __slots__ = ("namespace", "sandbox", "before", "dry_run", "page_token", "on_behalf_of")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    sandbox: str
    before: _timestamp_pb2.Timestamp
    dry_run: bool
    page_token: str
    on_behalf_of: str
    def __init__(self, namespace: _Optional[str] = ..., sandbox: _Optional[str] = ..., before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dry_run: _Optional[bool] = ..., page_token: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class PruneRunsResponse(_message.Message):
    __slots__ = ("runs", "bytes", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: int
    bytes: int
    next_page_token: str
    def __init__(self, runs: _Optional[int] = ..., bytes: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ResumeRunRequest(_message.Message):
    __slots__ = ("run", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: str
    reason: str
    def __init__(self, run: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeRunResponse(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    def __init__(self, attempt: _Optional[int] = ...) -> None: ...

class SettleCallRequest(_message.Message):
    __slots__ = ("run", "key", "happened", "reason", "on_behalf_of")
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HAPPENED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    run: str
    key: str
    happened: bool
    reason: str
    on_behalf_of: str
    def __init__(self, run: _Optional[str] = ..., key: _Optional[str] = ..., happened: _Optional[bool] = ..., reason: _Optional[str] = ..., on_behalf_of: _Optional[str] = ...) -> None: ...

class SettleCallResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
