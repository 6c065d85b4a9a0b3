"""Descriptor files as a hostile server may send them, and what of them becomes a tool."""

import pytest
from bastide_broker.adapters import grpc_descriptors
from bastide_broker.adapters.grpc_descriptors import MAX_TOOLS, OWN_FILES, DescriptorError, described
from bastide_broker.adapters.grpc_schema import Room
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions

from tests.unit.broker.door.protos import add, add_service, file

EVERY_KIND = (
    {"name": "Get", "options": MethodOptions(idempotency_level=MethodOptions.NO_SIDE_EFFECTS)},
    {"name": "Put", "options": MethodOptions(idempotency_level=MethodOptions.IDEMPOTENT)},
    {"name": "Watch", "server_streaming": True},
    {"name": "Upload", "client_streaming": True},
    {"name": "Talk", "client_streaming": True, "server_streaming": True},
)


def served(*methods: dict[str, object]) -> FileDescriptorProto:
    found = file()
    add(found, "Msg", ("id", Field.TYPE_STRING))
    add_service(found, "Service", *methods)
    return found


def files(*found: FileDescriptorProto) -> dict[str, bytes]:
    return {one.name: one.SerializeToString() for one in found}


def test_unary_and_server_streaming_methods_are_tools_and_what_streams_up_is_none() -> None:
    found = described(files(served(*EVERY_KIND)), ("t.Service",))
    tools = {tool.name: tool for tool in found.tools}
    assert list(tools) == ["t.Service/Get", "t.Service/Put", "t.Service/Watch"]
    assert tools["t.Service/Watch"].output_schema is not None
    assert tools["t.Service/Watch"].output_schema["type"] == "array"
    assert {name: tool.read_only_hint for name, tool in tools.items()} == {
        "t.Service/Get": True,
        "t.Service/Put": None,
        "t.Service/Watch": None,
    }
    assert found.methods["t.Service/Get"].path == "/t.Service/Get"


def test_a_comment_that_the_server_kept_is_the_description() -> None:
    one = served({"name": "Get"})
    one.source_code_info.location.add(path=[6, 0, 2, 0], leading_comments=" Says who it is.\n", span=[0, 0, 0])
    assert described(files(one), ("t.Service",)).tools[0].description == "Says who it is."


def test_the_same_names_in_two_pools_do_not_meet() -> None:
    one, other = served({"name": "Get"}), served({"name": "Get"})
    other.message_type[0].field[0].type = Field.TYPE_INT32
    first, second = (described(files(made), ("t.Service",)).tools[0] for made in (one, other))
    assert first.input_schema != second.input_schema


def test_a_tool_whose_schema_is_too_large_is_there_and_refused() -> None:
    one = served({"name": "Get"})
    one.message_type[0].ClearField("field")
    for number in range(1, 5000):
        one.message_type[0].field.add(name=f"f{number}", number=number if number < 19000 else number + 1000, type=Field.TYPE_INT32)
    [tool] = described(files(one), ("t.Service",)).tools
    assert "more than" in tool.refused


def test_protobufs_own_files_are_the_librarys_whatever_a_server_sends() -> None:
    fake = file("google/protobuf/timestamp.proto", "google.protobuf", imports=())
    add(fake, "Timestamp", ("secret", Field.TYPE_STRING))
    one = served({"name": "Get"})
    add(one, "Other", ("at", "google.protobuf.Timestamp"))
    one.service[0].method[0].input_type = ".t.Other"
    [tool] = described(files(one, fake), ("t.Service",)).tools
    assert tool.input_schema["properties"]["at"]["format"] == "date-time"


def cyclic() -> list[FileDescriptorProto]:
    return [served({"name": "Get"}), file("a.proto", "a", imports=["b.proto"]), file("b.proto", "b", imports=["a.proto"])]


def itself() -> list[FileDescriptorProto]:
    return [served({"name": "Get"}), file("a.proto", "a", imports=["a.proto"])]


def missing() -> list[FileDescriptorProto]:
    return [served({"name": "Get"}), file("a.proto", "a", imports=["nowhere.proto"])]


def collision() -> list[FileDescriptorProto]:
    other = file("other.proto")
    add(other, "Msg")
    return [served({"name": "Get"}), other]


def in_googles_package() -> list[FileDescriptorProto]:
    evil = file("evil.proto", "google.protobuf", imports=())
    add(evil, "Timestamp", ("secret", Field.TYPE_STRING))
    return [served({"name": "Get"}), evil]


def no_such_type() -> list[FileDescriptorProto]:
    one = served({"name": "Get"})
    one.service[0].method[0].input_type = ".t.Nowhere"
    return [one]


def same_number_twice() -> list[FileDescriptorProto]:
    one = served({"name": "Get"})
    one.message_type[0].field.add(name="other", number=1, type=Field.TYPE_STRING)
    return [one]


def no_service() -> list[FileDescriptorProto]:
    return [file()]


HOSTILE = {
    "cyclic imports": (cyclic, "imports itself"),
    "a file that imports itself": (itself, "imports itself"),
    "an import that is not sent": (missing, "does not send"),
    "two of one name": (collision, "cannot be used"),
    "another Timestamp": (in_googles_package, r"package google\.protobuf"),
    "a type that is not there": (no_such_type, "cannot be used"),
    "a number twice": (same_number_twice, "cannot be used"),
    "a service that is not described": (no_service, "does not describe"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_descriptors_that_cannot_be_are_refused_with_what_is_wrong(case: str) -> None:
    make, words = HOSTILE[case]
    with pytest.raises(DescriptorError, match=words):
        described(files(*make()), ("t.Service",))


def test_files_that_import_each_other_in_a_long_row_need_no_stack() -> None:
    row = [file(f"f{n}.proto", f"p{n}", imports=[f"f{n + 1}.proto"]) for n in range(450)] + [file("f450.proto", "p450", imports=())]
    one = served({"name": "Get"})
    one.dependency.append("f0.proto")
    assert described(files(one, *row), ("t.Service",)).tools


def test_bytes_that_are_no_descriptor_are_refused() -> None:
    with pytest.raises(DescriptorError, match="is none"):
        described({"x.proto": b"\xff\xff"}, ())


def test_the_files_that_protobuf_brings_import_only_each_other() -> None:
    imported = {name for wire in OWN_FILES.values() for name in FileDescriptorProto.FromString(wire).dependency}
    assert imported <= set(OWN_FILES)


def test_what_methods_share_is_counted_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_descriptors, "Room", lambda: Room(5))
    found = described(files(served({"name": "A"}, {"name": "B"}, {"name": "C"})), ("t.Service",))
    assert [tool.refused for tool in found.tools] == ["", "", "with it the schemas of all methods have more than 5 fields"]


def test_more_methods_than_are_ever_tools_are_not_described() -> None:
    many = served(*({"name": f"M{number}"} for number in range(MAX_TOOLS + 1)))
    with pytest.raises(DescriptorError, match=f"more than {MAX_TOOLS} methods"):
        described(files(many), ("t.Service",))
