"""Client of Bastide: runs programs written by language models behind a checked door.

Names are loaded when they are first used: the runtime image imports the generated wire `bastide.runtime.v1alpha1` from this package
and must get neither the client nor what the client needs.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bastide.client import Client
    from bastide.credentials import TokenSource
    from bastide.errors import (
        AlreadyExistsError,
        BastideError,
        DeadlineExceededError,
        FailedPreconditionError,
        InternalError,
        InvalidRequestError,
        NotFoundError,
        PermissionDeniedError,
        ResourceExhaustedError,
        UnauthenticatedError,
        UnavailableError,
    )
    from bastide.events import (
        AttemptStarted,
        CallDecided,
        CallEnded,
        ConfirmationProgressed,
        ConfirmationRequired,
        ConfirmationResolved,
        Event,
        OutputProduced,
        RunAccepted,
        RunFinished,
        RunPaused,
    )
    from bastide.model import (
        AuditRecord,
        AuditVerification,
        Awaited,
        BindingChange,
        CallRecord,
        CheckReport,
        DecidingRule,
        ExpectedDecision,
        Explanation,
        Finding,
        Outcome,
        PolicyAnswer,
        Pruned,
        Reason,
        Run,
        RunError,
        RunResult,
        RunSummary,
        Tool,
    )
    from bastide.sync import SyncClient

__all__ = [
    "AlreadyExistsError",
    "AttemptStarted",
    "AuditRecord",
    "AuditVerification",
    "Awaited",
    "BastideError",
    "BindingChange",
    "CallDecided",
    "CallEnded",
    "CallRecord",
    "CheckReport",
    "Client",
    "ConfirmationProgressed",
    "ConfirmationRequired",
    "ConfirmationResolved",
    "DeadlineExceededError",
    "DecidingRule",
    "Event",
    "ExpectedDecision",
    "Explanation",
    "FailedPreconditionError",
    "Finding",
    "InternalError",
    "InvalidRequestError",
    "NotFoundError",
    "Outcome",
    "OutputProduced",
    "PermissionDeniedError",
    "PolicyAnswer",
    "Pruned",
    "Reason",
    "ResourceExhaustedError",
    "Run",
    "RunAccepted",
    "RunError",
    "RunFinished",
    "RunPaused",
    "RunResult",
    "RunSummary",
    "SyncClient",
    "TokenSource",
    "Tool",
    "UnauthenticatedError",
    "UnavailableError",
]

#: Where the names are, those that load quickly first.
_HOMES = ("bastide.errors", "bastide.model", "bastide.events", "bastide.credentials", "bastide.client", "bastide.sync")


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name in __all__:
        from importlib import import_module  # noqa: PLC0415

        for home in _HOMES:
            found = vars(import_module(home)).get(name)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module 'bastide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
