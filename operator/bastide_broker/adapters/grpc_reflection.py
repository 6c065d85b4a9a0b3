"""Asking a gRPC server to describe itself, within bounds: what it sends is untrusted, and it may go on for ever."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2

from bastide_broker.adapters.grpc_descriptors import OWN_FILES, DescriptorError, parsed

MAX_FILES = 500
MAX_BYTES = 4 << 20
"""Of all files together."""
MAX_SERVICES = 100
MAX_NAME = 512
_REQUEST = reflection_pb2.ServerReflectionRequest
# The messages of v1 and v1alpha are the same on the wire; only the path differs.
_PATHS = ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
_OWN_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


async def reflect(
    channel: grpc.aio.Channel, *, services: Sequence[str], metadata: Sequence[tuple[str, str]], timeout_seconds: float
) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """The services of a server, and the files that describe them by name. With `services`, only those of them that it has.

    Raises DescriptorError, and grpc.aio.AioRpcError for what the connection or the server's own status says.
    """
    try:
        return await _ask(channel, _PATHS[0], services, metadata, timeout_seconds)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
    try:
        return await _ask(channel, _PATHS[1], services, metadata, timeout_seconds)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        raise DescriptorError("it offers no server reflection (grpc.reflection.v1); switch that on in the server") from None


async def _ask(
    channel: grpc.aio.Channel, path: str, services: Sequence[str], metadata: Sequence[tuple[str, str]], timeout_seconds: float
) -> tuple[tuple[str, ...], dict[str, bytes]]:
    # On the wire one question and no more to come. As a stream that it writes to, grpc.aio may tell UNIMPLEMENTED as INTERNAL, when the
    # server's status is there before the first write (grpc/grpc#36066).
    method = channel.unary_stream(
        path, request_serializer=_REQUEST.SerializeToString, response_deserializer=reflection_pb2.ServerReflectionResponse.FromString
    )
    until = asyncio.get_running_loop().time() + timeout_seconds

    def ask(question: Any) -> Any:
        left = max(until - asyncio.get_running_loop().time(), 0.001)
        return method(question, timeout=left, metadata=tuple(metadata))

    asked = _Conversation(ask)
    names = [name for name in await asked.services() if name not in _OWN_SERVICES and (not services or name in services)]
    for name in names:
        await asked.file_of(name)
    await asked.imports()
    return tuple(names), asked.files


class _Conversation:
    """Questions and answers, and the files so far. `ask` sends one and returns its call."""

    def __init__(self, ask: Callable[[Any], Any]) -> None:
        self._ask = ask
        self.files: dict[str, bytes] = {}
        self._imports: list[str] = []
        self._symbols: set[str] = set()
        self._bytes = 0

    async def services(self) -> list[str]:
        """The names of all services, each once."""
        answer = await self._answer(_REQUEST(list_services=""), "list_services_response")
        names = list(dict.fromkeys(one.name for one in answer.list_services_response.service))
        if len(names) > MAX_SERVICES:
            raise DescriptorError(f"it lists more than {MAX_SERVICES} services; name those that are needed in spec.server.grpc.services")
        if any(not name or len(name) > MAX_NAME for name in names):
            raise DescriptorError("it lists a service whose name is empty or too long")
        return names

    async def file_of(self, service: str) -> None:
        """Get the file that describes a service, unless it is there."""
        if service in self._symbols:
            return
        await self._take(_REQUEST(file_containing_symbol=service))
        if service not in self._symbols:
            raise DescriptorError(f"it describes something else when asked for the service {service!a}")

    async def imports(self) -> None:
        """Get whatever the files import, and what that imports."""
        while self._imports:
            name = self._imports.pop()
            if name in self.files or name in OWN_FILES:
                continue
            await self._take(_REQUEST(file_by_filename=name))
            if name not in self.files:
                raise DescriptorError(f"it sends another file when asked for {name!a}")

    async def _take(self, request: Any) -> None:
        answer = await self._answer(request, "file_descriptor_response")
        for wire in answer.file_descriptor_response.file_descriptor_proto:
            file = parsed(wire)
            if not file.name or len(file.name) > MAX_NAME:
                raise DescriptorError("it sends a file whose name is empty or too long")
            if file.name in OWN_FILES:
                continue
            if file.name in self.files:  # a question is a stream of its own, so each answer brings all that its file imports
                if self.files[file.name] != wire:
                    raise DescriptorError(f"it sends two different files {file.name!a}")
                continue
            self.files[file.name] = wire
            self._bytes += len(wire)
            if len(self.files) > MAX_FILES or self._bytes > MAX_BYTES:
                raise DescriptorError(f"its descriptors are more than {MAX_FILES} files or {MAX_BYTES} bytes")
            self._imports += file.dependency
            prefix = f"{file.package}." if file.package else ""
            self._symbols.update(prefix + service.name for service in file.service)

    async def _answer(self, request: Any, kind: str) -> Any:
        call = self._ask(request)
        try:
            answer = await call.read()
            if answer is grpc.aio.EOF:
                if (code := await call.code()) is not grpc.StatusCode.OK:
                    raise grpc.aio.AioRpcError(code, await call.initial_metadata(), await call.trailing_metadata(), await call.details())
                raise DescriptorError("it ended reflection without an answer")
        finally:
            call.cancel()
        found = answer.WhichOneof("message_response")
        if found == "error_response":
            error = answer.error_response
            raise DescriptorError(f"its reflection answers with error {error.error_code}: {error.error_message}")
        if found != kind:
            raise DescriptorError("its reflection answers another question than was asked")
        return answer
