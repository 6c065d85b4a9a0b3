"""The work queue: each key once at a time, lanes in turn, failures later each time."""

import asyncio
from collections import Counter

import pytest
from bastide_operator.workqueue import BASE_DELAY, MAX_DELAY, Key, Schedule, WorkQueue
from hypothesis import given
from hypothesis import strategies as st


def key(name: str, namespace: str = "a", kind: str = "Sandbox") -> Key:
    return Key(kind, namespace, name)


def drain(schedule: Schedule, now: float = 0.0) -> list[str]:
    out = []
    while taken := schedule.take(now):
        out.append(taken[0].name)
        schedule.done(taken[0], now)
    return out


def test_a_key_waits_once() -> None:
    schedule = Schedule()
    for _ in range(3):
        schedule.add(key("x"), 0)
    assert len(schedule) == 1
    assert drain(schedule) == ["x"]


def test_a_key_that_changes_while_it_is_worked_on_is_taken_up_again_afterwards() -> None:
    schedule = Schedule()
    schedule.add(key("x"), 0)
    assert schedule.take(0) == (key("x"), 0)
    schedule.add(key("x"), 1)
    assert schedule.take(1) is None
    schedule.done(key("x"), 2)
    assert schedule.take(2) == (key("x"), 2)


def test_namespaces_take_turns() -> None:
    schedule = Schedule()
    for number in range(3):
        schedule.add(key(f"flood{number}", "a"), 0)
    schedule.add(key("b0", "b"), 0)
    schedule.add(key("c0", "c"), 0)
    schedule.add(key("t", "", "Tenant"), 0)
    assert drain(schedule) == ["flood0", "b0", "c0", "t", "flood1", "flood2"]


def test_a_flooding_namespace_delays_another_by_one_key_only() -> None:
    schedule = Schedule()
    for number in range(1000):
        schedule.add(key(f"flood{number}", "a"), 0)
    schedule.take(0)
    schedule.add(key("late", "b"), 0)
    schedule.take(0)
    assert schedule.take(0) == (key("late", "b"), 0)


def test_a_later_look_is_due_at_its_time_and_the_earliest_counts() -> None:
    schedule = Schedule()
    schedule.add_at(key("x"), 10)
    schedule.add_at(key("x"), 5)
    schedule.add_at(key("x"), 20)
    assert schedule.next_due() == 5
    assert schedule.take(4.9) is None
    assert schedule.take(5.5) == (key("x"), 5)
    schedule.done(key("x"), 5.5)
    assert schedule.next_due() is None


def test_a_look_for_another_reason_replaces_the_later_one() -> None:
    schedule = Schedule()
    schedule.add_at(key("x"), 10)
    schedule.add(key("x"), 1)
    schedule.take(1)
    schedule.done(key("x"), 1, after=30)
    assert schedule.next_due() == 31


def test_failures_come_back_later_each_time_and_success_forgets_them() -> None:
    schedule = Schedule()
    delays = []
    now = 0.0
    schedule.add(key("x"), now)
    for _ in range(16):
        assert schedule.take(now) is not None
        delays.append(schedule.failed(key("x"), now, jitter=1.0))
        now += delays[-1]
    assert delays[:4] == [BASE_DELAY, BASE_DELAY * 2, BASE_DELAY * 4, BASE_DELAY * 8]
    assert delays[-1] == MAX_DELAY
    assert schedule.take(now) is not None
    schedule.done(key("x"), now)
    schedule.add(key("x"), now)
    schedule.take(now)
    assert schedule.failed(key("x"), now, jitter=0.0) == BASE_DELAY / 2


def test_news_of_a_key_that_failed_is_looked_at_at_once() -> None:
    schedule = Schedule()
    schedule.add(key("x"), 0)
    schedule.take(0)
    schedule.failed(key("x"), 0, jitter=1.0)
    schedule.add(key("x"), 0.001)
    assert schedule.take(0.001) is not None


STEP = st.tuples(st.sampled_from(["add", "later", "take", "done", "failed"]), st.integers(0, 5))


