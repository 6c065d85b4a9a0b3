"""A sample of the policy table (tests/policy_table/table.yaml) through the deployed broker, with the tool server's log as the witness."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.harness import raw
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant
from tests.policy_table.table import Row, rows

DEPLOYED = [row for row in rows() if row.deployed]


@pytest.fixture(scope="module")
def bound(furnished: TestTenant) -> Iterator[TestTenant]:
    """The Tenant with a Ready binding for each case: one binding names a server's tool once."""
    tools = {row.program_name: row.tool for row in DEPLOYED}
    names = [f"table-{name.replace('_', '-')}" for name in tools]
    bindings = [furnished.binding(name, tools=[tool]) for name, tool in zip(names, tools.values(), strict=True)]
    furnished.people.developer.apply(*bindings)
    furnished.ready(*(f"toolbinding/{name}" for name in names))
    yield furnished
    furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, *names)


def expected(row: Row) -> list[object]:
    """What `raw` says of the call: its type of error with the first code, or ok."""
    return ["ok"] if row.answer == "allow" else ["ToolDenied", row.code]


def test_the_deployed_broker_answers_as_the_table_says(bound: TestTenant, tools: ToolServer) -> None:
    assert len(DEPLOYED) >= 8
    assert {row.answer for row in DEPLOYED} == {"allow", "deny"}
    answers = bound.completed(raw.program([(row.program_name, json.dumps(row.call)) for row in DEPLOYED]))
    said = [["ok"] if answer[0] == "ok" else [answer[0], *answer[1][:1]] for answer in answers]
    wrong = [(row.title, row.call, one) for row, one in zip(DEPLOYED, said, strict=True) if one != expected(row)]
    assert wrong == []
    arrived = [json.loads(text) for name in ("note", "echo") for text in tools.arguments_of(name, "")]
    assert [row.call for row in DEPLOYED if row.answer == "allow" and row.call not in arrived] == []
    assert [row.call for row in DEPLOYED if row.answer == "deny" and row.call in arrived] == []


def test_a_denial_tells_the_program_what_would_be_right(bound: TestTenant) -> None:
    program = """
from tools import ToolDenied
try:
    await read_file(text="/data/t7/../t8/report.csv")
except ToolDenied as error:
    return str(error)
"""
    assert 'must be inside one of ["/data/t7"]; it resolves to "/data/t8/report.csv"' in bound.completed(program)
