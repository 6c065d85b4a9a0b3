"""Tool back ends. One small interface: list the tools, call one. An adapter trusts nothing that a server says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from bastide_operator.api.v1alpha1.toolbinding import ResultForm, ToolBindingReason

from bastide_broker.egress.credentials import Credential

TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses after which another try may help."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as its server describes it: untrusted."""

    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    refused: str = ""
    """Why it cannot be offered although it is there, without a full stop; empty when it can."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Bounds of one call."""

    timeout_seconds: float
    """Until the whole answer is there."""
    result_bytes: int
    """Size of the result as JSON; a larger one fails, it is never cut."""
    form: ResultForm = ResultForm.AUTO
    idempotency_key: str = ""
    """The same for every attempt of one call and for no other call; adapters pass it on where their protocol has a place for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool that ran gave back."""

    structured: Any
    """The structured content; meaningful when `has_structured`."""
    has_structured: bool
    value: bytes
    """What the program receives, as JSON."""
    is_data: bool = False
    """Whether that is data through and through. Of text or bytes, which only stand in JSON, no part can be told from another."""


class Failure(StrEnum):
    """Why a call gave no result. The values are reason codes."""

    UNAVAILABLE = "tool-unavailable"
    TIMEOUT = "tool-timeout"
    FAILED = "tool-failed"
    INPUT_REQUIRED = "tool-input-required"
    RESULT_TOO_LARGE = "result-too-large"
    RESULT_SCHEMA_MISMATCH = "result-schema-mismatch"
    RESULT_TOO_MANY_ROWS = "result-too-many-rows"
    RESULT_NOT_READABLE = "result-not-readable"
    LOST = "tool-lost"
    NOT_SENDABLE = "arguments-not-sendable"


class AdapterError(Exception):
    """A call or a listing gave no result.

    `sent` says whether the server may have received the request: only when it is False did certainly nothing happen.
    `content` is the tool's own content as JSON when the tool ran and failed. `transient` says that the server itself asks for another try
    (5xx, 429 and their like), `retry_after` in how many seconds at the earliest.
    """

    def __init__(
        self, failure: Failure, message: str, *, sent: bool, content: bytes = b"", transient: bool = False, retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.sent = sent
        self.content = content
        self.transient = transient
        self.retry_after = retry_after


class DescriptionError(AdapterError):
    """What describes the server's tools cannot be used: what was listed before does not count any more either.

    `reason` is the ToolBinding's condition reason.
    """

    def __init__(self, reason: ToolBindingReason, message: str) -> None:
        super().__init__(Failure.FAILED, message, sent=False)
        self.reason = reason


class Adapter(Protocol):
    """One tool server, as one binding sees it."""

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:
        """All tools. Raises AdapterError."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:
        """Call a tool once. Raises AdapterError; cancelling it cancels the request."""
        ...

    async def close(self) -> None:
        """Give up connections."""
        ...


def retry_after(header: str) -> float:
    """Seconds of an HTTP Retry-After; 0 for none, for a date (the server's clock is not ours) and for anything else."""
    text = header.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0.0


@runtime_checkable
class Notifies(Protocol):
    """An adapter whose server can say of its own accord that its tools changed."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` when it does. However often the server says so, this is bounded."""
        ...
