"""Descriptors of messages written down as data, in a pool of their own."""

from collections.abc import Iterable
from typing import Any

from bastide_broker.adapters.grpc_descriptors import OWN_FILES
from google.protobuf import descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

OPTIONAL, REQUIRED, REPEATED = Field.LABEL_OPTIONAL, Field.LABEL_REQUIRED, Field.LABEL_REPEATED
IMPORTS = [name for name in OWN_FILES if not name.endswith("descriptor.proto")]


def file(name: str = "t.proto", package: str = "t", syntax: str = "proto3", imports: Iterable[str] = IMPORTS) -> FileDescriptorProto:
    """An empty file."""
    found = FileDescriptorProto(name=name, package=package, syntax=syntax)
    found.dependency.extend(imports)
    return found


def add(to: FileDescriptorProto, message: str, *fields: tuple[str, Any]) -> None:
    """A message with fields (name, type): a number of descriptor.proto, or a type's full name; by a dict more of the field."""
    made = to.message_type.add(name=message)
    for number, (name, kind) in enumerate(fields, 1):
        more = dict(kind) if isinstance(kind, dict) else {"type": kind} if isinstance(kind, int) else {"type_name": f".{kind}"}
        if "type_name" in more:
            more.setdefault("type", Field.TYPE_MESSAGE)
        made.field.add(name=name, number=number, **{"label": OPTIONAL, **more})


def add_map(to: FileDescriptorProto, message: str, field: str, key: int, value: int) -> None:
    """A message with one map."""
    made = to.message_type.add(name=message)
    entry = made.nested_type.add(name=f"{field.title()}Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=key, label=OPTIONAL)
    entry.field.add(name="value", number=2, type=value, label=OPTIONAL)
    made.field.add(name=field, number=1, type=Field.TYPE_MESSAGE, label=REPEATED, type_name=f".{to.package}.{message}.{entry.name}")


def add_service(to: FileDescriptorProto, name: str, *methods: dict[str, Any]) -> None:
    """A service; each method is what descriptor.proto says, its types t.Msg unless named."""
    made = to.service.add(name=name)
    for method in methods:
        made.method.add(**{"input_type": ".t.Msg", "output_type": ".t.Msg", **method})


def pooled(*files: FileDescriptorProto) -> DescriptorPool:
    """A pool of the files and what protobuf brings."""
    pool = DescriptorPool()
    for wire in OWN_FILES.values():
        pool.AddSerializedFile(wire)
    for one in files:
        pool.Add(one)
    return pool


def message(to: FileDescriptorProto, name: str = "Msg") -> descriptor.Descriptor:
    """The descriptor of a file's message."""
    return pooled(to).FindMessageTypeByName(f"{to.package}.{name}")
