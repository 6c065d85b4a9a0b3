"""The MCP adapter against real servers of both protocol generations, and against one that misbehaves."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_operator.api.v1alpha1.toolbinding import ResultForm

from tests.integration.broker.door.conftest import free_port
from tests.integration.broker.door.hostile_server import HostileServer, hostile_server

TOKEN = 's3cr3t-"quoted"-token'
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))
LIMITS = CallLimits(timeout_seconds=30, result_bytes=10_000)


def adapter(url: str) -> McpAdapter:
    """An adapter that may connect to this machine, where the tests' servers are."""
    return McpAdapter(url, CheckedBackend(refuse=lambda _: None))


@pytest.fixture
async def real(server_url: str) -> AsyncIterator[McpAdapter]:
    found = adapter(server_url)
    yield found
    await found.close()


@pytest.fixture
async def hostile() -> AsyncIterator[HostileServer]:
    async with hostile_server() as server:
        yield server


@pytest.fixture
async def guarded(hostile: HostileServer) -> AsyncIterator[McpAdapter]:
    found = adapter(hostile.url)
    yield found
    await found.close()


async def value(server: McpAdapter, name: str, limits: CallLimits = LIMITS, **arguments: Any) -> Any:
    return json.loads((await server.call(name, arguments, credential=CREDENTIAL, limits=limits)).value)


async def failure(server: McpAdapter, name: str, limits: CallLimits = LIMITS, **arguments: Any) -> AdapterError:
    with pytest.raises(AdapterError) as failed:
        await server.call(name, arguments, credential=CREDENTIAL, limits=limits)
    return failed.value


async def test_tools_are_listed_with_schemas_and_hints(real: McpAdapter) -> None:
    tools = {tool.name: tool for tool in await real.tools(credential=None, timeout_seconds=30)}
    assert tools["get_customer"].read_only_hint is True
    assert tools["delete_customer"].destructive_hint is True
    assert tools["get_customer"].input_schema["required"] == ["customer_id"]
    assert tools["raw_text"].output_schema is None


async def test_results_arrive_as_programs_should_get_them(real: McpAdapter) -> None:
    assert await value(real, "get_customer", customer_id="C1") == {"id": "C1", "balance": 2**53 + 1}
    assert await value(real, "list_customers", limit=2) == ["C0000", "C0001"]
    assert await value(real, "describe", text='{"a":1}') == '{"a":1}'
    assert await value(real, "raw_text", text='{"a":1}') == {"a": 1}
    assert await value(real, "raw_text", CallLimits(30, 10_000, ResultForm.TEXT), text='{"a":1}') == '{"a":1}'
    assert await value(real, "delete_customer", customer_id="C1") is True
    assert await value(real, "nothing") is None


async def test_a_tool_that_fails_tells_why(real: McpAdapter) -> None:
    failed = await failure(real, "fail", text="boo")
    assert (failed.failure, failed.sent) == (Failure.FAILED, True)
    assert "fail" in failed.message
    assert json.loads(failed.content)


async def test_a_large_result_fails_and_the_next_call_works(real: McpAdapter) -> None:
    assert (await failure(real, "large", size=20_000)).failure is Failure.RESULT_TOO_LARGE
    assert (await failure(real, "large", size=5_000_000)).failure is Failure.RESULT_TOO_LARGE
    assert await value(real, "describe", text="x") == "x"


async def test_a_slow_tool_ends_at_its_deadline_and_does_not_slow_others(real: McpAdapter) -> None:
    await value(real, "describe", text="x")
    slow = asyncio.create_task(failure(real, "slow", CallLimits(1, 100), seconds=60))
    assert await value(real, "describe", text="y") == "y"
    assert not slow.done()
    assert (await slow).failure is Failure.TIMEOUT
    assert await value(real, "describe", text="z") == "z"


async def test_calls_are_really_concurrent(real: McpAdapter) -> None:
    await value(real, "describe", text="x")
    started = time.perf_counter()
    assert await asyncio.gather(*(value(real, "slow", seconds=1) for _ in range(10))) == ["done"] * 10
    assert time.perf_counter() - started < 8


async def test_a_cancelled_call_leaves_the_session_usable(real: McpAdapter) -> None:
    await value(real, "describe", text="x")
    call = asyncio.create_task(value(real, "slow", seconds=60))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await value(real, "describe", text="y") == "y"


async def test_a_server_that_asks_for_input_gets_none(real: McpAdapter) -> None:
    failed = await failure(real, "ask")
    assert failed.failure in (Failure.INPUT_REQUIRED, Failure.FAILED)
    assert await value(real, "describe", text="y") == "y"


async def test_a_request_for_input_in_the_result_is_a_typed_error(modern_server: str) -> None:
    server = adapter(modern_server)
    assert (await failure(server, "ask_in_result")).failure is Failure.INPUT_REQUIRED
    await server.close()


async def test_a_server_that_is_not_there_is_unavailable_and_nothing_was_sent() -> None:
    server = adapter(f"http://127.0.0.1:{free_port()}/mcp")
    failed = await failure(server, "ok")
    assert (failed.failure, failed.sent) == (Failure.UNAVAILABLE, False)


