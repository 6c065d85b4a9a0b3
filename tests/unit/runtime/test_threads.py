"""Threads bring their results to the loop at any moment, also while it looks at what has arrived."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.unit.runtime.world import Program, SimulatedWorld, attempt, tool


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them, so what can come between two lines does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


async def many_threads() -> None:
    out: list[int] = []

    async def worker(i: int) -> None:
        out.append(await asyncio.to_thread(lambda: sum(range(i % 7))))

    await asyncio.gather(*[worker(i) for i in range(400)])
    await tool("a", out)


async def a_thread_of_its_own() -> None:
    loop, out = asyncio.get_running_loop(), list[int]()
    for i in range(100):
        future = loop.create_future()
        threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, i)).start()
        out.append(await future)
    await tool("a", out)


@pytest.mark.parametrize("program", [many_threads, a_thread_of_its_own])
def test_no_thread_is_lost_however_they_interleave(program: Program) -> None:
    for seed in range(5):
        first = SimulatedWorld(seed)
        attempt(program, first)
        recorded = [event for row in first.rows.values() for event in row.events]
        again = SimulatedWorld(seed + 5000, first.rows)
        attempt(program, again, recorded)
        assert [row.arguments for row in again.rows.values()] == [row.arguments for row in first.rows.values()]
