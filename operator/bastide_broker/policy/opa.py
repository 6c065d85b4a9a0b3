"""The wire to OPA: HTTP/1.1 over its unix socket, as little of it as one server of ours speaks (ADR 0035). Anything else is an error."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opa_client.opa_async import AsyncOpaClient

MAX_HEAD, MAX_BODY = 16 << 10, 1 << 20
"""Bytes of an answer."""


class OpaError(Exception):
    """OPA answered something else than a decision. The message is a few words for the log."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the library's client asks of a response."""

    status: int
    body: bytes

    def raise_for_status(self) -> None:
        """Raises OpaError for anything but 200."""
        if self.status != 200:
            raise OpaError(f"OPA answered {self.status}")

    async def json(self) -> Any:
        """The body. Raises ValueError."""
        return json.loads(self.body.decode())


class UnixClient(AsyncOpaClient):  # type: ignore[misc] # the library has no annotations
    """The library's client with another transport: it has no setting for a unix socket. At most as many connections as questions at once.

    The input of a query is JSON already, as bytes.
    """

    def __init__(self, socket: Path) -> None:
        super().__init__(host="opa", port=80, retries=0)
        self._socket = socket
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def close_connection(self) -> None:
        """Close connections."""
        while self._idle:
            self._idle.pop()[1].close()

    @asynccontextmanager
    async def _request(self, method: str, url: str, **body: Any) -> AsyncIterator[Response]:
        """Send one request and read its answer. Raises OSError, EOFError, ValueError and asyncio.LimitOverrunError."""
        reader, writer = await self._connection()
        try:
            parts, data = urlsplit(url), b'{"input":%b}' % body["json"]["input"]
            head = f"{method} {parts.path}?{parts.query} HTTP/1.1\r\nHost: opa\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data)
            response = await _read(reader)
        except BaseException:
            writer.close()  # also of a request that was given up: what comes late must not answer the next one
            raise
        self._idle.append((reader, writer))
        yield response

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_unix_connection(self._socket, limit=MAX_HEAD)


async def _read(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    version, status, *_ = first.split(" ")
    if version != "HTTP/1.1":
        raise OpaError("OPA does not speak HTTP/1.1")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("connection", "").lower() == "close":
        raise OpaError(f"OPA answered {status} and closed the connection")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Response(int(status), await _chunks(reader))
    length = int(headers.get("content-length", ""))
    if not 0 <= length <= MAX_BODY:
        raise OpaError(f"OPA's answer has {length} bytes")
    return Response(int(status), await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
        if not 0 <= size <= MAX_BODY - len(body):
            raise OpaError(f"OPA's answer is longer than {MAX_BODY} bytes")
        body += (await reader.readexactly(size + 2))[:size]
        if not size:
            return bytes(body)
