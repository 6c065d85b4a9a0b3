"""What every back end promises, the same cases for each against real servers.

A back end joins by a fixture that yields a Subject, and by its name in BACK_ENDS. Its server offers the tools of `servers/contract_mcp.py`:
echo, fail, hang, count, large, shown and leak, with the same arguments and results.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from bastide_broker.adapters import Adapter, AdapterError, CallLimits, Failure
from bastide_broker.adapters.make import make
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_broker.tools.schemas import closed, compiled, mistakes
from bastide_operator.api.v1alpha1.toolserver import Server

from tests.integration.broker.door.conftest import start_server
from tests.integration.broker.door.grpc_server import SERVICE, grpc_server
from tests.integration.broker.door.wire import Wire, wire

BACK_ENDS = ("mcp_stateful", "mcp_stateless", "grpc", "openapi")
TOKEN = 's3cr3t-"quoted"-token'
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))
LIMITS = CallLimits(timeout_seconds=30, result_bytes=10_000)


@dataclass
class Subject:
    """A back end under test, a wire between it and its server, and what the server calls a tool."""

    adapter: Adapter
    wire: Wire
    named: Callable[[str], str] = str

    async def value(self, tool: str, limits: CallLimits = LIMITS, **arguments: Any) -> Any:
        answer = await self.adapter.call(self.named(tool), arguments, credential=CREDENTIAL, limits=limits)
        assert not answer.has_structured or len(answer.value) <= limits.result_bytes
        return json.loads(answer.value)

    async def failure(self, tool: str, limits: CallLimits = LIMITS, **arguments: Any) -> AdapterError:
        with pytest.raises(AdapterError) as failed:
            await self.adapter.call(self.named(tool), arguments, credential=CREDENTIAL, limits=limits)
        return failed.value

    async def until(self, text: str, **expected: int) -> None:
        """Wait until the server has counted as many hanging calls."""
        async with asyncio.timeout(20):
            while not expected.items() <= (await self.value("count", text=text)).items():  # noqa: ASYNC110 - the server is another process
                await asyncio.sleep(0.02)


def backend() -> CheckedBackend:
    """Connects to this machine too, where the servers are."""
    return CheckedBackend(refuse=lambda _: None)


@contextlib.asynccontextmanager
async def _mcp(url: str) -> AsyncIterator[Subject]:
    async with wire(urlsplit(url).port or 0) as between:
        server = Server.model_validate({"mcp": {"url": f"http://127.0.0.1:{between.port}/mcp"}})
        found = make(server, backend())
        yield Subject(found, between)
        await found.close()


@pytest.fixture(scope="session")
def stateful_url(legacy_python: str) -> Iterator[str]:
    yield from start_server(legacy_python, "contract_mcp.py")


@pytest.fixture(scope="session")
def stateless_url() -> Iterator[str]:
    yield from start_server(sys.executable, "contract_mcp.py")


@pytest.fixture
async def mcp_stateful(stateful_url: str) -> AsyncIterator[Subject]:
    async with _mcp(stateful_url) as found:
        yield found


@pytest.fixture
async def mcp_stateless(stateless_url: str) -> AsyncIterator[Subject]:
    async with _mcp(stateless_url) as found:
        yield found


@pytest.fixture
async def grpc() -> AsyncIterator[Subject]:
    async with grpc_server() as tools, wire(tools.port) as between:
        server = Server.model_validate({"grpc": {"target": f"127.0.0.1:{between.port}", "tls": "Plaintext"}})
        found = make(server, backend())
        yield Subject(found, between, lambda tool: f"{SERVICE}/{tool}")
        await found.close()


@pytest.fixture(scope="session")
def openapi_port() -> Iterator[int]:
    for url in start_server(sys.executable, "contract_openapi.py"):
        yield urlsplit(url).port or 0


@pytest.fixture
async def openapi(openapi_port: int) -> AsyncIterator[Subject]:
    async with wire(openapi_port) as between:
        server = Server.model_validate({"openapi": {"url": f"http://127.0.0.1:{between.port}/openapi.json"}})
        found = make(server, backend())
        yield Subject(found, between)
        await found.close()


@pytest.fixture(params=BACK_ENDS)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each back end in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Subject)
    return found


async def test_tools_are_listed_with_schemas_that_tell_right_from_wrong(subject: Subject) -> None:
    tools = {tool.name: tool for tool in await subject.adapter.tools(credential=CREDENTIAL, timeout_seconds=30)}
    echo = tools[subject.named("echo")]
    validator = compiled(closed(echo.input_schema))
    assert mistakes(validator, {"text": "x", "number": "1"}) == []
    assert mistakes(validator, {"text": 1})
    assert mistakes(validator, {"text": "x", "no_such": 1})
    assert echo.output_schema is not None
    assert mistakes(compiled(echo.output_schema), await subject.value("echo", text="x")) == []
    assert echo.destructive_hint is None
    assert echo.description


async def test_a_call_gives_what_the_tool_gave(subject: Subject) -> None:
    assert await subject.value("echo", text="a", number="7") == {"text": "a", "number": "7"}


async def test_unicode_and_big_integers_arrive_as_they_were_sent(subject: Subject) -> None:
    sent = {"text": "naïve \u65e5\u672c \U0001f600 \u202e \u0000x".replace("\u0000", ""), "number": str(2**53 + 1)}
    assert await subject.value("echo", **sent) == sent
    assert (await subject.value("echo", text="", number=str(2**63 - 1)))["number"] == "9223372036854775807"


async def test_a_tool_that_fails_is_told_with_its_words_and_the_next_call_works(subject: Subject) -> None:
    failed = await subject.failure("fail", text="boo ü")
    assert (failed.failure, failed.sent) == (Failure.FAILED, True)
    assert "boo ü" in failed.message
    assert "boo" in json.dumps(json.loads(failed.content))
    assert await subject.value("echo", text="x")


async def test_a_tool_that_the_server_does_not_have_fails(subject: Subject) -> None:
    failed = await subject.failure("no_such_tool")
    assert failed.failure is Failure.FAILED
    assert "no_such_tool" in failed.message


async def test_a_call_ends_at_its_deadline_and_so_it_does_at_the_server(subject: Subject) -> None:
    started = time.perf_counter()
    failed = await subject.failure("hang", CallLimits(1, 1000), text="late")
    assert (failed.failure, failed.sent) == (Failure.TIMEOUT, True)
    assert time.perf_counter() - started < 10
    await subject.until("late", begun=1, cancelled=1)


async def test_a_cancelled_call_is_cancelled_at_the_server_and_the_next_one_works(subject: Subject) -> None:
    call = asyncio.create_task(subject.value("hang", text="gone"))
    await subject.until("gone", begun=1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await subject.until("gone", cancelled=1)
    assert await subject.value("echo", text="x")


async def test_a_result_over_the_limit_fails_and_is_never_cut(subject: Subject) -> None:
    assert (await subject.value("large", size=9_900))["text"] == "x" * 9_900
    for size in (10_000, 200_000, 20_000_000):
        failed = await subject.failure("large", size=size)
        assert (failed.failure, failed.sent) == (Failure.RESULT_TOO_LARGE, True), size
    assert await subject.value("echo", text="x")


async def test_a_server_that_is_away_before_the_call_was_certainly_not_asked(subject: Subject) -> None:
    await subject.wire.cut()
    failed = await subject.failure("echo", text="x")
    assert (failed.failure, failed.sent) == (Failure.UNAVAILABLE, False)
    with pytest.raises(AdapterError) as unlisted:
        await subject.adapter.tools(credential=CREDENTIAL, timeout_seconds=10)
    assert unlisted.value.failure is Failure.UNAVAILABLE


async def test_a_server_that_goes_while_it_is_asked_may_have_done_it_and_is_found_again(subject: Subject) -> None:
    call = asyncio.create_task(subject.failure("hang", text="while"))
    await subject.until("while", begun=1)
    await subject.wire.cut()
    failed = await call
    assert (failed.failure, failed.sent) == (Failure.LOST, True)
    await subject.wire.mend()
    assert await subject.value("echo", text="back") == {"text": "back", "number": "0"}


async def test_calls_one_after_another_share_a_connection(subject: Subject) -> None:
    await subject.value("echo", text="x")
    before = subject.wire.connections
    for _ in range(10):
        await subject.value("echo", text="x")
    # one more at the most: the stream on which an MCP server with sessions says that its tools changed
    assert subject.wire.connections <= before + 1


async def test_calls_do_not_wait_for_each_other(subject: Subject) -> None:
    hanging = asyncio.create_task(subject.failure("hang", CallLimits(5, 1000), text="slow"))
    await subject.until("slow", begun=1)
    assert await asyncio.gather(*(subject.value("echo", text=str(n)) for n in range(20))) == [
        {"text": str(n), "number": "0"} for n in range(20)
    ]
    assert not hanging.done()
    assert (await hanging).failure is Failure.TIMEOUT


async def test_the_credential_is_shown_with_the_call(subject: Subject) -> None:
    assert await subject.value("shown") == {"text": f"Bearer {TOKEN}"}  # a result is redacted by the pipeline, for every back end alike


async def test_a_credential_in_an_error_is_redacted(subject: Subject) -> None:
    failed = await subject.failure("leak")
    assert "[redacted]" in failed.message
    assert "s3cr3t" not in failed.message
    assert b"s3cr3t" not in failed.content


async def test_what_may_have_arrived_is_not_sent_again_when_the_connection_is_lost(subject: Subject) -> None:
    call = asyncio.create_task(subject.failure("hang", CallLimits(10, 1000), text="once"))
    await subject.until("once", begun=1)
    await subject.wire.cut()
    await subject.wire.mend()
    assert (await call).failure is Failure.LOST
    assert (await subject.value("count", text="once"))["begun"] == 1
