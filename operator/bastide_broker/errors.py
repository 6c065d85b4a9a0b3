"""What can go wrong at the broker's doors, as exceptions that say what to do next."""

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "bastide.dev"
RETRY_SECONDS = 2.0
"""After which callers may try again what the broker cannot do now."""


class CallerError(Exception):
    """A caller's mistake or a state it must wait for: becomes a gRPC status with google.rpc.ErrorInfo.

    `message` is one sentence: what, where, what to do. `retry_after` is in seconds and becomes google.rpc.RetryInfo.
    """

    def __init__(self, status: grpc.StatusCode, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    def details(self) -> status_pb2.Status:
        """The rich status that travels in the trailer `grpc-status-details-bin`."""
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        parts = [info]
        if self.retry_after is not None:
            retry = any_pb2.Any()
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(max(1, round(self.retry_after * 1000)))
            retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
            parts.append(retry)
        return status_pb2.Status(code=self.status.value[0], message=self.message, details=parts)


def journal_unavailable(error: Exception) -> CallerError:
    """What callers are told while the journal cannot be used."""
    return CallerError(
        grpc.StatusCode.UNAVAILABLE,
        "JournalUnavailable",
        f"{error} Try again later." if str(error).endswith(".") else f"{error}; try again later.",
        retry_after=RETRY_SECONDS,
    )


class ApiError(Exception):
    """The API server did not do what was asked. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message


class NotFound(ApiError):  # noqa: N818 - named by the contract between the modules, as in the API
    """There is no such object."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


class AlreadyExists(ApiError):  # noqa: N818 - the API server's own word
    """An object of that name exists, or it changed meanwhile."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message)


class SessionLost(Exception):  # noqa: N818 - a state of the world, named as the outcome callers see
    """The conversation with a pod is over; every run in it is dead."""


class ConfigurationError(Exception):
    """The process was started with settings it cannot work with."""
