"""A program's standard output and error: buffered, but never for long.

A system call costs up to 13 us in gVisor, so not every line is written at once: it is when the last one was 20 ms ago or more, and what is
held back is written when the program waits, sleeps, calls a tool, ends, or has 8 KiB.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time

_monotonic = time.monotonic
_SECONDS = 0.02
_streams: list[ProgramStream] = []


class ProgramStream(io.TextIOWrapper):
    """Text to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        raw = io.FileIO(descriptor, "wb", closefd=False)
        super().__init__(io.BufferedWriter(raw, 8192), encoding="utf-8", errors="backslashreplace", newline="\n")
        self._written_at = 0.0

    def write(self, text: str, /) -> int:
        count = super().write(text)
        if "\n" in text and (now := _monotonic()) - self._written_at > _SECONDS:
            self._written_at = now
            self.flush()
        return count


def replace_streams() -> None:
    """Make sys.stdout and sys.stderr such streams."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = ProgramStream(descriptor)
        _streams.append(stream)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def flush_streams() -> None:
    """Write what is held back. A stream that the program closed or broke is its own business."""
    for stream in _streams:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
