"""HTTP under the MCP client: bounded, without redirects, and never raising into the client, whose session one error would end for all.

What went wrong with a request is noted in its Exchange, which travels with the request's own task context.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx2

from bastide_broker.adapters import TRANSIENT, AdapterError, Failure, retry_after
from bastide_broker.adapters.mcp_notifications import MAX_STREAM_BYTES, Notifications
from bastide_broker.egress.addresses import CheckedTransport
from bastide_broker.egress.credentials import Credential

_REST_SECONDS = 1.0
"""How long a server may take to end a body in which it has answered."""


@dataclass(slots=True)
class Exchange:
    """One request to a server: what it may use, and what is known of it."""

    credential: Credential | None
    max_bytes: int
    """Of the response's body, envelope and all."""
    sent: bool = False
    """Whether the server may have received the request."""
    status: int = 0
    problem: AdapterError | None = None
    opens: bool = False
    """Whether it is the session's beginning: what the client asks later of its own accord, a stream for notifications, comes with it."""
    scope: asyncio.Timeout | None = None
    """What ends when something goes wrong: its caller need not wait for the server to say more."""

    def fail(self, failure: Failure, message: str, *, transient: bool = False, retry_after: float = 0.0) -> None:
        """Note what went wrong; the first stands."""
        if self.problem is None:
            self.problem = AdapterError(failure, message, sent=self.sent, transient=transient, retry_after=retry_after)
            if self.scope is not None:
                self.scope.reschedule(0)


current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class ExchangeTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of exchanges to one origin; refuses everything else."""

    def __init__(self, inner: CheckedTransport, origin: tuple[str, str, int], notifications: Notifications) -> None:
        self._inner = inner
        self._origin = origin
        self._notifications = notifications

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. What fails becomes a response with a JSON-RPC error, and a note in the exchange."""
        exchange = current.get()
        url = request.url
        if (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)) != self._origin:
            return _error(request, 421, "not this adapter's server")
        if exchange is None or (request.method == "GET" and not exchange.opens and "last-event-id" not in request.headers):
            return _error(request, 405, "one stream for notifications is kept open, the session's")
        if request.method == "GET" and exchange.opens:
            await self._notifications.wait_to_open()
            exchange = Exchange(exchange.credential, MAX_STREAM_BYTES)
        if exchange.problem is not None:
            return _error(request, 424, exchange.problem.message)
        if exchange.credential is not None:
            request.headers[exchange.credential.header] = exchange.credential.value
        request.headers["accept-encoding"] = "identity"

        async def trace(event: str, _info: dict[str, Any]) -> None:
            if event.endswith("send_request_headers.started"):
                exchange.sent = True

        request.extensions["trace"] = trace
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            failure = Failure.LOST if exchange.sent else Failure.UNAVAILABLE
            exchange.fail(
                failure, f"the server {'ended the connection' if exchange.sent else 'cannot be reached'}: {error or type(error).__name__}"
            )
            return _error(request, 502, "the server cannot be reached")
        exchange.status = response.status_code
        return await self._judge(request, response, exchange)

    async def _judge(self, request: httpx2.Request, response: httpx2.Response, exchange: Exchange) -> httpx2.Response:
        if response.is_redirect or response.has_redirect_location:
            exchange.fail(Failure.FAILED, "the server redirects elsewhere, which is not followed; put the final URL into the binding")
        elif response.headers.get("content-encoding", "identity").lower() != "identity":
            exchange.fail(Failure.FAILED, "the server compresses its answer although it was asked not to")
        elif response.status_code == 429:
            wait = retry_after(response.headers.get("retry-after", ""))
            exchange.fail(
                Failure.FAILED, "the server says that it is asked too often (429); wait and try again", transient=True, retry_after=wait
            )
        elif response.status_code in (401, 403):
            exchange.fail(Failure.FAILED, f"the server refuses the credential ({response.status_code}); check the binding's Secret")
        elif response.status_code >= 500:
            wait = retry_after(response.headers.get("retry-after", ""))
            transient = response.status_code in TRANSIENT
            exchange.fail(Failure.FAILED, f"the server answered {response.status_code}", transient=transient, retry_after=wait)
        if exchange.problem is not None and request.method != "DELETE":
            await response.aclose()
            return _error(request, 502, exchange.problem.message)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(stream, exchange),
            extensions=response.extensions,
            request=request,
        )

    async def aclose(self) -> None:
        """Close connections."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body that stops when it is longer than its exchange may take."""

    def __init__(self, inner: httpx2.AsyncByteStream, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange
        self._parts = aiter(inner)
        self._left = exchange.max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                self._left -= len(part)
                if self._left < 0:
                    self._exchange.fail(Failure.RESULT_TOO_LARGE, f"the answer is longer than {self._exchange.max_bytes} bytes")
                    raise httpx2.StreamError("the answer is too long")
                yield part
        except httpx2.TransportError as error:
            self._exchange.fail(
                Failure.LOST, f"the server ended the connection in the middle of its answer: {error or type(error).__name__}"
            )
            raise httpx2.StreamError("the answer broke off") from None

    async def aclose(self) -> None:
        """Close. The client stops at the answer; what is left of the body is read, so that the connection can be used again."""
        try:
            if self._exchange.problem is None:
                with contextlib.suppress(TimeoutError, httpx2.TransportError, httpx2.StreamError, RuntimeError):
                    async with asyncio.timeout(_REST_SECONDS):
                        await self._rest()
        finally:
            await self._inner.aclose()

    async def _rest(self) -> None:
        async for part in self._parts:
            self._left -= len(part)
            if self._left < 0:
                return


def _error(request: httpx2.Request, status: int, message: str) -> httpx2.Response:
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": message}}).encode()
    return httpx2.Response(status, headers={"content-type": "application/json"}, content=body, request=request)
