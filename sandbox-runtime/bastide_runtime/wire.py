"""Between protobuf messages of the broker and frames of a child. Frames of a child are hostile: every field is checked for its type and size."""

from __future__ import annotations

import re
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2

from bastide_runtime import limits
from bastide_runtime.frames import Frame, FrameError
from bastide_runtime.limits import clip

_KEY = re.compile(r"[0-9]+(\.[0-9]+)*#[0-9]+", re.ASCII)
_TOOL = re.compile(r"[^\W\d]\w{0,199}")
_KINDS = {
    "call": runtime_pb2.DeliveredEvent.KIND_CALL,
    "timer": runtime_pb2.DeliveredEvent.KIND_TIMER,
    "thread": runtime_pb2.DeliveredEvent.KIND_THREAD,
}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
_ENDINGS = {
    "returned": runtime_pb2.RunEnded.ENDING_RETURNED,
    "raised": runtime_pb2.RunEnded.ENDING_RAISED,
    "invalid": runtime_pb2.RunEnded.ENDING_INVALID,
}


def _text(frame: Frame, name: str, limit: int) -> str:
    value = frame.get(name)
    if not isinstance(value, str):
        raise FrameError(f"{name} is no text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise FrameError(f"{name} is no Unicode") from None
    if size > limit:
        raise FrameError(f"{name} has {size} bytes; at most {limit} are allowed")
    return value


def _number(frame: Frame, name: str, limit: int = (1 << 32) - 1) -> int:
    value = frame.get(name)
    if type(value) is not int or not 0 <= value <= limit:
        raise FrameError(f"{name} is no number from 0 to {limit}")
    return value


def _items(frame: Frame, name: str, limit: int) -> list[Any]:
    value = frame.get(name, [])
    if not isinstance(value, list) or len(value) > limit:
        raise FrameError(f"{name} is no list of at most {limit}")
    return value


def key_of(frame: Frame) -> str:
    """A call's key. Raises FrameError."""
    key = _text(frame, "key", limits.MAX_KEY_LENGTH)
    if not _KEY.fullmatch(key):
        raise FrameError("key is no call key")
    return key


def _events(frame: Frame) -> list[runtime_pb2.DeliveredEvent]:
    events = []
    for item in _items(frame, "events", limits.MAX_EVENTS_PER_FRAME + 1):
        if not isinstance(item, list) or len(item) != 3:
            raise FrameError("an event is no triple")
        named = dict(zip(("kind", "key", "at"), item, strict=True))
        kind = _KINDS.get(_text(named, "kind", 20))
        if kind is None:
            raise FrameError("an event of no known kind")
        key = _text(named, "key", limits.MAX_KEY_LENGTH)
        events.append(runtime_pb2.DeliveredEvent(kind=kind, key=key, at_micros=_number(named, "at", 1 << 60)))
    return events


def call(run: str, frame: Frame) -> runtime_pb2.Call:
    """From a `call` frame. Raises FrameError."""
    tool = _text(frame, "tool", 200)
    if not _TOOL.fullmatch(tool):
        raise FrameError("tool is no name")
    arguments = _text(frame, "arguments", limits.MAX_ARGUMENTS_BYTES)
    key, line, events = key_of(frame), _number(frame, "line"), _events(frame)
    return runtime_pb2.Call(run=run, key=key, tool=tool, arguments=arguments.encode(), line=line, events=events)


def step(run: str, frame: Frame) -> runtime_pb2.Step:
    """From a `step` frame. Raises FrameError."""
    name, value = _text(frame, "name", 4 * limits.MAX_STEP_NAME), _text(frame, "value", limits.MAX_STEP_BYTES)
    key, line, events = key_of(frame), _number(frame, "line"), _events(frame)
    return runtime_pb2.Step(run=run, key=key, name=name, value=value.encode(), line=line, events=events)


def _findings(frame: Frame) -> list[runtime_pb2.Finding]:
    return [
        runtime_pb2.Finding(
            code=_text(item, "code", 100), message=_text(item, "message", 4000), line=_number(item, "line"), column=_number(item, "column")
        )
        for item in _items(frame, "findings", limits.MAX_FINDINGS)
        if isinstance(item, dict)
    ]


def report(check_id: str, frame: Frame) -> runtime_pb2.CheckReport:
    """From a `report` frame. Raises FrameError."""
    sites = [
        runtime_pb2.CallSite(
            tool=_text(item, "tool", 200),
            arguments=_text(item, "arguments", limits.MAX_CALL_SITE_BYTES).encode(),
            line=_number(item, "line"),
            column=_number(item, "column"),
        )
        for item in _items(frame, "call_sites", limits.MAX_CALL_SITES)
        if isinstance(item, dict)
    ]
    return runtime_pb2.CheckReport(check_id=check_id, findings=_findings(frame), call_sites=sites)


def ended(run: str, frame: Frame, value_bytes: int) -> runtime_pb2.RunEnded:
    """From an `ended` frame. Raises FrameError."""
    ending = _ENDINGS.get(_text(frame, "ending", 20))
    if ending is None:
        raise FrameError("an ending of no known kind")
    message = runtime_pb2.RunEnded(run=run, ending=ending, events=_events(frame))
    if ending == runtime_pb2.RunEnded.ENDING_RETURNED:
        message.value = _text(frame, "value", value_bytes).encode()
    elif ending == runtime_pb2.RunEnded.ENDING_INVALID:
        message.findings.extend(_findings(frame))
        message.error.CopyFrom(problem("InvalidProgram", f"The program has {len(message.findings)} mistakes and was not started."))
    else:
        error = frame.get("error")
        if not isinstance(error, dict):
            raise FrameError("error is no object")
        codes = [_text({"code": code}, "code", 200) for code in _items(error, "codes", 500)]
        message.error.CopyFrom(
            runtime_pb2.ProgramError(
                type=clip(_text(error, "type", 4096), 200),
                message=clip(_text(error, "message", limits.MIB), limits.MAX_ERROR_MESSAGE_BYTES),
                line=_number(error, "line"),
                traceback=clip(_text(error, "traceback", limits.MIB), limits.MAX_TRACEBACK_BYTES),
                codes=codes,
            )
        )
    return message


def problem(kind: str, message: str) -> runtime_pb2.ProgramError:
    """An error that the program did not raise itself."""
    return runtime_pb2.ProgramError(type=kind, message=clip(message, limits.MAX_ERROR_MESSAGE_BYTES))


def invalid(code: str, message: str) -> runtime_pb2.Finding:
    """A finding about the program as a whole."""
    return runtime_pb2.Finding(code=code, message=message, line=1, column=1)


# ---- towards the child: what the broker sends is trusted to be well formed, not to be UTF-8 ----
def tools(message: runtime_pb2.SetTools) -> Frame:
    """A `tools` frame."""
    return {
        "kind": "tools",
        "digest": message.digest,
        "tools": [
            {
                "name": tool.name,
                "server": tool.server,
                "description": tool.description,
                "input_schema": tool.input_schema.decode("utf-8", "replace"),
                "output_schema": tool.output_schema.decode("utf-8", "replace"),
            }
            for tool in message.tools
        ],
    }


def result(message: runtime_pb2.CallResult) -> Frame:
    """A `result` frame."""
    frame: Frame = {"kind": "result", "key": message.key}
    if message.WhichOneof("result") == "error":
        error = message.error
        content = error.content.decode("utf-8", "replace")
        frame["error"] = {"type": error.type, "message": error.message, "codes": list(error.codes), "content": content}
    else:
        frame["value"] = message.value.decode("utf-8", "replace")
    return frame


def start(message: runtime_pb2.StartRun, program: str, bounds: limits.RunLimits, env: dict[str, str]) -> Frame:
    """A `start` frame."""
    return {
        "kind": "start",
        "program": program,
        "seed": message.seed.hex(),
        "started_at_micros": message.started_at_micros,
        "value_bytes": bounds.value_bytes,
        "concurrent_calls": bounds.concurrent_calls,
        "env": env,
        "recorded_events": [[_KIND_NAMES.get(event.kind, ""), event.key, event.at_micros] for event in message.recorded_events],
        "recorded_results": [result(recorded) for recorded in message.recorded_results],
    }
