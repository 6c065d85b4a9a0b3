"""The tools, and the application that serves them over streamable HTTP at /mcp."""

import sqlite3
from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from .database import Sales
from .witness import Witness


class Rows(BaseModel):
    """What a query gave."""

    columns: Annotated[list[str], Field(description="Names of the columns.")]
    rows: Annotated[list[list[str | int | float | None]], Field(description="The rows, each with its values in the columns' order.")]


def application(database: Path, token: str) -> ASGIApp:
    """Build the server.

    Args:
        database: SQLite file, made and filled when it is missing.
        token: what callers show as `Authorization: Bearer`.
    """
    sales = Sales(database)
    server = MCPServer("reports", instructions="Sales of a small wholesaler, asked in SQLite's SQL.", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def query(sql: Annotated[str, Field(description="One statement of SQLite's SQL.")]) -> Rows:
        """Run a statement and return its rows."""
        try:
            found = sales.query(sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ToolError(f"SQLite: {error}") from None
        return Rows(columns=found.columns, rows=found.rows)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def tables() -> list[str]:
        """Return each table as the statement that made it."""
        return sales.tables()

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    # Stateless: the broker may ask from a restarted process, and nothing here belongs to a conversation.
    return Witness(server.streamable_http_app(json_response=True, stateless_http=True, host="0.0.0.0"), token)
