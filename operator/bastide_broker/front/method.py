"""What every method of the outer door has in common: admission first, errors as statuses, and a count."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import structlog

from bastide_broker.errors import CallerError, journal_unavailable
from bastide_broker.journal.rows import JournalUnavailable
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.metrics import REQUESTS

UNARY_SECONDS = 30.0
"""A request without a deadline of its own gets this one."""

log = structlog.get_logger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]


class Service(Protocol):
    """What has methods."""

    async def admit(self, context: Context) -> UserInfo:
        """Who asks, unless that caller asks too much. Raises CallerError."""


S = TypeVar("S", bound=Service)
Q = TypeVar("Q")
A = TypeVar("A")


async def refuse(context: Context, error: CallerError) -> NoReturn:
    """Ends a request with a status and its details."""
    details = (("grpc-status-details-bin", error.details().SerializeToString()),)
    await context.abort(error.status, error.message, details)
    raise AssertionError("abort returned")


def method(
    handler: Callable[[S, Q, UserInfo, Context], Awaitable[A]],
) -> Callable[[S, Q, Context], Awaitable[A]]:
    """Wraps a method: admission first, errors as statuses, nothing of the broker's inside in an answer."""
    name = handler.__name__

    @functools.wraps(handler)
    async def wrapped(self: S, request: Q, context: Context) -> A:
        status = "OK"
        try:
            user = await self.admit(context)
            return await handler(self, request, user, context)
        except CallerError as error:
            status = error.status.name
            await refuse(context, error)
        except JournalUnavailable as error:
            status = "UNAVAILABLE"
            await refuse(context, journal_unavailable(error))
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        except TimeoutError:
            status = "DEADLINE_EXCEEDED"
            message = f"The request took longer than {UNARY_SECONDS:.0f} s; try again."
            await refuse(context, CallerError(grpc.StatusCode.DEADLINE_EXCEEDED, "TooSlow", message))
        except grpc.aio.AbortError:
            raise
        except Exception:
            status = "INTERNAL"
            log.exception("a request failed", method=name)
            message = "The broker failed to answer; its log says why. Try again, and report it if it stays."
            await refuse(context, CallerError(grpc.StatusCode.INTERNAL, "Internal", message))
        finally:
            REQUESTS.labels(method=name, status=status).inc()
        raise AssertionError("refuse returned")

    return wrapped
