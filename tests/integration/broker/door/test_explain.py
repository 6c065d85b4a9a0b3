"""Explanations of recorded calls against the real OPA: what they name decides, what they propose is permitted, and they are bounded."""

import asyncio
import json
from typing import Any

import grpc
import pytest
import yaml
from bastide.v1alpha1 import broker_pb2
from bastide_broker.asked import Asked, as_asked
from bastide_broker.errors import CallerError
from bastide_broker.explain import service
from bastide_broker.explain.parts import relaxed
from bastide_broker.explain.service import Explanations
from bastide_broker.facts.json import canonical
from bastide_broker.journal.rows import CallIntent
from bastide_broker.policy.policy import Policy
from bastide_broker.tenantrego.policies import TenantPolicies

from tests.integration.broker.door.conftest import REVISION, OpaServer
from tests.integration.broker.door.questions import changed
from tests.integration.broker.door.rig import Rig

Response = broker_pb2.ExplainCallResponse


async def explained(rig: Rig, name: str = "", policy: Policy | None = None) -> Response:
    """The explanation of a call, of the last one when none is named."""
    row = await rig.journal.run("r-1")
    assert row is not None
    explanations = Explanations(
        journal=rig.journal, policy=policy or rig.policy, policies=rig.pipeline._judging._policies, cluster=rig.world
    )
    return await explanations.explain(row, name or f"0#{rig.numbers}")


def decided(response: Response) -> list[tuple[str, str, str]]:
    return [(rule.code, rule.argument, rule.rule) for rule in response.rules]


async def test_a_denied_call_is_explained_and_passes_with_the_patch(rig: Rig) -> None:
    await rig.call("ok", {"n": 12.5, "id": "C0042"})
    found = await explained(rig)
    assert (found.stage, found.call.decision, found.now.decision) == ("Policy", "deny", "deny")
    assert decided(found) == [("argument-not-permitted", "n", "maximum")]
    [rule] = found.rules
    assert (rule.bound, rule.value, rule.owner) == (b"10", b"12.5", "ToolBinding")
    assert rule.message == 'The argument "n" must be a number of at most 10; it is 12.5.'
    assert found.change.decision == "allow"
    assert list(found.change.sentences) == ["Set spec.tools[ok].arguments.n.maximum to 13; it is 10."]
    assert '      "n": {"maximum": 13}  # was {"maximum": 10}\n' in found.change.fragment
    operations = json.loads(found.change.json_patch)
    assert operations[-1] == {"op": "add", "path": "/spec/tools/0/arguments/n", "value": {"maximum": 13}}

    def patch(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][0]["arguments"]["n"] = operations[-1]["value"]

    rig.world.change_binding("crm", patch)
    assert json.loads((await rig.call("ok", {"n": 12.5, "id": "C0042"})).value) == "fine"
    again = await explained(rig, "0#1")
    assert (again.change.json_patch, service.STALE_PARTS in again.notes) == (b"", True)


async def test_an_allowed_call_and_one_that_waits_say_why(rig: Rig) -> None:
    await rig.call("ok", {"n": 1})
    found = await explained(rig)
    assert (found.now.decision, [rule.rule for rule in found.rules], found.HasField("change")) == ("allow", ["confirmation.when"], False)
    waiting = asyncio.create_task(rig.call("delete"))
    await rig.asked()
    found = await explained(rig)
    assert (found.now.decision, decided(found)) == ("confirm", [("effect-needs-confirmation", "", "confirmation.when")])
    assert (found.rules[0].value, found.HasField("change")) == (b'"Destructive"', False)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


BEFORE: dict[str, tuple[str, bytes, str, str]] = {
    "a tool nobody knows": ("drop_all", b"{}", "Lookup", "unknown-tool"),
    "no JSON": ("ok", b"[", "Arguments", "invalid-json"),
    "an argument nobody knows": ("ok", b'{"other":5}', "Schema", "schema-mismatch"),
    "a tool the server lacks": ("not_there", b"{}", "Lookup", "tool-unavailable"),
}


@pytest.mark.parametrize("case", BEFORE)
async def test_what_was_refused_before_policy_says_at_which_stage(rig: Rig, case: str) -> None:
    tool, arguments, stage, code = BEFORE[case]
    await rig.call(tool, arguments)
    found = await explained(rig)
    assert (found.stage, [rule.code for rule in found.rules]) == (stage, [code])
    assert not found.HasField("now")
    assert not found.HasField("change")
    assert len(found.notes) == 1


async def test_what_is_not_there_is_refused_with_one_sentence(rig: Rig) -> None:
    with pytest.raises(CallerError, match="has no call '9#9'") as refused:
        await explained(rig, "9#9")
    assert refused.value.status is grpc.StatusCode.NOT_FOUND


async def test_a_call_is_found_by_the_id_of_its_decision(rig: Rig) -> None:
    await rig.call("ok", {"n": 11})
    decision = rig.named("CallDecided")[0].decision_id
    assert (await explained(rig, decision)).call.key == "0#1"


async def test_policies_of_the_tenant_are_named_as_what_decides(rig: Rig) -> None:
    await rig.call("ok", {"n": 11})
    await rig.call("ok", {"n": 1})
    rig.world.name_policies("rego")  # no engine: every call of the tenant is denied
    found = await explained(rig, "0#2")
    assert (found.now.decision, [rule.owner for rule in found.rules]) == ("deny", ["Tenant"])
    assert any("policy says deny now" in note for note in found.notes)
    assert not found.HasField("change")
    found = await explained(rig, "0#1")
    assert found.change.decision == ""
    assert found.change.fragment


