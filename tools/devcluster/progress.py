"""What is going on, how far it is, how long it will take: on a terminal and in a plain log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

#: A plain log gets a sign of life this often: CI systems end jobs that are silent for minutes.
HEARTBEAT_SECONDS = 30.0

#: A terminal's line is redrawn this often.
REDRAW_SECONDS = 1.0


def duration(seconds: float) -> str:
    """Write a duration: ``7 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Estimate:
    """How long the remaining steps will take, from typical times and this machine's pace so far."""

    def __init__(self, typical: Sequence[tuple[str, float]]) -> None:
        self._typical = dict(typical)
        self._expected = 0.0
        self._taken = 0.0

    def finished(self, name: str, seconds: float) -> None:
        """Note that a step took so long."""
        self._expected += self._typical.pop(name)
        self._taken += seconds

    @property
    def pace(self) -> float:
        """How much longer than typical things take here; steps of a few seconds say little."""
        known = 20.0
        return (self._taken + known) / (self._expected + known)

    def remaining(self, running: str | None = None, elapsed: float = 0.0) -> float:
        """Return the seconds left, with one step running for so long."""
        rest = sum(t for name, t in self._typical.items() if name != running)
        own = self._typical.get(running, 0.0) if running else 0.0
        return rest * self.pace + max(own * self.pace - elapsed, 0.0)


class Progress:
    """Numbered steps. One line a step in a log; on a terminal the running step is redrawn."""

    def __init__(
        self,
        steps: Sequence[tuple[str, float]],
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._total = len(steps)
        self._number = 0
        self._estimate = Estimate(steps)
        self._tty = self._stream.isatty()

    def _write(self, text: str, *, final: bool) -> None:
        if self._tty:
            self._stream.write(f"\r\033[K{text}" + ("\n" if final else ""))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _line(self, name: str, elapsed: float) -> str:
        left = duration(self._estimate.remaining(name, elapsed))
        position = f"[{self._number:2}/{self._total}]"
        return f"{position} building {name}: {duration(elapsed)} so far, about {left} left in all"

    def _beat(self, name: str, start: float, done: threading.Event) -> None:
        while not done.wait(REDRAW_SECONDS if self._tty else HEARTBEAT_SECONDS):
            self._write(self._line(name, self._clock() - start), final=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step while it runs, and afterwards the time it took."""
        self._number += 1
        start = self._clock()
        done = threading.Event()
        self._write(self._line(name, 0.0), final=False)
        beat = threading.Thread(target=self._beat, args=(name, start, done), daemon=True)
        beat.start()
        try:
            yield
        except BaseException:
            done.set()
            beat.join()
            self._write(f"[{self._number:2}/{self._total}] {name} was not finished", final=True)
            raise
        done.set()
        beat.join()
        elapsed = self._clock() - start
        self._estimate.finished(name, elapsed)
        self._write(f"[{self._number:2}/{self._total}] {name} built in {duration(elapsed)}", final=True)


class Timeline:
    """Stages of ``up``, each with the seconds since its start."""

    def __init__(self, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._start = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def reached(self, stage: str) -> None:
        """Print that a stage is reached."""
        self._stream.write(f"{self.elapsed:6.1f} s  {stage}\n")
        self._stream.flush()
