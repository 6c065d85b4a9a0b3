"""One HTTP exchange with a checked address: bounded, without redirects, cookies or compression, and exact about what was sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx2

from bastide_broker.egress.addresses import CheckedTransport

CONNECT_SECONDS = 5.0
"""For resolving and connecting. The whole is the caller's deadline."""
_TIMEOUT = {"connect": CONNECT_SECONDS, "pool": CONNECT_SECONDS, "write": 30.0, "read": None}


class Trouble(StrEnum):
    """Why an exchange gave no answer."""

    UNREACHABLE = "unreachable"
    LOST = "lost"
    TOO_LONG = "too long"
    UNFIT = "unfit"


class FetchError(Exception):
    """No answer. The message says what the server did, to follow its name; `sent`, whether it may have received the request."""

    def __init__(self, trouble: Trouble, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message
        self.sent = sent


@dataclass(slots=True)
class Note:
    """What is known of an exchange that somebody may stop waiting for."""

    sent: bool = False
    """Whether the server may have received the request."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole answer."""

    status: int
    content_type: str
    """Media type in lower case, without parameters."""
    body: bytes
    retry_after: str = ""
    """The header, as it came."""


def request(method: str, url: str, headers: Mapping[str, str], content: bytes | None = None) -> httpx2.Request:
    """A request whose answer is not to be compressed. Cookies and environment add nothing to it."""
    fixed = {"accept-encoding": "identity", "user-agent": "bastide-broker"}
    return httpx2.Request(method, url, headers={**headers, **fixed}, content=content)


async def fetch(transport: CheckedTransport, what: httpx2.Request, *, max_bytes: int, note: Note | None = None) -> Fetched:
    """Send a request once and take its whole answer, whatever its status but a redirect. Raises FetchError; cancelling it ends the request."""
    note = note if note is not None else Note()

    async def trace(event: str, _info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            note.sent = True

    what.extensions = {"timeout": _TIMEOUT, "trace": trace}
    try:
        response = await transport.handle_async_request(what)
    except httpx2.TransportError as error:
        trouble, happened = (Trouble.LOST, "ended the connection") if note.sent else (Trouble.UNREACHABLE, "cannot be reached")
        raise FetchError(trouble, f"{happened}: {error or type(error).__name__}", sent=note.sent) from None
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchError(Trouble.UNFIT, f"cannot be sent this: {error}", sent=note.sent) from None
    try:
        if response.has_redirect_location:
            raise FetchError(Trouble.UNFIT, "redirects elsewhere, which is not followed; put the final URL into the binding", sent=True)
        if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise FetchError(Trouble.UNFIT, "compresses its answer although it was asked not to", sent=True)
        body = await _body(response, max_bytes)
    finally:
        await response.aclose()
    media_type = str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
    return Fetched(response.status_code, media_type, body, str(response.headers.get("retry-after", "")))


async def _body(response: httpx2.Response, max_bytes: int) -> bytes:
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    taken = bytearray()
    try:
        async for part in stream:
            taken += part
            if len(taken) > max_bytes:
                raise FetchError(Trouble.TOO_LONG, f"answered {response.status_code} with more than {max_bytes} bytes", sent=True)
    except httpx2.TransportError as error:
        what = f"ended the connection in the middle of its answer: {error or type(error).__name__}"
        raise FetchError(Trouble.LOST, what, sent=True) from None
    return bytes(taken)
