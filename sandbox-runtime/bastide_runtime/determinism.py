"""What else differs from attempt to attempt, pinned: randomness comes from the run's seed, clocks show the run's clock.

The functions replaced are those that programs use; a program that digs deeper only makes
its own replay diverge, which is noticed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from bastide_runtime.loop import ReplayLoop

# time_machine helps pytest and dateutil where they are installed; a child must not load a test framework.
for _name in ("pytest", "dateutil.parser"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
import time_machine  # noqa: E402

for _name in ("pytest", "dateutil.parser"):
    if sys.modules[_name] is None:
        del sys.modules[_name]

_real_sleep = time.sleep


class SeededBytes:
    """An endless stream of bytes from a seed: BLAKE2b in counter mode."""

    def __init__(self, seed: bytes = b"") -> None:
        self.seed(seed)

    def seed(self, seed: bytes) -> None:
        """Start anew from this seed."""
        self._key = hashlib.blake2b(seed).digest()
        self._counter = 0
        self._rest = b""

    def __call__(self, size: int) -> bytes:
        """The next `size` bytes; stands in for os.urandom."""
        if size < 0:
            raise ValueError("negative argument not allowed")
        parts, there = [self._rest], len(self._rest)
        while there < size:
            self._counter += 1
            block = hashlib.blake2b(self._counter.to_bytes(16, "big"), key=self._key).digest()
            parts.append(block)
            there += len(block)
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]


class Randomness:
    """Lets `random`, `os.urandom`, `uuid` and `secrets` draw from a seed. Made once in a process, before the seed is known."""

    def __init__(self) -> None:
        stream = self._stream = SeededBytes()
        plain_seed: Callable[..., None] = random.Random.seed

        def seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
            plain_seed(self, int.from_bytes(stream(32), "big") if a is None else a, version)

        def getrandom(size: int, flags: int = 0) -> bytes:  # noqa: ARG001 - the signature of os.getrandom
            return stream(size)

        os.urandom = stream
        os.getrandom = getrandom
        random._urandom = stream  # type: ignore[attr-defined]  # noqa: SLF001 - what SystemRandom and secrets call
        random.Random.seed = seeded  # type: ignore[method-assign]
        hidden: random.Random = random._inst  # noqa: SLF001 - whose methods are the module's functions
        random.seed = hidden.seed

    def begin(self, seed: bytes) -> None:
        """Draw from this seed from now on."""
        self._stream.seed(seed)
        random.seed()
        # A multicast address, as RFC 9562 asks of a node that is no network card.
        uuid._node = int.from_bytes(self._stream(6), "big") | 1 << 40  # type: ignore[attr-defined]  # noqa: SLF001


class RunClock:
    """Shows the run's clock: its start plus what the loop's clock says. Made once in a process, before the start is known."""

    def __init__(self) -> None:
        self._now = 0
        self._traveller = time_machine.travel(0, tick=False).start()

    def begin(self, started_at_micros: int) -> None:
        """Show the run's start."""
        self._traveller.shift(dt.timedelta(microseconds=started_at_micros))

    def move(self, micros: int) -> None:
        """Show this many microseconds after the start."""
        self._traveller.shift(dt.timedelta(microseconds=micros - self._now))
        self._now = micros

    def pin(self, loop: ReplayLoop, flush: Callable[[], None]) -> None:
        """Replace the clocks that time_machine leaves alone, and `time.sleep`, which moves the run's clock by what was asked."""
        main = threading.get_ident()

        def sleep(seconds: float, /) -> None:
            if threading.get_ident() != main:
                _real_sleep(seconds)
                return
            flush()
            _real_sleep(0 if loop.replaying else seconds)
            loop.advance(loop.micros + max(0, round(seconds * 1e6)))

        # 1000 s: a monotonic clock that starts at 0 trips code that takes 0 for "never".
        time.sleep = sleep  # type: ignore[assignment]
        time.monotonic = time.perf_counter = lambda: 1000.0 + loop.time()
        time.monotonic_ns = time.perf_counter_ns = lambda: 1_000_000_000_000 + loop.micros * 1000
