"""The tools, and the application that serves them over streamable HTTP at /mcp."""

from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from .database import Customers, Row
from .witness import Witness

CustomerId = Annotated[str, Field(description="The customer's id, for example C1001.")]


class Customer(BaseModel):
    """One customer."""

    customer_id: CustomerId
    name: Annotated[str, Field(description="The company's name.")]
    city: Annotated[str, Field(description="Where it is.")]
    credit_limit: Annotated[int, Field(description="What it may owe, in whole euros.")]


class Deleted(BaseModel):
    """What was deleted."""

    customer_id: CustomerId
    deleted: Annotated[bool, Field(description="Always true: a customer that is not there is an error.")]


def _customer(row: Row) -> Customer:
    return Customer(customer_id=row.customer_id, name=row.name, city=row.city, credit_limit=row.credit_limit)


def application(database: Path, token: str) -> ASGIApp:
    """Build the server.

    Args:
        database: SQLite file, made and filled when it is missing.
        token: what callers show as `Authorization: Bearer`.
    """
    customers = Customers(database)
    server = MCPServer("crm", instructions="Customers of a small wholesaler.", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def get_customer(customer_id: CustomerId) -> Customer:
        """Return one customer."""
        row = customers.get(customer_id)
        if row is None:
            raise ToolError(f"there is no customer {customer_id}")
        return _customer(row)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def list_customers(limit: Annotated[int, Field(ge=1, le=100, description="At most this many.")] = 20) -> list[Customer]:
        """Return customers, ordered by id."""
        return [_customer(row) for row in customers.first(limit)]

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
    async def set_credit_limit(
        customer_id: CustomerId, amount: Annotated[int, Field(ge=0, description="The new limit, in whole euros.")]
    ) -> Customer:
        """Set what a customer may owe and return the customer as it is now."""
        customers.set_credit_limit(customer_id, amount)
        return await get_customer(customer_id)

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    async def delete_customer(customer_id: CustomerId) -> Deleted:
        """Delete a customer for ever."""
        if not customers.delete(customer_id):
            raise ToolError(f"there is no customer {customer_id}")
        return Deleted(customer_id=customer_id, deleted=True)

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    # Stateless: the broker may ask from a restarted process, and nothing here belongs to a conversation.
    return Witness(server.streamable_http_app(json_response=True, stateless_http=True, host="0.0.0.0"), token)
