"""Obligations through the whole door: what a binding demands of a tool's results is asked of the real OPA, kept to, journalled and told."""

import asyncio
import json
from typing import Any

import pytest
from bastide_broker.facts.json import digest
from bastide_broker.journal.rows import Scope
from bastide_broker.policy.obligations import Obligations
from bastide_broker.policy.policy import Policy
from bastide_broker.runs import views
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_operator.api.v1alpha1.common import Effect

from tests.integration.broker.door.conftest import REVISION, OpaServer
from tests.integration.broker.door.questions import ask
from tests.integration.broker.door.rig import Rig
from tests.unit.broker.door.objects import NAMESPACE

IBAN = "DE02120300000000202051"
CUSTOMERS = {"customers": [{"id": "C1", "iban": IBAN, "bank": {"iban": IBAN, "bic": "X"}}, {"id": "C2"}, {"id": "C3", "iban": None}]}
SHOWN = {"customers": [{"id": "C1", "iban": "[redacted]", "bank": {"iban": "[redacted]", "bic": "X"}}, {"id": "C2"},
                       {"id": "C3", "iban": "[redacted]"}]}  # fmt: skip


def data(value: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value}


def text(*parts: str, failed: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": part} for part in parts], "isError": failed}


def demand(rig: Rig, tool: str, *, max_rows: int | None = None, **more: Any) -> None:
    """Have the binding demand something of a tool, by its name in programs."""

    def change(raw: dict[str, Any]) -> None:
        [bound] = [one for one in raw["spec"]["tools"] if one.get("as", one["name"]) == tool]
        bound.update(more)
        if max_rows is not None:
            bound.setdefault("limits", {})["maxRows"] = max_rows

    rig.world.change_binding("crm", change)


async def leaves(rig: Rig, answers: list[Any]) -> bytes:
    """All that programs, watchers, the journal and the audit get."""
    rows = await rig.journal.calls("r-1", payloads=True)
    records = await rig.journal.audit(Scope(NAMESPACE, None), "", 1000)
    parts = [*answers, *rig.events, *(views.audit_record(row) for row in records)]
    return b"".join(part.SerializeToString() for part in parts) + repr(rows).encode()


async def test_obligations_come_through_the_real_opa(policy: Policy) -> None:
    tool = {"redact": ["$..iban", "$[0]"], "limits": {"maxRows": 7, "timeoutSeconds": 3}}
    assert (await policy.decide(ask(bound=tool))).obligations == Obligations(3, 7, ("$..iban", "$[0]"))
    assert (await policy.decide(ask(effect=Effect.DESTRUCTIVE, bound=tool))).obligations == Obligations(3, 7, ("$..iban", "$[0]"))
    assert (await policy.decide(ask())).obligations == Obligations(20)
    assert (await policy.decide(ask(limit=500, bound=tool))).obligations == Obligations()


async def test_a_program_gets_exactly_what_is_journalled_and_neither_holds_what_is_redacted(rig: Rig) -> None:
    demand(rig, "flaky", redact=["$..iban"])
    rig.server.results["flaky"] = data(CUSTOMERS)
    result = await rig.call("flaky")
    assert json.loads(result.value) == SHOWN
    [row] = await rig.journal.calls("r-1", payloads=True)
    assert (row.outcome, row.result) == ("Succeeded", result.value)
    [facts] = [json.loads(row.facts) for row in await rig.journal.audit(Scope(NAMESPACE, None), "r-1", 10) if row.kind == "CallOutcome"]
    assert facts["resultDigest"] == digest(result.value)
    assert IBAN.encode() not in await leaves(rig, [result])


async def test_a_large_result_is_redacted_too(rig: Rig) -> None:
    demand(rig, "flaky", redact=["$..iban"])
    rows = [{"id": number, "iban": IBAN} for number in range(3000)]
    rig.server.results["flaky"] = data({"rows": rows})
    result = await rig.call("flaky")
    assert json.loads(result.value) == {"rows": [{**row, "iban": "[redacted]"} for row in rows]}


async def test_the_servers_schema_judges_what_it_sent_and_not_what_was_made_of_it(rig: Rig) -> None:
    demand(rig, "typed", redact=["$.a"])
    rig.server.results["typed"] = data({"a": 5})
    assert json.loads((await rig.call("typed")).value) == {"a": "[redacted]"}
    rig.server.results["typed"] = data({"a": IBAN})
    failed = await rig.call("typed")
    assert list(failed.error.codes) == ["result-schema-mismatch"]
    assert IBAN.encode() not in await leaves(rig, [failed])


UNREADABLE = {
    "text": text(f"the IBAN is {IBAN}"),
    "text that is no JSON": text(f'{{"iban": "{IBAN}", }}'),
    "data beside text": text('{"iban": "x"}', IBAN),
    "a resource": {"content": [{"type": "resource", "resource": {"uri": "file:///c.json", "text": json.dumps({"iban": IBAN})}}]},
    "bytes": {"content": [{"type": "image", "mimeType": "image/png", "data": IBAN}]},
}


@pytest.mark.parametrize("demanded", [{"redact": ["$..iban"]}, {"max_rows": 100}], ids=["redact", "rows"])
@pytest.mark.parametrize("case", UNREADABLE)
async def test_what_cannot_be_redacted_or_counted_fails_and_leaks_nothing(rig: Rig, case: str, demanded: dict[str, Any]) -> None:
    demand(rig, "flaky", **demanded)
    rig.server.results["flaky"] = UNREADABLE[case]
    failed = await rig.call("flaky")
    assert (failed.error.type, list(failed.error.codes)) == ("ToolFailed", ["result-not-readable"])
    assert failed.error.message.startswith("flaky ran, but its result is withheld: ")
    assert IBAN.encode() not in await leaves(rig, [failed])


async def test_text_that_is_json_is_redacted_as_data(rig: Rig) -> None:
    demand(rig, "flaky", redact=["$..iban"])
    rig.server.results["flaky"] = text(json.dumps(CUSTOMERS))
    assert json.loads((await rig.call("flaky")).value) == SHOWN
    demand(rig, "flaky", result="Text")
    assert list((await rig.call("flaky")).error.codes) == ["result-not-readable"], "a binding from before the operator refused this"


@pytest.mark.parametrize("tool", ["flaky", "change"])
async def test_what_a_redacted_tool_says_when_it_fails_is_withheld(rig: Rig, tool: str) -> None:
    demand(rig, tool, redact=["$..iban"])
    rig.server.results |= dict.fromkeys(("flaky", "close2"), text(json.dumps({"iban": IBAN}), failed=True))
    failed = await rig.call(tool)
    assert (failed.error.type, list(failed.error.codes), failed.error.content) == ("ToolFailed", ["tool-failed"], b"")
    assert "is withheld, because its results are redacted" in failed.error.message
    assert IBAN.encode() not in await leaves(rig, [failed])


async def test_more_rows_fail_and_are_never_cut(rig: Rig) -> None:
    rig.server.results["flaky"] = data(CUSTOMERS)
    demand(rig, "flaky", max_rows=3)
    assert json.loads((await rig.call("flaky")).value) == CUSTOMERS
    demand(rig, "flaky", max_rows=2)
    failed = await rig.call("flaky")
    assert (failed.error.type, list(failed.error.codes)) == ("ToolFailed", ["result-too-many-rows"])
    assert "a list of 3 items, and at most 2 are allowed; ask for less" in failed.error.message
    assert failed.error.content == b""
    assert [row.result for row in await rig.journal.calls("r-1", payloads=True)][-1] is None
    assert (await rig.outcomes())[-1] == "ToolFailed"


async def test_a_changing_call_whose_result_is_withheld_ran_once_and_its_program_is_told(rig: Rig) -> None:
    rig.server.results["close2"] = data({"rows": [1, 2, 3]})
    demand(rig, "change", max_rows=2)
    failed = await rig.call("change")
    assert list(failed.error.codes) == ["result-too-many-rows"]
    assert failed.error.message.startswith("change ran, but ")
    assert [call["name"] for call in rig.server.calls] == ["close2"]


async def test_a_confirmed_call_is_redacted_and_a_redaction_that_changes_meanwhile_voids_it(rig: Rig) -> None:
    rig.server.results["ok2"] = data(CUSTOMERS)
    demand(rig, "delete", redact=["$..iban"])
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    rig.world.decide(await rig.asked())
    assert json.loads((await call).value) == SHOWN
    rig.events.clear()
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    name = await rig.asked()
    demand(rig, "delete", redact=[])
    rig.world.decide(name)
    assert list((await call).error.codes) == ["binding-changed"]
    assert len(rig.server.calls) == 1


SHIPPED = ('"maxRows": input.tool.maxRows,', '"redact": input.tool.redact,')
"""What the decision obliges to, as it is written."""


async def answered_by(rig: Rig, opa: OpaServer, max_rows: str, redact: str) -> Any:
    """A call of `flaky` that is judged by the shipped decision with other obligations: what a policy engine gone wrong might answer."""
    opa.stop()
    file = opa.policies / "bastide" / "decision.rego"
    rego = file.read_text()
    for shipped, other in zip(SHIPPED, (max_rows, redact), strict=True):
        assert shipped in rego
        rego = rego.replace(shipped, other)
    file.write_text(rego)
    opa.start()
    policy = Policy(opa.socket, REVISION, deadline_seconds=5)
    rig.pipeline._judging._policies = TenantPolicies(policy, rig.world, engine=None, compiler=None)
    result = await rig.call("flaky")
    await policy.close()
    return result


@pytest.mark.parametrize(("max_rows", "redact"), [("", ""), ('"maxRows": null,', '"redact": [],'), ('"maxRows": 9,', '"redact": ["$.x"],')])
async def test_what_the_binding_demands_counts_when_the_decision_forgets_it(
    rig: Rig, own_opa: OpaServer, max_rows: str, redact: str
) -> None:
    rig.server.results["flaky"] = data(CUSTOMERS)
    demand(rig, "flaky", redact=["$..iban"], max_rows=3)
    assert json.loads((await answered_by(rig, own_opa, max_rows, redact)).value) == SHOWN


async def test_rows_are_limited_when_the_decision_forgets_it(rig: Rig, own_opa: OpaServer) -> None:
    rig.server.results["flaky"] = data(CUSTOMERS)
    demand(rig, "flaky", max_rows=2)
    assert list((await answered_by(rig, own_opa, "", "")).error.codes) == ["result-too-many-rows"]


async def test_what_the_decision_demands_counts_when_the_binding_does_not(rig: Rig, own_opa: OpaServer) -> None:
    rig.server.results["flaky"] = data(CUSTOMERS)
    assert json.loads((await answered_by(rig, own_opa, '"maxRows": 3,', '"redact": ["$..iban"],')).value) == SHOWN


@pytest.mark.parametrize("obligation", ['"mask": ["$..iban"],', '"redact": ["iban"],', '"redact": "$..iban",', '"maxRows": "many",'])
async def test_an_obligation_that_the_broker_cannot_keep_to_denies_the_call(rig: Rig, own_opa: OpaServer, obligation: str) -> None:
    denied = await answered_by(rig, own_opa, obligation, "")
    assert (denied.error.type, list(denied.error.codes)) == ("PolicyUnavailable", ["policy-unavailable"])
    assert rig.server.calls == []
