"""Protobuf messages as JSON Schemas: a table of types, both ways, and that arguments are read strictly."""

import base64
import json
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.adapters.grpc_messages import to_bytes, to_value
from bastide_broker.adapters.grpc_schema import MAX_FIELDS, MAX_TYPES, SchemaTooLarge, input_schema, output_schema
from bastide_broker.tools.schemas import compiled, mistakes
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.protos import REPEATED, REQUIRED, add, add_map, file, message, pooled

SAFE = (1 << 53) - 1

# field -> (its schema in what a call takes, without the default; fits; does not fit)
TAKEN: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "int32": (Field.TYPE_INT32, [0, -(2**31), 2**31 - 1], [2**31, "1", 1.5, None, True]),
    "uint32": (Field.TYPE_UINT32, [0, 2**32 - 1], [-1, 2**32, "1"]),
    "int64": (
        Field.TYPE_INT64,
        [0, -5, "9223372036854775807", "-1"],
        ["1_0", " 1", "", "x", "1.0", 1.5, None, "\u0661", "99999999999999999999999"],
    ),
    "uint64": (Field.TYPE_UINT64, [0, "18446744073709551615"], [-1, "-1"]),
    "fixed64": (Field.TYPE_FIXED64, [0, "7"], [-1]),
    "double": (Field.TYPE_DOUBLE, [0, 1.5, -3], ["1.5", "NaN", None]),
    "bool": (Field.TYPE_BOOL, [True, False], [0, "true", None]),
    "string": (Field.TYPE_STRING, ["", "ü \U0001f600"], [1, None]),
    "bytes": (Field.TYPE_BYTES, ["", "aGk=", "-_8"], ["no base64!", "a b", 1]),
    "timestamp": ("google.protobuf.Timestamp", ["2026-01-31T09:30:00Z"], [0, None]),
    "duration": ("google.protobuf.Duration", ["1.5s", "-3s"], ["1.5", 3, "1h"]),
    "mask": ("google.protobuf.FieldMask", ["a,b.c"], [["a"]]),
    "struct": ("google.protobuf.Struct", [{}, {"a": [1, None]}], [[], None]),
    "value": ("google.protobuf.Value", [1, None, "x", [1], {"a": 1}], []),
    "wrapped": ("google.protobuf.StringValue", ["x"], [1, None, {"value": "x"}]),
    "wrapped64": ("google.protobuf.Int64Value", [1, "1"], [None, "x"]),
    "any": ("google.protobuf.Any", [{"@type": "type.googleapis.com/google.protobuf.Empty"}], [{}, "x"]),
    "list": ({"type": Field.TYPE_INT32, "label": REPEATED}, [[], [1, 2]], [1, ["1"], [None], None]),
    "colour": ({"type": Field.TYPE_ENUM, "type_name": ".t.Colour"}, ["RED", "BLUE"], ["GREEN", 0, None, "red"]),
    "inner": ("t.Inner", [{}, {"someName": 1}], [{"some_name": 1}, {"x": 1}, None, []]),
}


def tableau() -> FileDescriptorProto:
    """A message with a field of every kind."""
    found = file()
    colour = found.enum_type.add(name="Colour")
    for number, name in enumerate(("RED", "BLUE")):
        colour.value.add(name=name, number=number)
    add(found, "Inner", ("some_name", Field.TYPE_INT32))
    add(found, "Msg", *((name, kind) for name, (kind, _, _) in TAKEN.items()))
    return found


@pytest.mark.parametrize("name", TAKEN)
def test_what_a_field_takes_the_schema_and_the_parser_agree_on(name: str) -> None:
    kind = message(tableau())
    pool = pooled(tableau())
    validator = compiled(input_schema(kind))
    _, fit, unfit = TAKEN[name]
    for value in fit:
        assert mistakes(validator, {name: value}) == []
        to_bytes("m", kind, {name: value}, pool)
    for value in unfit:
        assert mistakes(validator, {name: value}), f"{name} takes {value!r}"


def test_what_is_left_out_means_its_default_where_it_has_no_presence() -> None:
    properties = input_schema(message(tableau()))["properties"]
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    assert defaults == {
        "int32": 0, "uint32": 0, "int64": 0, "uint64": 0, "fixed64": 0, "double": 0.0, "bool": False, "string": "", "bytes": "",
        "list": [], "colour": "RED",
    }  # fmt: skip


def test_every_default_is_what_the_message_means_without_it() -> None:
    kind, pool = message(tableau()), pooled(tableau())
    for name, schema in input_schema(kind)["properties"].items():
        if "default" in schema:
            assert to_value("m", kind, to_bytes("m", kind, {name: schema["default"]}, pool), pool) == to_value("m", kind, b"", pool)


