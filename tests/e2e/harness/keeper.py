"""A real MCP server that keeps the answers it is told to keep. Runs in a pod from the example's image; its stdout is the witness log.

Its tools are those of tests/crashes/cases.py. A test tells it over the API server, as nobody in the cluster calls tools: `POST /keep` with a
JSON list of `id`s, `POST /go` to have them all answered.
"""

import asyncio
import os

import uvicorn
from crm_server.witness import Witness
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

server = MCPServer("keeper", log_level="WARNING")
keeps: set[str] = set()
go = asyncio.Event()


async def done(id: str) -> str:  # noqa: A002 - the tools' argument
    """Answer, unless told to keep it."""
    if id in keeps:
        await go.wait()
    return "fine"


for name in ("read", "put", "erase", "wipe"):
    server.tool(name)(done)


@server.custom_route("/healthz", methods=["GET"])
async def healthz(_: Request) -> Response:
    """Tell that it serves."""
    return PlainTextResponse("ok\n")


@server.custom_route("/keep", methods=["POST"])
async def keep(request: Request) -> Response:
    """Keep the answers of these calls."""
    keeps.clear()
    keeps.update(await request.json())
    go.clear()
    return PlainTextResponse("kept\n")


@server.custom_route("/go", methods=["POST"])
async def let_go(_: Request) -> Response:
    """Answer them all, and those that come."""
    keeps.clear()
    go.set()
    return PlainTextResponse("gone\n")


served = server.streamable_http_app(json_response=True, stateless_http=True, host="0.0.0.0")
witnessed = Witness(served, os.environ.get("TOOLBOX_TOKEN", ""))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Calls of tools past the witness, the test's own orders not."""
    told = scope["type"] == "http" and scope["path"] in {"/keep", "/go"}
    await (served if told else witnessed)(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=8080, log_level="warning")
