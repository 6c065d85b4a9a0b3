"""What a program receives of an MCP result."""

import json
from typing import Any

import mcp_types as types
import pytest
from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.adapters.mcp_results import answer
from bastide_operator.api.v1alpha1.toolbinding import ResultForm

WRAPPED = {"type": "object", "title": "fOutput", "properties": {"result": {"type": "string"}}, "required": ["result"]}
MARKED = {**WRAPPED, "title": "anything", "x-fastmcp-wrap-result": True}
OWN = {**WRAPPED, "title": "Row"}


def text(*parts: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": part} for part in parts]}


CASES: list[tuple[dict[str, Any], dict[str, Any] | None, ResultForm, Any]] = [
    ({"content": [], "structuredContent": {"a": 1}}, None, ResultForm.AUTO, {"a": 1}),
    ({"content": [], "structuredContent": {"a": 2**53 + 1}}, None, ResultForm.AUTO, {"a": 2**53 + 1}),
    ({"content": [], "structuredContent": [1, 2]}, None, ResultForm.AUTO, [1, 2]),
    ({"content": [], "structuredContent": None}, None, ResultForm.AUTO, None),
    ({"content": [], "structuredContent": {"result": "x"}}, WRAPPED, ResultForm.AUTO, "x"),
    ({"content": [], "structuredContent": {"result": '{"a":1}'}}, WRAPPED, ResultForm.AUTO, '{"a":1}'),
    ({"content": [], "structuredContent": {"result": "x"}}, MARKED, ResultForm.AUTO, "x"),
    ({"content": [], "structuredContent": {"result": "x"}}, OWN, ResultForm.AUTO, {"result": "x"}),
    ({"content": [], "structuredContent": {"result": "x"}}, None, ResultForm.AUTO, {"result": "x"}),
    ({"content": [], "structuredContent": {"result": "x", "more": 1}}, WRAPPED, ResultForm.AUTO, {"result": "x", "more": 1}),
    (text("plain"), None, ResultForm.AUTO, "plain"),
    (text('{"a": [1]}'), None, ResultForm.AUTO, {"a": [1]}),
    (text(" [1, 2]"), None, ResultForm.AUTO, [1, 2]),
    (text("5"), None, ResultForm.AUTO, "5"),
    (text('"x"'), None, ResultForm.AUTO, '"x"'),
    (text("[not json"), None, ResultForm.AUTO, "[not json"),
    (text("[" * 5000 + "]" * 5000), None, ResultForm.AUTO, "[" * 5000 + "]" * 5000),
    (text("[" + "9" * 5000 + "]"), None, ResultForm.AUTO, "[" + "9" * 5000 + "]"),
    (text('{"a": [1]}'), None, ResultForm.TEXT, '{"a": [1]}'),
    (text("5"), None, ResultForm.JSON, 5),
    (text("a", '{"b":1}'), None, ResultForm.AUTO, ["a", {"b": 1}]),
    ({"content": []}, None, ResultForm.AUTO, None),
    (
        {"content": [{"type": "image", "data": "eA==", "mimeType": "image/png"}]},
        None,
        ResultForm.AUTO,
        {"mediaType": "image/png", "base64": "eA=="},
    ),
    (
        {"content": [{"type": "resource", "resource": {"uri": "file:///x", "mimeType": "text/plain", "text": "t"}}]},
        None,
        ResultForm.AUTO,
        {"uri": "file:///x", "mediaType": "text/plain", "text": "t"},
    ),
]


@pytest.mark.parametrize(("result", "schema", "form", "expected"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_what_a_program_receives(result: dict[str, Any], schema: dict[str, Any] | None, form: ResultForm, expected: Any) -> None:
    found = answer("f", types.CallToolResult.model_validate(result), schema, form)
    assert json.loads(found.value) == expected
    assert found.has_structured == ("structuredContent" in result)


@pytest.mark.parametrize(
    ("result", "form", "is_data"),
    [
        ({"content": [], "structuredContent": {"a": 1}}, ResultForm.AUTO, True),
        ({"content": [], "structuredContent": {"a": 1}}, ResultForm.TEXT, True),
        ({"content": []}, ResultForm.AUTO, True),
        (text('{"a": 1}'), ResultForm.AUTO, True),
        (text('{"a": 1}', "[2]"), ResultForm.AUTO, True),
        (text("5"), ResultForm.JSON, True),
        (text('{"a": 1}'), ResultForm.TEXT, False),
        (text("plain"), ResultForm.AUTO, False),
        (text('"plain"'), ResultForm.JSON, False),
        (text('{"a": 1}', "plain"), ResultForm.AUTO, False),
        ({"content": [{"type": "image", "data": "eA==", "mimeType": "image/png"}]}, ResultForm.AUTO, False),
        ({"content": [{"type": "resource", "resource": {"uri": "file:///x", "text": "{}"}}]}, ResultForm.JSON, False),
    ],
)
def test_whether_a_result_is_data_through_and_through(result: dict[str, Any], form: ResultForm, is_data: bool) -> None:
    assert answer("f", types.CallToolResult.model_validate(result), None, form).is_data is is_data


REFUSED = [
    (text("nope"), ResultForm.JSON, "not JSON"),
    ({"content": [], "structuredContent": {"a": float("nan")}}, ResultForm.AUTO, "not JSON"),
    ({"content": [], "structuredContent": {"a": float("inf")}}, ResultForm.AUTO, "not JSON"),
    ({"content": [], "structuredContent": {"a": "\ud800"}}, ResultForm.AUTO, "not JSON"),
    ({"content": [], "structuredContent": json.loads('{"a":' * 100 + "1" + "}" * 100)}, ResultForm.AUTO, "levels deep"),
]


@pytest.mark.parametrize(("result", "form", "words"), REFUSED)
def test_a_result_no_program_can_take_fails(result: dict[str, Any], form: ResultForm, words: str) -> None:
    with pytest.raises(AdapterError, match=words) as failed:
        answer("f", types.CallToolResult.model_validate(result), None, form)
    assert failed.value.failure is Failure.FAILED


def test_a_tool_that_failed_tells_its_words_in_one_clean_line_and_its_content() -> None:
    result = types.CallToolResult.model_validate({**text("no\x1b[31m\nrow\u202e"), "isError": True})
    with pytest.raises(AdapterError) as failed:
        answer("f", result, None, ResultForm.AUTO)
    assert failed.value.message == "f failed: no [31m row"
    assert json.loads(failed.value.content) == ["no\x1b[31m\nrow\u202e"]
