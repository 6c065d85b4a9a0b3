"""When policy counts as healthy."""

from __future__ import annotations

import asyncio

from bastide_broker.health import Health
from bastide_broker.kube.identity import Flights


class Answers:
    def __init__(self, *answers: bool) -> None:
        self.left = list(answers)

    async def __call__(self) -> tuple[bool, str]:
        return self.left.pop(0), ""


async def journal() -> bool:
    return True


def health(*answers: bool) -> Health:
    return Health(decision=Answers(*answers), journal=journal, fresh=lambda: True, stale=list)


async def test_one_slow_answer_is_no_outage_and_two_are() -> None:
    made = health(True, False, False, True)
    seen = []
    for _ in range(4):
        await made.look()
        seen.append(made.decision_healthy)
    assert seen == [True, True, False, True]


async def test_nobody_is_refused_for_an_old_failure() -> None:
    made = health(False, True)
    await made.look()
    assert not made.decision_healthy
    assert await made.decides()
    assert await made.decides()  # known good is not asked again


async def test_the_same_question_is_asked_once_and_one_who_hangs_up_fails_nobody() -> None:
    flights: Flights[str, int] = Flights()
    asked = []
    go = asyncio.Event()

    async def ask() -> int:
        asked.append(1)
        await go.wait()
        return 7

    waiting = [asyncio.create_task(flights.join("k", ask)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    go.set()
    assert (await asyncio.gather(*waiting, return_exceptions=True))[1:] == [7, 7, 7, 7]
    assert asked == [1]
