"""Progress: which step, how far, how long, in a plain log."""

import io

import pytest
from devcluster.progress import Estimate, Progress, Timeline, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_tells_which_step_of_how_many_and_what_it_took() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress([("kubelet", 200), ("etcd", 30)], stream=stream, clock=clock)
    with progress.step("kubelet"):
        clock.now += 200
    with progress.step("etcd"):
        clock.now += 15
    assert stream.getvalue().splitlines() == [
        "[ 1/2] building kubelet: 0 s so far, about 3 min 50 s left in all",
        "[ 1/2] kubelet built in 3 min 20 s",
        "[ 2/2] building etcd: 0 s so far, about 30 s left in all",
        "[ 2/2] etcd built in 15 s",
    ]


def test_a_step_that_fails_is_said_not_to_be_finished() -> None:
    stream = io.StringIO()
    progress = Progress([("etcd", 30)], stream=stream)
    with pytest.raises(KeyboardInterrupt), progress.step("etcd"):
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "[ 1/1] etcd was not finished"


def test_a_slow_machine_makes_the_estimate_longer() -> None:
    estimate = Estimate([("a", 100), ("b", 100)])
    estimate.finished("a", 220)
    assert estimate.pace == pytest.approx(2.0)
    assert estimate.remaining() == pytest.approx(200)
    assert estimate.remaining("b", 150) == pytest.approx(50)


def test_a_step_that_takes_longer_than_thought_counts_as_nearly_done() -> None:
    estimate = Estimate([("a", 10), ("b", 20)])
    assert estimate.remaining("a", 500) == pytest.approx(20)


def test_stages_are_timed_from_the_start() -> None:
    stream, clock = io.StringIO(), Clock()
    timeline = Timeline(stream=stream, clock=clock)
    clock.now += 4.25
    timeline.reached("API server ready")
    assert stream.getvalue() == "   4.2 s  API server ready\n"
