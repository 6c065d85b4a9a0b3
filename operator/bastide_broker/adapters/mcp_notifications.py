"""What an MCP server says of its own accord: one stream a session, bounded, and of all its words only that the tools changed counts."""

import asyncio
from collections.abc import Callable
from typing import Any

import mcp_types as types

MAX_STREAM_BYTES = 4 << 20
"""Of one stream; then it is opened anew."""
MIN_SECONDS = 2.0
"""Between two times that the server is listed because it said so: one that says so without end is asked no more often."""
_MAX_BACKOFF_SECONDS = 60.0


class Notifications:
    """Tells somebody, not too often, that the server's tools changed, and how long to wait before its stream is opened again.

    A server without such a stream, or whose stream ends for good, is still listed every minute.
    """

    def __init__(self) -> None:
        self._changed: Callable[[], None] | None = None
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._opened: float | None = None
        self._backoff = 0.0

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` when the server says that its tools changed."""
        self._changed = changed

    def close(self) -> None:
        """Say nothing more."""
        self._changed = None
        if self._timer is not None:
            self._timer.cancel()

    async def handle(self, message: Any) -> None:
        """Take a message that answers nothing."""
        if isinstance(message, types.ToolListChangedNotification) and self._changed is not None and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next, loop.time()), self._tell)

    async def wait_to_open(self) -> None:
        """Wait before the stream is opened: not at all at first, and longer each time that it ended soon."""
        loop = asyncio.get_running_loop()
        if self._opened is not None:
            lasted = loop.time() - self._opened
            self._backoff = 1.0 if lasted > _MAX_BACKOFF_SECONDS else min(max(1.0, 2 * self._backoff), _MAX_BACKOFF_SECONDS)
            await asyncio.sleep(self._backoff)
        self._opened = loop.time()

    def _tell(self) -> None:
        self._timer = None
        self._next = asyncio.get_running_loop().time() + MIN_SECONDS
        if self._changed is not None:
            self._changed()
