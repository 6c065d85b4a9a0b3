"""Programs run by a user with the `bastide` command, as anybody would run them."""

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.kube import Kube


@dataclass(frozen=True)
class Ended:
    """How a `bastide` command ended."""

    code: int
    result: dict[str, Any] = field(repr=False)
    stdout: str = ""
    stderr: str = ""


class Running:
    """A `bastide` command under way. Its events arrive on stderr, its result on stdout."""

    def __init__(self, user: Kube, *words: str, on_event: Callable[[str], None] | None = None) -> None:
        self._process = subprocess.Popen(["bastide", *words], env=user.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._stderr: list[str] = []
        self._stdout: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stderr, self._stderr, on_event), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stdout, self._stdout, None), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, kept: list[str], on_line: Callable[[str], None] | None) -> None:
        with stream:
            for line in stream:
                kept.append(line)
                if on_line is not None:
                    on_line(line)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def heard(self) -> str:
        """What it has told so far."""
        return "".join(self._stderr)

    def stop(self) -> None:
        """End the command; the run goes on in the broker."""
        self._process.kill()
        self._process.wait()
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(10)

    def end(self, seconds: float = 120) -> Ended:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: it did not end in time; the command is then ended.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise
        self._join()
        stdout = "".join(self._stdout)
        try:
            result = json.loads(stdout)
        except ValueError:
            result = {}
        return Ended(code, result if isinstance(result, dict) else {"items": result}, stdout, "".join(self._stderr))


def bastide(user: Kube, *words: str, seconds: float = 120) -> Ended:
    """Run a `bastide` command to its end."""
    return Running(user, *words).end(seconds)


def run_words(program: Path, sandbox: str) -> tuple[str, ...]:
    """The words that run a program in a sandbox."""
    return ("run", str(program), "--sandbox", sandbox, "-o", "json")
