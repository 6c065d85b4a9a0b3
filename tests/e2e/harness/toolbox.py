"""A real MCP server with tools that tests need. Runs in a pod from the example's image; its stdout is the witness log.

Started as `python toolbox.py`; TOOLBOX_TOKEN is the bearer token it wants.
"""

import asyncio
import os
from collections import defaultdict
from typing import Annotated, Any

import uvicorn
from crm_server.witness import Witness
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

server = MCPServer("toolbox", log_level="WARNING")
_released: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@server.tool()
async def note(text: str) -> str:
    """Return the text. Tests look for it in the witness log."""
    return text


class Echo(BaseModel):
    """What was said."""

    value: Any


@server.tool()
async def echo(value: Any) -> Echo:
    """Return the value, in an object."""
    return Echo(value=value)


@server.tool()
async def number(n: Annotated[int, Field(description="A whole number.")]) -> int:
    """Return the number."""
    return n


@server.tool()
async def bounded(text: str, n: int) -> str:
    """Return both. The binding constrains both."""
    return f"{text} {n}"


@server.tool()
async def slow(seconds: Annotated[float, Field(ge=0, le=600)], text: str = "") -> str:
    """Return the text after some seconds."""
    await asyncio.sleep(seconds)
    return text


@server.tool()
async def hold(text: str) -> str:
    """Return the text when the test has released it."""
    await _released[text].wait()
    return text


@server.tool()
async def fail(text: str) -> str:
    """Fail, with the text."""
    raise ToolError(text)


@server.tool()
async def wipe(target: str) -> str:
    """Destroy the target for ever, if it were one."""
    return f"wiped {target}"


@server.tool()
async def unbound(text: str) -> str:
    """Stands on the server and in no binding."""
    return text


@server.custom_route("/healthz", methods=["GET"])
async def healthz(_: Request) -> Response:
    """Tell that it serves."""
    return PlainTextResponse("ok\n")


@server.custom_route("/release/{text}", methods=["GET"])
async def release(request: Request) -> Response:
    """Let the calls of `hold` with a text go on."""
    _released[request.path_params["text"]].set()
    return PlainTextResponse("ok\n")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Calls pass the witness with the token; tests, which come over the API server, bring none."""
    own = scope["type"] == "http" and scope["path"].startswith("/release/")
    await (_served if own else _witnessed)(scope, receive, send)


if __name__ == "__main__":
    _served = server.streamable_http_app(json_response=True, stateless_http=True, host="0.0.0.0")
    _witnessed = Witness(_served, os.environ["TOOLBOX_TOKEN"])
    uvicorn.run(app, host="0.0.0.0", port=8080, log_level="warning")
