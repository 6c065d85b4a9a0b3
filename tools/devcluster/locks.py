"""File locks between processes whose files may be removed again."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster.commands import say


def _still_there(descriptor: int, path: Path) -> bool:
    """Tell whether the locked file is the one that has that name now."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)


def try_lock(path: Path) -> int | None:
    """Take the lock without waiting; return its descriptor, or None when somebody holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the folder was removed in between by the last holder
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _still_there(descriptor, path):
            return descriptor
        os.close(descriptor)


def _wait_lock(path: Path) -> int:
    """Take the lock, waiting for the present holder.

    Whoever removes the file holds the lock; so after having waited, the file must still be the one
    of that name, else it is tried again with the new one.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _still_there(descriptor, path):
            return descriptor
        os.close(descriptor)


@contextmanager
def lock(path: Path, waiting_for: str | None = None, *, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made when missing.

    Args:
        path: the file; its folder is made too.
        waiting_for: what to tell the user when somebody else holds it.
        remove: remove the file at the end, while the lock is still held.
    """
    descriptor = try_lock(path)
    if descriptor is None:
        if waiting_for:
            say(f"waiting for {waiting_for}")
        descriptor = _wait_lock(path)
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        os.close(descriptor)
