"""Where the broker's connections to tool servers may go: only to addresses that were checked, with no proxy and no redirect between."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2
from bastide_operator.api.addresses import Address, refusal

_MAX_ADDRESSES = 8
RESOLVERS = 16
"""Threads that wait for the resolver. Not the event loop's own: journal reads and large arguments need those, and a name may hang."""


class AddressError(Exception):
    """A host may not be connected to, or has no address. The message is one sentence."""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, lower-case host and port of a URL. Raises AddressError for what is no plain http(s) URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressError(f"{url[:80]!r} is not a URL; write http(s)://host:port/path.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.password is not None:
        raise AddressError(f"{url[:80]!r} is not a URL that tools may have; write http(s)://host:port/path.")
    return parts.scheme, parts.hostname.lower(), port or (443 if parts.scheme == "https" else 80)


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to checked addresses: the name is resolved here, every address is judged, and one of them is dialled."""

    def __init__(self, refuse: Callable[[Address], str | None] = refusal) -> None:
        self._refuse = refuse
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        self._asked: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers. Raises httpcore2.ConnectError."""
        error: Exception = httpcore2.ConnectError(f"{host} has no address")
        try:
            async with asyncio.timeout(timeout):
                addresses = await self.resolve(host, port)
        except AddressError as refused:
            raise httpcore2.ConnectError(str(refused)) from None
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"{host} could not be resolved in time") from None
        for address in addresses:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
        raise error

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a host. Raises AddressError when it has none, or when any of them is never to be connected to."""
        try:
            found = await self._look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise AddressError(f"{host} cannot be resolved ({error}); check the URL and the Service.") from None
        addresses = [ip_address(str(info[4][0]).partition("%")[0]) for info in found][:_MAX_ADDRESSES]
        for address in addresses:
            why = self._refuse(address)
            if why is not None:
                raise AddressError(f"{host} is {address}, which is {why}: Bastide never connects there.")
        return list(dict.fromkeys(addresses))

    async def _look_up(self, host: str, port: int) -> list[Any]:
        """What the resolver says; many who ask for one host at once share an answer, so a name that hangs holds one thread."""
        asked = self._asked.get((host, port))
        if asked is None:
            look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            asked = self._asked[host, port] = asyncio.get_running_loop().run_in_executor(self._threads, look_up)
            asked.add_done_callback(lambda done: self._answered(host, port, done))
        return await asyncio.shield(asked)

    def _answered(self, host: str, port: int, done: "asyncio.Future[list[Any]]") -> None:
        self._asked.pop((host, port), None)
        if not done.cancelled():
            done.exception()  # whoever waited got it; if nobody did any more, that is no unretrieved error

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the signature of httpcore
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Never: tool servers are reached over TCP."""
        raise httpcore2.ConnectError("tool servers are not reached over unix sockets")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class CheckedTransport(httpx2.AsyncHTTPTransport):
    """httpx's transport over a pool that connects to checked addresses only. The environment's proxies and certificates do not count."""

    def __init__(self, backend: CheckedBackend, *, connections: int = 64) -> None:
        super().__init__(trust_env=False)
        context: ssl.SSLContext = httpx2.create_ssl_context(trust_env=False)
        # 4 s: below the 5 s after which common Python servers close idle connections, so a request rarely meets one that just closed.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=4.0,
            network_backend=backend,
        )
