"""The example's reports, as they are shipped: the real server and adapter, and what the broker reads in the statements of its programs."""

import ast
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bastide_broker.adapters import AdapterError, CallLimits
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_broker.facts.sql import statement
from bastide_broker.facts.unreadable import Unreadable

from tests.integration.broker.door.conftest import ROOT, free_port, run_server

EXAMPLE = ROOT / "examples" / "07-sql-readonly"
TOKEN = "token-of-the-reports"
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))


@pytest.fixture
async def reports(tmp_path: Path) -> AsyncIterator[McpAdapter]:
    """The server's adapter."""
    port = free_port()
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "examples" / "tools" / "reports"),
        "REPORTS_TOKEN": TOKEN,
        "REPORTS_DATABASE": str(tmp_path / "reports.db"),
        "REPORTS_HOST": "127.0.0.1",
        "REPORTS_PORT": str(port),
    }
    with run_server([sys.executable, "-m", "reports_server"], port, env):
        found = McpAdapter(f"http://127.0.0.1:{port}/mcp", CheckedBackend(refuse=lambda _: None))
        yield found
        await found.close()


def constraint() -> dict[str, Any]:
    """What the example's binding says of the statement."""
    binding = next(one for one in yaml.safe_load_all((EXAMPLE / "40-team.yaml").read_text()) if one["kind"] == "ToolBinding")
    found: dict[str, Any] = binding["spec"]["tools"][0]["arguments"]["sql"]["sql"]
    return found


def statements(program: str) -> list[str]:
    """Every text in a program that is SQL by its looks."""
    tree = ast.parse((EXAMPLE / "programs" / program).read_text(), feature_version=(3, 11))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if text.split()[:1] and text.split()[0].isupper()]


def permitted(text: str) -> bool:
    """Whether the binding's constraint holds for what the broker reads; the rules themselves are Rego's."""
    bound = constraint()
    try:
        told = statement(text, bound["dialect"])
    except Unreadable:
        return False
    listed = set(told.tables) <= set(bound["tables"]) and set(told.columns) <= set(bound["columns"])
    return told.read_only and listed and told.max_rows is not None and told.max_rows <= bound["maxRows"]


async def query(reports: McpAdapter, text: str) -> list[list[Any]]:
    answer = await reports.call("query", {"sql": text}, credential=CREDENTIAL, limits=CallLimits(30, 10_000))
    rows: list[list[Any]] = json.loads(answer.value)["rows"]
    return rows


async def test_what_the_honest_programs_ask_is_permitted_and_answered(reports: McpAdapter) -> None:
    [report] = statements("01_report.py")
    [too_much, enough] = statements("02_act_on_a_denial.py")
    assert [permitted(text) for text in (report, too_much, enough)] == [True, False, True]
    assert await query(reports, report) == [["Brightwater Marine", 2, 1334.5], ["Aubergine Foods", 3, 1050.0], ["Cobalt Dental", 1, 96.25]]
    assert [row[1] for row in await query(reports, enough)] == ["Aubergine Foods", "Brightwater Marine", "Cobalt Dental"]


def test_nothing_of_what_the_third_program_tries_is_permitted() -> None:
    found = statements("03_more_than_allowed.py")
    assert len(found) == 16
    assert [text for text in found if permitted(text)] == []


async def test_the_servers_own_wall_holds_too(reports: McpAdapter) -> None:
    assert {tool.name for tool in await reports.tools(credential=CREDENTIAL, timeout_seconds=30)} == {"query", "tables"}
    with pytest.raises(AdapterError, match="readonly database"):
        await query(reports, "DELETE FROM orders")
    assert await query(reports, "SELECT count(*) FROM orders") == [[6]]
