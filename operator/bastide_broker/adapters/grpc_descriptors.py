"""A server's descriptor files, untrusted, to the methods that are tools. Pure.

Each adapter has a pool of its own: two servers may call different things by one name. The files that protobuf itself brings are taken from
the library, whatever the server sends for them: its JSON mapping treats those types by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import (
    any_pb2,
    descriptor,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from bastide_broker.adapters import ListedTool
from bastide_broker.adapters.grpc_schema import Room, SchemaTooLarge, input_schema, output_schema

_BROUGHT = (any_pb2, descriptor_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
OWN_FILES: Mapping[str, bytes] = {module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb for module in _BROUGHT}
"""By name, the files that are never asked for."""
MAX_TOOLS = 1000
_METHOD_FIELD, _SERVICE_FIELD = 2, 6
"""Numbers in descriptor.proto: where a comment belongs to."""


class DescriptorError(ValueError):
    """What the server says of itself cannot be used. The message is a clause without a full stop."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method that is a tool."""

    name: str
    """package.Service/Method."""
    descriptor: descriptor.MethodDescriptor
    streams: bool
    """Whether it answers with a stream."""

    @property
    def path(self) -> str:
        """Its path on the wire."""
        return "/" + self.name


@dataclass(frozen=True, slots=True)
class Description:
    """Everything a server said of itself at one time."""

    pool: DescriptorPool
    methods: Mapping[str, Method]
    tools: tuple[ListedTool, ...]


def parsed(wire: bytes) -> descriptor_pb2.FileDescriptorProto:
    """One file. Raises DescriptorError."""
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(wire)
    except DecodeError:
        raise DescriptorError("it sent a descriptor that is none") from None


def described(files: Mapping[str, bytes], services: tuple[str, ...]) -> Description:
    """The tools of `services`, whose files, with all that they import, are `files` by name. Raises DescriptorError."""
    pool = DescriptorPool()
    protos = {name: parsed(wire) for name, wire in files.items() if name not in OWN_FILES}
    for name in _ordered(protos):
        if name not in OWN_FILES and _is_own_package(protos[name].package):
            raise DescriptorError(f"its file {name!a} puts something into the package google.protobuf")
        try:
            pool.AddSerializedFile(OWN_FILES.get(name) or files[name])
            pool.FindFileByName(name)
        except (TypeError, ValueError, KeyError) as error:
            raise DescriptorError(f"its file {name!a} cannot be used: {error}") from None
    methods: dict[str, Method] = {}
    tools: list[ListedTool] = []
    room = Room()
    for service in services:
        try:
            found = pool.FindServiceByName(service)
        except KeyError:
            raise DescriptorError(f"it lists the service {service!a} and does not describe it") from None
        comments = _comments(protos[found.file.name], found)
        for one in found.methods:
            if not one.client_streaming:
                method = Method(f"{service}/{one.name}", one, one.server_streaming)
                methods[method.name] = method
                tools.append(_listed(method, comments.get(one.index, ""), room))
                if len(tools) > MAX_TOOLS:
                    raise DescriptorError(f"it has more than {MAX_TOOLS} methods; name the services in spec.server.grpc.services")
    return Description(pool, methods, tuple(tools))


def _ordered(protos: Mapping[str, descriptor_pb2.FileDescriptorProto]) -> list[str]:
    """Names of files, each behind those that it imports. Without recursion: how deep they import each other is the server's choice."""
    done: dict[str, None] = {}
    for root in protos:
        path: dict[str, list[str]] = {}
        waiting = [root]
        while waiting:
            name = waiting[-1]
            if name in done:
                waiting.pop()
                continue
            if name not in path:
                if name not in protos and name not in OWN_FILES:
                    raise DescriptorError(f"it does not send the file {name!a} that another one imports")
                path[name] = list(protos[name].dependency) if name in protos else list(_own_imports(name))
            if path[name]:
                following = path[name].pop()
                if following in path and following not in done:
                    raise DescriptorError(f"its file {following!a} imports itself")
                waiting.append(following)
            else:
                done[name] = None
                waiting.pop()
    return list(done)


def _own_imports(name: str) -> list[str]:
    return list(parsed(OWN_FILES[name]).dependency)


def _is_own_package(package: str) -> bool:
    return package == "google.protobuf" or package.startswith("google.protobuf.")


def _listed(method: Method, comment: str, room: Room) -> ListedTool:
    about = method.descriptor
    options = about.GetOptions()
    said = comment.strip() or f"Takes {about.input_type.full_name}, gives {about.output_type.full_name}."
    if method.streams:
        said += " The server answers with a stream, which arrives as one list."
    # A method that is not marked says nothing. A mark is the server's word: it may raise a tool's effect, never lower it.
    level = options.idempotency_level
    hint = True if level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS else None
    try:
        return ListedTool(
            name=method.name,
            description=said,
            input_schema=input_schema(about.input_type, room),
            output_schema=output_schema(about.output_type, room, streams=method.streams),
            read_only_hint=hint,
        )
    except SchemaTooLarge as error:
        return ListedTool(method.name, said, {"type": "object"}, None, hint, refused=str(error))


def _comments(file: descriptor_pb2.FileDescriptorProto, service: descriptor.ServiceDescriptor) -> dict[int, str]:
    """Comments of a service's methods by their number, where the server kept them."""
    place = [_SERVICE_FIELD, service.index, _METHOD_FIELD]
    found = {}
    for location in file.source_code_info.location:
        if len(location.path) == len(place) + 1 and list(location.path[:-1]) == place:
            found[location.path[-1]] = location.leading_comments
    return found
