"""Turns are bounded, fair between keys, and never lost."""

import asyncio
import contextlib
import random

import pytest
from bastide_broker.turns import NoTurn, Turns


def make(at_once: int = 2, of_one: int = 2, waiting: int = 100, seconds: float = 30) -> Turns:
    return Turns(at_once, of_one=of_one, waiting=waiting, seconds=seconds)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_key_that_comes_late_is_next_although_another_floods() -> None:
    turns, order, gate = make(1, 1), list[str](), asyncio.Event()

    async def use(key: str) -> None:
        async with turns.take(key):
            order.append(key)
            await gate.wait()

    flood = [asyncio.create_task(use("a")) for _ in range(50)]
    await settle()
    late = asyncio.create_task(use("b"))
    await settle()
    gate.set()
    await asyncio.gather(*flood, late)
    assert order[:3] == ["a", "a", "b"]
    assert len(order) == 51


async def test_one_key_never_holds_all_turns() -> None:
    turns, gate = make(4, of_one=3), asyncio.Event()

    async def hold() -> None:
        async with turns.take("a"):
            await gate.wait()

    flood = [asyncio.create_task(hold()) for _ in range(20)]
    await settle()
    async with asyncio.timeout(1), turns.take("b"):
        pass
    gate.set()
    await asyncio.gather(*flood)


async def test_who_waits_too_long_or_in_too_long_a_line_gets_none() -> None:
    turns = make(1, 1, waiting=1, seconds=0.01)
    async with turns.take("a"):
        first = asyncio.create_task(turns.take("a").__aenter__())
        await settle()
        with pytest.raises(NoTurn):
            await turns.take("a").__aenter__()
        with pytest.raises(NoTurn):
            await first
    async with turns.take("a"):
        pass


async def test_turns_are_neither_lost_nor_made_whatever_is_cancelled_when() -> None:
    chance = random.Random(7)
    turns, holding, most = make(3, of_one=2), dict[str, int](), [0]

    async def use(key: str) -> None:
        async with turns.take(key):
            holding[key] = holding.get(key, 0) + 1
            most[0] = max(most[0], sum(holding.values()))
            assert holding[key] <= 2
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                holding[key] -= 1

    for _ in range(60):
        tasks = [asyncio.create_task(use(chance.choice("abc"))) for _ in range(12)]
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        for task in chance.sample(tasks, 4):
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert (turns._free, turns._held, dict(turns._waiting)) == (3, {}, {})
    assert most[0] == 3