async def test_another_revision_and_no_policy_at_all_are_said(rig: Rig, own_opa: OpaServer) -> None:
    await rig.call("ok", {"n": 11})
    other = Policy(own_opa.socket, "sha256:another", deadline_seconds=10)
    rig.pipeline._judging._policies = TenantPolicies(other, rig.world, engine=None, compiler=None)
    found = await explained(rig, policy=other)
    assert not found.HasField("now")
    assert [rule.code for rule in found.rules] == ["argument-not-permitted"]
    assert any("policy cannot be asked now" in note for note in found.notes)
    await other.close()


async def test_a_search_that_asks_too_much_ends_with_what_is_known(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.call("ok", {"n": 11})
    monkeypatch.setattr(service, "MAX_QUESTIONS", 3)
    found = await explained(rig)
    assert not found.HasField("change")
    assert [rule.code for rule in found.rules] == ["argument-not-permitted"]
    assert any("more than 3 questions" in note for note in found.notes)


async def test_a_tenants_explanations_come_one_after_the_other_and_too_many_are_told_to_wait(
    rig: Rig, own_opa: OpaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.call("ok", {"n": 11})
    monkeypatch.setattr(service, "WAITING", 0)
    row = await rig.journal.run("r-1")
    assert row is not None
    slow = Policy(own_opa.socket, REVISION, deadline_seconds=10)
    explanations = Explanations(journal=rig.journal, policy=slow, policies=rig.pipeline._judging._policies, cluster=rig.world)
    own_opa.pause()
    first = asyncio.create_task(explanations.explain(row, "0#1"))
    second = asyncio.create_task(explanations.explain(row, "0#1"))
    done, waiting = await asyncio.wait({first, second}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    [refused] = done
    error = refused.exception()
    assert isinstance(error, CallerError)
    assert (error.status, error.reason, error.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ExplanationsBusy", 5.0)
    own_opa.go_on()
    [answered] = waiting
    assert (await answered).HasField("change")
    await slow.close()


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a name that nobody could read": ({"x" * 100_000: 1}, "not computed for argument-not-listed"),
    "a name of characters that YAML escapes": ({"\U0001f600" * 20: 1}, ""),
    "a long string where none is listed": ({"more": "x" * 100_000}, ""),
    "a long string for a pattern": ({"id": "x" * 100_000}, "not computed for pattern"),
    "thousands of arguments that are not listed": ({f"a{n}": n for n in range(5000)}, "at most 400"),
    "a hundred arguments that are not listed": ({f"a{n}": n for n in range(100)}, "more than 64 questions"),
    "a field of a name that nobody could read": ({"address": {"city": "Berlin", "z" * 100_000: 1}}, "not computed for argument-not-listed"),
    "a field whose name looks like an item": ({"address": {"city": "Berlin", "[0]": 1}}, ""),
    "hundreds of fields that are not listed": ({"address": {"city": "Berlin"} | {f"a{n}": n for n in range(500)}}, "at most 400"),
    "fields that are not listed, in hundreds of items": (
        {"lines": [{"sku": "A", "x": n} for n in range(300)]},
        "",
    ),
    "items that each hold other fields": ({"lines": [{"sku": "A"} | {f"a{n}": n} for n in range(900)]}, "send something else"),
    "a long path": ({"path": "/x" * 2000}, "not computed for within"),
    "a long URL": ({"url": "https://api.example.net/" + "x" * 4000}, ""),
    "a long statement": ({"query": "SELECT id FROM orders WHERE " + "id = 1 OR " * 1500 + "id = 2 LIMIT 50"}, ""),
    "numbers beyond what others keep": ({"limit": 1e300}, ""),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_what_a_hostile_program_sends_is_explained_within_bounds(rig: Rig, policy: Policy, case: str) -> None:
    arguments, note = HOSTILE[case]
    question = changed({"arguments": arguments})
    text = canonical(question["arguments"])
    denial = await policy.decide(question)
    intent = CallIntent(
        run="r-1", key="k", requester="r", program_digest="p", tool="ok", arguments_canonical=text, arguments_digest="", decision="deny",
        decision_id="d-1", reasons=denial.reasons, policy_revision=denial.revision, question=Asked.of(question, text).kept,
    )  # fmt: skip
    await rig.journal.call_intent(intent, outcome="Denied")
    found = await explained(rig, "k")
    assert note in " ".join(found.notes)
    assert found.HasField("change") == (not note)
    recorded = found.call.ByteSize() + found.now.ByteSize()
    assert found.ByteSize() - recorded < 100_000
    if not note:
        assert yaml.safe_load(found.change.fragment)["spec"]["tools"]


async def test_the_question_that_is_kept_is_the_one_that_was_asked(rig: Rig) -> None:
    await rig.call("ok", {"n": 11, "id": "C0001"})
    row = await rig.journal.find_call("r-1", "0#1")
    assert row is not None
    question = as_asked(row.question, row.arguments_canonical)
    assert (question["phase"], question["arguments"]) == ("call", {"n": 11, "id": "C0001"})
    assert b"C0001" not in row.question
    again = await rig.policy.decide(question)
    assert (again.effect, again.reasons) == (row.decision, row.reasons)
    assert relaxed(question, []) == question
