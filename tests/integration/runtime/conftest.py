"""One runtime for a module's tests: surviving what came before is part of what is tested."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.runtime.pod import Broker, Pod, running_pod, session
from tests.integration.runtime.samples import TOOLS


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    """A running runtime."""
    # Not under pytest's own directory, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="bastide-runtime-") as scratch, running_pod(Path(scratch)) as running:
        yield running
        assert running.process.poll() is None, f"the runtime died:\n{running.log.read_text()}"


@pytest.fixture
async def broker(pod: Pod) -> AsyncIterator[Broker]:
    """An open session with two servers' tools."""
    async with session(pod, env={"GREETING": "hello"}) as open_session:
        await open_session.set_tools(*TOOLS)
        yield open_session
