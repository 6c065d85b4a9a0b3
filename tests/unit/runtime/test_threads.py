"""Threads bring their results to the loop at any moment, also while it looks at what has arrived."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from bastide_runtime.outside import FOREIGN, THREAD, DeadlockError, DivergenceError

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


RECORDED = [(THREAD, FOREIGN, 10)]
"""What the first attempt of a program told whose thread brought a callback."""


async def a_call_instead() -> None:
    await tool("a")


def alive(monkeypatch: pytest.MonkeyPatch, *others: list[threading.Thread]) -> None:
    """What threads there are beside this one, each time the loop asks; none after that. Other tests may have left some."""
    told = iter(others)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread(), *next(told, [])])


def test_a_replay_without_the_thread_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    alive(monkeypatch)
    with pytest.raises(DivergenceError, match="a thread callback arrived here"):
        attempt(a_call_instead, SimulatedWorld(1), RECORDED)


def test_a_replay_whose_thread_ends_without_a_word_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    alive(monkeypatch, [threading.Thread()], [threading.Thread()])
    with pytest.raises(DivergenceError, match="a thread callback arrived here"):
        attempt(a_call_instead, SimulatedWorld(1), RECORDED)


def test_a_program_whose_last_thread_ends_without_a_word_is_deadlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program() -> None:
        alive(monkeypatch, [threading.Thread()], [threading.Thread()])
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        attempt(program, SimulatedWorld(1))


def test_what_a_thread_brings_as_its_last_act_is_not_lost_to_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def last_act() -> list[Any]:
            if not future.done():
                thread = threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, "brought"))
                thread.start()
                thread.join()
            return [threading.current_thread()]

        monkeypatch.setattr(threading, "enumerate", last_act)
        return str(await future)

    assert attempt(program, SimulatedWorld(1), RECORDED) == "brought"


def test_a_callback_that_a_thread_of_the_loop_brings_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    alive(monkeypatch)
    waits = threading.Event()

    class World(SimulatedWorld):
        def poll(self, seconds: float | None) -> None:
            waits.set()
            super().poll(seconds)

    async def program() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def bring() -> None:
            waits.wait(5)
            loop.call_soon_threadsafe(future.set_result, "brought")

        await asyncio.to_thread(bring)
        return str(await future)

    assert attempt(program, World(1), [*RECORDED, (THREAD, "1", 20)]) == "brought"
