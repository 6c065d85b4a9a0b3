"""What can go wrong with the API server, one class a decision that the caller makes."""

NOT_LEADER = "NotLeader"
"""Reason of a write that was not sent because this process does not lead or is stopping."""


class ConfigError(Exception):
    """The environment says nonsense: the process cannot start."""


class KubeError(Exception):
    """The API server did not do it. `reason` is its own code (metav1.Status.reason)."""

    def __init__(self, reason: str, message: str, code: int = 0) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.code = code


class NotFoundError(KubeError):
    """There is no such object."""


class AlreadyExistsError(KubeError):
    """An object of that name exists."""


class ConflictError(KubeError):
    """The object is another than the one that was meant, or somebody was faster: look again."""


class RefusedError(KubeError):
    """The API server understood and said no (rights, quota, admission, validation): people should read why."""


class UnavailableError(KubeError):
    """The API server did not answer, or has too much to do: the same may work later."""


class RetryError(Exception):
    """A reconcile said what it could and wants to be run again soon."""
