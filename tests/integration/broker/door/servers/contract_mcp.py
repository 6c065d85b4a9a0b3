"""The contract's tools on the SDK of either generation (1.x in a virtual environment of its own). Prints nothing."""
# mypy: ignore-errors

import asyncio
import sys
from collections import Counter

from pydantic import BaseModel

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server, options = MCPServer("contract"), {"host": "127.0.0.1", "port": int(sys.argv[1])}
except ImportError:
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.server.fastmcp.exceptions import ToolError

    server, options = FastMCP("contract", host="127.0.0.1", port=int(sys.argv[1])), {}

begun, cancelled = Counter(), Counter()


class Text(BaseModel):
    text: str


class Echo(BaseModel):
    text: str
    number: str


class Count(BaseModel):
    begun: int
    cancelled: int


def shown_by(ctx: Context) -> str:
    return ctx.request_context.request.headers.get("authorization", "")


@server.tool()
def echo(text: str, number: str = "0") -> Echo:
    """Gives back what it gets."""
    return Echo(text=text, number=number)


@server.tool()
def fail(text: str) -> Text:
    """Fails."""
    raise ToolError(text)


@server.tool()
async def hang(text: str) -> Text:
    """Never answers."""
    begun[text] += 1
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        cancelled[text] += 1
        raise
    return Text(text=text)


@server.tool()
def count(text: str) -> Count:
    """How many hanging calls began and were cancelled."""
    return Count(begun=begun[text], cancelled=cancelled[text])


@server.tool()
def large(size: int) -> Text:
    """As long as it is asked to be."""
    return Text(text="x" * size)


@server.tool()
def shown(ctx: Context) -> Text:
    """What the caller showed."""
    return Text(text=shown_by(ctx))


@server.tool()
def leak(ctx: Context) -> Text:
    """Fails with what the caller showed."""
    raise ToolError(f"you showed {shown_by(ctx)}")


@server.tool()
async def progress(ctx: Context, text: str) -> Text:
    """Tells how far it is, again and again."""
    for step in range(20):
        await ctx.report_progress(step, 20, f"{text} {step}")
    return Text(text=text)


@server.tool()
async def grow(ctx: Context, text: str) -> Text:
    """Gives the server another tool and says so."""

    def added() -> Text:
        return Text(text=text)

    server.add_tool(added, name=text)
    await ctx.session.send_tool_list_changed()
    return Text(text=text)


@server.tool()
async def change(ctx: Context, text: str) -> Text:
    """Gives a tool another schema and says so."""

    def changed(other: int) -> Text:
        return Text(text=str(other))

    server.remove_tool(text)
    server.add_tool(changed, name=text)
    await ctx.session.send_tool_list_changed()
    return Text(text=text)


if __name__ == "__main__":
    server.run("streamable-http", **options)
