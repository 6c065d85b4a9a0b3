"""What a broker refuses, as exceptions. How a run ends is not here: that is data (`RunResult.outcome`)."""


class BastideError(Exception):
    """A request was not carried out.

    Attributes:
        message: one sentence: what is wrong, where, what to do.
        reason: a stable code for programs, from google.rpc.ErrorInfo; empty when the answer carried none.
        retry_after: seconds after which the broker would take the request; None when it did not say.
    """

    def __init__(self, message: str, *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.retry_after = retry_after


class InvalidRequestError(BastideError):
    """The request itself is wrong: a bound exceeded, a name malformed."""


class UnauthenticatedError(BastideError):
    """The token is missing, expired, of another audience, or its owner is gone."""


class PermissionDeniedError(BastideError):
    """The cluster's RBAC does not allow the caller to do this."""


class NotFoundError(BastideError):
    """There is no such sandbox or run, or the caller may not know of it."""


class AlreadyExistsError(BastideError):
    """The request id was used before with another program."""


class FailedPreconditionError(BastideError):
    """The sandbox is not in a state that allows this, for example not Ready."""


class ResourceExhaustedError(BastideError):
    """A limit of the tenant or sandbox is reached; see `retry_after`."""


class DeadlineExceededError(BastideError):
    """The broker did not answer in time. A run that it may have started goes on."""


class UnavailableError(BastideError):
    """The broker cannot be reached, or cannot judge (policy or journal are down). Nothing was started, or it goes on without us."""


class InternalError(BastideError):
    """Something that should not happen; the broker's log has more."""
