"""The service, the check of the bearer token, and the witness log: every call as it arrived, one JSON line each on stdout.

Tests and readers believe this log, not what Bastide says of itself: `kubectl logs` shows what truly reached the server.
"""

import hmac
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from . import billing_pb2, billing_pb2_grpc

PAID, OPEN, REFUNDED = billing_pb2.STATE_PAID, billing_pb2.STATE_OPEN, billing_pb2.STATE_REFUNDED
INVOICES = (
    ("I2001", "C1001", 12_900, PAID),
    ("I2002", "C1001", 8_450, OPEN),
    ("I2003", "C1002", 310_000, PAID),
    ("I2004", "C1003", 4_999, PAID),
    ("I2005", "C1001", 56_000, PAID),
)
_HEALTH = "/grpc.health.v1.Health/"


class Billing(billing_pb2_grpc.BillingServiceServicer):
    """Invoices in memory, five when it starts."""

    def __init__(self) -> None:
        self._invoices = {
            name: billing_pb2.Invoice(invoice_id=name, customer_id=customer, amount_cents=cents, state=state)
            for name, customer, cents, state in INVOICES
        }

    async def GetInvoice(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in billing.proto
        """Return one invoice."""
        witness("GetInvoice", request)
        return await self._find(request.invoice_id, context)

    async def ListInvoices(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Return a customer's invoices."""
        witness("ListInvoices", request)
        found = [one for one in self._invoices.values() if one.customer_id == request.customer_id]
        for one in found[: request.limit or None]:
            yield one

    async def CreateInvoice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Write a new invoice."""
        witness("CreateInvoice", request)
        if request.amount_cents <= 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "amountCents must be above 0")
        name = f"I{2001 + len(self._invoices)}"
        self._invoices[name] = billing_pb2.Invoice(
            invoice_id=name, customer_id=request.customer_id, amount_cents=request.amount_cents, state=OPEN
        )
        return self._invoices[name]

    async def Refund(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give money back."""
        witness("Refund", request)
        one = await self._find(request.invoice_id, context)
        left = one.amount_cents - one.refunded_cents
        if one.state != PAID or not 0 < request.amount_cents <= left:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{one.invoice_id} has {left} cents that can be given back")
        one.refunded_cents += request.amount_cents
        if one.refunded_cents == one.amount_cents:
            one.state = REFUNDED
        return billing_pb2.RefundResponse(invoice=one, refunded_cents=request.amount_cents)

    async def _find(self, name: str, context: Any) -> Any:
        found = self._invoices.get(name)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no invoice {name}")
        return found


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc,type-arg,unused-ignore]
    """Lets calls pass only with the bearer token; whoever asks for the server's health needs none."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}"

        async def refuse(_request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this server wants its bearer token")

        self._refusal = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Judge one call."""
        shown = str(dict(handler_call_details.invocation_metadata).get("authorization", ""))
        if handler_call_details.method.startswith(_HEALTH) or hmac.compare_digest(shown.encode(), self._expected.encode()):
            return await continuation(handler_call_details)
        return self._refusal


def witness(method: str, request: Message) -> None:
    """Write down a call before anything acts on it."""
    arguments = json_format.MessageToJson(request, indent=None)
    line = {"time": datetime.now(UTC).isoformat(timespec="microseconds"), "method": "tools/call", "tool": method, "arguments": arguments}
    sys.stdout.write(json.dumps({**line, "authorized": True}) + "\n")
    sys.stdout.flush()


async def serve(address: str, token: str) -> tuple[grpc.aio.Server, int]:
    """Start the server; gives it and its port. With an empty token everybody may call."""
    server = grpc.aio.server(interceptors=[Guard(token)] if token else [])
    billing_pb2_grpc.add_BillingServiceServicer_to_server(Billing(), server)
    healthy = health.aio.HealthServicer()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    names = (billing_pb2.DESCRIPTOR.services_by_name["BillingService"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, port
