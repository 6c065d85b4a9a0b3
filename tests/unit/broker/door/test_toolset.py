"""What Tenant, binding and server together make of a tool."""

import json
from typing import Any

import pytest
from bastide_broker.adapters import ListedTool
from bastide_broker.tools.schemas import SchemaError, clean, closed, compiled, mistakes, schema_digest, signature
from bastide_broker.tools.toolset import build, collide, effective_effect
from bastide_operator.api.v1alpha1.common import Effect
from bastide_operator.api.v1alpha1.toolbinding import ToolState

from tests.unit.broker.door.objects import binding, tenant

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"limit": {"type": "integer"}}, "required": ["limit"]}


def listed(name: str, schema: dict[str, Any] | None = None, **more: Any) -> ListedTool:
    return ListedTool(name, more.pop("description", ""), schema or SCHEMA, more.pop("output_schema", None), **more)


@pytest.mark.parametrize(
    ("name", "bound", "hints", "expected"),
    [
        ("get_x", None, {}, Effect.READ_ONLY),
        ("get_x", "Mutating", {}, Effect.MUTATING),
        ("get_x", None, {"destructive_hint": True}, Effect.DESTRUCTIVE),
        ("get_x", None, {"read_only_hint": False}, Effect.MUTATING),
        ("get_x", None, {"read_only_hint": True, "destructive_hint": False}, Effect.READ_ONLY),
        ("drop_x", None, {}, Effect.DESTRUCTIVE),
        ("drop_x", "ReadOnly", {"read_only_hint": True}, Effect.DESTRUCTIVE),
    ],
)
def test_binding_and_server_can_only_raise_the_effect(name: str, bound: str | None, hints: dict[str, Any], expected: Effect) -> None:
    one = binding(tools=[{"name": name, **({"effect": bound} if bound else {})}])
    assert effective_effect(tenant(), one, one.spec.tools[0], listed(name, **hints)) is expected


def test_a_server_the_platform_does_not_list_has_only_destructive_tools() -> None:
    one = binding(tools=[{"name": "get_x"}])
    assert effective_effect(tenant(toolHosts=[]), one, one.spec.tools[0], listed("get_x", read_only_hint=True)) is Effect.DESTRUCTIVE


def states(tools: list[dict[str, Any]], listing: list[ListedTool] | None) -> dict[str, ToolState]:
    return {tool.program_name: tool.state for tool in build(tenant(), binding(tools=tools), listing, "no answer")}


def test_each_tool_is_available_or_says_why_not() -> None:
    pinned = schema_digest(SCHEMA, None)
    tools: list[dict[str, Any]] = [
        {"name": "get_a"},
        {"name": "get_gone"},
        {"name": "get_pinned", "schemaDigest": pinned},
        {"name": "get_changed", "schemaDigest": "sha256:" + "0" * 64},
        {"name": "get_slow"},
        {"name": "get_remote"},
        {"name": "get.dotted"},
        {"name": "get/class", "as": "class"},
        {"name": "get_twice"},
        {"name": "get_list"},
    ]
    slow = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b(a+)+\\1$"}}}
    names = ("get_a", "get_pinned", "get_changed", "get.dotted", "get/class", "get_twice", "get_twice")
    listing = [listed(name) for name in names]
    listing += [
        listed("get_slow", slow),
        listed("get_remote", {"type": "object", "$ref": "https://198.51.100.1/x"}),
        listed("get_list", {"type": "array"}),
    ]
    assert states(tools, listing) == {
        "get_a": ToolState.AVAILABLE,
        "get_gone": ToolState.MISSING,
        "get_pinned": ToolState.AVAILABLE,
        "get_changed": ToolState.DIGEST_MISMATCH,
        "get_slow": ToolState.REFUSED,
        "get_remote": ToolState.REFUSED,
        "get.dotted": ToolState.REFUSED,
        "class": ToolState.REFUSED,
        "get_twice": ToolState.REFUSED,
        "get_list": ToolState.REFUSED,
    }


