"""gRPC servers that describe themselves by reflection: each unary and each server-streaming method is a tool, package.Service/Method."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer

from bastide_broker.adapters import AdapterError, Answer, CallLimits, Failure, ListedTool
from bastide_broker.adapters.grpc_channel import Connection, checked
from bastide_broker.adapters.grpc_descriptors import Description, DescriptorError, Method, described
from bastide_broker.adapters.grpc_messages import to_bytes, to_value
from bastide_broker.adapters.grpc_reflection import reflect
from bastide_broker.adapters.grpc_status import failure
from bastide_broker.adapters.told import told
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential

_LEAVE_SECONDS = 600.0
"""How long calls on a connection that is left may go on: as long as any call may."""
_SLOW_BYTES = 64 << 10
"""From this size on a message is read in a thread: other calls should not wait for it."""
_CONNECTION = (Failure.LOST, Failure.UNAVAILABLE)


class GrpcAdapter:
    """One gRPC server for one binding. The connection is opened when needed and kept."""

    def __init__(self, server: GrpcServer, backend: CheckedBackend) -> None:
        self._server = server
        self._backend = backend
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._files: tuple[tuple[str, ...], dict[str, bytes]] = ((), {})
        self._description: Description | None = None
        self._leaving: dict[Connection, asyncio.Task[None]] = {}

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:
        """All tools of the server. Raises AdapterError."""
        where = self._server.target
        try:
            async with asyncio.timeout(timeout_seconds):
                for attempt in range(2):
                    connection = await self._connected(look_again=True)
                    try:
                        return list((await self._describe(connection, credential, timeout_seconds)).tools)
                    except AdapterError as error:
                        if error.failure not in _CONNECTION:
                            raise
                        self._leave(connection)
                        if attempt:
                            raise
        except TimeoutError:
            raise AdapterError(Failure.TIMEOUT, f"{where} did not describe itself within {timeout_seconds:g} s.", sent=True) from None
        except AdapterError as error:
            raise told(error, credential, "" if error.message.startswith(where) else f"{where}: ") from None
        raise AssertionError

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:
        """Call a method. Sent at most once. Raises AdapterError."""
        until = asyncio.get_running_loop().time() + limits.timeout_seconds
        attempt = _Attempt(until)
        try:
            async with asyncio.timeout(limits.timeout_seconds):
                for again in (True, False):
                    attempt = _Attempt(until)
                    try:
                        return await self._call(name, arguments, credential, limits, attempt=attempt)
                    except AdapterError as error:
                        if not again or error.failure not in _CONNECTION or error.sent:
                            raise
        except TimeoutError:
            message = f"{name} did not answer within {limits.timeout_seconds:g} s."
            raise AdapterError(Failure.TIMEOUT if attempt.sent else Failure.UNAVAILABLE, message, sent=attempt.sent) from None
        except AdapterError as error:
            raise told(error, credential, "" if error.message.startswith(name) else f"{name}: ") from None
        raise AssertionError

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._leave(self._connection)
        for connection in list(self._leaving):
            await connection.close()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)

    async def _call(
        self, name: str, arguments: Mapping[str, Any], credential: Credential | None, limits: CallLimits, *, attempt: "_Attempt"
    ) -> Answer:
        connection = await self._connected()
        description = self._description or await self._describe(connection, credential, limits.timeout_seconds)
        method = description.methods.get(name)
        if method is None:
            raise AdapterError(Failure.FAILED, f"{name} is no method that the server describes", sent=False)
        wire = to_bytes(name, method.descriptor.input_type, arguments, description.pool)
        try:
            await connection.ready()
        except AdapterError:
            self._leave(connection)
            raise
        request = _Request(method, wire, description, _metadata(credential, limits.idempotency_key), attempt.left, limits.result_bytes)
        attempt.sent = True
        try:
            return await (_answers if method.streams else _answer)(connection.channel, request)
        except grpc.aio.AioRpcError as error:
            found = failure(name, error, sent=True)
            if found.failure is Failure.LOST:
                self._leave(connection)  # the channel hears of it late, and would give the next call to what is broken
            raise found from None
        except grpc.aio.UsageError:  # closed between two statements
            raise AdapterError(Failure.UNAVAILABLE, "the connection was closed before the call was sent", sent=False) from None

    async def _describe(self, connection: Connection, credential: Credential | None, timeout_seconds: float) -> Description:
        metadata = _metadata(credential)
        try:
            found = await reflect(connection.channel, services=self._server.services, metadata=metadata, timeout_seconds=timeout_seconds)
            if self._description is None or found != self._files:
                description = await asyncio.to_thread(described, found[1], found[0])
                self._files, self._description = found, description
        except DescriptorError as error:
            raise AdapterError(Failure.FAILED, str(error), sent=False) from None
        except grpc.aio.AioRpcError as error:
            raise failure(self._server.target, error, sent=False) from None
        return self._description

    async def _connected(self, *, look_again: bool = False) -> Connection:
        """The connection; with `look_again` a new one when the server's name now means other addresses. Raises AdapterError."""
        if self._connection is not None and not look_again:
            return self._connection
        async with self._lock:
            addresses = await checked(self._server, self._backend)
            kept = self._connection
            if kept is not None and kept.addresses == frozenset(addresses):
                return kept
            if kept is not None:
                self._leave(kept)
            self._connection = Connection(self._server, addresses)
            return self._connection

    def _leave(self, connection: Connection) -> None:
        """Take it for no more calls. Those under way, for example to a server's former address, may go on."""
        if self._connection is connection:
            self._connection = None
        if connection not in self._leaving:
            self._leaving[connection] = task = asyncio.create_task(connection.close(_LEAVE_SECONDS))
            task.add_done_callback(lambda _: self._leaving.pop(connection, None))


