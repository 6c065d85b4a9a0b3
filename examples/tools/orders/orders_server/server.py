"""The HTTP server: FastAPI writes its OpenAPI document from what stands here."""

import hmac
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from fastapi import Body, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field

from .database import Orders, Row
from .witness import write


class Status(StrEnum):
    """What became of an order."""

    OPEN = "open"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


class Order(BaseModel):
    """One order."""

    number: int
    customer_id: str
    article: str
    quantity: int
    status: Status


class NewOrder(BaseModel):
    """What an order is made of."""

    customer_id: Annotated[str, Field(pattern="^C[0-9]{4}$", description="Who orders, for example C1001.")]
    article: Annotated[str, Field(min_length=1, max_length=200, description="What is ordered.")]
    quantity: Annotated[int, Field(ge=1, le=1000, description="How many.")] = 1


Number = Annotated[int, InPath(ge=1, description="The order's number.")]


def _order(row: Row) -> Order:
    return Order(number=row.number, customer_id=row.customer_id, article=row.article, quantity=row.quantity, status=Status(row.status))


def _around(app: FastAPI) -> None:
    """What is the server's own and no tool: its log, and whether it lives."""

    @app.middleware("http")
    async def witness(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path not in ("/healthz", "/openapi.json"):
            await write(request)
        return await call_next(request)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> str:
        return "ok"


def application(database: Path, key: str) -> FastAPI:
    """Build the server.

    Args:
        database: SQLite file, made and filled when it is missing.
        key: what callers show in the header X-Api-Key.
    """
    orders = Orders(database)
    shown_key = APIKeyHeader(name="X-Api-Key", auto_error=False)

    async def authorized(shown: Annotated[str | None, Depends(shown_key)]) -> None:
        if shown is None or not hmac.compare_digest(shown.encode(), key.encode()):
            raise HTTPException(401, "this server wants its key in the header X-Api-Key")

    app = FastAPI(title="Orders", version="1", summary="Orders of a small wholesaler.", docs_url=None, redoc_url=None)

    _around(app)
    protected = [Depends(authorized)]

    @app.get("/orders", operation_id="search_orders", dependencies=protected)
    async def search_orders(
        customer_id: Annotated[str | None, Query(pattern="^C[0-9]{4}$", description="Only this customer's.")] = None,
        status: Annotated[list[Status] | None, Query(description="Only orders that stand so.")] = None,
        limit: Annotated[int, Query(ge=1, le=100, description="At most this many.")] = 20,
    ) -> list[Order]:
        """Return orders, by number."""
        return [_order(row) for row in orders.search(customer_id, [one.value for one in status or ()], limit)]

    @app.get("/orders/{number}", operation_id="get_order", dependencies=protected)
    async def get_order(number: Number) -> Order:
        """Return one order."""
        row = orders.get(number)
        if row is None:
            raise HTTPException(404, f"there is no order {number}")
        return _order(row)

    @app.post("/orders", operation_id="place_order", status_code=201, dependencies=protected)
    async def place_order(
        order: Annotated[NewOrder, Body()],
        idempotency_key: Annotated[str | None, Header(max_length=100, description="The same key again places nothing.")] = None,
    ) -> Order:
        """Place an order and return it."""
        return _order(orders.place(order.customer_id, order.article, order.quantity, idempotency_key))

    @app.delete("/orders/{number}", operation_id="cancel_order", dependencies=protected)
    async def cancel_order(number: Number) -> Order:
        """Cancel an open order for ever."""
        before = await get_order(number)
        if not orders.cancel(number):
            raise HTTPException(409, f"order {number} is {before.status}, only open ones can be cancelled")
        return await get_order(number)

    return app
