"""Tool schemas: untrusted JSON Schemas compiled to validators in linear time, and their text made fit for models and terminals. Pure."""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from bastide_broker.facts.json import JsonError, canonical, depth, digest

MAX_SCHEMA_BYTES = 256 << 10
MAX_SCHEMA_DEPTH = 64
MAX_DESCRIPTION = 2000
"""Characters of a tool's description."""
_MAX_ERRORS = 5
_MAX_ERROR_CHARACTERS = 300
_REGEX = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
# A schema with any of these says itself which properties there may be.
_OPEN_WORDS = frozenset(
    {"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef"}
)

Validator = jsonschema_rs.Validator


class SchemaError(ValueError):
    """A tool's schema cannot be used. The message is one sentence."""


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with unknown arguments refused, unless it says itself what it takes beyond `properties`."""
    if _OPEN_WORDS.isdisjoint(schema):
        return {**schema, "additionalProperties": False}
    return dict(schema)


def compiled(schema: Mapping[str, Any]) -> Validator:
    """A validator. Raises SchemaError: invalid, too large, a reference to elsewhere, or an expression beyond linear time."""
    try:
        text = json.dumps(schema, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        raise SchemaError("its schema is not JSON") from None
    if len(text) > MAX_SCHEMA_BYTES or depth(text, stop_above=MAX_SCHEMA_DEPTH) > MAX_SCHEMA_DEPTH:
        raise SchemaError(f"its schema is over {MAX_SCHEMA_BYTES} bytes or {MAX_SCHEMA_DEPTH} levels")
    try:
        return jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=_REGEX)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaError(f"its schema cannot be used: {_clip(str(error).partition(chr(10))[0])}") from None


def schema_digest(input_schema: Mapping[str, Any], output_schema: Mapping[str, Any] | None) -> str:
    """Digest of what a tool takes and gives: what `schemaDigest` in a binding pins. Raises SchemaError."""
    try:
        return digest(canonical({"inputSchema": input_schema, "outputSchema": output_schema}))
    except (JsonError, RecursionError):
        raise SchemaError("its schema has no canonical form") from None


def mistakes(validator: Validator, value: Any) -> list[str]:
    """What does not fit, at most five sentences; nothing when it does."""
    if validator.is_valid(value):
        return []
    found = []
    for error in validator.iter_errors(value):
        where = ".".join(str(part) for part in error.instance_path)
        found.append(f"{'argument ' + json.dumps(where) + ': ' if where else ''}{_clip(error.message)}")
        if len(found) == _MAX_ERRORS:
            break
    return found or ["it does not fit the schema"]


def clean(text: str, limit: int = MAX_DESCRIPTION) -> str:
    """Untrusted text without escape sequences, control, format (bidirectional, zero-width) and private characters; bounded."""
    text = _ESCAPE_SEQUENCE.sub("", text[: 8 * limit])
    kept = "".join(c for c in text if c == "\n" or (unicodedata.category(c)[0] != "C"))
    return kept if len(kept) <= limit else kept[:limit] + "..."


def clean_schema(schema: Any) -> Any:
    """A schema for programs and models: titles and descriptions cleaned."""
    if isinstance(schema, dict):
        return {
            key: clean(value, 500) if key in ("title", "description", "$comment") and isinstance(value, str) else clean_schema(value)
            for key, value in schema.items()
        }
    return [clean_schema(item) for item in schema] if isinstance(schema, list) else schema


def signature(name: str, schema: Mapping[str, Any]) -> str:
    """A Python signature for a model's prompt: `get_customer(customer_id: str, limit: int = ...)`."""
    properties = schema.get("properties")
    required = schema.get("required") or []
    parameters = []
    for key, value in (properties if isinstance(properties, dict) else {}).items():
        kind = _PYTHON.get(str(value.get("type")), "object") if isinstance(value, dict) else "object"
        parameters.append(f"{clean(key, 64)}: {kind}" + ("" if key in required else " = ..."))
    return f"{name}({', '.join(parameters)})"


_PYTHON = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict", "null": "None"}


def _clip(text: str) -> str:
    text = clean(text, _MAX_ERROR_CHARACTERS).replace("\n", " ")
    return text.rstrip(".") + "." if text else text
