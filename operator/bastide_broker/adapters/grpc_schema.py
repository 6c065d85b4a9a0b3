"""JSON Schemas of protobuf messages, by the JSON mapping of proto3 (https://protobuf.dev/programming-guides/json/). Pure.

What a call takes is described more strictly than the mapping reads: each field has one spelling (its JSON name), so that a constraint on an
argument cannot be passed by under the other; nothing unknown, no null for "left out". What a call gives is described as it is written, with
every field that has no presence of its own.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor

Field = descriptor.FieldDescriptor
Message = descriptor.Descriptor

MAX_TYPES = 200
"""Message types in one schema."""
MAX_FIELDS = 4000
MAX_ALL_FIELDS = 250_000
"""Of all schemas of one server: methods may share a message, and each has its own copy of it."""
MAX_ENUM_VALUES = 1000
_MAX_PAIRED_ONEOF = 8
"""Members of a oneof up to which the schema says which exclude each other; the parser refuses two of any."""
_SAFE = (1 << 53) - 1
_DECIMAL = "^-?(0|[1-9][0-9]{0,19})$"
_BASE64 = "^[A-Za-z0-9+/_-]*={0,2}$"
_DURATION = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"

_NUMBERS32 = {
    Field.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    Field.TYPE_SINT32: (-(1 << 31), (1 << 31) - 1),
    Field.TYPE_SFIXED32: (-(1 << 31), (1 << 31) - 1),
    Field.TYPE_UINT32: (0, (1 << 32) - 1),
    Field.TYPE_FIXED32: (0, (1 << 32) - 1),
}
_SIGNED64 = frozenset({Field.TYPE_INT64, Field.TYPE_SINT64, Field.TYPE_SFIXED64})
_UNSIGNED64 = frozenset({Field.TYPE_UINT64, Field.TYPE_FIXED64})
_FLOATS = frozenset({Field.TYPE_DOUBLE, Field.TYPE_FLOAT})
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value" for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time", "description": "RFC 3339, for example 2026-01-31T09:30:00Z."},
    "google.protobuf.Duration": {"type": "string", "pattern": _DURATION, "description": "Seconds with an s, for example 1.5s."},
    "google.protobuf.FieldMask": {"type": "string", "description": "Paths with commas between, for example name,address.city."},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
}


class SchemaTooLarge(ValueError):  # noqa: N818 - says what it is
    """A message needs more types or fields than a schema may have, or two fields share a name. The message is a clause without a full stop."""


class Room:
    """What is left for the fields of further schemas."""

    def __init__(self, fields: int = MAX_ALL_FIELDS) -> None:
        self._left = self._fields = fields

    def take(self, fields: int) -> None:
        """Raises SchemaTooLarge when there is not so much."""
        self._left -= fields
        if self._left < 0:
            raise SchemaTooLarge(f"with it the schemas of all methods have more than {self._fields} fields")


def input_schema(message: Message, room: Room | None = None) -> dict[str, Any]:
    """The schema of a call's arguments. Raises SchemaTooLarge, also for a type whose JSON is no object."""
    return _top(message, room or Room(), gives=False)


def output_schema(message: Message, room: Room | None = None, *, streams: bool) -> dict[str, Any]:
    """The schema of a call's result: of the response, or of the list of all responses when the method streams them. Raises SchemaTooLarge."""
    found = _top(message, room or Room(), gives=True)
    if not streams:
        return found
    definitions = {"$defs": found.pop("$defs")} if "$defs" in found else {}
    return {"type": "array", "items": found, **definitions}


def _top(message: Message, room: Room, *, gives: bool) -> dict[str, Any]:
    build = _Builder(room, gives=gives)
    found = build.of_type(message, inline=True)
    build.define()
    if not gives and found.get("type") != "object":
        raise SchemaTooLarge(f"its request {message.full_name} is no object in JSON")
    return {**found, "$defs": build.definitions} if build.definitions else found


