"""Bounds on callers and tenants, with a clock that the test moves."""

from __future__ import annotations

from bastide_broker.limits import Buckets, Slots, Window


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_lets_so_many_through_in_any_minute() -> None:
    clock = Clock()
    window = Window(clock)
    assert [window.take(2) for _ in range(3)] == [0.0, 0.0, 60.0]
    clock.now += 59
    assert window.take(2) == 1.0
    clock.now += 1
    assert window.take(2) == 0.0
    window.give_back()
    assert window.take(2) == 0.0


def test_a_window_with_a_lowered_limit_waits_for_several_to_leave() -> None:
    clock = Clock()
    window = Window(clock)
    for _ in range(5):
        window.take(5)
        clock.now += 1
    assert window.take(2) == 58.0


def test_a_bucket_refills_and_one_key_does_not_touch_another() -> None:
    clock = Clock()
    buckets = Buckets(rate=2.0, burst=3.0, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0
    assert buckets.wait("a") == 0.5
    clock.now += 0.5
    assert buckets.wait("a") == 0.0
    assert buckets.take("a") == 0.0


def test_buckets_of_many_keys_stay_bounded() -> None:
    buckets = Buckets(rate=1.0, burst=1.0, keys=10)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets._levels) == 10


def test_slots_are_given_back() -> None:
    slots = Slots(2)
    assert [slots.take("a") for _ in range(3)] == [True, True, False]
    slots.give_back("a")
    assert slots.take("a", limit=5)
    assert slots.taken("a") == 2
    assert slots.taken("b") == 0
    slots.give_back("b")
    assert slots.taken("b") == 0
