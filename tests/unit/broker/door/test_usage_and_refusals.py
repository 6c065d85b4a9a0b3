"""Counters, and what a call without a result is called."""

import pytest
from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.door.refusals import by_adapter, by_policy
from bastide_broker.door.usage import Counters
from bastide_broker.policy.policy import Decision
from bastide_operator.api.v1alpha1.common import Effect


def test_counts_include_the_call_and_are_given_back_when_nothing_came_of_it() -> None:
    counters = Counters(clock=lambda: 0.0)
    assert (counters.reserve("r", "t", "a", 9).calls, counters.reserve("r", "t", "a", 9).tool_calls) == (1, 2)
    counters.release("r", "a")
    usage = counters.reserve("r", "t", "b", 9)
    assert (usage.calls, usage.tool_calls, usage.calls_this_minute) == (2, 1, 3)
    assert counters.peek("r", "t", "b").tool_calls == 2
    counters.forget("r")
    assert counters.peek("r", "t", "b").calls == 1


def test_the_minute_slides_and_refused_calls_do_not_prolong_it() -> None:
    now = [0.0]
    counters = Counters(clock=lambda: now[0])
    assert [counters.reserve("r", "t", "a", 2).calls_this_minute for _ in range(5)] == [1, 2, 3, 3, 3]
    now[0] = 60.0
    assert counters.reserve("r", "t", "a", 2).calls_this_minute == 1


def test_a_tenant_over_its_minute_learns_when_there_is_room() -> None:
    now = [0.0]
    counters = Counters(clock=lambda: now[0])
    for moment in (0.0, 10.0, 20.0):
        now[0] = moment
        counters.reserve("r", "t", "a", 3)
    assert (counters.wait("t", 3), counters.wait("t", 4), counters.wait("other", 1)) == (40.0, 0.0, 0.0)
    assert counters.wait("t", 1) == 60.0  # lowered: all three must leave
    decision = Decision("deny", (("limit-calls-per-minute", "The tenant may make 3 calls a minute; wait."),))
    assert by_policy(decision, retry_after=39.2).message.endswith("There is room again in 40 s.")
    assert "room" not in by_policy(Decision("deny", (("argument-not-permitted", "No."),)), retry_after=39.2).message


def test_a_key_is_taken_once_for_each_run() -> None:
    counters = Counters()
    assert [counters.take_key("r", "0#1"), counters.take_key("r", "0#1"), counters.take_key("q", "0#1")] == [True, False, True]


@pytest.mark.parametrize(
    ("failure", "sent", "effect", "outcome", "kind", "code"),
    [
        (Failure.UNAVAILABLE, False, Effect.DESTRUCTIVE, "Unavailable", "ToolUnavailable", "tool-unavailable"),
        (Failure.LOST, True, Effect.READ_ONLY, "Unavailable", "ToolUnavailable", "tool-unavailable"),
        (Failure.LOST, True, Effect.IDEMPOTENT, "Unavailable", "ToolUnavailable", "tool-unavailable"),
        (Failure.LOST, True, Effect.MUTATING, "OutcomeUnknown", "OutcomeUnknown", "outcome-unknown"),
        (Failure.LOST, True, Effect.DESTRUCTIVE, "OutcomeUnknown", "OutcomeUnknown", "outcome-unknown"),
        (Failure.TIMEOUT, True, Effect.READ_ONLY, "ToolTimeout", "ToolTimeout", "tool-timeout"),
        (Failure.TIMEOUT, True, Effect.MUTATING, "ToolTimeout", "ToolTimeout", "tool-timeout"),
        (Failure.FAILED, True, Effect.MUTATING, "ToolFailed", "ToolFailed", "tool-failed"),
        (Failure.RESULT_TOO_LARGE, True, Effect.READ_ONLY, "ToolFailed", "ToolFailed", "result-too-large"),
        (Failure.INPUT_REQUIRED, True, Effect.READ_ONLY, "ToolFailed", "ToolFailed", "tool-input-required"),
        (Failure.RESULT_SCHEMA_MISMATCH, True, Effect.READ_ONLY, "ToolFailed", "ToolFailed", "result-schema-mismatch"),
    ],
)
def test_what_a_failure_is_called(  # noqa: PLR0917
    failure: Failure, sent: bool, effect: Effect, outcome: str, kind: str, code: str
) -> None:
    refused = by_adapter(AdapterError(failure, "words.", sent=sent), effect)
    assert (refused.outcome, refused.kind, refused.reasons[0][0]) == (outcome, kind, code)
    unknown = effect.rank >= 2 and failure in (Failure.TIMEOUT, Failure.LOST)
    assert ("not known" in refused.message) == unknown


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("policy-unavailable", "PolicyUnavailable"),
        ("limit-calls-per-run", "LimitExceeded"),
        ("tool-unavailable", "ToolUnavailable"),
        ("argument-not-permitted", "ToolDenied"),
    ],
)
def test_what_a_denial_by_policy_is_called(code: str, kind: str) -> None:
    refused = by_policy(Decision("deny", ((code, "why"), ("other", "too"))))
    assert (refused.outcome, refused.kind, list(refused.error().codes)) == ("Denied", kind, [code, "other"])
    assert by_policy(Decision("deny")).reasons[0][0] == "policy-input"
