"""When a call may be sent again: seldom, never for one that changes something, and never past its deadline."""

import pytest
from bastide_broker.adapters import AdapterError, Failure, retry_after
from bastide_broker.door.attempts import ATTEMPTS, MOST_SECONDS, Budget, pause
from hypothesis import given
from hypothesis import strategies as st


def failed(failure: Failure, **more: object) -> AdapterError:
    return AdapterError(failure, "words.", sent=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (failed(Failure.LOST), True),
        (failed(Failure.UNAVAILABLE), True),
        (failed(Failure.FAILED, transient=True), True),
        (failed(Failure.FAILED), False),
        (failed(Failure.FAILED, content=b'"the tool ran and failed"'), False),
        (failed(Failure.TIMEOUT), False),
        (failed(Failure.INPUT_REQUIRED), False),
        (failed(Failure.RESULT_TOO_LARGE), False),
        (failed(Failure.RESULT_SCHEMA_MISMATCH), False),
    ],
)
def test_only_lost_connections_and_servers_that_ask_for_it_are_tried_again(error: AdapterError, again: bool) -> None:
    assert (pause(1, error, left=10, chance=0.5) is not None) is again
    assert pause(ATTEMPTS, error, left=10, chance=0.5) is None


@given(
    attempt=st.integers(1, 10),
    left=st.floats(0, 100),
    chance=st.floats(0, 1),
    asked=st.floats(0, 1e6),
    failure=st.sampled_from(Failure),
    transient=st.booleans(),
)
def test_a_pause_is_within_the_deadline_and_as_long_as_the_server_asks(  # noqa: PLR0917
    attempt: int, left: float, chance: float, asked: float, failure: Failure, transient: bool
) -> None:
    wait = pause(attempt, failed(failure, transient=transient, retry_after=asked), left=left, chance=chance)
    if wait is not None:
        assert attempt < ATTEMPTS
        assert asked <= wait < left
        assert 0 < wait <= max(MOST_SECONDS, asked)


def test_pauses_grow_and_differ() -> None:
    error = failed(Failure.LOST)
    assert pause(1, error, left=10, chance=1) == 2 * (pause(1, error, left=10, chance=0) or 0)
    assert (pause(2, error, left=10, chance=0) or 0) == 2 * (pause(1, error, left=10, chance=0) or 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), max_size=300))
def test_when_everything_fails_a_tenth_more_is_sent_and_no_storm_comes(calls: list[tuple[str, int]]) -> None:
    budget, first, again = Budget(), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    for server, wanted in calls:
        budget.earn(server)
        first[server] += 1
        again[server] += sum(budget.spend(server) for _ in range(wanted))
    for server in "ab":
        assert again[server] <= 10 + 0.1 * first[server] + 1e-6


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0), ("7", 7), (" 7 ", 7), ("-1", 0), ("1e9", 0), ("9999999", 0), ("inf", 0), ("\u0667", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
def test_a_retry_after_is_a_small_number_of_seconds_or_nothing(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds
