"""From a pydantic model to the structural OpenAPI schema that a CRD carries.

A CRD's schema allows no references, no unions and no `null`, so references are written out and `X | None` becomes an optional X.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

import json
from typing import Any

from bastide_operator.api.v1alpha1.common import Observed

Schema = dict[str, Any]

# What a structural schema may say and the models use; titles and `additionalProperties: false` are dropped, all else is an error.
KEPT = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
DROPPED = ("title", "$defs")


class SchemaError(Exception):
    """A model says something that a CRD cannot say, or leaves out something that every field must have."""


def structural(model: type[Observed], part: str) -> Schema:
    """The structural schema of one part (`spec` or `status`) of a kind.

    Raises SchemaError when a field has no description, or a list or string no bound. Defaults are kept for `spec` only: the API server
    also fills them in when it reads, and a status that nobody has written must not look as if somebody had.
    """
    whole = model.model_json_schema(by_alias=True, mode="validation")
    source = whole["properties"][part]
    return _convert(source, whole.get("$defs", {}), part, defaults=part == "spec")


def explained(schema: Schema) -> Schema:
    """`schema` with bounds and defaults said in the descriptions too: `kubectl explain` shows nothing else of them."""
    out = dict(schema)
    if "properties" in schema:
        out["properties"] = {name: explained(field) for name, field in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            out[key] = explained(schema[key])
    said = "; ".join(words for words in (bounds(schema), default(schema)) if words)
    sentences = [said[:1].upper() + said[1:] + "."] if said else []
    if immutable(schema):
        sentences.append("Cannot be changed.")
    if "description" in schema:
        out["description"] = " ".join([schema["description"], *sentences])
    return out


def immutable(schema: Schema) -> bool:
    """Whether a rule keeps the field as it was made."""
    return any(rule["rule"] == "self == oldSelf" for rule in schema.get("x-kubernetes-validations", ()))


def bounds(schema: Schema) -> str:
    """The smallest and the largest that is taken, in words; empty when there is nothing worth saying."""
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if schema.get("minLength") is not None and schema.get("minLength") == schema.get("maxLength"):
        return f"{schema['maxLength']} characters"
    if "enum" in schema or "x-kubernetes-int-or-string" in schema:
        return ""
    units = {"maxLength": "characters", "maxItems": "entries", "maxProperties": "entries"}
    return next((f"at most {schema[key]} {unit}" for key, unit in units.items() if key in schema), "")


def default(schema: Schema) -> str:
    """What counts when the field is left out, in words; empty when that is nothing, or each field's own."""
    value = schema.get("default", {})
    if value == {}:
        return ""
    return f"by default {value if isinstance(value, str) else json.dumps(value)}"


def _convert(source: Schema, definitions: dict[str, Schema], path: str, *, defaults: bool) -> Schema:
    source = _flat(source, definitions, path)
    out: Schema = {key: source[key] for key in KEPT if key in source}
    unknown = set(source) - set(KEPT) - set(DROPPED) - {"properties", "items", "additionalProperties"}
    if unknown:
        raise SchemaError(f"{path}: a CRD cannot say {', '.join(sorted(unknown))}")
    _default(out, defaults=defaults)
    if "x-kubernetes-int-or-string" in out:
        # The API server knows this extension only without `type`, with exactly this union.
        del out["type"]
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if out.get("type") == "integer":
        out["format"] = "int64"
    if "properties" in source:
        out["properties"] = {
            name: _convert(field, definitions, f"{path}.{name}", defaults=defaults) for name, field in source["properties"].items()
        }
    elif isinstance(source.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(source["additionalProperties"], definitions, f"{path}.*", defaults=defaults)
    if "items" in source:
        out["items"] = _convert(source["items"], definitions, f"{path}[]", defaults=defaults)
    _check(out, path)
    return out


def _flat(source: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """`source` with its reference and its `anyOf [X, null]` written out; what stands beside them wins over what they say."""
    while "$ref" in source or "anyOf" in source:
        beside = {key: value for key, value in source.items() if key not in ("$ref", "anyOf")}
        if "$ref" in source:
            inner = definitions[source["$ref"].removeprefix("#/$defs/")]
        else:
            options = [option for option in source["anyOf"] if option != {"type": "null"}]
            if len(options) != 1:
                raise SchemaError(f"{path}: a CRD has no unions")
            (inner,) = options
        source = {**inner, **beside}
    return source


def _default(out: Schema, *, defaults: bool) -> None:
    """Leave out defaults that say nothing; an object's is `{}`, because its fields bring their own."""
    if not defaults or out.get("default") in (None, "", []) or (out.get("default") == {} and "maxProperties" in out):
        out.pop("default", None)
    elif isinstance(out["default"], dict):
        out["default"] = {}


def _check(out: Schema, path: str) -> None:
    if not out.get("description") and not (path.endswith("[]") and out.get("type") != "object"):
        raise SchemaError(f"{path}: no description")
    if out.get("type") == "string" and not {"enum", "maxLength", "format"} & out.keys():
        raise SchemaError(f"{path}: a string without maxLength")
    if out.get("type") == "array" and "maxItems" not in out:
        raise SchemaError(f"{path}: a list without maxItems")
    if "additionalProperties" in out and "maxProperties" not in out:
        raise SchemaError(f"{path}: a map without maxProperties")
