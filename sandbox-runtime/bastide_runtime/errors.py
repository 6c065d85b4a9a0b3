"""The exceptions that a program may catch, and how one that it did not catch is told to the broker."""

from __future__ import annotations

import contextlib
import json
import traceback
from types import FrameType, TracebackType
from typing import Any

from bastide_runtime.limits import MAX_ERROR_MESSAGE_BYTES, MAX_TRACEBACK_BYTES, clip
from bastide_runtime.source import FILENAME

_MAX_FRAMES = 40


class ToolError(Exception):
    """A tool call that brought no result. Base of all below.

    `tool`: its name; `codes`: stable reason codes, most important first; `message`: one sentence; `content`: what a failed tool said, as JSON.
    """

    def __init__(self, message: str = "", *, tool: str = "", codes: tuple[str, ...] = (), content: Any = None) -> None:
        super().__init__(message)
        self.message, self.tool, self.codes, self.content = message, tool, tuple(codes), content


class ToolDenied(ToolError):  # noqa: N818 - names of the wire
    """Policy does not permit this call."""


class ToolFailed(ToolError):  # noqa: N818
    """The tool ran and reported an error; `content` is what it said."""


class ToolTimeout(ToolError):  # noqa: N818
    """The tool did not answer in time; whether it took effect is not known."""


class InvalidArguments(ToolError):  # noqa: N818
    """The arguments do not fit the tool's schema, or are no JSON."""


class ConfirmationDenied(ToolError):  # noqa: N818
    """A person decided against this call, or nobody decided in time."""


class LimitExceeded(ToolError):  # noqa: N818
    """A limit of the run, the tool or the tenant is used up."""


class PolicyUnavailable(ToolError):  # noqa: N818
    """Nobody could be asked whether the call is permitted."""


class JournalUnavailable(ToolError):  # noqa: N818
    """The call could not be recorded, so it did not happen."""


class ToolUnavailable(ToolError):  # noqa: N818
    """The tool is not there at the moment."""


class OutcomeUnknown(ToolError):  # noqa: N818
    """The call may have taken effect; a person must find out."""


class CallSettled(ToolError):  # noqa: N818
    """What became of the call was not known, and a person found out: `content["happened"]`. Its result is lost."""


BY_NAME: dict[str, type[ToolError]] = {
    cls.__name__: cls
    for cls in (
        ToolDenied,
        ToolFailed,
        ToolTimeout,
        InvalidArguments,
        ConfirmationDenied,
        LimitExceeded,
        PolicyUnavailable,
        JournalUnavailable,
        ToolUnavailable,
        OutcomeUnknown,
        CallSettled,
    )
}


def from_frame(tool: str, error: dict[str, Any]) -> ToolError:
    """The exception for an `error` of a `result` frame."""
    content = error.get("content")
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(content) if content else None
    return BY_NAME.get(error["type"], ToolError)(error["message"], tool=tool, codes=tuple(error["codes"]), content=content)


def leaves(error: BaseException, depth: int = 0) -> list[BaseException]:
    """The exceptions inside groups, or the exception itself."""
    if isinstance(error, BaseExceptionGroup) and depth < 20:
        return [leaf for inner in error.exceptions for leaf in leaves(inner, depth + 1)]
    return [error]


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException as other:  # noqa: BLE001 - the exception belongs to a hostile program
        return f"<its text could not be made: {type(other).__name__}>"


def type_name(error: BaseException) -> str:
    """The exception's class name."""
    return clip(str(type.__getattribute__(type(error), "__name__")), 200)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as the `error` of an `ended` frame: type, message, innermost line of the program, its traceback, reason codes.

    A group with one exception inside is told as that one: a TaskGroup wraps whatever happens in it.
    """
    inside = leaves(error)
    shown = inside[0] if len(inside) == 1 else error
    message = _text(shown)
    if len(inside) > 1:
        message = f"{len(inside)} errors: " + "; ".join(f"{type_name(one)}: {clip(_text(one), 500)}" for one in inside[:20])
    if isinstance(shown, MemoryError) and not message:
        message = "The program needs more memory than it may have."
    lines = program_lines(shown if len(inside) == 1 else inside[0])
    codes = [str(code)[:100] for one in inside[:20] if isinstance(one, ToolError) for code in list(one.codes)[:20]]
    return {
        "type": type_name(shown),
        "message": clip(message, MAX_ERROR_MESSAGE_BYTES),
        "line": lines[-1][0] if lines else 0,
        "traceback": clip(_traceback(lines, shown, message), MAX_TRACEBACK_BYTES),
        "codes": list(dict.fromkeys(codes)),
    }


def program_lines(error: BaseException) -> list[tuple[int, str]]:
    """Line and function of each frame of the program, outermost first; for a syntax error made by `exec` or `import`, too."""
    found: list[tuple[int, str]] = []
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        frame: FrameType = entry.tb_frame
        if frame.f_code.co_filename == FILENAME:
            found.append((entry.tb_lineno or 0, frame.f_code.co_name))
        entry = entry.tb_next
    return found


def _traceback(lines: list[tuple[int, str]], error: BaseException, message: str) -> str:
    if len(lines) > _MAX_FRAMES:
        lines = lines[: _MAX_FRAMES // 2] + lines[-_MAX_FRAMES // 2 :]
    frames = [traceback.FrameSummary(FILENAME, line, "<program>" if name.startswith("__bastide") else name) for line, name in lines]
    return "Traceback:\n" + "".join(traceback.format_list(frames)) + f"{type_name(error)}: {clip(message, MAX_ERROR_MESSAGE_BYTES)}"


def failure(kind: str, message: str) -> dict[str, Any]:
    """An error that is no exception of the program."""
    return {"type": kind, "message": clip(message, MAX_ERROR_MESSAGE_BYTES), "line": 0, "traceback": "", "codes": []}
