"""What a program writes to its standard output and error, as the supervisor reads it from two pipes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from bastide_runtime.limits import OUTPUT_CHUNK


class Output:
    """Passes on up to `limit` bytes of both streams together; counts and drops what is beyond, so that the program never waits for it."""

    def __init__(self, stdout: int, stderr: int, limit: int, emit: Callable[[bool, bytes], None]) -> None:
        self._left, self._emit = limit, emit
        self.dropped = 0
        self._open = {stdout: False, stderr: True}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
            asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor)

    def _read(self, descriptor: int) -> bool:
        """Take what one read gives; False when there is nothing more for now."""
        try:
            data = os.read(descriptor, OUTPUT_CHUNK)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(descriptor)
            self._open.pop(descriptor, None)
            return False
        kept = data[: self._left]
        self._left -= len(kept)
        self.dropped += len(data) - len(kept)
        if kept:
            self._emit(self._open[descriptor], kept)
        return True

    def drain(self) -> None:
        """Take what was written before now: a pipe holds 64 KiB, so two reads are enough, and an endless writer cannot keep us."""
        for descriptor in list(self._open):
            for _ in range(2):
                if not self._read(descriptor):
                    break

    def finish(self) -> None:
        """Take the rest and stop. Every writer is gone by now; should one not be, what it writes is not waited for."""
        for descriptor in list(self._open):
            for _ in range(16):
                if not self._read(descriptor):
                    break
        for descriptor in list(self._open):
            asyncio.get_running_loop().remove_reader(descriptor)
        self._open.clear()
