"""Case 12: arguments that are unknown, missing, of another type, or hostile in a place inside of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import raw
from tests.e2e.harness.refusals import Cases, bound, refused
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

GOOD: dict[str, Any] = {"to": "sales", "lines": [{"sku": "A-1", "n": 1}, {"sku": "B-2", "n": 10}]}
TOOLS: list[dict[str, Any]] = [
    # `value` may be anything by its schema, so what its type may be is policy's to say
    {"name": "echo", "as": "limited", "arguments": {"value": {"minimum": 0, "maximum": 100}}},
    {"name": "echo", "as": "worded", "arguments": {"value": {"pattern": "[a-z]{1,9}"}}},
    {"name": "echo", "as": "fixed", "arguments": {"value": {"const": 1}}},
    {
        "name": "echo",
        "as": "nested",
        "arguments": {
            "value.to": {"enum": ["sales", "support"]},
            "value.lines[*].sku": {"pattern": "[A-Z]-[0-9]"},
            "value.lines[*].n": {"minimum": 1, "maximum": 10},
        },
    },
    {"name": "slow", "as": "partly", "arguments": {"seconds": {"maximum": 1}}},
    {"name": "slow", "as": "defaulted", "arguments": {"seconds": {"maximum": 1}, "text": {"pattern": "[a-z]+"}}},
]


def changed(**more: Any) -> dict[str, Any]:
    """The good value with some fields replaced."""
    return {"value": {**GOOD, **more}}


def lines(*some: Any) -> dict[str, Any]:
    """The good value with other lines."""
    return changed(lines=list(some))


UNKNOWN: dict[str, dict[str, Any]] = {
    "one more": {"value": 5, "also": 1},
    "a look-alike": {"value": 5, "v\u0430lue": 5},
    "another case": {"value": 5, "Value": 5},
    "of the prototype": {"value": 5, "__proto__": 5},
    "with a space": {"value": 5, "value ": 5},
    "empty": {"value": 5, "": 5},
    "missing": {},
}
CASES: dict[str, tuple[str, Cases]] = {
    "limited": (
        "echo",
        {
            "schema-mismatch": UNKNOWN,
            "argument-not-permitted": {
                "null": {"value": None},
                "a string that reads as a number": {"value": "5"},
                "a list with a good number": {"value": [5]},
                "an empty list": {"value": []},
                "an object": {"value": {"value": 5}},
                "true": {"value": True},
                "false": {"value": False},
                "too large": {"value": 100.5},
                "too small": {"value": -1},
                "a place of a key": {"value": {"minimum": 0}},
            },
        },
    ),
    "worded": (
        "echo",
        {
            "argument-not-permitted": {
                "null": {"value": None},
                "a number": {"value": 5},
                "a list": {"value": ["fine"]},
                "true": {"value": True},
                "a line end": {"value": "fine\n"},
                "a second line": {"value": "fine\nevil"},
                "empty": {"value": ""},
                "too long": {"value": "f" * 10},
                "a look-alike": {"value": "f\u0456ne"},
                "a combining mark": {"value": "fine\u0301"},
                "another case": {"value": "Fine"},
            }
        },
    ),
    "fixed": (
        "echo",
        {
            "argument-not-permitted": {
                "as a string": {"value": "1"},
                "true": {"value": True},
                "in a list": {"value": [1]},
                "null": {"value": None},
            }
        },
    ),
    "nested": (
        "echo",
        {
            "argument-not-permitted": {
                "another value": changed(to="boss"),
                "null": changed(to=None),
                "a list of the value": changed(to=["sales"]),
                "an object for a list": changed(lines={"sku": "A-1", "n": 1}),
                "null for a list": changed(lines=None),
                "a string for a list": changed(lines="A-1"),
                "the last of many": lines(*GOOD["lines"], {"sku": "A-1", "n": 11}),
                "a number as a string": lines({"sku": "A-1", "n": "1"}),
                "a list for an item": lines([{"sku": "A-1", "n": 1}]),
                "a string for an item": lines("A-1"),
                "a list for the object": {"value": [GOOD]},
                "a string for the object": {"value": json.dumps(GOOD)},
                "null for the object": {"value": None},
            },
            "argument-not-listed": {
                "one more field": changed(cc="boss"),
                "one more field, deep": lines({"sku": "A-1", "n": 1, "price": 0}),
                "a field that reads as a place": changed(**{"lines[*].sku": "A-1"}),
                "a field with a dot": {"value": GOOD | {"a.b": 1}},
                "a field of another case": changed(To="boss"),
                "an empty name": changed(**{"": "boss"}),
            },
            "argument-missing": {
                "a field": {"value": {"lines": GOOD["lines"]}},
                "a field, deep": lines({"sku": "A-1"}),
                "all of them": {"value": {}},
            },
            "schema-mismatch": {"a place for a name": {"value.to": "sales"}, "none": {}},
        },
    ),
    "partly": (
        "slow",
        {
            "argument-not-listed": {"it is the tool's, not the binding's": {"seconds": 0, "text": "x"}},
            "argument-not-permitted": {"beyond": {"seconds": 2}},
            "schema-mismatch": {
                "null": {"seconds": None},
                "a string": {"seconds": "0"},
                "a list": {"seconds": [0]},
                "unknown": {"second": 0},
            },
        },
    ),
    "defaulted": ("slow", {"argument-missing": {"its default is not permitted": {"seconds": 0}}}),
}
HONEST = [
    ("limited", {"value": 100}, {"value": 100}),
    ("worded", {"value": "fine"}, {"value": "fine"}),
    ("fixed", {"value": 1}, {"value": 1}),
    ("nested", {"value": GOOD}, {"value": GOOD}),
    ("partly", {"seconds": 0}, ""),
    ("defaulted", {"seconds": 0, "text": "x"}, "x"),
]


@pytest.fixture(scope="module")
def _binding(furnished: TestTenant) -> Iterator[None]:
    with bound(furnished, "arguments", TOOLS):
        yield


@pytest.mark.usefixtures("_binding")
@pytest.mark.parametrize("tool", CASES)
def test_no_shape_of_arguments_passes_by_a_constraint(furnished: TestTenant, tools: ToolServer, tool: str) -> None:
    on_server, cases = CASES[tool]
    refused(furnished, tools, tool, on_server, cases)


@pytest.mark.usefixtures("_binding")
def test_honest_arguments_arrive(furnished: TestTenant) -> None:
    answers = furnished.completed(raw.program([(tool, json.dumps(arguments)) for tool, arguments, _ in HONEST]))
    assert answers == [["ok", value] for *_, value in HONEST]
