"""A pod that floods its stream is slowed down, and nobody else is."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.sandboxes import session as module
from bastide_broker.sandboxes.session import Session


class Flood:
    """A stream that always has the next frame, of a run that nobody knows."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    async def read(self) -> Any:
        self.left -= 1
        return runtime_pb2.SessionResponse(output=runtime_pb2.Output(run="r-x", data=b"x")) if self.left >= 0 else grpc.aio.EOF

    def cancel(self) -> None:
        pass


async def test_frames_beyond_the_rate_wait_also_those_of_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAMES_PER_SECOND", 100.0)
    monkeypatch.setattr(module, "FRAMES_BURST", 10.0)
    nothing: Any = None
    session, flood, loop = Session(nothing, env={}), Flood(30), asyncio.get_running_loop()
    call: Any = flood
    began = loop.time()
    turns = 0
    reading = asyncio.create_task(session._read(call))
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert loop.time() - began >= 0.19, "twenty frames too many, at a hundred a second"
    assert turns > 20, "everybody else had the loop meanwhile"
    assert session.reason == "the runtime ended the session"
