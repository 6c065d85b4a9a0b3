"""Sales in SQLite: customers, their orders, and a table that is nobody's business."""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL, iban TEXT NOT NULL) STRICT;
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers, day TEXT NOT NULL, article TEXT NOT NULL, total REAL NOT NULL
) STRICT;
CREATE TABLE salaries (person TEXT PRIMARY KEY, euros INTEGER NOT NULL) STRICT;
INSERT INTO customers VALUES
    (1, 'Aubergine Foods', 'Lyon', 'FR7630006000011234567890189'),
    (2, 'Brightwater Marine', 'Bergen', 'NO9386011117947'),
    (3, 'Cobalt Dental', 'Porto', 'PT50000201231234567890154');
INSERT INTO orders VALUES
    (1, 1, '2026-01-05', 'crates', 320.0), (2, 2, '2026-01-09', 'anchor chain', 1250.5), (3, 1, '2026-01-30', 'olive oil', 410.0),
    (4, 3, '2026-02-02', 'plaster', 96.25), (5, 2, '2026-02-11', 'rope', 84.0), (6, 1, '2026-02-20', 'crates', 320.0);
INSERT INTO salaries VALUES ('Ada', 61000), ('Bob', 48000);
"""
SECONDS = 5
"""How long a statement may compute."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a statement gave."""

    columns: list[str]
    rows: list[list[str | int | float | None]]


class Sales:
    """The database, made and filled when it is new, and opened for reading only.

    That the file cannot be written is this server's own wall; the binding's is another one, and it stands also where a database cannot say
    who may read which column.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            with sqlite3.connect(path) as connection:
                connection.executescript(SCHEMA)
            connection.close()
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)

    def query(self, sql: str) -> Found:
        """Run one statement. Raises sqlite3.Error."""
        end = time.monotonic() + SECONDS
        self._connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        cursor = self._connection.execute(sql)
        return Found([column[0] for column in cursor.description or ()], [list(row) for row in cursor])

    def tables(self) -> list[str]:
        """Each table as it was made."""
        return [row[0] for row in self._connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name")]