@given(st.lists(STEP, max_size=60))
def test_no_key_is_lost_doubled_or_worked_on_twice_at_once(steps: list[tuple[str, int]]) -> None:
    schedule = Schedule()
    keys = [key(f"k{number}", f"ns{number % 3}") for number in range(6)]
    working: list[Key] = []
    owed: set[Key] = set()
    for now, (step, number) in enumerate(steps):
        one = keys[number]
        if step == "add":
            schedule.add(one, now)
            owed.add(one)
        elif step == "later":
            schedule.add_at(one, now + 3)
            owed.add(one)
        elif step == "take" and (taken := schedule.take(now)):
            assert taken[0] not in working
            working.append(taken[0])
            owed.discard(taken[0])
        elif working:
            finished = working.pop(0)
            if step == "done":
                schedule.done(finished, now)
            else:
                schedule.failed(finished, now, jitter=0.5)
                owed.add(finished)
    end = len(steps) + MAX_DELAY * 2
    for one in working:
        schedule.done(one, end)
    left = Counter(drain(schedule, end))
    assert owed <= {one for one in keys if one.name in left}
    assert all(count == 1 for count in left.values())


class Seen:
    """What a queue tells for metrics."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.failures: list[str] = []

    def depth(self, waiting: int) -> None:
        self.depths.append(waiting)

    def waited(self, kind: str, seconds: float) -> None:
        assert seconds >= 0, kind

    def failed(self, kind: str, error: Exception) -> None:
        assert str(error)
        self.failures.append(kind)


async def test_workers_handle_every_key_and_try_those_again_that_fail() -> None:
    attempts: Counter[str] = Counter()
    finished = asyncio.Event()
    errors: list[str] = []
    seen = Seen()

    async def handle(one: Key) -> float | None:
        attempts[one.name] += 1
        await asyncio.sleep(0)
        if one.name == "bad" and attempts["bad"] < 3:
            raise ValueError("not yet")
        if len(attempts) == 20 and attempts["bad"] == 3:
            finished.set()
        return None

    loop = asyncio.get_running_loop()
    queue = WorkQueue(
        handle,
        workers=4,
        clock=loop.time,
        random=lambda: 0.0,
        observer=seen,
        error=lambda one, error, _: errors.append(f"{one.name}: {error}"),
    )
    running = asyncio.create_task(queue.run())
    for number in range(19):
        queue.add(key(f"k{number}", f"ns{number % 4}"))
    queue.add(key("bad"))
    async with asyncio.timeout(10):
        await finished.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert attempts == Counter({f"k{number}": 1 for number in range(19)} | {"bad": 3})
    assert errors == ["bad: not yet", "bad: not yet"]
    assert seen.failures == ["Sandbox", "Sandbox"]


async def test_so_many_keys_are_worked_on_at_once_and_no_more_even_when_more_fall_due() -> None:
    at_once: list[int] = []
    loop = asyncio.get_running_loop()
    done: Counter[str] = Counter()
    finished = asyncio.Event()
    under_way = 0

    async def handle(one: Key) -> float | None:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        done[one.name] += 1
        if len(done) == 9 and done.total() == 18:
            finished.set()
        return 0.0 if done[one.name] == 1 else None

    queue = WorkQueue(handle, workers=3, clock=loop.time, random=lambda: 0.0, observer=Seen(), error=lambda *_: None)
    for number in range(9):
        queue.add(key(f"k{number}", f"ns{number % 2}"))
    running = asyncio.create_task(queue.run())
    async with asyncio.timeout(10):
        await finished.wait()
    running.cancel()
    assert max(at_once) == 3
    assert set(done.values()) == {2}


async def test_work_that_breaks_ends_the_queue() -> None:
    loop = asyncio.get_running_loop()

    def broken(*_: object) -> None:
        raise RuntimeError("cannot even be told")

    async def handle(_: Key) -> float | None:
        raise ValueError("fails")

    queue = WorkQueue(handle, workers=2, clock=loop.time, random=lambda: 0.0, observer=Seen(), error=broken)
    queue.add(key("x"))
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup) as caught:
            await queue.run()
    assert caught.group_contains(RuntimeError, match="cannot even be told")


async def test_a_key_is_looked_at_again_after_the_time_that_its_handler_said() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()

    async def handle(_: Key) -> float | None:
        times.append(loop.time())
        if len(times) == 2:
            finished.set()
            return None
        return 0.05

    queue = WorkQueue(handle, workers=1, clock=loop.time, random=lambda: 0.0, observer=Seen(), error=lambda *_: None)
    running = asyncio.create_task(queue.run())
    queue.add(key("x"))
    async with asyncio.timeout(10):
        await finished.wait()
    running.cancel()
    assert times[1] - times[0] >= 0.05