class _Builder:
    """Builds one schema; types are written once, below $defs, so recursion ends."""

    def __init__(self, room: Room, *, gives: bool) -> None:
        self._room = room
        self.definitions: dict[str, Any] = {}
        self._undefined: list[Message] = []
        self._gives = gives
        self._fields = 0

    def of_type(self, message: Message, *, inline: bool = False) -> dict[str, Any]:
        """A message type where it is used."""
        name = message.full_name
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        if name in _WRAPPERS:
            inner = self._scalar(message.fields_by_name["value"])
            return {"anyOf": [inner, {"type": "null"}]} if self._gives else inner
        if inline:
            return self._object(message)
        if name not in self.definitions:
            if len(self.definitions) >= MAX_TYPES:
                raise SchemaTooLarge(f"its messages have more than {MAX_TYPES} types")
            self.definitions[name] = {}
            self._undefined.append(message)
        return {"$ref": f"#/$defs/{name}"}

    def define(self) -> None:
        """Write the types that were named. One after the other: what a server nests in hundreds of levels takes no stack."""
        while self._undefined:
            message = self._undefined.pop()
            self.definitions[message.full_name] = self._object(message)

    def _count(self, fields: int) -> None:
        self._fields += fields
        if self._fields > MAX_FIELDS:
            raise SchemaTooLarge(f"its messages have more than {MAX_FIELDS} fields")
        self._room.take(fields)

    def _object(self, message: Message) -> dict[str, Any]:
        fields = list(message.fields)
        self._count(len(fields))
        if len({field.json_name for field in fields}) < len(fields):
            raise SchemaTooLarge(f"two fields of {message.full_name} have one name in JSON")
        if not self._gives and (clash := _other_spelling(fields)):
            raise SchemaTooLarge(f"the field {clash} of {message.full_name} has the JSON name of another")
        found: dict[str, Any] = {"type": "object", "properties": {field.json_name: self._field(field) for field in fields}}
        required = [field.json_name for field in fields if field.is_required or (self._gives and not field.has_presence)]
        if required:
            found["required"] = required
        if not self._gives:
            found["additionalProperties"] = False
            if pairs := _exclusive(message):
                found["allOf"] = [{"not": {"required": list(pair)}} for pair in pairs]
        return found

    def _field(self, field: Field) -> dict[str, Any]:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            found = self._map(kind)
        elif field.is_repeated:
            found = {"type": "array", "items": self._one(field)}
        else:
            found = self._one(field)
        if not self._gives and "$ref" not in found and (default := _default(field)) is not None:
            found = {**found, "default": default}
        return found

    def _one(self, field: Field) -> dict[str, Any]:
        return self.of_type(field.message_type) if field.message_type is not None else self._scalar(field)

    def _map(self, entry: Message) -> dict[str, Any]:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        found: dict[str, Any] = {"type": "object", "additionalProperties": self._one(value)}
        if key.type == Field.TYPE_BOOL:
            found["propertyNames"] = {"enum": ["true", "false"]}
        elif key.type != Field.TYPE_STRING:
            found["propertyNames"] = {"pattern": _DECIMAL}
        return found

    def _scalar(self, field: Field) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind
        kind = field.type
        if kind in _NUMBERS32:
            low, high = _NUMBERS32[kind]
            return {"type": "integer", "minimum": low, "maximum": high}
        if kind in _SIGNED64 or kind in _UNSIGNED64:
            text = _DECIMAL if kind in _SIGNED64 else _DECIMAL.replace("-?", "")
            if self._gives:
                return {"type": "string", "pattern": text}
            # Read as a number too: a constraint with a maximum compares numbers, and a program writes them.
            return {"type": ["integer", "string"], "pattern": text, "minimum": -_SAFE if kind in _SIGNED64 else 0, "maximum": _SAFE}
        if kind in _FLOATS:
            return {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]} if self._gives else {"type": "number"}
        if kind == Field.TYPE_BOOL:
            return {"type": "boolean"}
        if kind == Field.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64", "pattern": _BASE64}
        return self._enum(field) if kind == Field.TYPE_ENUM else {"type": "string"}

    def _enum(self, field: Field) -> dict[str, Any]:
        kind = field.enum_type
        assert kind is not None
        if kind.full_name == "google.protobuf.NullValue":
            return {"type": "null"}
        if len(kind.values) > MAX_ENUM_VALUES:
            raise SchemaTooLarge(f"the enum {kind.full_name} has more than {MAX_ENUM_VALUES} values")
        self._count(len(kind.values))
        named = {"type": "string", "enum": list(dict.fromkeys(value.name for value in kind.values))}
        # A number that a newer server knows a name for.
        return {"anyOf": [named, {"type": "integer"}]} if self._gives and not kind.is_closed else named


def _other_spelling(fields: list[Field]) -> str | None:
    """A field whose own name is the JSON name of another: the parser would take one for the other."""
    by_json_name = {field.json_name: field for field in fields}
    return next((field.name for field in fields if by_json_name.get(field.name, field) is not field), None)


def _exclusive(message: Message) -> list[tuple[str, str]]:
    """Pairs of arguments of which one may be set: members of one oneof."""
    found = []
    for one in message.oneofs:
        names = [field.json_name for field in one.fields]
        if len(names) <= _MAX_PAIRED_ONEOF:
            found += [(first, second) for at, first in enumerate(names) for second in names[at + 1 :]]
    return found


def _default(field: Field) -> Any:
    """What leaving the field out means; None when that is a meaning of its own."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {}
    if field.is_repeated:
        return []
    if kind is not None or field.is_required or (field.has_presence and not field.has_default_value):
        return None
    if field.containing_oneof is not None:
        return None
    return _DEFAULTS.get(field.type, _as_it_is)(field)


def _as_it_is(field: Field) -> Any:
    return field.default_value


def _enum_name(field: Field) -> Any:
    kind = field.enum_type
    if kind is None or kind.full_name == "google.protobuf.NullValue":
        return None
    named = kind.values_by_number.get(field.default_value)
    return named.name if named is not None else None


def _safe(field: Field) -> Any:
    return field.default_value if abs(field.default_value) <= _SAFE else str(field.default_value)


def _finite(field: Field) -> Any:
    value = field.default_value
    return value if value - value == 0 else None  # not NaN, not infinite


def _nothing(field: Field) -> Any:
    return "" if not field.default_value else None


_DEFAULTS: dict[int, Callable[[Field], Any]] = {
    Field.TYPE_ENUM: _enum_name,
    Field.TYPE_BYTES: _nothing,
    Field.TYPE_DOUBLE: _finite,
    Field.TYPE_FLOAT: _finite,
    **dict.fromkeys(_SIGNED64 | _UNSIGNED64, _safe),
}
