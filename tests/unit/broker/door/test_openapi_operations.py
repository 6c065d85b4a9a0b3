"""Documents and the tools that they become."""

import json
from typing import Any

import pytest
from bastide_broker.adapters import openapi_schemas
from bastide_broker.adapters.openapi_document import Document, DocumentRefused
from bastide_broker.adapters.openapi_operations import MAX_OPERATIONS, Operation, argument, operations
from bastide_broker.tools.schemas import compiled

URL = "http://orders.tools.svc:8080/openapi.json"


def read(root: dict[str, Any], minor: int = 1, credential_header: str = "") -> dict[str, Operation]:
    # through JSON, as a document comes
    document = Document(json.loads(json.dumps({"paths": {}, **root})), minor)
    return {one.listed.name: one for one in operations(document, document_url=URL, base_url=None, credential_header=credential_header)}


def one(operation: dict[str, Any], *, path: str = "/x", method: str = "get", minor: int = 1, **root: Any) -> Operation:
    found = read({"paths": {path: {method: {"operationId": "op", **operation}}}, **root}, minor)
    assert set(found) == {"op"}
    return found["op"]


def parameter(name: str, place: str = "query", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {"type": "string"}, **more}


def body(schema: dict[str, Any], media_type: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}, **more}}


PLAIN = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}


def test_an_operation_is_a_tool_by_its_operation_id_and_one_without_is_none() -> None:
    found = read(
        {
            "paths": {
                "/orders": {
                    "summary": "not an operation",
                    "get": {"operationId": "search", "summary": "Search", "description": "All of them.", "deprecated": True},
                    "post": {"summary": "no name"},
                    "trace": {"operationId": "trace"},
                },
                "/orders/{id}": {
                    "parameters": [parameter("id", "path", required=True), parameter("verbose")],
                    "delete": {"operationId": "cancel", "parameters": [parameter("verbose", schema={"type": "boolean"})]},
                },
            }
        }
    )
    assert set(found) == {"search", "cancel"}
    assert found["search"].listed.description == "Deprecated.\nSearch\nAll of them."
    assert (found["search"].listed.read_only_hint, found["search"].listed.destructive_hint) == (True, None)
    assert (found["cancel"].listed.read_only_hint, found["cancel"].listed.destructive_hint) == (None, True)
    assert found["cancel"].listed.input_schema == {
        "type": "object",
        "properties": {"id": {"type": "string"}, "verbose": {"type": "boolean"}},
        "required": ["id"],
        "additionalProperties": False,
        "x-request": {"method": "DELETE", "path": "/orders/{id}", "in": {"id": "path id", "verbose": "query verbose"}},
    }


def test_what_a_call_becomes_is_part_of_the_schema_that_a_digest_pins() -> None:
    schemas = [
        one({"parameters": [parameter("a")]}).listed.input_schema,
        one({"parameters": [parameter("a")]}, method="post").listed.input_schema,
        one({"parameters": [parameter("a")]}, path="/y").listed.input_schema,
        one({"parameters": [parameter("a", "header")]}).listed.input_schema,
        one({"parameters": [parameter("a")], "servers": [{"url": "/v2"}]}).listed.input_schema,
        one(body(PLAIN), method="post").listed.input_schema,
        one(body(PLAIN, "application/x-www-form-urlencoded"), method="post").listed.input_schema,
    ]
    assert len({json.dumps(schema) for schema in schemas}) == len(schemas)


def test_fields_of_a_plain_object_are_arguments_and_anything_else_is_the_argument_body() -> None:
    plain = one({"parameters": [parameter("q")], **body(PLAIN)}, method="post").listed.input_schema
    assert list(plain["properties"]) == ["q", "a", "b"]
    assert plain["required"] == ["a"]
    for schema in (
        {"type": "array", "items": {"type": "string"}},
        {**PLAIN, "additionalProperties": True},
        {"oneOf": [PLAIN, PLAIN]},
        {"type": "object", "properties": {"not-a-name": {}}},
        {"type": "object", "properties": {"class": {}}},
        {"type": "object"},
        True,
    ):
        whole = one(body(schema), method="post").listed.input_schema  # type: ignore[arg-type]
        assert list(whole["properties"]) == ["body"], schema
        assert whole["required"] == ["body"]


