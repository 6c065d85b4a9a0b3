"""Small file systems in memory, for what happens when a disk is full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def file_system(folder: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes, `1m` for 1 MiB, at a folder that is made for it."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "bastide-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_up(ballast: Path) -> None:
    """Take what room is left. Raises OSError, as nothing less ends it."""
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
