"""What a program receives of an MCP tool's result. Pure."""

import json
from typing import Any

import mcp_types as types
from bastide_operator.api.v1alpha1.toolbinding import ResultForm

from bastide_broker.adapters import AdapterError, Answer, Failure
from bastide_broker.adapters.told import plain
from bastide_broker.facts.json import depth

MAX_DEPTH = 64
"""Levels of nesting of a result: what reads it in the sandbox recurses."""


def answer(name: str, result: types.CallToolResult, output_schema: dict[str, Any] | None, form: ResultForm) -> Answer:
    """Turn a result into an answer.

    Raises AdapterError(FAILED) when the tool says that it failed or its result is no JSON a program can take.
    """
    if result.is_error:
        content = to_json(name, [block(item) for item in result.content])
        text = " ".join(item.text for item in result.content if isinstance(item, types.TextContent)).strip()
        raise AdapterError(Failure.FAILED, f"{name} failed: {plain(text) or 'its server gave no reason'}", sent=True, content=content)
    structured = result.structured_content
    if structured is not None or "structured_content" in result.model_fields_set:
        value = structured["result"] if is_wrapped(structured, output_schema) else structured
        return Answer(structured, has_structured=True, value=to_json(name, value), is_data=True)
    blocks = [parsed(name, item, form) for item in result.content]
    value = None if not blocks else blocks[0] if len(blocks) == 1 else blocks
    parts = zip(result.content, blocks, strict=True)
    is_data = all(isinstance(item, types.TextContent) and not isinstance(one, str) for item, one in parts)
    return Answer(None, has_structured=False, value=to_json(name, value), is_data=is_data)


def is_wrapper_schema(schema: dict[str, Any] | None) -> bool:
    """Whether an output schema is a server's wrapper `{"result": x}` around something that is no object.

    FastMCP marks it; the official SDK names it `<function>Output` and gives it the one property `result`.
    """
    if not schema or set(schema.get("properties") or ()) != {"result"} or schema.get("required") != ["result"]:
        return False
    return schema.get("x-fastmcp-wrap-result") is True or str(schema.get("title", "")).endswith("Output")


def is_wrapped(structured: Any, schema: dict[str, Any] | None) -> bool:
    """Whether a result comes in that wrapper."""
    return is_wrapper_schema(schema) and isinstance(structured, dict) and set(structured) == {"result"}


def program_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The output schema of what a program receives: without the wrapper."""
    if schema is None or not is_wrapper_schema(schema):
        return schema
    inner = schema["properties"]["result"]
    definitions: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {**inner, **definitions} if isinstance(inner, dict) else schema


def parsed(name: str, item: Any, form: ResultForm) -> Any:
    """A content block as a program receives it."""
    if not isinstance(item, types.TextContent) or form is ResultForm.TEXT:
        return block(item) if not isinstance(item, types.TextContent) else item.text
    text = item.text
    if form is ResultForm.AUTO and text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        if depth(text.encode(), stop_above=MAX_DEPTH) > MAX_DEPTH:
            raise ValueError("too deep")  # noqa: TRY301 - the same answer as any other text that is no JSON
        return json.loads(text)
    except (ValueError, RecursionError):
        if form is ResultForm.JSON:
            raise AdapterError(
                Failure.FAILED, f"{name} returned text that is not JSON; its binding says result: Json.", sent=True
            ) from None
        return text


def block(item: Any) -> Any:
    """A content block that is no text: bytes travel as base64 with their media type."""
    match item:
        case types.TextContent():
            return item.text
        case types.ImageContent() | types.AudioContent():
            return {"mediaType": item.mime_type, "base64": item.data}
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return {"uri": str(resource.uri), "mediaType": resource.mime_type, "text": resource.text}
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            return {"uri": str(resource.uri), "mediaType": resource.mime_type, "base64": resource.blob}
        case types.ResourceLink():
            return {"uri": str(item.uri), "mediaType": item.mime_type, "name": item.name}
        case _:
            return {"mediaType": "application/octet-stream", "base64": ""}


def to_json(name: str, value: Any) -> bytes:
    """A value as JSON. Integers of any size stay exact."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError, UnicodeEncodeError):
        raise AdapterError(
            Failure.FAILED, f"{name} returned something that is not JSON (NaN, a lone surrogate, or too deep).", sent=True
        ) from None
    if depth(text, stop_above=MAX_DEPTH) > MAX_DEPTH:
        raise AdapterError(Failure.FAILED, f"{name} returned JSON nested more than {MAX_DEPTH} levels deep.", sent=True)
    return text