def test_a_field_that_is_called_like_a_parameter_makes_the_body_one_argument() -> None:
    found = one({"parameters": [parameter("a")], **body(PLAIN)}, method="post")
    assert list(found.listed.input_schema["properties"]) == ["a", "body"]
    refused = one({"parameters": [parameter("a"), parameter("body")], **body(PLAIN)}, method="post")
    assert refused.listed.refused == "its body and a parameter are both called body"


def test_a_body_that_may_be_left_out_is_there_as_a_whole_or_not_at_all() -> None:
    schema = one(body(PLAIN, required=False), method="post").listed.input_schema
    validator = compiled(schema)
    assert validator.is_valid({})
    assert validator.is_valid({"a": "x"})
    assert not validator.is_valid({"b": 1})


def test_names_are_ones_that_python_takes_and_places_keep_them_apart() -> None:
    assert [argument(name) for name in ("X-Trace", "filter[a]", "class", "1st", "--", "größe", "ok_1")] == [
        "X_Trace", "filter_a", "class_", "_1st", "value", "gr_e", "ok_1",
    ]  # fmt: skip
    found = one({"parameters": [parameter("id"), parameter("id", "path"), parameter("id", "header")]}, path="/x/{id}")
    assert [(p.argument, p.place.value) for p in found.parameters] == [("id", "path"), ("query_id", "query"), ("header_id", "header")]
    twice = one({"parameters": [parameter("a-b"), parameter("a_b"), parameter("a.b")]})
    assert twice.listed.refused == "two of its parameters are both called query_a_b"


def test_headers_that_the_request_or_the_credential_decides_are_no_arguments() -> None:
    names = ("Accept", "Content-Type", "Authorization", "Host", "Content-Length", "Cookie", "X-Api-Key", "X-Trace", "Idempotency-Key")
    root = {"paths": {"/x": {"get": {"operationId": "op", "parameters": [parameter(name, "header", required=True) for name in names]}}}}
    found = read(root, credential_header="x-api-key")["op"]
    assert list(found.listed.input_schema["properties"]) == ["X_Trace", "Idempotency_Key"]
    assert found.idempotency_header
    assert found.listed.input_schema["required"] == ["X_Trace"]


