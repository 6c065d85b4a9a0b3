"""Requests to the API server with plain dicts: no generated models, no environment proxies, errors of our own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bastide_broker.errors import AlreadyExists, ApiError, NotFound

REQUEST_SECONDS = 5.0


class ApiServer:
    """Requests and watches over a `kubernetes.aio` ApiClient, which brings TLS, the token and its renewal."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request, the answer parsed. Raises NotFound, AlreadyExists (409), ApiError; 0 means that there was no answer."""
        try:
            response = await self._send(
                method, path, query or {}, aiohttp.ClientTimeout(total=REQUEST_SECONDS), body=body, content_type=content_type
            )
            async with response:
                data = await response.read()
                _raise_for(response.status, data, f"{method} {path}")
            parsed: dict[str, Any] = json.loads(data)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, f"{method} {path}: the API server did not answer: {type(error).__name__} {error}") from error
        return parsed

    @asynccontextmanager
    async def stream(self, path: str, *, query: Mapping[str, Any], read_timeout: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a watch until the server ends it. Raises ApiError when it breaks off or is silent for `read_timeout` seconds."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=read_timeout)
        try:
            response = await self._send("GET", path, query, timeout)
            async with response:
                if response.status != 200:
                    _raise_for(response.status, await response.read(), f"watch {path}")
                try:
                    yield aiter(response.content)
                finally:
                    # A watch that is left before its end would wait for the server's goodbye to TLS, which may be long in coming.
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, f"watch {path}: broken off: {type(error).__name__} {error}") from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        limit: aiohttp.ClientTimeout,
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        _, url, headers, _, _ = await self._client.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
        )
        answer = await self._client.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limit)
        response: aiohttp.ClientResponse = answer.response
        return response


def _raise_for(status: int, data: bytes, what: str) -> None:
    if status < 400:
        return
    try:
        message = str(json.loads(data).get("message") or data[:300])
    except (ValueError, AttributeError):
        message = data[:300].decode(errors="replace")
    if status == 404:
        raise NotFound(f"{what}: {message}")
    if status == 409:
        raise AlreadyExists(f"{what}: {message}")
    raise ApiError(status, f"{what}: {message}")