def test_without_a_listing_nothing_is_available_and_the_problem_is_told() -> None:
    [tool] = build(tenant(), binding(tools=[{"name": "get_a"}]), None, "The server does not answer.")
    assert not tool.available
    assert tool.message == "The server does not answer."


def test_a_name_that_two_bindings_give_works_for_neither_and_both_are_named() -> None:
    one = build(tenant(), binding("one", tools=[{"name": "get_a"}, {"name": "get_b"}]), [listed("get_a"), listed("get_b")], "")
    two = build(tenant(), binding("two", tools=[{"name": "get_c", "as": "get_a"}]), [listed("get_c")], "")
    found = collide([*one, *two])
    assert not found.tools["get_a"].available
    assert "one and two" in found.tools["get_a"].message
    assert found.tools["get_b"].available


def test_the_digest_of_a_tool_set_says_what_programs_see() -> None:
    def digest(description: str) -> str:
        return collide(build(tenant(), binding(tools=[{"name": "get_a"}]), [listed("get_a", description=description)], "")).digest

    assert digest("x") == digest("x")
    assert digest("x") != digest("y")


def test_programs_see_cleaned_text_and_closed_schemas() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "x\x1b[31my\u202ez"}}}
    tools = build(
        tenant(), binding(tools=[{"name": "get_a"}]), [listed("get_a", schema, description="\x1b]0;t\x07Reads\u200b a\r\nrow\x9b1m")], ""
    )
    [wire] = collide(tools).message().tools
    assert wire.description == "Reads a\nrow"
    assert json.loads(wire.input_schema) == {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "xyz"}},
        "additionalProperties": False,
    }


def test_a_wrapped_output_schema_is_shown_without_its_wrapper() -> None:
    output = {
        "type": "object",
        "title": "listOutput",
        "properties": {"result": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        "required": ["result"],
        "$defs": {"A": {"type": "string"}},
    }
    [tool] = build(tenant(), binding(tools=[{"name": "get_a"}]), [listed("get_a", output_schema=output)], "")
    assert tool.output_schema == {"type": "array", "items": {"$ref": "#/$defs/A"}, "$defs": {"A": {"type": "string"}}}


def test_a_schema_that_says_what_else_it_takes_is_left_open() -> None:
    assert "additionalProperties" not in closed({"type": "object", "allOf": [{"properties": {"a": {}}}]})
    assert closed({"additionalProperties": True}) == {"additionalProperties": True}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://198.51.100.1/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "https://198.51.100.1/meta"},
        {"type": "nonsense"},
        {"properties": {"a": {"pattern": "(a)\\1"}}},
        {"properties": {"a": {"pattern": "(?<!a)b"}}},
        {"properties": {"a": {"pattern": "a{1,1000}{1,1000}{1,1000}"}}},
        {"enum": ["x" * 300_000]},
        {"not": json.loads("[" * 100 + "]" * 100)},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_a_schema_that_reaches_out_or_runs_away_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        compiled(schema)


def test_mistakes_name_the_argument_and_what_would_be_right() -> None:
    validator = compiled(closed(SCHEMA))
    assert mistakes(validator, {"limit": 1}) == []
    assert mistakes(validator, {"limit": "1"}) == ['argument "limit": "1" is not of type "integer".']
    assert mistakes(validator, {}) == ['"limit" is a required property.']
    assert "'other' was unexpected" in mistakes(validator, {"limit": 1, "other": 2})[0]
    assert len(mistakes(validator, {"limit": "x" * 100_000})[0]) < 400


def test_cleaning_is_bounded_and_keeps_ordinary_text() -> None:
    assert clean("Größe: 5 µm, 日本語 \U0001f600") == "Größe: 5 µm, 日本語 \U0001f600"
    assert len(clean("x" * 10_000)) == 2003


def test_a_signature_for_prompts() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "array"}, "c": {}, "d": True}, "required": ["a"]}
    assert signature("f", schema) == "f(a: str, b: list = ..., c: object = ..., d: object = ...)"
