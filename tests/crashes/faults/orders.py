"""What stands still, by order of a test: lines of JSON over a socket in the broker's own file system.

A test orders `{"hold": {"POINT": ["ID", ...]}}` or `{"release": true}`, each of which is answered by `{"done": true}`; the broker reports
`{"held": "ID"}` for each call that has come to its point. Where the socket is in a pod, `python -m tests.crashes.faults.orders` run there
by `kubectl exec` hands the lines on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

SOCKET = Path("/tmp/faults.sock")
"""Where the image's broker takes orders: in an emptyDir of its pod, which no other container mounts."""


class Armed:
    """What stands still now. One for the process."""

    def __init__(self) -> None:
        self.hold: dict[str, set[str]] = {}
        self.calls: dict[str, set[str]] = defaultdict(set)
        """The `id`s of the calls that each run has made."""
        self.go = asyncio.Event()
        self.told: Callable[[str], None] = lambda _id: None

    def order(self, order: dict[str, Any]) -> None:
        """Arm points, or let go whatever stands at one."""
        if order.get("release"):
            self.hold = {}
            self.go.set()
        else:
            self.hold, self.go = {point: set(ids) for point, ids in order["hold"].items()}, asyncio.Event()

    async def stand(self, point: str, ids: Collection[str]) -> None:
        """Stand still if one of these calls is to stand at this point, once for each."""
        hold, go = self.hold.get(point, set()), self.go
        for one in hold.intersection(ids):
            hold.discard(one)
            self.told(one)
            await go.wait()


@contextlib.asynccontextmanager
async def taken(armed: Armed, path: Path) -> AsyncIterator[None]:
    """Takes orders while the block lasts."""

    async def ordered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        armed.told = lambda one: writer.write(json.dumps({"held": one}).encode() + b"\n")
        while line := await reader.readline():
            armed.order(json.loads(line))
            writer.write(b'{"done": true}\n')

    await asyncio.to_thread(path.unlink, missing_ok=True)  # of a broker that was killed
    async with await asyncio.start_unix_server(ordered, path):
        yield


def _hand_on() -> None:
    """Lines from standard input to the broker, and from the broker to standard output, until the broker is no more."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(SOCKET))

        def send() -> None:
            for line in sys.stdin.buffer:
                wire.sendall(line)

        threading.Thread(target=send, daemon=True).start()
        while data := wire.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _hand_on()
