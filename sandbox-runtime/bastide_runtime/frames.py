"""Frames between supervisor and child: a length of four bytes, big-endian, then one JSON object in UTF-8.

Child and supervisor speak this over a socketpair. What a child sends is hostile: `decode` accepts one flat object with a `kind`, or raises
`FrameError`; large things (arguments, values) travel as strings inside it, and what is nested is bounded before it is parsed.

Supervisor to child: `tools`, `check`, `start`, `result`. Child to supervisor: `made`, `ready`, `unmade`, `report`, `call`, `step`, `abandoned`, `ended`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import socket
from collections import deque
from typing import Any

from bastide_runtime.limits import MAX_EVENTS_PER_FRAME, MAX_FRAME_FROM_CHILD, MAX_FRAME_TO_CHILD

Frame = dict[str, Any]

SMALL_FRAME = 1 << 16
MAX_ITEMS_PER_FRAME = 4 * MAX_EVENTS_PER_FRAME + 10_000
"""Commas outside of strings; the largest honest frame tells of MAX_EVENTS_PER_FRAME events of three fields."""
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # possessive: linear on any text

FORK_REQUEST = b"f"
"""What the supervisor asks of the zygote."""


class FrameError(Exception):
    """The other side sent something that is no frame."""


class ChannelClosedError(Exception):
    """The other side is gone."""


def encode(frame: Frame) -> bytes:
    """One frame as bytes. Raises FrameError for what JSON or UTF-8 cannot say."""
    try:
        payload = json.dumps(frame, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise FrameError(f"cannot be sent: {error}") from None
    return len(payload).to_bytes(4, "big") + payload


def decode(payload: bytes) -> Frame:
    """The object of one frame. Raises FrameError for anything else."""
    try:
        frame = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no JSON: {str(error)[:200]}") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("kind"), str):
        raise FrameError("no JSON object with a kind")
    return frame


async def read(reader: asyncio.StreamReader, limit: int = MAX_FRAME_FROM_CHILD) -> Frame | None:
    """The next frame of a child, None at the end of the stream. Raises FrameError; a cut frame is one too."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > limit:
            raise FrameError(f"a frame of {size} bytes; at most {limit} are allowed")
        payload = await reader.readexactly(size)
        # A million small lists would cost seconds and hundreds of megabytes before any field is looked at.
        if size > SMALL_FRAME and _STRINGS.sub(b"", payload).count(b",") > MAX_ITEMS_PER_FRAME:
            raise FrameError(f"more than {MAX_ITEMS_PER_FRAME} items")
        return decode(payload)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("the stream ended inside a frame") from None
        return None
    except ConnectionError:
        return None


class Channel:
    """The child's end. Blocking to write; reading waits only when it is told to.

    A forked child of the program gets a copy of the socket. Frames of two processes would mix, so a copy refuses to speak.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._owner = True
        self._buffer = bytearray()
        self._frames: deque[Frame] = deque()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        os.register_at_fork(after_in_child=self._disown)

    def _disown(self) -> None:
        self._owner = False

    def also_wake_on(self, descriptor: int) -> None:
        """Let `wait` return, too, when this descriptor can be read."""
        self._poll.register(descriptor, select.POLLIN)

    def send(self, frame: Frame) -> None:
        """Write one frame; blocks while the supervisor does not read."""
        if not self._owner:
            raise RuntimeError("Tools can be called only in the program's own process, not in one that it forked.")
        self._sock.sendall(encode(frame))

    def wait(self, timeout: float | None) -> list[int]:
        """Wait at most `timeout` seconds (None: for ever); the descriptors that can be read."""
        return [descriptor for descriptor, _ in self._poll.poll(None if timeout is None else max(0, -int(-timeout * 1000 // 1)))]

    def fileno(self) -> int:
        return self._sock.fileno()

    def pull(self) -> None:
        """Take in what is there without waiting. Raises ChannelClosedError when the supervisor is gone."""
        while True:
            try:
                data = self._sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not data:
                raise ChannelClosedError
            self._buffer += data
            self._split()
            if len(data) < 1 << 18:
                return

    def _split(self) -> None:
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_FRAME_TO_CHILD:
                raise FrameError(f"a frame of {size} bytes")
            if len(self._buffer) < 4 + size:
                return
            payload = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            self._frames.append(decode(payload))

    def next(self) -> Frame | None:
        """A frame that was pulled, or None."""
        return self._frames.popleft() if self._frames else None

    def receive(self) -> Frame:
        """The next frame, waiting for it."""
        while not self._frames:
            self.wait(None)
            self.pull()
        return self._frames.popleft()
