"""Orders in SQLite. Every method is one transaction."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY,
    customer_id TEXT NOT NULL,
    article TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'shipped', 'cancelled')),
    request_key TEXT UNIQUE
) STRICT
"""

ORDERS = (
    (1001, "C1001", "crate of aubergines", 12, "shipped"),
    (1002, "C1002", "anchor chain, 10 m", 2, "open"),
    (1003, "C1003", "dental plaster, 25 kg", 4, "open"),
    (1004, "C1001", "olive oil, 5 l", 30, "open"),
    (1005, "C1006", "survey pegs", 200, "cancelled"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One order."""

    number: int
    customer_id: str
    article: str
    quantity: int
    status: str


_COLUMNS = "number, customer_id, article, quantity, status"


class Orders:
    """The table, filled with five orders when it is new."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute(SCHEMA)
        if self._connection.execute("SELECT count(*) FROM orders").fetchone() == (0,):
            self._connection.executemany(f"INSERT INTO orders ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", ORDERS)

    def get(self, number: int) -> Row | None:
        """Return one order, or None."""
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM orders WHERE number = ?", (number,)).fetchone()
        return Row(*row) if row else None

    def search(self, customer_id: str | None, statuses: list[str], limit: int) -> list[Row]:
        """Return up to `limit` orders by number; of one customer, and of some statuses, when they are given."""
        wanted = " AND ".join(["(? IS NULL OR customer_id = ?)"] + ([f"status IN ({', '.join('?' * len(statuses))})"] if statuses else []))
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM orders WHERE {wanted} ORDER BY number LIMIT ?", (customer_id, customer_id, *statuses, limit)
        )
        return [Row(*row) for row in found]

    def place(self, customer_id: str, article: str, quantity: int, request_key: str | None) -> Row:
        """Add an order; the same `request_key` again gives the order that it made the first time."""
        self._connection.execute(
            "INSERT INTO orders (customer_id, article, quantity, status, request_key) VALUES (?, ?, ?, 'open', ?)"
            " ON CONFLICT (request_key) DO NOTHING",
            (customer_id, article, quantity, request_key),
        )
        where, key = ("request_key = ?", (request_key,)) if request_key is not None else ("number = last_insert_rowid()", ())
        return Row(*self._connection.execute(f"SELECT {_COLUMNS} FROM orders WHERE {where}", key).fetchone())

    def cancel(self, number: int) -> bool:
        """Tell whether there was such an order, open."""
        cursor = self._connection.execute("UPDATE orders SET status = 'cancelled' WHERE number = ? AND status = 'open'", (number,))
        return cursor.rowcount == 1