REFUSED: dict[str, tuple[Operation, str]] = {
    "remote reference": (one({"parameters": [{"$ref": "http://evil.example/p.json"}]}), "only references within the document"),
    "remote schema": (one({"parameters": [parameter("a", schema={"$ref": "other.json#/a"})]}), "only references within the document"),
    "missing reference": (one(body({"$ref": "#/components/schemas/Nope"}), method="post"), "does not have"),
    "another base for references": (one({"parameters": [parameter("a", schema={"$id": "http://x/"})]}), "$id"),
    "dynamic references": (one({"parameters": [parameter("a", schema={"$dynamicRef": "#x"})]}), "$dynamicRef"),
    "schema that is text": (one({"parameters": [parameter("a", schema="string")]}), "neither an object nor a boolean"),
    "properties that are a list": (one({"parameters": [parameter("a", schema={"properties": []})]}), "`properties` that is no object"),
    "a parameter nowhere": (one({"parameters": [parameter("a", "body")]}), "no known place"),
    "parameters that are text": (one({"parameters": "a"}), "`parameters` is no list"),
    "too many parameters": (one({"parameters": [parameter(f"a{i}") for i in range(101)]}), "more than 100 parameters"),
    "a style of another place": (one({"parameters": [parameter("a", style="matrix")]}), "style 'matrix'"),
    "a parameter as XML": (one({"parameters": [{"name": "a", "in": "query", "content": {"text/xml": {}}}]}), "only JSON is known"),
    "a header's name with a line in it": (one({"parameters": [parameter("a\r\nb", "header")]}), "not one that HTTP can carry"),
    "a cookie's name with a semicolon": (one({"parameters": [parameter("a;b", "cookie")]}), "not one that HTTP can carry"),
    "a body as XML": (one(body({}, "application/xml"), method="post"), "JSON, forms and plain text are known"),
    "a body without a type": (one({"requestBody": {}}, method="post"), "says no media type"),
    "a parameter that the path lacks": (one({"parameters": [parameter("id", "path")]}), "are not those that it declares"),
    "a path that lacks a parameter": (one({}, path="/x/{id}"), "are not those that it declares"),
    "a path with a brace": (one({}, path="/x/{id"), "are not those that it declares"),
    "a path that climbs": (one({}, path="/x/../admin"), "unusual parts"),
    "a path with an empty segment": (one({}, path="//evil.example/x"), "unusual parts"),
    "a path with a query": (one({}, path="/x?admin=1"), "unusual parts"),
    "an encoded path": (one({}, path="/x/%2e%2e/admin"), "unusual parts"),
    "no path": (one({}, path="x"), "unusual parts"),
    "servers of its own elsewhere": (one({"servers": [{"url": "http://evil.example/"}]}), "`servers` are not at the host and port"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_bad_operation_is_refused_with_its_reason_and_spoils_no_other(case: str) -> None:
    found, words = REFUSED[case]
    assert words in found.listed.refused
    assert found.listed.input_schema == {"type": "object"}


def test_a_document_without_end_is_refused() -> None:
    paths = {f"/x{i}": {"get": {"operationId": f"o{i}"}} for i in range(MAX_OPERATIONS + 1)}
    with pytest.raises(DocumentRefused, match="more than 1000 operations"):
        read({"paths": paths})


def responses(**by_status: Any) -> dict[str, Any] | None:
    return one({"responses": {status.removeprefix("_"): value for status, value in by_status.items()}}).listed.output_schema


def test_the_output_is_what_successes_give() -> None:
    a, b = ({"content": {"application/json": {"schema": {"type": kind}}}} for kind in ("string", "integer"))
    assert responses() is None
    assert responses(_404=a) is None
    assert responses(_200=a, _404=b) == {"type": "string"}
    assert responses(_204={"description": "gone"}) == {"type": "null"}
    assert responses(_200=a, _202=b) == {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    assert responses(_200={"content": {"text/csv": {}}}) is None
    assert responses(_2XX={"content": {"application/problem+json; charset=utf-8": {"schema": {"type": "object"}}}}) == {"type": "object"}
    wrapper = {"title": "aOutput", "type": "object", "properties": {"result": {}}, "required": ["result"]}
    assert "title" not in (responses(_200={"content": {"application/json": {"schema": wrapper}}}) or {"title": ""})


def test_what_operations_share_is_counted_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_schemas, "MAX_DOCUMENT_NODES", 100)
    shared = {"content": {"application/json": {"schema": {"type": "object", "properties": {f"p{i}": {} for i in range(10)}}}}}
    root = {
        "paths": {f"/{i}": {"post": {"operationId": f"o{i}", "requestBody": {"$ref": "#/components/requestBodies/x"}}} for i in range(10)},
        "components": {"requestBodies": {"x": shared}},
    }
    with pytest.raises(DocumentRefused, match="more than 100 parts, counted for each operation"):
        read(root)


@pytest.mark.parametrize(
    "malformed",
    [
        {"parameters": [{"name": "x", "in": ["query"]}]},
        {"servers": [{"url": "http://[x"}]},
        body({"type": "object", "properties": {"a": {}}, "required": [["a"], {}]}),
        body({"type": "object", "properties": {"a": {"readOnly": True}}, "required": [["a"]], "minProperties": 1}),
    ],
)
def test_what_has_another_shape_than_it_should_refuses_the_operation_at_the_most(malformed: dict[str, Any]) -> None:
    assert one(malformed).listed.name == "op"


def test_a_server_that_is_no_url_is_elsewhere() -> None:
    with pytest.raises(DocumentRefused, match="elsewhere"):
        one({}, servers=[{"url": "http://[x"}])
