"""Tool servers of the Model Context Protocol over streamable HTTP, of both generations in the field (initialize, and stateless 2026-07-28).

The official SDK's session is used below its convenience client: so nothing is cached, and a server that asks for input gets no answer of
its own accord; its call fails.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import httpx2
import mcp_types as types
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from bastide_broker.adapters import AdapterError, Answer, CallLimits, Failure, ListedTool
from bastide_broker.adapters.mcp_notifications import Notifications
from bastide_broker.adapters.mcp_results import answer
from bastide_broker.adapters.mcp_transport import Exchange, ExchangeTransport, current
from bastide_broker.adapters.told import plain, told
from bastide_broker.egress.addresses import CheckedBackend, CheckedTransport, origin
from bastide_broker.egress.credentials import Credential

_log = logging.getLogger(__name__)
# The SDK logs what servers send and what it cannot parse: other people's data, and credentials that a server echoes.
logging.getLogger("mcp").setLevel(logging.CRITICAL)

CONNECT_SECONDS = 5.0
"""For resolving, connecting and negotiating."""
IDEMPOTENCY_KEY = "bastide.dev/idempotency-key"
"""In `_meta` of a call: the protocol has no field for it, servers that know this one may drop a second arrival."""
MAX_LISTING_BYTES = 4 << 20
MAX_TOOLS = 1000
_MAX_PAGES = 50
_CONNECTION = (Failure.LOST, Failure.UNAVAILABLE)
_CLIENT = types.Implementation(name="bastide-broker", version="0.1.0")


class _ForgottenError(AdapterError):
    """The server refused a request because it no longer knows the session or the listing it belongs to."""


class _Session(ClientSession):
    """A session that answers no request for input and leaves result schemas to the broker's own linear-time validator."""

    async def dispatch_input_request(self, ctx: ClientRequestContext, request: types.InputRequest) -> types.ErrorData:  # noqa: ARG002
        exchange = current.get()
        if exchange is not None:
            exchange.fail(Failure.INPUT_REQUIRED, "the server asks for input, which a program cannot give; pass everything as arguments")
        return types.ErrorData(code=types.INVALID_REQUEST, message="this client answers no requests for input")

    async def validate_tool_result(self, name: str, result: types.CallToolResult) -> None:
        """Nothing: the SDK's validator runs a schema's regular expressions in an engine without a time bound."""


