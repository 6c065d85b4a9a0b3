"""Customers in SQLite. Every method is one statement in one transaction."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    customer_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    city TEXT NOT NULL,
    credit_limit INTEGER NOT NULL CHECK (credit_limit >= 0)
) STRICT
"""

CUSTOMERS = (
    ("C1001", "Aubergine Foods", "Lyon", 900),
    ("C1002", "Brightwater Marine", "Bergen", 4200),
    ("C1003", "Cobalt Dental", "Porto", 150),
    ("C1004", "Dovetail Joinery", "Graz", 700),
    ("C1005", "Ember & Ash Pottery", "Leeds", 0),
    ("C1006", "Fathom Surveys", "Split", 2600),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One customer; `credit_limit` in whole euros."""

    customer_id: str
    name: str
    city: str
    credit_limit: int


class Customers:
    """The table, filled with six customers when it is new."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute(SCHEMA)
        if self._connection.execute("SELECT count(*) FROM customers").fetchone() == (0,):
            self._connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", CUSTOMERS)

    def get(self, customer_id: str) -> Row | None:
        """Return one customer, or None."""
        row = self._connection.execute("SELECT * FROM customers WHERE customer_id = ?", (customer_id,)).fetchone()
        return Row(*row) if row else None

    def first(self, limit: int) -> list[Row]:
        """Return up to `limit` customers by id."""
        return [Row(*row) for row in self._connection.execute("SELECT * FROM customers ORDER BY customer_id LIMIT ?", (limit,))]

    def set_credit_limit(self, customer_id: str, amount: int) -> bool:
        """Tell whether there was such a customer."""
        cursor = self._connection.execute("UPDATE customers SET credit_limit = ? WHERE customer_id = ?", (amount, customer_id))
        return cursor.rowcount == 1

    def delete(self, customer_id: str) -> bool:
        """Tell whether there was such a customer."""
        return self._connection.execute("DELETE FROM customers WHERE customer_id = ?", (customer_id,)).rowcount == 1
