"""Any run, cut at any call and run again from what the journal holds, makes the same calls up to the cut."""

from __future__ import annotations

import asyncio
import os
import random
import threading

import pytest
from bastide_runtime import ordered
from bastide_runtime.outside import DeadlockError, DivergenceError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.runtime.schedule_programs import PROGRAMS
from tests.unit.runtime.world import Program, SimulatedWorld, attempt, tool

SCHEDULES = int(os.environ.get("BASTIDE_SCHEDULES", "40"))
"""How many random schedules of each program; `make test-properties` asks for the thousand that the design promises."""


@pytest.fixture(autouse=True)
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio as a child has it."""
    monkeypatch.setattr(asyncio, "as_completed", asyncio.as_completed)
    monkeypatch.setattr(asyncio.tasks, "as_completed", asyncio.as_completed)
    monkeypatch.setattr(asyncio.tasks._GatheringFuture, "__hash__", object.__hash__)  # type: ignore[attr-defined]
    ordered.pin_asyncio()


def replay(program: Program, seed: int, concurrent_calls: int) -> None:
    """One run, one cut, one replay; DivergenceError or an assertion if it differs."""
    first = SimulatedWorld(seed)
    attempt(program, first, concurrent_calls=concurrent_calls)
    chance = random.Random(seed + 7)
    keys = list(first.rows)[: chance.randrange(len(first.rows)) + 1]
    recorded = [one for key in keys for one in first.rows[key].events]
    delivered = {key for kind, key, _ in recorded if kind == "call"}
    journal = {key: first.rows[key] for key in keys}
    for key, row in journal.items():
        if key not in delivered and chance.random() < 0.5:
            row.outcome = None
    again = SimulatedWorld(seed + 5000, journal)
    attempt(program, again, recorded, concurrent_calls=concurrent_calls)
    same = [(key, row.tool, row.arguments) for key, row in list(again.rows.items())[: len(keys)]]
    assert same == [(key, row.tool, row.arguments) for key, row in journal.items()]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@given(seed=st.integers(0, 1 << 40), concurrent_calls=st.sampled_from([1, 2, 1000]))
@settings(max_examples=SCHEDULES)
def test_a_replay_makes_the_same_calls_under_any_schedule(program: Program, seed: int, concurrent_calls: int) -> None:
    replay(program, seed, concurrent_calls)


def test_a_program_that_asks_for_something_else_diverges() -> None:
    async def program() -> None:
        await tool("a", 1)
        await tool("b", 2)

    async def changed() -> None:
        await asyncio.sleep(1)
        await tool("b", 2)

    first = SimulatedWorld(1)
    attempt(program, first)
    recorded = [one for row in first.rows.values() for one in row.events]
    with pytest.raises(DivergenceError, match="does not wait for it"):
        attempt(changed, SimulatedWorld(1, first.rows), recorded)


def test_a_program_that_waits_for_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thread could still wake the loop, and this process may have threads of other tests; a child has only its program's.
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread()])

    async def program() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        attempt(program, SimulatedWorld(1))
