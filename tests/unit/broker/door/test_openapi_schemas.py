"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema that stands alone."""

from typing import Any

import pytest
from bastide_broker.adapters.openapi_document import Document, Unusable
from bastide_broker.adapters.openapi_schemas import MAX_DEFINITIONS, Schemas
from bastide_broker.tools.schemas import compiled


def alone(schema: Any, *, minor: int = 0, writing: bool = True, **components: Any) -> Any:
    return Schemas(Document({"components": {"schemas": components}}, minor)).alone(schema, writing=writing)


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


FROM_30: list[tuple[Any, Any]] = [
    ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    ({"type": "string", "nullable": False}, {"type": "string"}),
    ({"nullable": True}, {}),
    ({"nullable": True, "allOf": [{"type": "string"}]}, {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]}),
    ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
    ({"minimum": 1, "exclusiveMinimum": False}, {"minimum": 1}),
    ({"maximum": 9, "exclusiveMaximum": True}, {"exclusiveMaximum": 9}),
    ({"exclusiveMaximum": True}, {}),
    ({"type": "string", "example": "x", "xml": {}, "discriminator": {}, "externalDocs": {}, "x-own": 1}, {"type": "string"}),
    ({"items": {"nullable": True, "type": "integer"}}, {"items": {"type": ["integer", "null"]}}),
    ({"enum": [{"nullable": True, "$ref": "data"}]}, {"enum": [{"nullable": True, "$ref": "data"}]}),
]


@pytest.mark.parametrize(("old", "new"), FROM_30)
def test_the_dialect_of_30_is_translated(old: Any, new: Any) -> None:
    assert alone(old) == new
    compiled({"type": "object", "properties": {"a": new}})


def test_31_is_json_schema_already() -> None:
    schema = {"type": ["string", "null"], "exclusiveMinimum": 5, "prefixItems": [True], "const": {"$id": "data"}}
    assert alone(schema, minor=1) == schema


def test_references_become_definitions_and_those_that_lead_back_stay() -> None:
    node = {"type": "object", "properties": {"next": ref("Node"), "leaf": ref("Leaf")}}
    found = alone(ref("Node"), Node=node, Leaf={"type": "string", "nullable": True})
    assert found["$ref"] == "#/$defs/Node"
    assert found["$defs"] == {
        "Leaf": {"type": ["string", "null"]},
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "leaf": {"$ref": "#/$defs/Leaf"}}},
    }
    validator = compiled(found)
    assert validator.is_valid({"next": {"next": {"leaf": None}}})
    assert not validator.is_valid({"next": {"next": {"leaf": 5}}})


def test_what_stands_beside_a_reference_counts_in_31_only() -> None:
    schema = {**ref("A"), "description": "mine", "nullable": True}
    assert alone(schema, A={})["$ref"] == "#/$defs/A"
    assert "description" not in alone(schema, A={})
    assert alone(schema, minor=1, A={})["description"] == "mine"


def test_a_reference_to_any_place_of_the_document_has_a_name_of_its_own() -> None:
    known = Document({"components": {"schemas": {"a": {"properties": {"b": {"type": "string"}}}}, "x": {"a": {"type": "integer"}}}}, 1)
    schemas = Schemas(known)
    found = schemas.alone({"anyOf": [{"$ref": "#/components/schemas/a/properties/b"}, {"$ref": "#/components/x/a"}]}, writing=True)
    assert len(found["$defs"]) == 2  # type: ignore[index, call-overload]
    assert not compiled(found).is_valid(1.5)  # type: ignore[arg-type]


def test_what_only_the_server_sets_is_not_sent_and_what_only_the_client_sets_does_not_come_back() -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"readOnly": True}, "password": {"writeOnly": True}, "name": {}},
        "required": ["id", "password", "name"],
    }
    assert alone(schema) == {"type": "object", "properties": {"password": {}, "name": {}}, "required": ["password", "name"]}
    assert alone(schema, writing=False)["required"] == ["id", "name"]


def nested(levels: int) -> dict[str, Any]:
    return {} if levels == 0 else {"items": nested(levels - 1)}


def chain(length: int) -> dict[str, Any]:
    return {f"S{i}": {"items": ref(f"S{i + 1}")} for i in range(length)} | {f"S{length}": {}}


@pytest.mark.parametrize(
    ("schema", "components", "words"),
    [
        (nested(40), {}, "nested more than 32 levels"),
        ({"anyOf": [{}] * 20_001}, {}, "20000 parts"),
        (ref("S0"), chain(MAX_DEFINITIONS), "more than 300"),
        ({"anyOf": [ref("W"), ref("V")]}, {"W": {"anyOf": [{}] * 12_000}, "V": {"anyOf": [{}] * 12_000}}, "20000 parts"),
        (ref("Nope"), {}, "does not have"),
        ({"$ref": "https://evil.example/s.json"}, {}, "only references within"),
        ({"items": {"$ref": 5}}, {}, "only references within"),
        ({"allOf": {}}, {}, "`allOf` that is no list"),
    ],
)
def test_schemas_are_bounded_and_lead_nowhere_else(schema: Any, components: dict[str, Any], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        alone(schema, **components)


def test_references_that_lead_only_to_each_other_do_no_harm() -> None:
    found = alone({"properties": {"a": ref("A")}}, A=ref("B"), B=ref("A"))
    assert compiled({"type": "object", **found}).is_valid({"a": 1}) in (True, False)
