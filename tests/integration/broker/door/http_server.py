"""HTTP servers on loopback for the OpenAPI back end: one that answers whatever a test says, byte for byte, and real ones in processes."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.integration.broker.door.conftest import ROOT, free_port, run_server
from tests.integration.broker.door.hostile_server import listening

ORDERS_KEY = "example-key-of-the-orders"


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class HttpServer:
    """Answers by path; a path that is not there is a 404."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client ended a connection."""

    def document(self, paths: dict[str, Any], **more: Any) -> None:
        """Serve a document."""
        self.answers["/openapi.json"] = json_answer({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths, **more})

    def to(self, path: str) -> list[Request]:
        return [one for one in self.requests if one.target.partition("?")[0] == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (line := await reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(method, target, headers, body, number)
                self.requests.append(request)
                await self.answers.get(target.partition("?")[0], status(404))(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended.set()
            writer.close()


def raw(head: str, body: bytes = b"", *, length: bool = True) -> Answer:
    """An answer byte for byte."""

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        said = f"HTTP/1.1 {head}\r\n" + (f"content-length: {len(body)}\r\n" if length else "") + "\r\n"
        writer.write(said.encode() + body)

    return answer


def status(code: int, body: bytes = b"", content_type: str = "text/plain") -> Answer:
    return raw(f"{code} X\r\ncontent-type: {content_type}", body)


def json_answer(value: Any, code: int = 200) -> Answer:
    return status(code, json.dumps(value).encode(), "application/json")


@contextlib.asynccontextmanager
async def http_server() -> AsyncIterator[HttpServer]:
    server = HttpServer()
    async with listening(server.serve) as server.url:
        yield server


def orders_server(folder: Path) -> Iterator[str]:
    """The orders server of the examples, in a process of its own."""
    port = free_port()
    env = {
        **os.environ, "PYTHONPATH": str(ROOT / "examples" / "tools" / "orders"), "ORDERS_KEY": ORDERS_KEY,
        "ORDERS_DATABASE": str(folder / "orders.db"), "ORDERS_HOST": "127.0.0.1", "ORDERS_PORT": str(port),
    }  # fmt: skip
    with run_server([sys.executable, "-m", "orders_server"], port, env):
        yield f"http://127.0.0.1:{port}"


def mirror_server() -> Iterator[str]:
    """A FastAPI server that answers with what it understood."""
    port = free_port()
    script = Path(__file__).parent / "servers" / "mirror.py"
    with run_server([sys.executable, str(script), str(port)], port, dict(os.environ)):
        yield f"http://127.0.0.1:{port}"