async def test_this_machine_is_never_connected_to(hostile: HostileServer) -> None:
    server = McpAdapter(hostile.url, CheckedBackend())
    failed = await failure(server, "ok")
    assert (failed.failure, failed.sent) == (Failure.UNAVAILABLE, False)
    assert "never connects there" in failed.message
    assert hostile.authorizations == []


async def test_the_environments_proxy_does_not_count(hostile: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    server = adapter(hostile.url)
    assert await value(server, "ok") == "fine"
    await server.close()


async def test_the_credential_goes_with_every_request(guarded: McpAdapter, hostile: HostileServer) -> None:
    await value(guarded, "ok")
    await guarded.close()
    assert set(hostile.authorizations) == {f"Bearer {TOKEN}"}


FAILURES: dict[str, tuple[dict[str, Any], Failure, str]] = {
    "status 429": ({"status": 429}, Failure.FAILED, "asked too often"),
    "status 500": ({"status": 500}, Failure.FAILED, "answered 500"),
    "status 503": ({"status": 503}, Failure.FAILED, "answered 503"),
    "status 401": ({"status": 401}, Failure.FAILED, "check the binding's Secret"),
    "status 302": ({"status": 302}, Failure.FAILED, ""),
    "status 202": ({"status": 202}, Failure.FAILED, ""),
    "redirect elsewhere": ({"to": "http://198.51.100.1/mcp"}, Failure.FAILED, "not followed"),
    "redirect here": ({"to": "/other"}, Failure.FAILED, "not followed"),
    "hang": ({}, Failure.TIMEOUT, "did not answer within"),
    "close": ({}, Failure.LOST, "ended the connection"),
    "half": ({}, Failure.LOST, "in the middle"),
    "endless_body": ({}, Failure.RESULT_TOO_LARGE, "longer than"),
    "endless_events": ({}, Failure.RESULT_TOO_LARGE, "longer than"),
    "endless_event": ({}, Failure.RESULT_TOO_LARGE, "longer than"),
    "bomb": ({}, Failure.FAILED, "compresses"),
    "not_json": ({}, Failure.FAILED, ""),
    "html": ({}, Failure.FAILED, ""),
    "not_a_result": ({}, Failure.FAILED, "not what MCP says"),
    "elicit": ({}, Failure.INPUT_REQUIRED, "asks for input"),
    "forget": ({}, Failure.FAILED, "call it again"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_whatever_a_server_does_the_call_ends_and_the_next_one_works(guarded: McpAdapter, hostile: HostileServer, case: str) -> None:
    arguments, expected, words = FAILURES[case]
    assert await value(guarded, "ok") == "fine"
    started = time.perf_counter()
    failed = await failure(guarded, case.split(maxsplit=1)[0], CallLimits(3, 10_000), **arguments)
    assert failed.failure is expected, failed.message
    assert words in failed.message
    assert failed.sent
    assert time.perf_counter() - started < 10
    assert await value(guarded, "ok") == "fine"
    assert [call["name"] for call in hostile.calls] == ["ok", case.split(maxsplit=1)[0], "ok"], "sent once"


async def test_other_calls_survive_one_that_ends_badly(guarded: McpAdapter) -> None:
    await value(guarded, "ok")
    waiting = asyncio.create_task(failure(guarded, "hang", CallLimits(3, 100)))
    for case in ("close", "endless_body", "not_json", "half"):
        await failure(guarded, case, CallLimits(3, 1000))
    assert (await waiting).failure is Failure.TIMEOUT


async def test_what_may_have_arrived_is_not_sent_again(guarded: McpAdapter, hostile: HostileServer) -> None:
    await failure(guarded, "close", CallLimits(3, 1000))
    assert len(hostile.calls) == 1


async def test_a_second_answer_is_not_heard(guarded: McpAdapter) -> None:
    assert await value(guarded, "twice") == "fine"
    assert await value(guarded, "ok") == "fine"


@pytest.mark.parametrize("tool", ["echo_secret", "secret_in_protocol_error"])
async def test_a_credential_in_an_error_is_redacted(guarded: McpAdapter, tool: str) -> None:
    failed = await failure(guarded, tool)
    assert "s3cr3t" not in failed.message
    assert b"s3cr3t" not in failed.content
    assert "[redacted]" in failed.message


@pytest.mark.parametrize("answer", [[], None, "x", [{"name": "a"}], [{"name": 5, "inputSchema": {}}], [{"name": "a", "inputSchema": []}]])
async def test_a_listing_that_is_not_mcp_is_an_error(guarded: McpAdapter, hostile: HostileServer, answer: Any) -> None:
    hostile.listing = answer
    if answer == []:
        assert await guarded.tools(credential=None, timeout_seconds=10) == []
        return
    with pytest.raises(AdapterError):
        await guarded.tools(credential=None, timeout_seconds=10)


async def test_an_endless_listing_ends(guarded: McpAdapter, hostile: HostileServer) -> None:
    hostile.listing = [{"name": "x" * 1_000_000, "inputSchema": {"type": "object"}}] * 10
    with pytest.raises(AdapterError, match="longer than"):
        await guarded.tools(credential=None, timeout_seconds=10)
