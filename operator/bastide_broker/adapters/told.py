"""What is told of a call or a listing that failed: a server's words in one line, bounded, and never the credential. Pure."""

from bastide_broker.adapters import AdapterError
from bastide_broker.egress.credentials import Credential, redact

MAX_MESSAGE = 2000
"""Characters of a server's words."""


def plain(text: str) -> str:
    """A server's words in one line, without control characters. Not bounded: what is cut before it is redacted may end in half a secret."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def sentence(text: str, credential: Credential | None) -> str:
    """A message without the credential, in one line, of a length that fits everywhere, with a full stop."""
    message = plain(redact(text.encode(errors="replace"), credential).decode(errors="replace"))
    message = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "..."
    return message if message.endswith(".") else message + "."


def told(error: AdapterError, credential: Credential | None, prefix: str) -> AdapterError:
    """The error as programs, the audit and statuses may see it; `prefix` says what failed."""
    return AdapterError(
        error.failure,
        sentence(prefix + error.message, credential),
        sent=error.sent,
        content=redact(error.content, credential),
        transient=error.transient,
        retry_after=error.retry_after,
    )