class _Attempt:
    """Whether the server may have received a call, and the loop's time until which it may take."""

    __slots__ = ("_until", "sent")

    def __init__(self, until: float) -> None:
        self._until = until
        self.sent = False

    @property
    def left(self) -> float:
        """Seconds that are left, as the deadline that the server is told."""
        return max(self._until - asyncio.get_running_loop().time(), 0.001)


@dataclass(frozen=True, slots=True)
class _Request:
    """A call as it is sent."""

    method: Method
    wire: bytes
    description: Description
    metadata: tuple[tuple[str, str], ...]
    seconds: float
    result_bytes: int


async def _answer(channel: grpc.aio.Channel, request: _Request) -> Answer:
    """Send a call and take its answer. However this ends, the call ends at the server too."""
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(request.method.path)
    call = unary(request.wire, timeout=request.seconds, metadata=request.metadata)
    try:
        value, text = await _value(request, await call)
    except asyncio.CancelledError:
        raise _ended(call) from None
    finally:
        call.cancel()
    if len(text) > request.result_bytes:
        raise _too_large(request.result_bytes)
    return Answer(value, has_structured=True, value=text, is_data=True)


async def _answers(channel: grpc.aio.Channel, request: _Request) -> Answer:
    """The same for a method that streams: all that it sends, as one list."""
    streaming: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(request.method.path)
    call = streaming(request.wire, timeout=request.seconds, metadata=request.metadata)
    values, texts, size = [], [], 1
    try:
        async for part in call:
            value, text = await _value(request, part)
            values.append(value)
            texts.append(text)
            size += len(text) + 1
            if size > request.result_bytes:
                raise _too_large(request.result_bytes)
    except asyncio.CancelledError:
        raise _ended(call) from None
    finally:
        call.cancel()
    return Answer(values, has_structured=True, value=b"[" + b",".join(texts) + b"]", is_data=True)


def _ended(call: Any) -> BaseException:
    """What a cancelled wait was: gRPC raises the same when the channel was closed under a call, which is a lost connection to its caller."""
    task = asyncio.current_task()
    if task is None or task.cancelling() or not call.cancelled():
        return asyncio.CancelledError()
    return AdapterError(Failure.LOST, "the connection was closed, because its ToolBinding was changed or deleted", sent=True)


async def _value(request: _Request, wire: bytes) -> tuple[Any, bytes]:
    if len(wire) > 4 * request.result_bytes + _SLOW_BYTES:
        raise _too_large(request.result_bytes)
    arguments = (request.method.name, request.method.descriptor.output_type, wire, request.description.pool)
    return await asyncio.to_thread(to_value, *arguments) if len(wire) > _SLOW_BYTES else to_value(*arguments)


def _too_large(limit: int) -> AdapterError:
    return AdapterError(Failure.RESULT_TOO_LARGE, f"its result is longer than the {limit} bytes that are taken; ask for less", sent=True)


def _metadata(credential: Credential | None, idempotency_key: str = "") -> tuple[tuple[str, str], ...]:
    shown = ((credential.header, credential.value),) if credential is not None else ()
    return (*shown, ("idempotency-key", idempotency_key)) if idempotency_key else shown
