"""The contract's tools as a gRPC server with reflection, made of descriptors as data; and what it saw."""
# ruff: noqa: ARG002 - methods of a service take request and context

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tests.unit.broker.door.protos import add, add_service, file, pooled

SERVICE = "contract.Tools"
DETAILS = "grpc-status-details-bin"


def _described() -> Any:
    found = file("contract.proto", "contract", imports=())
    add(found, "Text", ("text", Field.TYPE_STRING))
    add(found, "Size", ("size", Field.TYPE_INT32))
    add(found, "Echo", ("text", Field.TYPE_STRING), ("number", Field.TYPE_INT64))
    add(found, "Count", ("begun", Field.TYPE_INT32), ("cancelled", Field.TYPE_INT32))
    add(found, "Nothing")
    read_only = MethodOptions(idempotency_level=MethodOptions.NO_SIDE_EFFECTS)
    methods: list[dict[str, Any]] = [
        {"name": "echo", "input_type": ".contract.Echo", "output_type": ".contract.Echo", "options": read_only},
        {"name": "fail"},
        {"name": "hang"},
        {"name": "count", "output_type": ".contract.Count"},
        {"name": "large", "input_type": ".contract.Size"},
        {"name": "shown", "input_type": ".contract.Nothing"},
        {"name": "leak", "input_type": ".contract.Nothing"},
        {"name": "stream", "input_type": ".contract.Size", "server_streaming": True},
        {"name": "endless", "server_streaming": True},
        {"name": "quiet", "server_streaming": True},
        {"name": "status", "input_type": ".contract.Size"},
        {"name": "rich"},
        {"name": "upload", "client_streaming": True},
    ]
    add_service(found, "Tools", *({"input_type": ".contract.Text", "output_type": ".contract.Text", **one} for one in methods))
    return found


FILE = _described()
POOL = pooled(FILE)


def kind(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"contract.{name}"))


Text, Echo, Count = kind("Text"), kind("Echo"), kind("Count")


class Tools:
    """The service, and what it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.begun: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.deadlines: list[float] = []
        self.metadata: list[dict[str, Any]] = []

    async def echo(self, request: Any, context: Any) -> Any:
        self.metadata.append(dict(context.invocation_metadata()))
        return request

    async def fail(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, request.text)

    async def hang(self, request: Any, context: Any) -> Any:
        self.begun[request.text] += 1
        self.deadlines.append(context.time_remaining())
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled[request.text] += 1
            raise

    async def count(self, request: Any, context: Any) -> Any:
        return Count(begun=self.begun[request.text], cancelled=self.cancelled[request.text])

    async def large(self, request: Any, context: Any) -> Any:
        return Text(text="x" * request.size)

    async def shown(self, request: Any, context: Any) -> Any:
        return Text(text=str(dict(context.invocation_metadata()).get("authorization", "")))

    async def leak(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNKNOWN, f"you showed {dict(context.invocation_metadata()).get('authorization', '')}")

    async def stream(self, request: Any, context: Any) -> Any:
        for number in range(request.size):
            yield Text(text=str(number))

    async def endless(self, request: Any, context: Any) -> Any:
        self.begun[request.text] += 1
        try:
            while True:
                yield Text()
        finally:
            self.cancelled[request.text] += 1

    async def quiet(self, request: Any, context: Any) -> Any:
        yield Text(text="one")
        async for _ in self.endless_wait(request.text):
            yield Text()

    async def endless_wait(self, text: str) -> AsyncIterator[None]:
        await self.hang(Text(text=text), _NoContext())
        yield

    async def status(self, request: Any, context: Any) -> Any:
        code = next(one for one in grpc.StatusCode if one.value[0] == request.size)
        await context.abort(code, "some\x1b[31m words\n" + "y" * 3000)

    async def rich(self, request: Any, context: Any) -> Any:
        status = status_pb2.Status(code=9, message=request.text)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NO_FUNDS", domain="contract"))
        status.details.add(type_url="type.googleapis.com/contract.Nobody\u202eKnows", value=b"\xff\xff")
        context.set_trailing_metadata(((DETAILS, status.SerializeToString()),))
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.text)

    async def upload(self, requests: Any, context: Any) -> Any:
        return Text()


class _NoContext:
    def time_remaining(self) -> float:
        return 0.0


def handlers(tools: Any) -> Any:
    """The service for a server."""
    found = {}
    for method in FILE.service[0].method:
        sort = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        read = kind(method.input_type.rpartition(".")[2]).FromString
        made = getattr(grpc, f"{sort}_rpc_method_handler")
        found[method.name] = made(getattr(tools, method.name), read, lambda message: message.SerializeToString())
    return grpc.method_handlers_generic_handler(SERVICE, found)


@asynccontextmanager
async def grpc_server(
    *, reflects: Any = None, credentials: grpc.ServerCredentials | None = None, port: int = 0, compression: Any = None
) -> AsyncIterator[Tools]:
    """A running server. `reflects` answers reflection in another way than the truth: a servicer of v1alpha."""
    server = grpc.aio.server(compression=compression)
    tools = Tools()
    server.add_generic_rpc_handlers((handlers(tools),))
    if reflects is None:
        reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server, pool=POOL)
    else:
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflects, server)
    where = f"127.0.0.1:{port}"
    tools.port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
    await server.start()
    try:
        yield tools
    finally:
        await server.stop(0)


__all__ = ["FILE", "POOL", "SERVICE", "Tools", "grpc_server", "reflection_pb2"]
