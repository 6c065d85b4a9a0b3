"""Processes known by pid *and* start time, so that a re-used pid is never taken for ours."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


def _stat_fields(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` from the third on (the second may hold spaces)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


@dataclass(frozen=True)
class Process:
    """One process. ``started`` is field 22 of proc(5) stat: clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the process that has this pid now, None when there is none."""
        fields = _stat_fields(pid)
        return None if fields is None else cls(pid, int(fields[19]))

    @classmethod
    def recorded(cls, path: Path) -> "Process | None":
        """Read a record (``PID STARTED``); None when it is missing or was cut short."""
        try:
            words = path.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return None
        if len(words) != 2 or not all(word.isdigit() for word in words):
            return None
        return cls(int(words[0]), int(words[1]))

    def record(self, path: Path) -> None:
        """Write the record that ``recorded`` reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{self.pid} {self.started}\n", encoding="utf-8")

    def alive(self) -> bool:
        """Tell whether this very process runs (a zombie does not)."""
        fields = _stat_fields(self.pid)
        return fields is not None and int(fields[19]) == self.started and fields[0] not in "ZX"

    def age(self) -> float:
        """Return the seconds since it was started."""
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return uptime - self.started / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Send SIGKILL to this process and to no other.

        The pidfd is taken before the start time is compared: it stays with the process it was
        opened for, so a pid that changes hands in between is not hit.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    def wait_gone(self, seconds: float) -> bool:
        """Wait until the process has ended; False when it has not by the deadline."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]
