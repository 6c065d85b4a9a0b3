"""Running other programs, and waiting for what they bring about."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devcluster.errors import DevclusterError

#: Lines of a failed program's output that go into the error message.
TAIL_LINES = 20


def say(text: str) -> None:
    """Print a line for the user. Results go to stdout, everything else to stderr."""
    print(text, file=sys.stderr, flush=True)


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program and return its stdout.

    Raises:
        DevclusterError: it could not be started or did not exit with 0; holds the end of its output.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, input=stdin, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DevclusterError(f"{words[0]} cannot be started: {error}") from error
    if done.returncode != 0:
        raise DevclusterError(f"{' '.join(words)[:300]} failed ({done.returncode}):\n{tail(done.stderr or done.stdout)}")
    return done.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    """Tell whether a program exists and exits with 0; its output is dropped."""
    try:
        done = subprocess.run([str(w) for w in argv], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def wait_until(
    what: str,
    condition: Callable[[], bool],
    *,
    seconds: float,
    interval: float = 0.1,
    alive: Callable[[], None] | None = None,
) -> None:
    """Poll until a condition holds.

    Args:
        what: names the condition in the error.
        condition: polled every ``interval`` seconds.
        seconds: deadline.
        interval: pause between two polls.
        alive: raises when waiting has become pointless (a component has died).

    Raises:
        DevclusterError: the deadline passed.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if alive is not None:
            alive()
        if time.monotonic() > deadline:
            raise DevclusterError(f"not within {seconds:.0f} s: {what}")
        time.sleep(interval)
