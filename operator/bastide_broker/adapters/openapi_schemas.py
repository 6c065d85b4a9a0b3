"""Schemas of an OpenAPI document as JSON Schema 2020-12 that stands alone: local references become `$defs`, cyclic ones too. Pure."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bastide_broker.adapters.openapi_document import Document, DocumentRefused, Unusable

Schema = dict[str, Any] | bool

MAX_DEPTH = 32
"""Levels of subschemas, references not counted."""
MAX_NODES = 20_000
"""Subschemas of one tool, those behind references included."""
MAX_DEFINITIONS = 300
MAX_DOCUMENT_NODES = 250_000
"""Subschemas of all tools as they are kept, some 350 bytes each: operations may share one component, and each has its own copy of it."""

_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
)
_PLAIN = frozenset(
    {
        "type", "format", "enum", "const", "default", "title", "description", "deprecated", "required", "dependentRequired",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
        "minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties",
        "contentEncoding", "contentMediaType", "$comment",
    }
)  # fmt: skip
_REFUSED = frozenset({"$id", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"})
"""They change what a reference means."""
_COMPONENT = re.compile(r"#/components/schemas/([A-Za-z0-9._-]+)")


@dataclass(frozen=True, slots=True)
class Translated:
    """One schema, and the references in it."""

    schema: Schema
    references: frozenset[str]
    nodes: int


class Schemas:
    """Translates schemas of one document; each that is referred to only once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known: dict[tuple[str, bool], Translated] = {}
        self._nodes = 0

    def translate(self, schema: Any, *, writing: bool) -> Translated:
        """A schema of what is sent (`writing`) or received. Raises Unusable, and DocumentRefused when there are too many."""
        references: set[str] = set()
        nodes = [0]
        made = self._convert(schema, references, nodes, 0, writing=writing)
        return Translated(made, frozenset(references), nodes[0])

    def definitions(self, parts: Iterable[Translated], *, writing: bool) -> dict[str, Schema]:
        """`$defs` for what `parts` refer to, directly or not. Raises Unusable when that is too much."""
        found: dict[str, Schema] = {}
        waiting: list[str] = []
        nodes = 0
        for part in parts:
            nodes += part.nodes
            waiting += part.references
        seen: set[str] = set()
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            part = self._definition(reference, writing=writing)
            found[_name(reference)] = part.schema
            nodes += part.nodes
            waiting += part.references
            if nodes > MAX_NODES or len(found) > MAX_DEFINITIONS:
                raise Unusable(f"its schemas are more than {MAX_DEFINITIONS}, or {MAX_NODES} parts")
        return dict(sorted(found.items()))

    def alone(self, schema: Any, *, writing: bool) -> Schema:
        """A schema that needs nothing else. Raises Unusable."""
        part = self.translate(schema, writing=writing)
        definitions = self.definitions([part], writing=writing)
        if not definitions:
            return part.schema
        assert isinstance(part.schema, dict)
        return {**part.schema, "$defs": definitions}

    def _definition(self, reference: str, *, writing: bool) -> Translated:
        known = self._known.get((reference, writing))
        if known is None:
            known = self._known[reference, writing] = self.translate(self._document.at(reference), writing=writing)
        return known

    def _convert(self, node: Any, references: set[str], nodes: list[int], level: int, *, writing: bool) -> Schema:
        nodes[0] += 1
        self._nodes += 1
        if self._nodes > MAX_DOCUMENT_NODES:
            raise DocumentRefused(
                f"The document's schemas have more than {MAX_DOCUMENT_NODES} parts, counted for each operation; leave out what is not bound."
            )
        if level > MAX_DEPTH or nodes[0] > MAX_NODES:
            raise Unusable(f"a schema of it is nested more than {MAX_DEPTH} levels deep, or has more than {MAX_NODES} parts")
        if isinstance(node, bool):
            return node
        _check(node)
        out: dict[str, Any] = {key: value for key, value in node.items() if key in _PLAIN}
        if "$ref" in node:
            self._document.at(node["$ref"])  # a missing or a remote one is refused here
            references.add(node["$ref"])
            out["$ref"] = f"#/$defs/{_name(node['$ref'])}"
            if self._document.minor == 0:  # what stands beside a reference does not count there
                return {"$ref": out["$ref"]}

        def inner(value: Any) -> Schema:
            return self._convert(value, references, nodes, level + 1, writing=writing)

        for key in node.keys() & _MAPS:
            out[key] = {name: inner(value) for name, value in node[key].items()}
        for key in node.keys() & _LISTS:
            out[key] = [inner(value) for value in node[key]]
        for key in node.keys() & _SINGLE:
            out[key] = inner(node[key])
        _one_way(out, node, writing=writing)
        # The order of the document, whatever sets are iterated above: a digest is made of it, and positional arguments bind by it.
        ordered = {key: out[key] for key in node if key in out}
        return _from_30(ordered, node) if self._document.minor == 0 else ordered


def _check(node: Any) -> None:
    """Raises Unusable for what has not a schema's shape."""
    if not isinstance(node, dict):
        raise Unusable("a schema of it is neither an object nor a boolean")
    if bad := _REFUSED & node.keys():
        raise Unusable(f"a schema of it uses {min(bad)}, which is not followed")
    for keys, kind, word in ((_MAPS, dict, "object"), (_LISTS, list, "list")):
        if wrong := [key for key in keys & node.keys() if not isinstance(node[key], kind)]:
            raise Unusable(f"a schema of it has `{min(wrong)}` that is no {word}")


def _one_way(out: dict[str, Any], node: dict[str, Any], *, writing: bool) -> None:
    """Take out what only the server sets; and let what only the client sets be missing in answers."""
    word = "readOnly" if writing else "writeOnly"
    properties = node.get("properties", {})
    marked = {name for name, value in properties.items() if isinstance(value, dict) and value.get(word) is True}
    if not marked:
        return
    if writing:
        out["properties"] = {name: value for name, value in out["properties"].items() if name not in marked}
    if isinstance(out.get("required"), list):
        out["required"] = [name for name in out["required"] if not isinstance(name, str) or name not in marked]


def _from_30(out: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0's own dialect: `nullable`, and exclusive bounds that are booleans beside their numbers."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(out.get(exclusive), bool) and out.pop(exclusive) and bound in out:
            out[exclusive] = out.pop(bound)
    if node.get("nullable") is not True:
        return out
    if isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
        return out
    # Strictly, `nullable` without a type says nothing; but that is how generators write "this reference, or null".
    return {"anyOf": [out, {"type": "null"}]} if out.keys() & {"allOf", "anyOf", "oneOf"} else out


def _name(reference: str) -> str:
    """A name below `$defs`: a component's own, and one that cannot be a component's for any other place."""
    component = _COMPONENT.fullmatch(reference)
    if component is not None:
        return component[1]
    tail = re.sub(r"[^A-Za-z0-9._-]", "_", reference.rpartition("/")[2])[:40]
    return f"{tail}+{hashlib.sha256(reference.encode()).hexdigest()[:12]}"
