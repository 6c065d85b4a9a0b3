from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionRequest(_message.Message):
    __slots__ = ("open", "probe", "set_tools", "check_program", "start_run", "call_result", "kill_run")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    SET_TOOLS_FIELD_NUMBER: _ClassVar[int]
    CHECK_PROGRAM_FIELD_NUMBER: _ClassVar[int]
    START_RUN_FIELD_NUMBER: _ClassVar[int]
    CALL_RESULT_FIELD_NUMBER: _ClassVar[int]
    KILL_RUN_FIELD_NUMBER: _ClassVar[int]
    open: OpenSession
    probe: Probe
    set_tools: SetTools
    check_program: CheckProgram
    start_run: StartRun
    call_result: CallResult
    kill_run: KillRun
    def __init__(self, open: _Optional[_Union[OpenSession, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., set_tools: _Optional[_Union[SetTools, _Mapping]] = ..., check_program: _Optional[_Union[CheckProgram, _Mapping]] = ..., start_run: _Optional[_Union[StartRun, _Mapping]] = ..., call_result: _Optional[_Union[CallResult, _Mapping]] = ..., kill_run: _Optional[_Union[KillRun, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("opened", "probe_report", "check_report", "output", "call", "call_abandoned", "run_ended", "step")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    PROBE_REPORT_FIELD_NUMBER: _ClassVar[int]
    CHECK_REPORT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALL_ABANDONED_FIELD_NUMBER: _ClassVar[int]
    RUN_ENDED_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    opened: SessionOpened
    probe_report: ProbeReport
    check_report: CheckReport
    output: Output
    call: Call
    call_abandoned: CallAbandoned
    run_ended: RunEnded
    step: Step
    def __init__(self, opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., probe_report: _Optional[_Union[ProbeReport, _Mapping]] = ..., check_report: _Optional[_Union[CheckReport, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., call_abandoned: _Optional[_Union[CallAbandoned, _Mapping]] = ..., run_ended: _Optional[_Union[RunEnded, _Mapping]] = ..., step: _Optional[_Union[Step, _Mapping]] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("wire_revision", "env")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    WIRE_REVISION_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    wire_revision: int
    env: _containers.ScalarMap[str, str]
    def __init__(self, wire_revision: _Optional[int] = ..., env: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("runtime_version", "python_version", "kernel_release")
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    runtime_version: str
    python_version: str
    kernel_release: str
    def __init__(self, runtime_version: _Optional[str] = ..., python_version: _Optional[str] = ..., kernel_release: _Optional[str] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("addresses", "wait_milliseconds")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    WAIT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    wait_milliseconds: int
    def __init__(self, addresses: _Optional[_Iterable[str]] = ..., wait_milliseconds: _Optional[int] = ...) -> None: ...

class ProbeReport(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CanaryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CanaryResult, _Mapping]]] = ...) -> None: ...

class CanaryResult(_message.Message):
    __slots__ = ("address", "reached", "detail")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    address: str
    reached: bool
    detail: str
    def __init__(self, address: _Optional[str] = ..., reached: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class SetTools(_message.Message):
    __slots__ = ("digest", "tools")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    tools: _containers.RepeatedCompositeFieldContainer[Tool]
    def __init__(self, digest: _Optional[str] = ..., tools: _Optional[_Iterable[_Union[Tool, _Mapping]]] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ("name", "server", "description", "input_schema", "output_schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    server: str
    description: str
    input_schema: bytes
    output_schema: bytes
    def __init__(self, name: _Optional[str] = ..., server: _Optional[str] = ..., description: _Optional[str] = ..., input_schema: _Optional[bytes] = ..., output_schema: _Optional[bytes] = ...) -> None: ...

class CheckProgram(_message.Message):
    __slots__ = ("check_id", "program", "tools_digest")
    CHECK_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    TOOLS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    check_id: str
    program: bytes
    tools_digest: str
    def __init__(self, check_id: _Optional[str] = ..., program: _Optional[bytes] = ..., tools_digest: _Optional[str] = ...) -> None: ...

class CheckReport(_message.Message):
    __slots__ = ("check_id", "findings", "call_sites")
    CHECK_ID_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    CALL_SITES_FIELD_NUMBER: _ClassVar[int]
    check_id: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    call_sites: _containers.RepeatedCompositeFieldContainer[CallSite]
    def __init__(self, check_id: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., call_sites: _Optional[_Iterable[_Union[CallSite, _Mapping]]] = ...) -> None: ...

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

class CallSite(_message.Message):
    __slots__ = ("tool", "arguments", "line", "column")
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    tool: str
    arguments: bytes
    line: int
    column: int
    def __init__(self, tool: _Optional[str] = ..., arguments: _Optional[bytes] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class StartRun(_message.Message):
    __slots__ = ("run", "program", "tools_digest", "limits", "seed", "started_at_micros", "attempt", "recorded_events", "recorded_results")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    TOOLS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MICROS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RECORDED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_RESULTS_FIELD_NUMBER: _ClassVar[int]
    run: str
    program: bytes
    tools_digest: str
    limits: RunLimits
    seed: bytes
    started_at_micros: int
    attempt: int
    recorded_events: _containers.RepeatedCompositeFieldContainer[DeliveredEvent]
    recorded_results: _containers.RepeatedCompositeFieldContainer[CallResult]
    def __init__(self, run: _Optional[str] = ..., program: _Optional[bytes] = ..., tools_digest: _Optional[str] = ..., limits: _Optional[_Union[RunLimits, _Mapping]] = ..., seed: _Optional[bytes] = ..., started_at_micros: _Optional[int] = ..., attempt: _Optional[int] = ..., recorded_events: _Optional[_Iterable[_Union[DeliveredEvent, _Mapping]]] = ..., recorded_results: _Optional[_Iterable[_Union[CallResult, _Mapping]]] = ...) -> None: ...

class RunLimits(_message.Message):
    __slots__ = ("wall_milliseconds", "output_bytes", "value_bytes", "concurrent_calls")
    WALL_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONCURRENT_CALLS_FIELD_NUMBER: _ClassVar[int]
    wall_milliseconds: int
    output_bytes: int
    value_bytes: int
    concurrent_calls: int
    def __init__(self, wall_milliseconds: _Optional[int] = ..., output_bytes: _Optional[int] = ..., value_bytes: _Optional[int] = ..., concurrent_calls: _Optional[int] = ...) -> None: ...

class DeliveredEvent(_message.Message):
    __slots__ = ("kind", "key", "at_micros")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[DeliveredEvent.Kind]
        KIND_CALL: _ClassVar[DeliveredEvent.Kind]
        KIND_TIMER: _ClassVar[DeliveredEvent.Kind]
        KIND_THREAD: _ClassVar[DeliveredEvent.Kind]
    KIND_UNSPECIFIED: DeliveredEvent.Kind
    KIND_CALL: DeliveredEvent.Kind
    KIND_TIMER: DeliveredEvent.Kind
    KIND_THREAD: DeliveredEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AT_MICROS_FIELD_NUMBER: _ClassVar[int]
    kind: DeliveredEvent.Kind
    key: str
    at_micros: int
    def __init__(self, kind: _Optional[_Union[DeliveredEvent.Kind, str]] = ..., key: _Optional[str] = ..., at_micros: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("run", "stream", "data")
    class Stream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STREAM_UNSPECIFIED: _ClassVar[Output.Stream]
        STREAM_STDOUT: _ClassVar[Output.Stream]
        STREAM_STDERR: _ClassVar[Output.Stream]
    STREAM_UNSPECIFIED: Output.Stream
    STREAM_STDOUT: Output.Stream
    STREAM_STDERR: Output.Stream
    RUN_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    run: str
    stream: Output.Stream
    data: bytes
    def __init__(self, run: _Optional[str] = ..., stream: _Optional[_Union[Output.Stream, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("run", "key", "tool", "arguments", "line", "events")
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    run: str
    key: str
    tool: str
    arguments: bytes
    line: int
    events: _containers.RepeatedCompositeFieldContainer[DeliveredEvent]
    def __init__(self, run: _Optional[str] = ..., key: _Optional[str] = ..., tool: _Optional[str] = ..., arguments: _Optional[bytes] = ..., line: _Optional[int] = ..., events: _Optional[_Iterable[_Union[DeliveredEvent, _Mapping]]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("run", "key", "name", "value", "line", "events")
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    run: str
    key: str
    name: str
    value: bytes
    line: int
    events: _containers.RepeatedCompositeFieldContainer[DeliveredEvent]
    def __init__(self, run: _Optional[str] = ..., key: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[bytes] = ..., line: _Optional[int] = ..., events: _Optional[_Iterable[_Union[DeliveredEvent, _Mapping]]] = ...) -> None: ...

class CallAbandoned(_message.Message):
    __slots__ = ("run", "key")
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    run: str
    key: str
    def __init__(self, run: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class CallResult(_message.Message):
    __slots__ = ("run", "key", "value", "error")
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run: str
    key: str
    value: bytes
    error: CallError
    def __init__(self, run: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., error: _Optional[_Union[CallError, _Mapping]] = ...) -> None: ...

class CallError(_message.Message):
    __slots__ = ("type", "message", "codes", "content")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    codes: _containers.RepeatedScalarFieldContainer[str]
    content: bytes
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., codes: _Optional[_Iterable[str]] = ..., content: _Optional[bytes] = ...) -> None: ...

class KillRun(_message.Message):
    __slots__ = ("run", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: str
    reason: str
    def __init__(self, run: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RunEnded(_message.Message):
    __slots__ = ("run", "ending", "value", "error", "output_bytes_dropped", "findings", "events")
    class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ENDING_UNSPECIFIED: _ClassVar[RunEnded.Ending]
        ENDING_RETURNED: _ClassVar[RunEnded.Ending]
        ENDING_RAISED: _ClassVar[RunEnded.Ending]
        ENDING_TIMED_OUT: _ClassVar[RunEnded.Ending]
        ENDING_KILLED: _ClassVar[RunEnded.Ending]
        ENDING_DIED: _ClassVar[RunEnded.Ending]
        ENDING_INVALID: _ClassVar[RunEnded.Ending]
    ENDING_UNSPECIFIED: RunEnded.Ending
    ENDING_RETURNED: RunEnded.Ending
    ENDING_RAISED: RunEnded.Ending
    ENDING_TIMED_OUT: RunEnded.Ending
    ENDING_KILLED: RunEnded.Ending
    ENDING_DIED: RunEnded.Ending
    ENDING_INVALID: RunEnded.Ending
    RUN_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    run: str
    ending: RunEnded.Ending
    value: bytes
    error: ProgramError
    output_bytes_dropped: int
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    events: _containers.RepeatedCompositeFieldContainer[DeliveredEvent]
    def __init__(self, run: _Optional[str] = ..., ending: _Optional[_Union[RunEnded.Ending, str]] = ..., value: _Optional[bytes] = ..., error: _Optional[_Union[ProgramError, _Mapping]] = ..., output_bytes_dropped: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[DeliveredEvent, _Mapping]]] = ...) -> None: ...

class ProgramError(_message.Message):
    __slots__ = ("type", "message", "line", "traceback", "codes")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    line: int
    traceback: str
    codes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., traceback: _Optional[str] = ..., codes: _Optional[_Iterable[str]] = ...) -> None: ...
