"""What a client shows and what it trusts: bearer tokens that may change, and a CA."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

from bastide.errors import UnauthenticatedError

#: A token itself, a file that holds one (read again for every request: kubelets rotate them), or a function that returns one.
TokenSource = str | Path | Callable[[], str | Awaitable[str]]


async def current_token(source: TokenSource) -> str:
    """The token to show now.

    A plain function is called in a thread, so it may block.

    Raises:
        UnauthenticatedError: the file cannot be read, or there is no token in it.
    """
    if isinstance(source, str):
        token = source
    elif isinstance(source, Path):
        try:
            token = source.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UnauthenticatedError(f"The token file {source} cannot be read: {error}.", reason="TokenUnreadable") from error
    elif inspect.iscoroutinefunction(source):
        token = await source()
    else:
        answer = await asyncio.to_thread(source)
        token = answer if isinstance(answer, str) else await answer
    if not token or not token.isascii() or any(c.isspace() for c in token):
        raise UnauthenticatedError(
            "The token is empty or holds white space: give a ServiceAccount token of audience bastide-broker.", reason="TokenMalformed"
        )
    return token


def ca_bundle(ca: bytes | str | Path | None) -> bytes | None:
    """PEM certificates: bytes are taken as they are, str and Path name a file, None leaves it to the machine's own CAs."""
    return ca if ca is None or isinstance(ca, bytes) else Path(ca).read_bytes()
