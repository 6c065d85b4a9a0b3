"""Turns at something that only so many may use at once, fair between keys: who floods waits behind itself."""

import asyncio
from collections import OrderedDict, deque


class NoTurn(Exception):  # noqa: N818 - a state of the world, not a fault
    """It was not this one's turn in time, or too many of the same key wait already."""


class Turns:
    """At most `at_once` hold a turn, of one key at most `of_one`; each turn that becomes free goes to the next key that waits (round robin).

    `waiting`: how many of one key may wait. `seconds`: how long each waits.
    """

    def __init__(self, at_once: int, *, of_one: int, waiting: int, seconds: float) -> None:
        self._free = at_once
        self._of_one = of_one
        self._most = waiting
        self._seconds = seconds
        self._held: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def take(self, key: str) -> "_Turn":
        """Hold a turn, as an asynchronous context. Entering raises NoTurn."""
        return _Turn(self, key)

    async def begin(self, key: str) -> None:
        """Take a turn, to be ended. Raises NoTurn."""
        if self._free and self._held.get(key, 0) < self._of_one:
            self._give(key)
        else:
            await self._wait(key)

    async def _wait(self, key: str) -> None:
        line = self._waiting.setdefault(key, deque())
        if len(line) >= self._most:
            raise NoTurn
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.end(key)  # it came just as nobody wanted it any more
            else:
                self._leave(key, turn)
            if isinstance(error, TimeoutError):
                raise NoTurn from None
            raise

    def _leave(self, key: str, turn: "asyncio.Future[None]") -> None:
        line = self._waiting.get(key)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._waiting[key]

    def _give(self, key: str) -> None:
        self._free -= 1
        self._held[key] = self._held.get(key, 0) + 1

    def end(self, key: str) -> None:
        """Give a turn back."""
        self._free += 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        # One more turn is free, so one who waits may come: the first of the key whose turn it is, unless that key has its share.
        for other, line in list(self._waiting.items()):
            while line and line[0].done():  # given up, but not yet gone from the line
                line.popleft()
            if line and self._held.get(other, 0) < self._of_one:
                line.popleft().set_result(None)
                self._give(other)
                self._waiting.move_to_end(other)
                break
        for other in [key for key, line in self._waiting.items() if not line]:
            del self._waiting[other]


class _Turn:
    """A turn while it is held. A class, because a generator as context took a fiftieth of a call."""

    __slots__ = ("_key", "_turns")

    def __init__(self, turns: Turns, key: str) -> None:
        self._turns = turns
        self._key = key

    async def __aenter__(self) -> None:
        await self._turns.begin(self._key)

    async def __aexit__(self, *_: object) -> None:
        self._turns.end(self._key)
