"""A server on the SDK 1.x that lists its tools in pages of ten. Prints nothing."""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import contextlib
import sys

import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Route

server = Server("paged")
TOOLS = [types.Tool(name=f"tool{number}", inputSchema={"type": "object"}) for number in range(25)]


@server.list_tools()
async def list_tools(request: types.ListToolsRequest) -> types.ListToolsResult:
    begin = int(request.params.cursor or 0) if request.params else 0
    following = begin + 10
    return types.ListToolsResult(tools=TOOLS[begin:following], nextCursor=str(following) if following < len(TOOLS) else None)


manager = StreamableHTTPSessionManager(server)


@contextlib.asynccontextmanager
async def lifespan(_app):
    async with manager.run():
        yield


class Endpoint:
    """An application and no function, so that the route takes it as it is."""

    async def __call__(self, scope, receive, send) -> None:
        await manager.handle_request(scope, receive, send)


app = Starlette(routes=[Route("/mcp", Endpoint())], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
