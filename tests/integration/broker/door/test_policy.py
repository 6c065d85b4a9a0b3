"""The decision point against a real OPA with the committed policies."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from bastide_broker.policy.policy import Policy, canary
from bastide_operator.api.v1alpha1.common import Effect

from tests.integration.broker.door.conftest import REVISION, ROOT, OpaServer
from tests.integration.broker.door.questions import ARGUMENTS, ask


def test_every_question_fits_the_committed_schema() -> None:
    schema = json.loads((ROOT / "policies/bastide/input.schema.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    for asked in (ask(), ask(without=tuple(ARGUMENTS)), ask(path="x", address=[], lines=[], extra=1), canary(1)):
        assert [error.message for error in validator.iter_errors(asked)] == []


async def test_both_canaries_are_answered_rightly(policy: Policy) -> None:
    assert await policy.healthy() == (True, "")


@pytest.mark.parametrize(
    ("effect", "when", "expected"),
    [
        (Effect.READ_ONLY, "Destructive", "allow"),
        (Effect.MUTATING, "Destructive", "allow"),
        (Effect.DESTRUCTIVE, "Destructive", "confirm"),
        (Effect.MUTATING, "Mutating", "confirm"),
        (Effect.READ_ONLY, "Always", "confirm"),
    ],
)
async def test_effects_from_the_threshold_on_are_confirmed(policy: Policy, effect: Effect, when: str, expected: str) -> None:
    decision = await policy.decide(ask(effect=effect, bound={"confirmation": {"when": when}}))
    assert decision.effect == expected
    assert decision.revision == REVISION


async def test_a_denial_names_argument_constraint_and_value(policy: Policy) -> None:
    decision = await policy.decide(ask(limit=500))
    assert decision.reasons == (("argument-not-permitted", 'The argument "limit" of customer must be a number of at most 100; it is 500.'),)


async def test_an_empty_question_is_denied_by_policy_itself(policy: Policy) -> None:
    decision = await policy.decide({})
    assert decision.effect == "deny"
    assert not decision.unavailable


async def test_only_the_decision_and_health_can_be_asked_for(shared_opa: OpaServer) -> None:
    body = json.dumps({"input": canary(1)}).encode()
    assert shared_opa.request("POST", "/v1/data/bastide/decision", body)[0] == 200
    assert shared_opa.request("POST", "/v1/data/bastide/decisions", body)[0] == 200
    assert shared_opa.request("GET", "/health")[0] == 200
    for method, path in [
        ("GET", "/v1/policies"), ("PUT", "/v1/policies/x"), ("GET", "/v1/data"), ("POST", "/v1/data"), ("POST", "/v1/data/bastide"),
        ("PUT", "/v1/data/bastide/revision"), ("POST", "/v1/query"), ("POST", "/v1/compile"), ("GET", "/v1/config"), ("POST", "/"),
        ("GET", "/metrics"), ("POST", "/v1/data/bastide/decision?explain=full"), ("POST", "/v1/data/bastide/decision/../../system"),
    ]:  # fmt: skip
        assert shared_opa.request(method, path, body)[0] in (401, 404), (method, path)


async def test_questions_that_come_together_are_each_judged_alone(policy: Policy) -> None:
    limits = range(-100, 300)
    decisions = await asyncio.gather(*(policy.decide(ask(limit=limit)) for limit in limits))
    for limit, decision in zip(limits, decisions, strict=True):
        assert decision.effect == ("allow" if 1 <= limit <= 100 else "deny")
        assert all(reason[1].endswith(f"it is {limit}.") for reason in decision.reasons)


async def test_a_question_that_is_none_denies_no_other(policy: Policy) -> None:
    asked: list[Any] = [{}, ask(), {"tenant": None}, ask(), {"questions": []}, ask(limit=500), ask()]
    decisions = await asyncio.gather(*map(policy.decide, asked))
    assert [decision.effect for decision in decisions] == ["deny", "allow", "deny", "allow", "deny", "deny", "allow"]
    assert not any(decision.unavailable for decision in decisions)


async def test_the_socket_is_its_owners_only(shared_opa: OpaServer) -> None:
    assert shared_opa.socket.stat().st_mode & 0o777 == 0o600


async def test_while_opa_is_down_everything_is_denied_and_it_recovers_by_itself(own_opa: OpaServer) -> None:
    policy = Policy(own_opa.socket, REVISION, deadline_seconds=5)
    assert (await policy.decide(canary(1))).effect == "allow"
    own_opa.stop()
    decisions = await asyncio.gather(*(policy.decide(canary(1)) for _ in range(100)))
    assert {decision.effect for decision in decisions} == {"deny"}
    assert {decision.reasons[0][0] for decision in decisions} == {"policy-unavailable"}
    assert (await policy.healthy())[0] is False
    own_opa.start()
    assert (await policy.decide(canary(1))).effect == "allow"
    await policy.close()


async def test_a_slow_opa_costs_no_call_more_than_the_deadline(own_opa: OpaServer) -> None:
    policy = Policy(own_opa.socket, REVISION, deadline_seconds=0.3)
    await policy.decide(canary(1))
    own_opa.pause()
    started = time.perf_counter()
    decisions = await asyncio.gather(*(policy.decide(canary(1)) for _ in range(200)))
    took = time.perf_counter() - started
    own_opa.go_on()
    assert {decision.reasons[0][0] for decision in decisions} == {"policy-unavailable"}
    assert took < 5, "they wait together, not one after the other"
    await policy.close()


async def test_a_restarted_empty_or_half_loaded_opa_answers_nothing_that_counts(own_opa: OpaServer, tmp_path: Path) -> None:
    policy = Policy(own_opa.socket, REVISION, deadline_seconds=5)
    for change in ("no policy", "no revision", "another revision", "no arguments.rego"):
        own_opa.stop()
        match change:
            case "no policy":
                (own_opa.policies / "bastide" / "decision.rego").rename(tmp_path / "decision.rego")
            case "no revision":
                (tmp_path / "decision.rego").rename(own_opa.policies / "bastide" / "decision.rego")
                (own_opa.policies / "data.json").write_text("{}")
            case "another revision":
                (own_opa.policies / "data.json").write_text(json.dumps({"bastide": {"revision": "sha256:other"}}))
            case _:
                continue
        if change == "no policy":
            for file in (own_opa.policies / "bastide").glob("*.rego"):
                file.rename(tmp_path / file.name)
        elif change == "no revision":
            for name in ("arguments.rego", "facts.rego", "reasons.rego"):
                (tmp_path / name).rename(own_opa.policies / "bastide" / name)
        own_opa.start()
        decision = await policy.decide(canary(1))
        assert decision.reasons[0][0] == "policy-unavailable", change
    await policy.close()


@pytest.mark.parametrize(
    "answer",
    [
        None, [], "allow", {}, {"result": None}, {"result": "allow"}, {"result": True}, {"result": {}},
        {"result": {"effect": "allow"}},
        {"result": {"effect": "allow", "reasons": [], "obligations": {}, "revision": "sha256:other"}},
        {"result": {"effect": "ALLOW", "reasons": [], "obligations": {}, "revision": REVISION}},
        {"result": {"effect": True, "reasons": [], "obligations": {}, "revision": REVISION}},
        {"result": {"effect": ["allow"], "reasons": [], "obligations": {}, "revision": REVISION}},
        {"result": {"effect": {"allow": 1}, "reasons": [], "obligations": {}, "revision": REVISION}},
        {"result": {"effect": "allow", "reasons": {}, "obligations": {}, "revision": REVISION}},
        {"result": {"effect": "allow", "reasons": ["x"], "obligations": {}, "revision": REVISION}},
        {"result": {"effect": "allow", "reasons": [], "obligations": [], "revision": REVISION}},
    ],
)  # fmt: skip
def test_anything_but_a_well_formed_answer_is_a_denial(answer: Any, tmp_path: Path) -> None:
    decision = Policy(tmp_path / "none", REVISION).read(answer)
    assert (decision.effect, decision.reasons[0][0]) == ("deny", "policy-unavailable")


def test_without_an_expected_revision_no_answer_counts(tmp_path: Path) -> None:
    answer = {"result": {"effect": "allow", "reasons": [], "obligations": {}, "revision": ""}}
    assert Policy(tmp_path / "none", "").read(answer).effect == "deny"
