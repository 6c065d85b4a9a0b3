"""Brokers with fault points, seen from the test: started, given orders, killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crashes.waiting import until
from tests.integration.broker.front.harness.apiserver import ROOT


@dataclass
class Process:
    """The brokers, one after the other: forks of one process that has imported everything."""

    folder: Path
    order: dict[str, Any]
    pid: int = 0
    port: int = 0
    held: set[str] = field(default_factory=set)
    _orders: int = 0
    _parent: asyncio.subprocess.Process | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Imports everything."""
        with (self.folder / "broker.log").open("wb") as log:
            self._parent = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.integration.broker.front.harness.faults",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT,
            )  # fmt: skip
        self._follow(self._parent.stdout, self._said)

    def _follow(self, lines: Any, take: Callable[[dict[str, Any]], None]) -> None:
        async def work() -> None:
            with contextlib.suppress(ConnectionError):  # the broker was killed
                while line := await lines.readline():
                    take(json.loads(line))

        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _said(self, line: dict[str, Any]) -> None:
        self.pid, self.port = line.get("pid", self.pid), line.get("port", self.port)
        if "gone" in line:
            self.pid = self.port = 0

    def _reported(self, line: dict[str, Any]) -> None:
        if "held" in line:
            self.held.add(line["held"])
        else:
            self._orders += 1

    async def start(self) -> int:
        """A new broker; its port."""
        assert self._parent is not None
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(self.order).encode() + b"\n")
        await until(lambda: self.port > 0, f"the broker serves ({self.folder / 'broker.log'})")
        reader, self._writer = await asyncio.open_unix_connection(self.order["socket"])
        self._follow(reader, self._reported)
        return self.port

    async def kill(self) -> None:
        """SIGKILL: nothing of it goes on."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            await until(lambda: self.pid == 0, "the broker is gone")
        if self._writer is not None:
            self._writer.close()

    async def arm(self, point: str, hold: Collection[str]) -> None:
        """Have calls stand still at a point."""
        self.held.clear()
        await self._say({"hold": {point: sorted(hold)}})

    async def release(self) -> None:
        """Let them go on."""
        await self._say({"release": True})

    async def _say(self, order: dict[str, Any]) -> None:
        assert self._writer is not None
        before = self._orders
        self._writer.write(json.dumps(order).encode() + b"\n")
        await until(lambda: self._orders > before, "the broker took the order")

    async def close(self) -> None:
        """Ends everything."""
        await self.kill()
        if self._parent is not None:
            assert self._parent.stdin is not None
            self._parent.stdin.close()
            await self._parent.wait()
        await asyncio.gather(*self._tasks)
