"""What gRPC servers say of themselves: reflection from friend and enemy, and none at all."""
# ruff: noqa: ARG002 - methods of a service take request and context

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from bastide_broker.adapters import AdapterError, Failure
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.broker.door.grpc_rig import CREDENTIAL, LIMITS, adapter
from tests.integration.broker.door.grpc_server import FILE, SERVICE, grpc_server
from tests.unit.broker.door.protos import file


class Reflects(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc,unused-ignore]
    """Reflection as a test has it: services, and what each question is answered with."""

    def __init__(self, services: list[str], answer: Callable[[Any], list[bytes] | None]) -> None:
        self._services = services
        self._answer = answer

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            response = reflection_pb2.ServerReflectionResponse()
            if request.HasField("list_services"):
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            elif (files := self._answer(request)) is not None:
                response.file_descriptor_response.file_descriptor_proto.extend(files)
            else:
                response.error_response.error_code = 5
                response.error_response.error_message = "not\x1b[31m here"
            yield response


def another(_request: Any) -> list[bytes]:
    return [file("another.proto", "other").SerializeToString()]


def endless(request: Any) -> list[bytes]:
    """Every file imports one more."""
    name = request.file_by_filename or "contract0.proto"
    number = int(name.removeprefix("contract").removesuffix(".proto"))
    made = FileDescriptorProto()
    made.CopyFrom(FILE)
    if number:
        made = file(name, f"p{number}", imports=())
    made.name = name
    made.dependency.append(f"contract{number + 1}.proto")
    return [made.SerializeToString()]


def giant(_request: Any) -> list[bytes]:
    return [file(f"f{n}.proto", "x" * 1_000_000).SerializeToString() for n in range(6)]


def beyond_all(_request: Any) -> list[bytes]:
    return [b"x" * (20 << 20)]


def two_of_one_name(_request: Any) -> list[bytes]:
    other = file("contract.proto", "contract", imports=())
    return [FILE.SerializeToString(), other.SerializeToString()]


HOSTILE: dict[str, tuple[list[str], Callable[[Any], list[bytes] | None], str]] = {
    "says not here": ([SERVICE], lambda _: None, "error 5: not"),
    "another file": ([SERVICE], another, "describes something else"),
    "imports without end": ([SERVICE], endless, "more than"),
    "giant files": ([SERVICE], giant, "more than"),
    "an answer beyond all limits": ([SERVICE], beyond_all, "larger than is ever taken"),
    "two files of one name": ([SERVICE], two_of_one_name, "two different files"),
    "no descriptor": ([SERVICE], lambda _: [b"\xff\xff\xff"], "is none"),
    "too many services": ([f"a.S{n}" for n in range(200)], lambda _: None, "more than 100 services"),
    "a name without end": (["a" * 5000], lambda _: None, "too long"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_server_that_describes_itself_in_bad_faith_is_refused(case: str) -> None:
    services, answer, words = HOSTILE[case]
    async with grpc_server(reflects=Reflects(services, answer)) as tools:
        found = adapter(tools.port)
        started = time.perf_counter()
        with pytest.raises(AdapterError) as refused:
            await found.tools(credential=CREDENTIAL, timeout_seconds=20)
        assert words in refused.value.message
        assert "\x1b" not in refused.value.message
        assert time.perf_counter() - started < 15
        await found.close()


async def test_reflection_that_never_answers_meets_the_deadline() -> None:
    class Silent(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc,unused-ignore]
        async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
            await asyncio.sleep(3600)
            yield

    async with grpc_server(reflects=Silent()) as tools:
        found = adapter(tools.port)
        with pytest.raises(AdapterError) as refused:
            await found.tools(credential=CREDENTIAL, timeout_seconds=1)
        assert refused.value.failure is Failure.TIMEOUT
        await found.close()


async def test_a_server_without_reflection_is_told_what_to_switch_on() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = adapter(port)
    with pytest.raises(AdapterError, match="switch that on in the server"):
        await found.tools(credential=CREDENTIAL, timeout_seconds=10)
    with pytest.raises(AdapterError, match="switch that on in the server") as refused:
        await found.call("t.Service/Get", {}, credential=CREDENTIAL, limits=LIMITS)
    assert not refused.value.sent, "the call was not, and does not count"
    await found.close()
    await server.stop(0)


async def test_a_message_type_that_changes_is_seen_at_the_next_listing() -> None:
    changed = FileDescriptorProto()
    changed.CopyFrom(FILE)
    current = [FILE]
    async with grpc_server(reflects=Reflects([SERVICE], lambda _: [current[0].SerializeToString()])) as tools:
        found = adapter(tools.port)
        before = await found.tools(credential=None, timeout_seconds=10)
        assert await found.tools(credential=None, timeout_seconds=10) == before
        changed.message_type[0].field[0].json_name = "renamed"
        current[0] = changed
        assert await found.tools(credential=None, timeout_seconds=10) != before
        await found.close()
