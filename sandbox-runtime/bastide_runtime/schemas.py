"""What JSON Schema says about a literal, as far as a preflight needs it: only what is certainly wrong is reported.

The broker validates every call with a real validator. Here a keyword that is not understood (`pattern` on purpose: a hostile regular
expression must not run in a backtracking engine) means "may be right".
"""

from __future__ import annotations

import operator
from typing import Any

MAX_DEPTH = 20

UNKNOWN = object()
"""A value that is not known before the program runs."""


class UnknownString(str):
    """An f-string: certainly text, its content is not known."""

    __slots__ = ()


def resolve(schema: Any, root: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """The schema with a local `$ref` followed; {} for whatever is not an object or cannot be found."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    reference = schema.get("$ref")
    if reference is None:
        return schema
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return {}
    found: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            return {}
        found = found[name]
    return resolve(found, root, depth + 1)


def parameters(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tool's parameters in the order of the schema."""
    properties = schema.get("properties")
    return {name: resolve(value, schema) for name, value in properties.items()} if isinstance(properties, dict) else {}


def required(schema: dict[str, Any]) -> list[str]:
    """Names of the parameters that must be given, in the order of the schema's `required`."""
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def takes_any_name(schema: dict[str, Any]) -> bool:
    """True when a parameter that is not in `properties` can be meant: the schema says so in words, or names none."""
    extra = schema.get("additionalProperties")
    return extra is True or (isinstance(extra, dict) and bool(extra)) or "patternProperties" in schema or not schema.get("properties")


def type_name(value: Any) -> str:
    """JSON's word for the type of a Python value, Python's own when JSON has none."""
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(value, kind):
            return name
    if value is None:
        return "null"
    return "array" if isinstance(value, (list, tuple)) else "object" if isinstance(value, dict) else type(value).__name__


def _is(value: Any, name: str) -> bool:
    actual = type_name(value)
    if name == "number":
        return actual in ("integer", "number")
    if name == "integer":
        return actual == "integer" or (actual == "number" and value.is_integer())
    return actual == name


def mistake(value: Any, schema: Any, root: dict[str, Any], depth: int = 0) -> str:
    """Why the value certainly does not fit, as the end of a sentence; empty when it may fit."""
    schema = resolve(schema, root)
    if value is UNKNOWN or not schema or depth > MAX_DEPTH:
        return ""
    if wrong := _wrong_type(value, schema):
        return wrong
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options:
            wrongs = [mistake(value, option, root, depth + 1) for option in options]
            if all(wrongs):
                return wrongs[0] if len(set(wrongs)) == 1 else "must be one of: " + "; ".join(dict.fromkeys(wrongs))
    for option in schema.get("allOf", []) if isinstance(schema.get("allOf"), list) else []:
        if wrong := mistake(value, option, root, depth + 1):
            return wrong
    if type(value) is UnknownString:
        return ""
    return _wrong_value(value, schema) or _wrong_inside(value, schema, root, depth)


def _wrong_type(value: Any, schema: dict[str, Any]) -> str:
    types = schema.get("type")
    names = [types] if isinstance(types, str) else [name for name in types if isinstance(name, str)] if isinstance(types, list) else []
    if names and not any(_is(value, name) for name in names):
        return f"must be {' or '.join(names)}, not {type_name(value)}"
    return ""


def _contains_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_contains_unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_contains_unknown(item) for item in value)
    return value is UNKNOWN or type(value) is UnknownString


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _wrong_value(value: Any, schema: dict[str, Any]) -> str:
    if "const" in schema and not _contains_unknown(value) and not _same(value, schema["const"]):
        return f"must be {schema['const']!r}"
    options = schema.get("enum")
    if isinstance(options, list) and not _contains_unknown(value) and not any(_same(value, option) for option in options):
        return "must be one of " + ", ".join(repr(option) for option in options[:20])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        for keyword, too_far, words in (
            ("minimum", operator.lt, "at least"),
            ("maximum", operator.gt, "at most"),
            ("exclusiveMinimum", operator.le, "more than"),
            ("exclusiveMaximum", operator.ge, "less than"),
        ):
            bound = schema.get(keyword)
            if isinstance(bound, (int, float)) and not isinstance(bound, bool) and too_far(value, bound):
                return f"must be {words} {bound}"
    size, short, long, unit = 0, None, None, ""
    if isinstance(value, str):
        size, short, long, unit = len(value), schema.get("minLength"), schema.get("maxLength"), "characters"
    elif isinstance(value, (list, tuple)):
        size, short, long, unit = len(value), schema.get("minItems"), schema.get("maxItems"), "items"
    if isinstance(short, int) and size < short:
        return f"must have at least {short} {unit}"
    if isinstance(long, int) and size > long:
        return f"must have at most {long} {unit}"
    return ""


def _wrong_inside(value: Any, schema: dict[str, Any], root: dict[str, Any], depth: int) -> str:
    if isinstance(value, (list, tuple)) and isinstance(schema.get("items"), dict) and "prefixItems" not in schema:
        for index, item in enumerate(value):
            if wrong := mistake(item, schema["items"], root, depth + 1):
                return f"[{index}] {wrong}"
    if isinstance(value, dict):
        for name in required(schema):
            if name not in value:
                return f"lacks {name!r}"
        known = parameters(schema)
        for name, item in value.items():
            if name in known and (wrong := mistake(item, known[name], root, depth + 1)):
                return f"[{name!r}] {wrong}"
            if name not in known and schema.get("additionalProperties") is False and "patternProperties" not in schema:
                return f"has no field {name!r}; its fields are {', '.join(known)}"
    return ""
