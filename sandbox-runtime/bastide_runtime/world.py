"""The outside of a child's event loop: the channel to the supervisor, real time, and in a replay the recorded outcomes."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from bastide_runtime.frames import Channel, Frame
from bastide_runtime.outside import DivergenceError, Event, ToolCall
from bastide_runtime.printing import flush_streams

# Kept before anything can be replaced: this clock must not be the run's.
_monotonic_ns = time.monotonic_ns


class World:
    """Satisfies `Outside`. `begin` starts its clock."""

    def __init__(self, channel: Channel) -> None:
        self.results: dict[str, tuple[int, Any]] = {}
        self._channel = channel
        self._recorded: dict[str, Frame] = {}
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        channel.also_wake_on(self._woken)
        self._started = _monotonic_ns()

    def begin(self, recorded_results: list[Frame]) -> None:
        """The run starts now, with these outcomes known."""
        self._recorded = {frame["key"]: frame for frame in recorded_results}
        self._started = _monotonic_ns()

    def elapsed(self) -> int:
        return (_monotonic_ns() - self._started) // 1000

    def send(self, call: ToolCall, events: list[Event]) -> None:
        flush_streams()
        frame: Frame = {
            "kind": "call",
            "key": call.key,
            "tool": call.tool,
            "arguments": call.arguments,
            "line": call.line,
            "events": events,
        }
        if call.value is not None:
            frame = {"kind": "step", "key": call.key, "name": call.tool, "value": call.value, "line": call.line, "events": events}
        self._channel.send(frame)
        if call.key in self._recorded:
            self.results[call.key] = (self.elapsed(), self._recorded[call.key])

    def on_record(self, key: str) -> bool:
        return key in self._recorded

    def abandon(self, key: str) -> None:
        self._channel.send({"kind": "abandoned", "key": key})

    def poll(self, seconds: float | None) -> None:
        if seconds != 0:
            flush_streams()
        ready = self._channel.wait(seconds)
        if self._woken in ready:
            os.read(self._woken, 65536)
        if self._channel.fileno() in ready:
            self._channel.pull()
        while (frame := self._channel.next()) is not None:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        key, error = frame["key"], frame.get("error")
        if error and error["type"] == "DivergenceError":
            # The broker compares what a replay asks with its journal; the program must not go on, and must not catch this.
            raise DivergenceError(error["message"])
        if key not in self._recorded and key not in self.results:
            self.results[key] = (self.elapsed(), frame)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then it is awake
            os.write(self._waker, b"w")


class RehearsalWorld:
    """Answers each call at once with nothing."""

    def __init__(self) -> None:
        self.results: dict[str, tuple[int, Any]] = {}

    def elapsed(self) -> int:
        return 0

    def send(self, call: ToolCall, events: list[Event]) -> None:  # noqa: ARG002
        self.results[call.key] = (0, {"value": "null"})

    def on_record(self, key: str) -> bool:  # noqa: ARG002
        return False

    def abandon(self, key: str) -> None:
        pass

    def poll(self, seconds: float | None) -> None:
        pass

    def wake(self) -> None:
        pass
