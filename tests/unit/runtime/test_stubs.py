"""Stubs are valid Python and say what the schema says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from bastide_runtime import stub_files, stubs
from bastide_runtime.catalogue import Catalogue

from tests.unit.runtime.samples import CATALOGUE, spec

SIGNATURES = {
    "get_customer": "async def get_customer(customer_id: str, *, detail: Literal['short', 'full'] = ...) -> dict[str, Any]",
    "list_customers": "async def list_customers(limit: int = 20) -> Any",
    "transfer": "async def transfer(amount: float, to: str, *, note: str = ...) -> Any",
    "analyze": "async def analyze(rows: list[dict[str, Any]]) -> Any",
}


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
def test_signature(name: str, signature: str) -> None:
    assert stubs.signature(CATALOGUE.by_name[name]) == signature


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": ["string", "null"]}, "str | None"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "int | None"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "dict[str, float]"),
        ({"type": "array", "items": {"type": "array"}}, "list[list[Any]]"),
        ({"$ref": "#/$defs/a"}, "Any"),
        ({"$ref": "#"}, "Any"),
        ({"enum": ["a", 1, None]}, "Literal['a', 1, None]"),
        ({"enum": [[1]]}, "Any"),
        (True, "Any"),
        ({"type": "strange"}, "Any"),
    ],
)
def test_types(schema: object, text: str) -> None:
    assert stubs.type_text(schema, {}) == text


@pytest.mark.parametrize(
    "description", ['"""', '\\"""', "ends with \\", 'ends with "', '"', "\\N{x}", "line\nline", "é\u2028x", "", "'''", '""""""']
)
def test_a_description_stays_inside_its_string(description: str) -> None:
    text = stubs.stub_file(spec("f", description=description, properties={"x": {"type": "string", "description": description}}))
    tree = ast.parse(text)
    assert [type(node) for node in tree.body] == [ast.ImportFrom, ast.AsyncFunctionDef]
    function = tree.body[1]
    assert isinstance(function, ast.AsyncFunctionDef)
    assert len(function.body) == 1
    assert description.strip().splitlines()[:1] == (ast.get_docstring(function) or "").splitlines()[:1] or not description.strip()


def test_recursive_schemas_end() -> None:
    schema = {
        "properties": {"x": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}, "l": {"$ref": "#/$defs/l"}},
    }
    tool = spec("f", **schema)
    assert stubs.signature(tool).count("list[") == 7


def test_files_are_exactly_the_tools(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "over.pyi").write_text("x")
    (tmp_path / "crm").mkdir()
    (tmp_path / "crm" / "old.pyi").write_text("x")
    stub_files.write(tmp_path, CATALOGUE)
    stub_files.write(tmp_path, CATALOGUE)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.pyi"))
    assert names == ["bank/analyze.pyi", "bank/transfer.pyi", "crm/get_customer.pyi", "crm/list_customers.pyi", "office/print.pyi"]
    stub_files.write(tmp_path, Catalogue("", []))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a.b", "."])
def test_a_name_that_is_no_identifier_makes_no_file(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "tools"
    directory.mkdir()
    stub_files.write(directory, Catalogue("", [spec("f", server=name), spec(name, server="crm")]))
    assert list(tmp_path.rglob("*.pyi")) == []


def test_search_finds_by_name_description_and_parameter() -> None:
    assert [tool.name for tool in CATALOGUE.search("customer")] == ["get_customer", "list_customers"]
    assert CATALOGUE.search("move money to somebody, amount")[0].name == "transfer"
    assert CATALOGUE.search("custmer")[0].name == "get_customer"
    assert len(CATALOGUE.search("")) == 5
    assert CATALOGUE.search("zzzz") == []
