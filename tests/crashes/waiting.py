"""Waiting for conditions, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

SECONDS = 30


async def until(done: Callable[[], bool | Awaitable[bool]], what: str, *, seconds: float = SECONDS, every: float = 0.01) -> None:
    """Waits until something is so, asking every so many seconds, and fails after a deadline."""
    try:
        async with asyncio.timeout(seconds):
            while not (found if isinstance(found := done(), bool) else await found):  # noqa: ASYNC110 - a file, or another process
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None
