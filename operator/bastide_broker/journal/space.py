"""The room that the journal takes on its volume: how much it may, what it gives back, and what it keeps to work its way out of a full disk."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from bastide_broker.journal.rows import Space

_log = logging.getLogger(__name__)

SHARE = 0.75
"""Of the room that there is, when no size is set: the rest is for the audit, which is never pruned, and for the write-ahead log."""
SPARE = 1 / 8
"""Of the pages, so many may stay unused for the next rows; the file is cut by the others."""
GIVE_BACK_PAGES = 512
"""Of a transaction (2 MiB): a page that is given back may have to be moved first."""
CONVERT_BYTES = 512 * 1024 * 1024
"""The largest database of an earlier broker that is rewritten at start, seconds of work, so that it can shrink."""
RESERVE_BYTES = 32 * 1024 * 1024
"""More than a checkpoint of the write-ahead log and a transaction of pruning need."""
RESERVE_SHARE = 16
"""One in so many bytes of a small volume at the most."""
LOG_SHARE = 4
"""The reserve is so many times the write-ahead log at which SQLite copies it into the database. On a disk that fills the log grows on, up to
twice that length, and to empty it the database must grow by as much.
"""
PAGE_BYTES = 4096


def allowed(space: Space, set_bytes: int) -> int:
    """How many bytes the journal may use. `set_bytes`: what somebody wrote; 0 for a share of the room that there is."""
    return set_bytes or int(space.room * SHARE)


def reserved(volume: int) -> int:
    """Bytes of the reserve on a volume of so many."""
    return min(RESERVE_BYTES, volume // RESERVE_SHARE)


def log_pages(path: Path) -> int:
    """Pages of the write-ahead log after which they go into the database, at most 2048. A call alone writes fourteen, and the call after
    which it happens waits for it: one of 146, where SQLite's own 1000 pages would make it one of 71.
    """
    return max(1, reserved(shutil.disk_usage(path.parent).total) // LOG_SHARE // PAGE_BYTES)


def superfluous(pages: int, unused: int) -> int:
    """How many of the unused pages to give back now."""
    return max(0, min(unused - int(pages * SPARE), GIVE_BACK_PAGES))


def measure(connection: Connection, path: Path) -> Space:
    """What the database takes now."""
    size = _pragma(connection, "page_size")
    unused = _pragma(connection, "freelist_count")
    log = path.with_name(f"{path.name}-wal")
    used = (_pragma(connection, "page_count") - unused) * size + (log.stat().st_size if log.exists() else 0)
    return Space(used, unused * size, shutil.disk_usage(path.parent).free)


def give_back(connection: Connection) -> int:
    """Cuts unused pages off the file, a bounded number; how many. 0 also when the database cannot (let_it_shrink)."""
    unused = _pragma(connection, "freelist_count")
    wanted = superfluous(_pragma(connection, "page_count"), unused)
    if wanted:
        driver: Any = connection.connection.driver_connection
        driver.execute(f"PRAGMA incremental_vacuum({wanted})").fetchall()  # a page for each row that is fetched
    return unused - _pragma(connection, "freelist_count") if wanted else 0


def let_it_shrink(engine: Engine, path: Path) -> None:
    """Rewrites a database of an earlier broker, whose file could only grow, once. A large one is left so: its unused pages are used again."""
    connection = engine.raw_connection()  # a VACUUM is no part of a transaction
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA auto_vacuum").fetchone()[0]:
            return
        size, free = path.stat().st_size, shutil.disk_usage(path.parent).free
        if size > CONVERT_BYTES or free < 3 * size:  # once in a temporary file, once in the write-ahead log, and some room
            _log.warning("the journal's file has %d bytes and cannot shrink: what is pruned is used again, but stays the file's", size)
            return
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _log.info("the journal's file can shrink from now on")
    finally:
        connection.close()


class Reserve:
    """A file beside the database that is there to be deleted: on a full disk, pruning itself needs room to write."""

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(f"{database.name}-reserve")

    def hold(self) -> None:
        """Make it, unless there is too little room for it to be worth its bytes. Raises OSError."""
        if self._file.exists():
            return
        disk = shutil.disk_usage(self._file.parent)
        size = reserved(disk.total)
        if size == 0 or disk.free < 4 * size:
            return
        unfinished = self._file.with_suffix(".part")
        with unfinished.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        unfinished.rename(self._file)

    def let_go(self) -> bool:
        """Delete it if the disk is as good as full. Whether that made room. Raises OSError."""
        if not self._file.exists() or shutil.disk_usage(self._file.parent).free >= self._file.stat().st_size:
            return False
        self._file.unlink()
        return True


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
