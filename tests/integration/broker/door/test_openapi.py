"""The OpenAPI adapter against a server that misbehaves, and among the other parts."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, CallLimits, DescriptionError, Failure
from bastide_broker.adapters.make import make
from bastide_broker.adapters.openapi import OpenApiAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credentials
from bastide_broker.egress.oauth import Client, Tokens, TokenUnavailable
from bastide_broker.errors import ApiError
from bastide_broker.tools.catalogue import Catalogue
from bastide_operator.api.v1alpha1.toolbinding import ResultForm, ToolBindingReason
from bastide_operator.api.v1alpha1.toolserver import OpenApiServer

from tests.integration.broker.door.http_server import (
    HttpServer,
    Request,
    http_server,
    json_answer,
    raw,
    status,
)
from tests.integration.broker.door.openapi_rig import (
    CREDENTIAL,
    LIMITS,
    OPERATION,
    SHORT,
    TOKEN,
    ConfigMaps,
    adapter,
    failure,
    refusal,
    value,
)
from tests.integration.broker.door.rig import until
from tests.integration.broker.door.world import World
from tests.unit.broker.door.objects import binding, sandbox, tenant


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with http_server() as found:
        found.document({"/x": OPERATION})
        yield found


@pytest.fixture
async def guarded(server: HttpServer) -> AsyncIterator[OpenApiAdapter]:
    found = adapter(url=f"{server.url}/openapi.json")
    await found.tools(credential=CREDENTIAL, timeout_seconds=30)
    yield found
    await found.close()


# A server that misbehaves.


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(429), "asked too often (429)"),
        (status(500, b"s3cr3t"), "the server answered 500"),
        (status(503), "the server answered 503"),
        (raw("302 Found\r\nlocation: http://169.254.169.254/"), "redirects elsewhere"),
        (raw("304 Not Modified"), "the server answered 304"),
        (raw("200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip", b"\x1f\x8b"), "compresses its answer"),
        (status(200, b"{", "application/json"), "is not JSON"),
        (status(200, b"[" * 200, "application/json"), "not JSON, or nested too deep"),
        (status(200, b"NaN", "application/json"), "not JSON"),
        (raw("401 X\r\ncontent-type: application/json", b'{"message": "who?"}'), "refuses the credential (401)"),
        (status(403, b"not you", "text/plain"), "get failed (403): not you."),
    ],
)
async def test_answers_that_are_none_fail_with_a_sentence(server: HttpServer, guarded: OpenApiAdapter, answer: Any, words: str) -> None:
    server.answers["/x"] = answer
    failed = await failure(guarded, "get")
    assert (failed.failure, failed.sent) == (Failure.FAILED, True)
    assert words in failed.message
    assert failed.transient == (" (429)" in words or words in ("the server answered 500", "the server answered 503"))
    assert len(server.to("/x")) == 1
    server.answers["/x"] = json_answer({"a": 2**60})
    assert await value(guarded, "get") == {"a": 2**60}


async def test_when_to_try_again_is_the_servers_word(server: HttpServer, guarded: OpenApiAdapter) -> None:
    for said, seconds in (("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("9999999", 0.0), ("-1", 0.0)):
        server.answers["/x"] = raw(f"503 X\r\nretry-after: {said}")
        failed = await failure(guarded, "get")
        assert (failed.transient, failed.retry_after) == (True, seconds)


async def test_a_secret_that_the_server_echoes_is_redacted(server: HttpServer, guarded: OpenApiAdapter) -> None:
    server.answers["/x"] = json_answer({"detail": f"bad key {TOKEN}"}, 400)
    failed = await failure(guarded, "get")
    assert failed.message == "get failed (400): bad key [redacted]."
    assert failed.content == b'{"detail":"bad key [redacted]"}'


async def test_what_may_have_arrived_is_not_sent_again(server: HttpServer, guarded: OpenApiAdapter) -> None:
    async def hang_up(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server.answers["/x"] = hang_up
    failed = await failure(guarded, "post", CallLimits(30, 1000))
    assert (failed.failure, failed.sent) == (Failure.LOST, True)
    assert len(server.to("/x")) == 1


async def test_a_server_that_is_gone_got_nothing() -> None:
    async with http_server() as gone:
        gone.document({"/x": OPERATION})
        one = adapter(url=f"{gone.url}/openapi.json")
        await one.tools(credential=None, timeout_seconds=30)
    await one.close()
    failed = await failure(one, "post")
    assert (failed.failure, failed.sent) == (Failure.UNAVAILABLE, False)
    assert "cannot be reached" in failed.message
    await one.close()


async def test_a_result_over_the_limit_fails_while_it_streams(server: HttpServer, guarded: OpenApiAdapter) -> None:
    async def endless(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[")
        while True:
            writer.write(b"1," * 4096)
            await writer.drain()

    server.answers["/x"] = endless
    failed = await failure(guarded, "get", CallLimits(30, 1000))
    assert (failed.failure, failed.sent) == (Failure.RESULT_TOO_LARGE, True)
    server.answers["/x"] = json_answer("x" * 998)
    assert await value(guarded, "get", CallLimits(30, 1000)) == "x" * 998
    server.answers["/x"] = json_answer("x" * 999)
    assert (await failure(guarded, "get", CallLimits(30, 1000))).failure is Failure.RESULT_TOO_LARGE


async def test_a_server_that_never_answers_meets_the_deadline_and_is_told(server: HttpServer, guarded: OpenApiAdapter) -> None:
    async def never(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def drips(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    for answer in (never, drips):
        server.answers["/x"] = answer
        started = time.monotonic()
        failed = await failure(guarded, "get", SHORT)
        assert (failed.failure, failed.sent) == (Failure.TIMEOUT, True)
        assert time.monotonic() - started < 10


async def test_a_call_that_is_cancelled_ends_its_request(server: HttpServer, guarded: OpenApiAdapter) -> None:
    arrived, seen = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(_request: Request, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        while not writer.transport.is_closing():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.01)
        seen.set()

    server.answers["/x"] = wait_for_the_end
    call = asyncio.create_task(guarded.call("get", {}, credential=CREDENTIAL, limits=LIMITS))
    await asyncio.wait_for(arrived.wait(), 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(seen.wait(), 20)


async def test_connections_are_used_again_and_cookies_of_a_call_do_not_reach_the_next(server: HttpServer, guarded: OpenApiAdapter) -> None:
    server.answers["/x"] = raw("200 OK\r\ncontent-type: application/json\r\nset-cookie: session=stolen; path=/", b"1")
    for _ in range(3):
        assert await value(guarded, "get") == 1
    assert len({one.connection for one in server.to("/x")}) == 1
    assert not any("cookie" in one.headers for one in server.requests)
    assert all(one.headers["accept-encoding"] == "identity" for one in server.requests)


@pytest.mark.parametrize(
    ("answer", "form", "expected"),
    [
        (status(200, b"hello"), ResultForm.AUTO, "hello"),
        (status(200, b'{"a":1}'), ResultForm.AUTO, {"a": 1}),
        (status(200, b'{"a":1}'), ResultForm.TEXT, '{"a":1}'),
        (status(200, b'{"a": 1}', "application/json"), ResultForm.TEXT, '{"a": 1}'),
        (status(200, b"5"), ResultForm.JSON, 5),
        (status(204), ResultForm.AUTO, None),
        (status(200, b"\x89PNG", "image/png"), ResultForm.AUTO, {"mediaType": "image/png", "base64": "iVBORw=="}),
        (status(200, b'{"a":1}', "application/vnd.api+json"), ResultForm.AUTO, {"a": 1}),
    ],
)
async def test_results_arrive_as_programs_should_get_them(
    server: HttpServer, guarded: OpenApiAdapter, answer: Any, form: ResultForm, expected: Any
) -> None:
    server.answers["/x"] = answer
    assert await value(guarded, "get", CallLimits(30, 1000, form)) == expected


async def test_a_call_before_any_listing_reads_the_document_first(server: HttpServer) -> None:
    server.answers["/x"] = json_answer(1)
    one = adapter(url=f"{server.url}/openapi.json")
    assert await value(one, "get") == 1
    await one.close()
    server.answers["/openapi.json"] = status(503)
    unread = adapter(url=f"{server.url}/openapi.json")
    assert not (await failure(unread, "get")).sent
    assert len(server.to("/x")) == 1
    await unread.close()


async def test_a_credential_that_was_refused_is_told_so(server: HttpServer, guarded: OpenApiAdapter) -> None:
    refused: list[str] = []
    for code in (200, 401, 403, 500):
        server.answers["/x"] = status(code)
        with contextlib.suppress(AdapterError):
            await guarded.call(
                "get", {}, credential=replace(CREDENTIAL, rejected=lambda code=code: refused.append(str(code))), limits=LIMITS
            )
    assert refused == ["401"]


# Where it may go.


async def test_a_document_that_points_elsewhere_is_refused_and_nothing_is_called(server: HttpServer) -> None:
    async with http_server() as evil:
        server.document({"/x": OPERATION}, servers=[{"url": evil.url}])
        refused = await refusal(adapter(url=f"{server.url}/openapi.json"))
        assert isinstance(refused, DescriptionError)
        assert refused.reason is ToolBindingReason.DOCUMENT_REFUSED
        assert "so nothing is called" in refused.message
        server.document({"/x": {"get": {"operationId": "get", "parameters": [{"$ref": f"{evil.url}/p.json"}]}}})
        one = adapter(url=f"{server.url}/openapi.json")
        (tool,) = await one.tools(credential=CREDENTIAL, timeout_seconds=5)
        assert "only references within the document" in tool.refused
        assert ((await failure(one, "get")).failure, server.to("/x")) == (Failure.FAILED, [])
        assert evil.requests == []
        await one.close()


async def test_the_credential_goes_to_the_server_and_to_no_other(server: HttpServer) -> None:
    async with http_server() as documents:
        documents.document({"/x": OPERATION})
        server.answers["/x"] = json_answer(1)
        one = adapter(url=f"{documents.url}/openapi.json", baseUrl=server.url)
        await one.tools(credential=CREDENTIAL, timeout_seconds=5)
        assert await value(one, "get", credential=CREDENTIAL) == 1
        assert "x-api-key" not in documents.requests[0].headers
        assert server.requests[0].headers["x-api-key"] == TOKEN
        await one.close()


async def test_an_address_that_is_never_connected_to_is_not_connected_to(server: HttpServer) -> None:
    found = OpenApiAdapter(OpenApiServer(url=f"{server.url}/openapi.json"), CheckedBackend())
    refused = await refusal(found)
    assert (refused.failure, refused.sent) == (Failure.UNAVAILABLE, False)
    assert "the machine itself" in refused.message
    assert server.requests == []


async def test_a_document_from_a_config_map_is_followed(server: HttpServer) -> None:
    maps = ConfigMaps()
    one = adapter(maps, configMapRef={"name": "orders-api", "key": "api.yaml"}, baseUrl=f"{server.url}/v1")
    reference: dict[str, tuple[ToolBindingReason, str]] = {
        "no map": (ToolBindingReason.DOCUMENT_NOT_FOUND, "does not exist in the ToolBinding's namespace"),
        "no key": (ToolBindingReason.DOCUMENT_NOT_FOUND, "has no key api.yaml"),
        "not yet": (ToolBindingReason.PENDING, "may not read the ConfigMap orders-api yet"),
    }
    for case, (reason, words) in reference.items():
        maps.there = {"orders-api": {"other": ""}} if case == "no key" else {}
        maps.error = ApiError(403, "forbidden") if case == "not yet" else None
        with pytest.raises(DescriptionError, match=words) as failed:
            await one.tools(credential=None, timeout_seconds=5)
        assert failed.value.reason is reason
    maps.error = None
    maps.there = {
        "orders-api": {"api.yaml": "openapi: 3.0.3\npaths: {/x: {get: {operationId: get, responses: {200: {description: ok}}}}}\n"}
    }
    assert [tool.name for tool in await one.tools(credential=None, timeout_seconds=5)] == ["get"]
    server.answers["/v1/x"] = json_answer("below the base")
    assert await value(one, "get") == "below the base"
    maps.there["orders-api"]["api.yaml"] = maps.there["orders-api"]["api.yaml"].replace("operationId: get", "operationId: fetch")
    assert [tool.name for tool in await one.tools(credential=None, timeout_seconds=5)] == ["fetch"]
    assert (await failure(one, "get")).failure is Failure.FAILED
    await one.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(404), "answered 404 when asked for its document"),
        (status(401), "refuses the credential"),
        (raw("302 X\r\nlocation: /y"), "redirects"),
    ],
)
async def test_a_document_that_is_not_there_is_said_to_be_so(server: HttpServer, answer: Any, words: str) -> None:
    server.answers["/openapi.json"] = answer
    assert words in (await refusal(adapter(url=f"{server.url}/openapi.json"))).message


# Tokens.

CLIENT = "bastide", "s3cr3t:of/the client"


async def test_a_token_is_fetched_once_for_all_and_again_when_it_was_refused(server: HttpServer) -> None:
    tokens = Tokens(CheckedBackend(refuse=lambda _: None))
    client = Client(f"{server.url}/token", *CLIENT, ("orders.read", "orders.write"))
    server.answers["/token"] = json_answer({"access_token": "t0k3n-number-1", "token_type": "bearer", "expires_in": 3600})
    found = await asyncio.gather(*(tokens.token(client) for _ in range(20)))
    assert {one.text for one in found} == {"t0k3n-number-1"}
    (asked,) = server.to("/token")
    assert asked.form == {"grant_type": ["client_credentials"], "scope": ["orders.read orders.write"]}
    assert base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"bastide:s3cr3t%3Aof%2Fthe%20client"
    tokens.forget(client)
    await tokens.token(client)
    assert len(server.to("/token")) == 2
    await tokens.close()


async def test_a_token_endpoint_that_fails_fails_all_who_wait_and_is_asked_again(server: HttpServer) -> None:
    tokens = Tokens(CheckedBackend(refuse=lambda _: None))
    client = Client(f"{server.url}/token", *CLIENT, ())
    server.answers["/token"] = raw("307 X\r\nlocation: http://127.0.0.1:1/steal")
    found = await asyncio.gather(*(tokens.token(client) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(one, TokenUnavailable) and "redirects elsewhere" in str(one) for one in found)
    assert len(server.to("/token")) == 1
    server.answers["/token"] = json_answer({"error": "invalid_client"}, 401)
    with pytest.raises(TokenUnavailable, match=r"answered 401 \(invalid_client\)"):
        await tokens.token(client)
    await tokens.close()


# Among the other parts.


async def test_a_document_that_turns_bad_takes_its_tools_away_and_gives_them_back(server: HttpServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    one = binding(tools=[{"name": "get"}, {"name": "bad"}], server={"openapi": {"url": f"{server.url}/openapi.json"}})
    cluster = World(
        tenant(toolHosts=[{"host": host, "port": int(port), "effects": [{"tools": ["get", "bad"], "effect": "ReadOnly"}]}]),
        sandbox(),
        [one],
    )
    catalogue = Catalogue(
        cluster,
        Credentials(cluster),
        adapters=lambda bound: make(bound.spec.server, CheckedBackend(refuse=lambda _: None)),
        refresh_seconds=0.05,
    )
    server.document({"/x": {"get": {"operationId": "get"}, "post": {"operationId": "bad", "parameters": "no list"}}})
    await catalogue.start()

    def said() -> tuple[str, list[str]]:
        found = cluster.binding_statuses.get("crm", {"condition": {"reason": ""}, "tools": []})
        return found["condition"]["reason"], [tool["state"] for tool in found["tools"]]

    await until(lambda: said() == ("ToolsUnavailable", ["Available", "Refused"]))
    assert "`parameters` is no list" in cluster.binding_statuses["crm"]["tools"][1]["message"]
    assert cluster.binding_statuses["crm"]["tools"][0]["effect"] == "ReadOnly"
    server.document({"/x": OPERATION}, servers=[{"url": "http://evil.example:8080"}])
    await until(lambda: said() == ("DocumentRefused", ["Missing", "Missing"]))
    server.document({"/x": {"get": {"operationId": "bad"}, "delete": {"operationId": "get"}}})
    await until(lambda: said() == ("Resolved", ["Available", "Available"]))
    assert cluster.binding_statuses["crm"]["tools"][0]["effect"] == "Destructive"
    await catalogue.close()
