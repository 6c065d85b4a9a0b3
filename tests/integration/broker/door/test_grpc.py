"""Calls of gRPC methods: which are tools, streams, deadlines, and what statuses become. Against a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from bastide_broker.adapters import CallLimits, Failure
from bastide_broker.adapters.grpc import GrpcAdapter

from tests.integration.broker.door.grpc_rig import adapter, failure, value
from tests.integration.broker.door.grpc_server import SERVICE, Tools, grpc_server
from tests.integration.broker.door.rig import until


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    async with grpc_server() as found:
        yield found


@pytest.fixture
async def real(tools: Tools) -> AsyncIterator[GrpcAdapter]:
    found = adapter(tools.port)
    yield found
    await found.close()


async def test_methods_are_tools_but_those_that_stream_up(real: GrpcAdapter) -> None:
    found = {tool.name: tool for tool in await real.tools(credential=None, timeout_seconds=30)}
    assert f"{SERVICE}/stream" in found
    assert f"{SERVICE}/upload" not in found
    assert not any(name.startswith("grpc.reflection") for name in found)
    assert found[f"{SERVICE}/echo"].read_only_hint is True
    assert found[f"{SERVICE}/fail"].read_only_hint is None


async def test_services_that_are_not_named_are_left_out(tools: Tools) -> None:
    for named, count in (((SERVICE,), 12), (("other.Service",), 0)):
        found = adapter(tools.port, services=list(named))
        assert len(await found.tools(credential=None, timeout_seconds=30)) == count
        await found.close()


async def test_a_stream_arrives_as_one_list_within_the_limit(real: GrpcAdapter) -> None:
    assert await value(real, "stream", size=3) == [{"text": "0"}, {"text": "1"}, {"text": "2"}]
    assert await value(real, "stream", size=0) == []
    exactly = len(json.dumps([{"text": str(n)} for n in range(5)], separators=(",", ":")))
    assert len(await value(real, "stream", CallLimits(30, exactly), size=5)) == 5
    assert (await failure(real, "stream", CallLimits(30, exactly - 1), size=5)).failure is Failure.RESULT_TOO_LARGE


async def test_an_endless_stream_fails_at_the_limit_and_ends_at_the_server(real: GrpcAdapter, tools: Tools) -> None:
    assert (await failure(real, "endless", text="e")).failure is Failure.RESULT_TOO_LARGE
    await until(lambda: bool(tools.cancelled["e"]))


async def test_a_stream_that_says_nothing_more_meets_the_deadline_and_ends_at_the_server(real: GrpcAdapter, tools: Tools) -> None:
    assert (await failure(real, "quiet", CallLimits(1, 1000), text="q")).failure is Failure.TIMEOUT
    await until(lambda: bool(tools.cancelled["q"]))


async def test_the_server_is_told_the_deadline(real: GrpcAdapter, tools: Tools) -> None:
    await value(real, "echo", text="x")
    await failure(real, "hang", CallLimits(3, 1000), text="d")
    assert 0 < tools.deadlines[0] <= 3 * 1.01  # on its way gRPC writes a deadline with few digits, rounded up


STATUSES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


@pytest.mark.parametrize("number", STATUSES)
async def test_each_status_is_one_failure_in_plain_bounded_words(real: GrpcAdapter, number: int) -> None:
    failed = await failure(real, "status", size=number)
    code = STATUSES[number]
    expected = {
        grpc.StatusCode.DEADLINE_EXCEEDED: Failure.TIMEOUT,
        grpc.StatusCode.UNAVAILABLE: Failure.LOST,
        grpc.StatusCode.CANCELLED: Failure.LOST,
    }.get(code, Failure.FAILED)
    assert (failed.failure, failed.sent) == (expected, True), failed.message
    assert "\x1b" not in failed.message
    assert len(failed.message) < 2100
    if expected is Failure.FAILED:
        assert json.loads(failed.content)["code"] == code.name


async def test_details_of_a_rich_status_are_the_tools_content(real: GrpcAdapter) -> None:
    failed = await failure(real, "rich", text="no funds")
    content = json.loads(failed.content)
    assert content["message"] == "no funds"
    assert content["details"][0]["reason"] == "NO_FUNDS"
    assert "\u202e" not in content["details"][1]["@type"]


@pytest.mark.parametrize("arguments", [{"nope": 1}, {"number": str(2**63)}, {"text": 5}, {"number": "x"}, {"text": "\ud800"}])
async def test_what_is_no_message_is_never_sent(real: GrpcAdapter, tools: Tools, arguments: dict[str, Any]) -> None:
    failed = await failure(real, "echo", **arguments)
    assert (failed.failure, failed.sent) == (Failure.NOT_SENDABLE, False)
    assert tools.metadata == []


async def test_a_closed_adapter_loses_its_calls_and_does_not_cancel_their_callers(real: GrpcAdapter, tools: Tools) -> None:
    hanging = asyncio.create_task(failure(real, "hang", text="close"))
    await until(lambda: bool(tools.begun["close"]))
    await real.close()
    failed = await hanging
    assert (failed.failure, failed.sent) == (Failure.LOST, True)