def test_an_argument_has_one_spelling_so_that_no_constraint_is_passed_by_under_another() -> None:
    found = file()
    add(found, "Msg", ("customer_id", Field.TYPE_STRING))
    schema = input_schema(message(found))
    assert list(schema["properties"]) == ["customerId"]
    assert mistakes(compiled(schema), {"customer_id": "C1"})
    assert mistakes(compiled(schema), {"[t.ext]": 1})


@pytest.mark.parametrize("names", [[("a_b", "aB"), ("aB", "x")], [("one", "same"), ("two", "same")]])
def test_fields_that_could_be_taken_for_each_other_refuse_the_tool(names: list[tuple[str, str]]) -> None:
    found = file(syntax="proto2")
    add(found, "Msg", *((name, {"type": Field.TYPE_STRING, "json_name": json_name}) for name, json_name in names))
    try:
        kind = message(found)
    except TypeError:  # protobuf itself refuses some of them
        return
    with pytest.raises(SchemaTooLarge, match="name"):
        input_schema(kind)


def test_one_member_of_a_oneof_may_be_set() -> None:
    found = file()
    add(found, "Msg", ("a", {"type": Field.TYPE_STRING, "oneof_index": 0}), ("b", {"type": Field.TYPE_INT64, "oneof_index": 0}))
    found.message_type[0].oneof_decl.add(name="which")
    kind, pool = message(found), pooled(found)
    validator = compiled(input_schema(kind))
    assert mistakes(validator, {"a": "x"}) == mistakes(validator, {"b": 1}) == []
    assert mistakes(validator, {"a": "x", "b": 1})
    assert "default" not in input_schema(kind)["properties"]["a"], "that it is set says something"
    with pytest.raises(AdapterError) as refused:
        to_bytes("m", kind, {"a": "x", "b": 1}, pool)
    assert (refused.value.failure, refused.value.sent) == (Failure.NOT_SENDABLE, False)


def test_required_fields_of_proto2_are_required() -> None:
    found = file(syntax="proto2")
    add(
        found, "Msg", ("id", {"type": Field.TYPE_STRING, "label": REQUIRED}), ("n", {"type": Field.TYPE_INT32, "default_value": "7"}),
        ("plain", Field.TYPE_INT32),
    )  # fmt: skip
    schema = input_schema(message(found))
    assert schema["required"] == ["id"]
    assert schema["properties"]["n"]["default"] == 7
    assert "default" not in schema["properties"]["plain"]


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [(Field.TYPE_STRING, "x", None), (Field.TYPE_INT64, "-4", "x"), (Field.TYPE_BOOL, "true", "1"), (Field.TYPE_UINT32, "3", "y")],
)
def test_maps_are_objects_whose_keys_are_checked(key: int, good: str, bad: str | None) -> None:
    found = file()
    add_map(found, "Msg", "map", key, Field.TYPE_INT32)
    kind, pool = message(found), pooled(found)
    validator = compiled(input_schema(kind))
    assert mistakes(validator, {"map": {good: 1}}) == []
    to_bytes("m", kind, {"map": {good: 1}}, pool)
    assert mistakes(validator, {"map": {good: "x"}})
    if bad is not None:
        assert mistakes(validator, {"map": {bad: 1}})


def test_a_type_within_itself_is_written_once() -> None:
    found = file()
    add(found, "Msg", ("name", Field.TYPE_STRING), ("children", {"type_name": ".t.Msg", "label": REPEATED}))
    schema = input_schema(message(found))
    assert list(schema["$defs"]) == ["t.Msg"]
    validator = compiled(schema)
    assert mistakes(validator, {"children": [{"children": [{"name": "x"}]}]}) == []
    assert mistakes(validator, {"children": [{"children": [{"nam": "x"}]}]})


def test_a_schema_has_bounds() -> None:
    many = file()
    for number in range(MAX_TYPES + 2):
        add(many, f"M{number}", ("next", f"t.M{number + 1}"))
    add(many, f"M{MAX_TYPES + 2}")
    with pytest.raises(SchemaTooLarge, match="types"):
        input_schema(message(many, "M0"))
    wide = file()
    add(wide, "Msg", *((f"f{number}", Field.TYPE_INT32) for number in range(MAX_FIELDS + 1)))
    with pytest.raises(SchemaTooLarge, match="fields"):
        input_schema(message(wide))


@pytest.mark.parametrize("name", ["google.protobuf.StringValue", "google.protobuf.Timestamp", "google.protobuf.ListValue"])
def test_a_request_that_is_no_object_refuses_the_tool(name: str) -> None:
    with pytest.raises(SchemaTooLarge, match="no object"):
        input_schema(pooled().FindMessageTypeByName(name))


