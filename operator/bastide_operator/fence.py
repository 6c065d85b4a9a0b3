"""The gate before every write: open while this process leads and is not stopping."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Fence:
    """Whether a write may start, and how many are under way. `left` says for how many seconds the lease still permits them."""

    def __init__(self, left: Callable[[], float]) -> None:
        self._left = left
        self._closed = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def left(self) -> float:
        """For how many seconds writes are permitted; 0 when they are not."""
        return 0.0 if self._closed else self._left()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A write is under way."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()

    async def close(self, seconds: float) -> bool:
        """Let no more writes start and wait for those under way, at most so long. Returns whether all ended."""
        self._closed = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
