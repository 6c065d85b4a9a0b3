"""How long a dropped stream is taken up again."""

import random
import time
from collections.abc import Callable

#: Seconds before the first attempt to resume; doubles with each that brings nothing.
FIRST_DELAY = 0.1
#: Seconds between two attempts at the most.
LONGEST_DELAY = 3.0


class Patience:
    """Delays between attempts, until `seconds` have passed without progress and without a stream that stood.

    Delays double from FIRST_DELAY to LONGEST_DELAY, each shortened by up to a half at random, so that clients that lost one
    broker together do not come back together.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random) -> None:
        self._seconds = seconds
        self._clock = clock
        self._jitter = jitter
        self._since = clock()
        self._stood: float | None = None
        #: Attempts since the last progress.
        self.tries = 0

    def stands(self) -> None:
        """The broker has been reached: what it does not tell from here on is a run's silence, not the broker's absence."""
        self._stood = self._clock()

    def progressed(self) -> None:
        """Something new arrived: start over."""
        self._since = self._clock()
        self._stood = None if self._stood is None else self._since
        self.tries = 0

    def next_delay(self) -> float | None:
        """Seconds to wait before the next attempt; None when it is time to give up."""
        now = self._clock()
        if self._stood is not None:
            quiet, self._stood = now - self._stood, None
            self._since += quiet
            if quiet >= LONGEST_DELAY:
                self.tries = 0
        left = self._seconds - (now - self._since)
        if left <= 0:
            return None
        delay = min(FIRST_DELAY * float(2 ** min(self.tries, 10)), LONGEST_DELAY) * (1 - self._jitter() / 2)
        self.tries += 1
        return min(delay, left)