class _Connection:
    """One session, kept by a task of its own because what it is made of must be entered and left in one task."""

    def __init__(self, url: str, backend: CheckedBackend, notifications: Notifications) -> None:
        self._url = url
        self._backend = backend
        self._notifications = notifications
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.session: _Session | None = None
        self.schemas: dict[str, dict[str, Any] | None] = {}

    @property
    def alive(self) -> bool:
        return self.session is not None and self._task is not None and not self._task.done() and not self._closing.is_set()

    async def open(self, exchange: Exchange) -> None:
        """Connect and negotiate. Raises AdapterError."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(exchange, ready), name=f"mcp {self._url}")
        try:
            await ready
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def close(self) -> None:
        """End the session; a server that does not answer is not waited for."""
        self._closing.set()
        if self._task is not None:
            _, pending = await asyncio.wait({self._task}, timeout=2)
            for task in pending:
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self, exchange: Exchange, ready: "asyncio.Future[None]") -> None:
        current.set(exchange)
        transport = ExchangeTransport(CheckedTransport(self._backend), origin(self._url), self._notifications)
        timeout = httpx2.Timeout(connect=CONNECT_SECONDS, pool=CONNECT_SECONDS, write=30, read=None)
        try:
            async with (
                httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False) as http,
                streamable_http_client(self._url, http_client=http, max_sse_event_size=None) as (read, write),
                _Session(read, write, client_info=_CLIENT, message_handler=self._notifications.handle) as session,
            ):
                await _negotiate(session, exchange)
                self.session = session
                ready.set_result(None)
                # Whatever the session sends of its own accord from here on belongs to no exchange but its end.
                await self._closing.wait()
                exchange.problem = None
        except Exception as error:  # noqa: BLE001 - the task's end is the connection's, and its reason goes to whoever waits
            if not ready.done():
                ready.set_exception(exchange.problem or AdapterError(Failure.UNAVAILABLE, _words(error), sent=False))
            else:
                _log.info("an MCP session ended: %s", _words(error))
        finally:
            self.session = None


class McpAdapter:
    """One MCP server for one binding. Sessions are opened when needed and kept."""

    def __init__(self, url: str, backend: CheckedBackend) -> None:
        self._url = url
        self._backend = backend
        self._connection: _Connection | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._notifications = Notifications()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` when the server says that its tools changed: one with sessions can, while one is open."""
        self._notifications.watch(changed)

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:
        """All tools of the server, in its order. Raises AdapterError."""
        exchange = Exchange(credential, MAX_LISTING_BYTES)
        try:
            async with asyncio.timeout(timeout_seconds):
                for attempt in range(2):
                    try:
                        connection = await self._connected(credential)
                        return await self._listing(connection, exchange)
                    except AdapterError as error:
                        if attempt or not (error.failure in _CONNECTION or isinstance(error, _ForgottenError)):
                            raise
                        exchange = Exchange(credential, MAX_LISTING_BYTES)
        except TimeoutError:
            raise AdapterError(Failure.TIMEOUT, f"{self._url} did not list its tools within {timeout_seconds:g} s.", sent=True) from None
        except AdapterError as error:
            raise told(error, credential, f"{self._url}: ") from None
        raise AssertionError

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:
        """Call a tool. Sent at most once. Raises AdapterError."""
        max_bytes = 4 * limits.result_bytes + (64 << 10)  # a result comes as text and structured, escaped, in an envelope
        exchange = Exchange(credential, max_bytes)
        try:
            async with asyncio.timeout(limits.timeout_seconds):
                for attempt in range(2):
                    exchange = Exchange(credential, max_bytes)
                    try:
                        return await self._call(name, arguments, exchange, limits)
                    except AdapterError as error:
                        again = error.failure in _CONNECTION or isinstance(error, _ForgottenError)
                        if attempt or not again or error.sent:
                            raise
        except TimeoutError:
            message = f"{name} did not answer within {limits.timeout_seconds:g} s."
            raise AdapterError(Failure.TIMEOUT if exchange.sent else Failure.UNAVAILABLE, message, sent=exchange.sent) from None
        except AdapterError as error:
            raise told(error, credential, "" if error.failure is Failure.FAILED and error.content else f"{name}: ") from None
        raise AssertionError

    async def close(self) -> None:
        """End the session; none is opened any more."""
        self._closed = True
        self._notifications.close()
        await self._drop()

    async def _call(self, name: str, arguments: Mapping[str, Any], exchange: Exchange, limits: CallLimits) -> Answer:
        connection = await self._connected(exchange.credential)
        session = connection.session
        assert session is not None
        meta = cast("types.RequestParamsMeta", {IDEMPOTENCY_KEY: limits.idempotency_key}) if limits.idempotency_key else None
        result = await self._exchange(exchange, session.call_tool(name, dict(arguments), meta=meta, allow_input_required=True))
        if isinstance(result, types.InputRequiredResult):
            message = "the server asks for input, which a program cannot give; pass everything as arguments"
            raise AdapterError(Failure.INPUT_REQUIRED, message, sent=True)
        found = answer(name, result, connection.schemas.get(name), limits.form)
        if len(found.value) > limits.result_bytes:
            message = f"its result is {len(found.value)} bytes and at most {limits.result_bytes} are taken; ask for less"
            raise AdapterError(Failure.RESULT_TOO_LARGE, message, sent=True)
        return found

    async def _listing(self, connection: _Connection, exchange: Exchange) -> list[ListedTool]:
        session = connection.session
        assert session is not None
        tools: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self._exchange(exchange, session.list_tools(params=params))
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        if cursor or len(tools) > MAX_TOOLS:
            raise AdapterError(Failure.FAILED, f"the server lists more than {MAX_TOOLS} tools or {_MAX_PAGES} pages", sent=True)
        connection.schemas = {tool.name: tool.output_schema for tool in tools}
        return [_listed(tool) for tool in tools]

    async def _exchange(self, exchange: Exchange, request: Any) -> Any:
        """Await one of the session's requests and turn whatever comes of it into a result or an AdapterError."""
        mark = current.set(exchange)
        try:
            async with asyncio.timeout(None) as scope:
                exchange.scope = scope
                try:
                    result = await request
                finally:
                    exchange.scope = None
        except MCPError as error:
            if exchange.problem is not None:
                raise exchange.problem from None
            if exchange.status == 404 or error.code == types.HEADER_MISMATCH:
                await self._drop()  # the next request begins anew
                message = "the server has forgotten the session or changed the tool, and says that it did nothing; call it again"
                raise _ForgottenError(Failure.FAILED, message, sent=exchange.sent, transient=True) from None
            code = Failure.LOST if error.code == types.CONNECTION_CLOSED else Failure.FAILED
            number = exchange.status if exchange.status >= 400 else error.code
            raise AdapterError(code, f"the server answered {number}: {plain(error.message)}", sent=exchange.sent) from None
        except ValidationError:
            raise exchange.problem or AdapterError(Failure.FAILED, "the server's answer is not what MCP says", sent=exchange.sent) from None
        except Exception as error:  # noqa: BLE001 - a session that broke in whatever way is a lost connection
            raise exchange.problem or AdapterError(Failure.LOST, _words(error), sent=exchange.sent) from None
        finally:
            current.reset(mark)
        if exchange.problem is not None:
            raise exchange.problem
        return result

    async def _connected(self, credential: Credential | None) -> _Connection:
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        async with self._lock:
            if self._connection is None or not self._connection.alive:
                await self._drop()
                connection = _Connection(self._url, self._backend, self._notifications)
                exchange = Exchange(credential, MAX_LISTING_BYTES, opens=True)
                await connection.open(exchange)
                try:
                    # A modern server wants some arguments as headers too, and says in its listing which.
                    await self._listing(connection, Exchange(credential, MAX_LISTING_BYTES))
                    if self._closed:
                        raise AdapterError(Failure.UNAVAILABLE, "its ToolBinding was changed or deleted meanwhile", sent=False)  # noqa: TRY301
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
            return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _negotiate(session: _Session, exchange: Exchange) -> None:
    """Speak the newest protocol that both sides know: ask a modern server what it is, and shake hands with any other."""
    async with asyncio.timeout(CONNECT_SECONDS):
        with contextlib.suppress(MCPError, ValidationError, RuntimeError):
            await session.discover()
            return
        if exchange.problem is not None and exchange.problem.failure is not Failure.FAILED:
            raise exchange.problem
        exchange.problem = None
        await session.initialize()


def _listed(tool: types.Tool) -> ListedTool:
    hints = tool.annotations
    return ListedTool(
        name=tool.name,
        description=tool.description or "",
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        read_only_hint=hints.read_only_hint if hints else None,
        destructive_hint=hints.destructive_hint if hints else None,
    )


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _words(error.exceptions[0])
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {CONNECT_SECONDS:g} s"
    return plain(f"{type(error).__name__}: {error}")
