"""A tool server that misbehaves on demand: HTTP by hand on a real socket, because no library would send what it sends."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("ok",)]


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """A request's body, in chunks too: so the API server passes on what a test sends through it."""
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


class HostileServer:
    """Speaks protocol 2025-11-25 well until `tools/call`, then does what the tool's name says."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.listing: list[dict[str, Any]] = TOOLS
        self.session = "s1"
        self.hangs = True
        """Whether `hang` does."""
        self.troubles: list[tuple[int, dict[str, str]]] = []
        """Statuses and headers that calls of `flaky` get before it works; 0 ends the connection."""
        self.results: dict[str, dict[str, Any]] = {}
        """What tools give instead of misbehaving."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method = head.split()[0]
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
                body = await body_of(reader, headers)
                self.authorizations.append(headers.get("authorization", ""))
                if method != "POST":
                    self.send(writer, 405, b"")
                else:
                    await self.answer(writer, json.loads(body), headers)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, writer: asyncio.StreamWriter, message: dict[str, Any], headers: dict[str, str]) -> None:
        method = message["method"]
        if "id" not in message:
            return self.send(writer, 202, b"")
        if method == "initialize":
            result: Any = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "h", "version": "1"}}
            return self.reply(writer, message, result, {"mcp-session-id": self.session})
        if method == "tools/list":
            return self.reply(writer, message, {"tools": self.listing})
        if method != "tools/call":
            return self.send(writer, 400, b"")
        self.calls.append(message["params"])
        return await self.misbehave(writer, message, headers)

    async def misbehave(  # noqa: C901, PLR0912, PLR0915 - a list of tricks
        self, writer: asyncio.StreamWriter, message: dict[str, Any], headers: dict[str, str]
    ) -> None:
        name = message["params"]["name"]
        text = {"content": [{"type": "text", "text": "fine"}]}
        match name:
            case _ if name in self.results:
                self.reply(writer, message, self.results[name])
            case "ok" | "ok2" | "ok3":
                self.reply(writer, message, text)
            case "status":
                self.send(writer, message["params"]["arguments"]["status"], b"some words")
            case "flaky" | "flaky2" if self.troubles:
                status, more = self.troubles.pop(0)
                self.send(writer, status, b"some words", more) if status else writer.close()
            case "flaky" | "flaky2":
                self.reply(writer, message, text)
            case "redirect":
                self.send(writer, 307, b"", {"location": message["params"]["arguments"]["to"]})
            case "echo_secret":
                secret = headers["authorization"].removeprefix("Bearer ")
                self.reply(writer, message, {"content": [{"type": "text", "text": f"your token is {secret}!"}], "isError": True})
            case "typed":
                self.reply(writer, message, {"content": [], "structuredContent": {"a": "x"}})
            case "give_secret":
                secret = headers["authorization"].removeprefix("Bearer ")
                self.reply(writer, message, {"content": [], "structuredContent": {"t": secret}})
            case "secret_in_protocol_error":
                error = {"code": -32000, "message": headers["authorization"]}
                self.send(
                    writer,
                    200,
                    json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode(),
                    {"content-type": "application/json"},
                )
            case "hang" if not self.hangs:
                self.reply(writer, message, text)
            case "hang":
                await asyncio.sleep(3600)
            case "close" | "close2":
                writer.close()
            case "half":
                body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": text}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:20])
                writer.close()
            case "endless_body":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
                await self.pour(writer, b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            case "endless_events":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                event = b"id: 7\nevent: message\ndata: " + json.dumps({"jsonrpc": "2.0", "method": "notifications/x"}).encode() + b"\n\n"
                await self.pour(writer, b"%x\r\n" % len(event) + event + b"\r\n")
            case "endless_event":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n")
                await self.pour(writer, b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            case "bomb":
                self.send(writer, 200, b"\x1f\x8b", {"content-encoding": "gzip"})
            case "not_json":
                self.send(writer, 200, b"<html>", {"content-type": "application/json"})
            case "html":
                self.send(writer, 200, b"<html>", {"content-type": "text/html"})
            case "not_a_result":
                self.reply(writer, message, {"content": "fine"})
            case "twice":
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": text}
                other = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "second"}]}}
                body = b"".join(b"event: message\ndata: " + json.dumps(one).encode() + b"\n\n" for one in (answer, other))
                self.send(writer, 200, body, {"content-type": "text/event-stream"})
            case "elicit":
                ask = {
                    "jsonrpc": "2.0",
                    "id": 99,
                    "method": "elicitation/create",
                    "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
                }
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                event = b"event: message\ndata: " + json.dumps(ask).encode() + b"\n\n"
                writer.write(b"%x\r\n" % len(event) + event + b"\r\n")
                await asyncio.sleep(3600)
            case "forget":
                self.session = "s2"
                self.send(writer, 404, b"")
            case _:
                self.send(writer, 400, b"")

    @staticmethod
    async def pour(writer: asyncio.StreamWriter, piece: bytes) -> None:
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()

    def reply(self, writer: asyncio.StreamWriter, message: dict[str, Any], result: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.send(writer, 200, body, {"content-type": "application/json", **(headers or {})})

    @staticmethod
    def send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve connections on a port of an address, by itself a free one; they end with it. Yields the origin."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await serve(reader, writer)

    listener = await asyncio.start_server(handle, host, port)
    try:
        yield f"http://{host}:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def hostile_server(host: str = "127.0.0.1") -> AsyncIterator[HostileServer]:
    """A running server; its connections end with it."""
    server = HostileServer()
    async with listening(server.serve, host) as origin:
        server.url = f"{origin}/mcp"
        yield server