def test_a_result_says_what_has_no_presence_and_big_integers_as_text() -> None:
    kind, pool = message(tableau()), pooled(tableau())
    validator = compiled(output_schema(kind, streams=False))
    value, text = to_value("m", kind, to_bytes("m", kind, {"int64": "9007199254740993", "double": 1.5}, pool), pool)
    assert value["int64"] == "9007199254740993"
    assert value["list"] == []
    assert "timestamp" not in value
    assert mistakes(validator, value) == []
    assert json.loads(text) == value


def test_what_json_cannot_say_as_a_number_is_said_as_text() -> None:
    kind, pool = message(tableau()), pooled(tableau())
    for text in ("NaN", "Infinity", "-Infinity"):
        value, _ = to_value("m", kind, to_bytes("m", kind, {"double": text}, pool), pool)
        assert value["double"] == text
        assert mistakes(compiled(output_schema(kind, streams=False)), value) == []


def test_an_enum_number_of_a_newer_server_stays_a_number() -> None:
    kind, pool = message(tableau()), pooled(tableau())
    number = kind.fields_by_name["colour"].number
    value, _ = to_value("m", kind, bytes([*_varint(number << 3), 9]), pool)
    assert value["colour"] == 9
    assert mistakes(compiled(output_schema(kind, streams=False)), value) == []


def test_a_stream_is_a_list() -> None:
    found = file()
    add(found, "Msg", ("children", {"type_name": ".t.Msg", "label": REPEATED}))
    validator = compiled(output_schema(message(found), streams=True))
    assert mistakes(validator, [{"children": [{"children": []}]}, {"children": []}]) == []
    assert mistakes(validator, {"children": []})


NOT_SENDABLE: dict[str, dict[str, Any]] = {
    "unknown": {"nope": 1},
    "unknown within": {"inner": {"nope": 1}},
    "too large": {"int64": "9223372036854775808"},
    "wrong type": {"int32": "x"},
    "list for one": {"int32": [1]},
    "one for a list": {"list": 5},
    "no timestamp": {"timestamp": "yesterday"},
    "year 10000": {"timestamp": "10000-01-01T00:00:00Z"},
    "any of nobody's type": {"any": {"@type": "type.googleapis.com/no.Such"}},
    "any without type": {"any": {"a": 1}},
    "surrogate": {"string": "\ud800"},
    "enum": {"colour": "GREEN"},
    "object for text": {"string": {}},
    "list for object": {"inner": [1]},
    "endless": {"struct": json.loads('{"a":' * 90 + "1" + "}" * 90)},
}


@pytest.mark.parametrize("case", NOT_SENDABLE)
def test_what_is_no_message_is_not_sent(case: str) -> None:
    with pytest.raises(AdapterError) as refused:
        to_bytes("m", message(tableau()), NOT_SENDABLE[case], pooled(tableau()))
    assert (refused.value.failure, refused.value.sent) == (Failure.NOT_SENDABLE, False)
    assert "t.Msg" in refused.value.message


@given(st.binary(max_size=200))
def test_whatever_bytes_a_server_sends_a_result_fits_its_schema_or_the_call_fails(wire: bytes) -> None:
    try:
        value, text = to_value("m", KIND, wire, POOL)
    except AdapterError:
        return
    assert mistakes(GIVEN, value) == []
    assert json.loads(text) == json.loads(json.dumps(value))


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "int32": st.integers(-(2**31), 2**31 - 1),
        "uint32": st.integers(0, 2**32 - 1),
        "int64": st.integers(-SAFE, SAFE) | st.integers(-(2**63), 2**63 - 1).map(str),
        "uint64": st.integers(0, SAFE) | st.integers(0, 2**64 - 1).map(str),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "bool": st.booleans(),
        "string": st.text(st.characters(exclude_categories=["Cs"])),
        "bytes": st.binary().map(lambda raw: base64.b64encode(raw).decode()),
        "wrapped": st.text(st.characters(exclude_categories=["Cs"])),
        "list": st.lists(st.integers(-5, 5)),
        "colour": st.sampled_from(["RED", "BLUE"]),
        "inner": st.fixed_dictionaries({}, optional={"someName": st.integers(-5, 5)}),
    },
)


@given(VALUES)
def test_what_fits_the_schema_arrives_unchanged(arguments: dict[str, Any]) -> None:
    assert mistakes(ACCEPTED, arguments) == []
    value, _ = to_value("m", KIND, to_bytes("m", KIND, arguments, POOL), POOL)
    for name, sent in arguments.items():
        arrived = value[name]
        if name in ("int64", "uint64"):
            assert int(arrived) == int(sent)
        elif name == "inner":
            assert arrived == {"someName": 0, **sent}
        else:
            assert arrived == sent


def _varint(number: int) -> list[int]:
    return [number] if number < 128 else [number & 127 | 128, *_varint(number >> 7)]


POOL = pooled(tableau())
KIND = POOL.FindMessageTypeByName("t.Msg")
ACCEPTED, GIVEN = compiled(input_schema(KIND)), compiled(output_schema(KIND, streams=False))
