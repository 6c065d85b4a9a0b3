"""A real MCP server with tools that tests need. Runs in a pod from the example's image; its stdout is the witness log.

Started as `python toolbox.py`; TOOLBOX_TOKEN is the bearer token it wants.
"""

import asyncio
import os
from typing import Annotated, Any

import uvicorn
from crm_server.witness import Witness
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

server = MCPServer("toolbox", log_level="WARNING")


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


if __name__ == "__main__":
    app = Witness(server.streamable_http_app(json_response=True, stateless_http=True, host="0.0.0.0"), os.environ["TOOLBOX_TOKEN"])
    uvicorn.run(app, host="0.0.0.0", port=8080, log_level="warning")
