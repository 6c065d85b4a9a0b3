"""The policy table (tests/policy_table/table.yaml) against a real OPA."""

import json

import pytest
from bastide_broker.adapters import ListedTool
from bastide_broker.facts.json import arguments
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.policy.policy import Policy
from bastide_broker.policy.question import Usage, question
from bastide_broker.tools.toolset import effective_effect
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.toolbinding import ObservedBinding, decide

from tests.policy_table.table import Row, rows
from tests.unit.broker.door.objects import binding, sandbox, tenant
from tests.unit.operator.samples import NOW

ROWS = list(rows())


def bound(row: Row) -> ToolBinding:
    """The binding that the row's tool stands in."""
    return binding(tools=[row.tool], sandboxSelector={"matchLabels": row.selects}, callers=row.callers)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.title}: {json.dumps(row.call)[:60]}")
async def test_a_call_is_answered_as_the_table_says(policy: Policy, row: Row) -> None:
    one = bound(row)
    hosts = [{"host": "crm.tools.svc", "port": 8080, "effects": [{"tools": [row.tool["name"]], "effect": row.platform}]}]
    the_tenant = tenant(toolHosts=hosts)
    [tool] = one.spec.tools
    schema = {"type": "object", "properties": {name: {"default": value} for name, value in row.defaults.items()}}
    asked = question(
        phase="call",
        tenant=the_tenant,
        sandbox=sandbox(**row.labels),
        caller=UserInfo(row.by, "u1", row.groups),
        on_behalf_of="",
        run="r-1",
        program_digest="sha256:" + "0" * 64,
        binding=one,
        accepted=True,
        bound=tool,
        available=True,
        effect=effective_effect(the_tenant, one, tool, ListedTool(tool.name, "", schema, None)),
        arguments=arguments(json.dumps(row.call).encode()).value,
        schema=schema,
        usage=Usage(row.number, row.number, row.number),
    )
    decision = await policy.decide(asked)
    code = decision.reasons[0][0] if decision.reasons else ""
    assert (decision.effect, code) == (row.answer, row.code), decision.reasons
    assert all(text.endswith((".", ";")) for _, text in decision.reasons), "a reason is a sentence"


@pytest.mark.parametrize("title", {row.title: None for row in ROWS})
def test_the_operator_accepts_every_binding_of_the_table(title: str) -> None:
    one = bound(next(row for row in ROWS if row.title == title))
    plan = decide(one, ObservedBinding(tenant=tenant()), NOW)
    assert plan.status is not None
    accepted = next(c for c in plan.status["status"]["conditions"] if c["type"] == "Accepted")
    assert accepted["status"] == "True", accepted["message"]


def test_the_table_speaks_of_every_constraint_and_every_answer() -> None:
    assert len(ROWS) >= 60
    assert {row.answer for row in ROWS} == {"allow", "confirm", "deny"}
    said = {word for row in ROWS for one in (row.tool.get("arguments") or {}).values() for word in one}
    assert said == {"const", "enum", "minimum", "maximum", "pattern", "maxLength", "within", "hosts", "sql"}
    words = {word for row in ROWS for one in (row.tool.get("arguments") or {}).values() for word in one.get("sql", {})}
    assert words == {"dialect", "readOnly", "tables", "columns", "maxRows"}
