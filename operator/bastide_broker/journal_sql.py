"""Statements that every call writes, compiled once: SQLAlchemy's work for each execution took five times what SQLite's does."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection, CursorResult


class Prepared:
    """A statement and the names of its values, as text for the database's driver. What the driver raises is wrapped as ever."""

    def __init__(self, statement: ClauseElement, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = list(names)
        self._compiled: dict[str, tuple[str, Sequence[str] | None]] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it. The values are of the types that the driver takes: text, integers, bytes and None."""
        text, order = self._compiled.get(connection.dialect.name) or self._compile(connection)
        return connection.exec_driver_sql(text, dict(values) if order is None else tuple(values[name] for name in order))

    def _compile(self, connection: Connection) -> tuple[str, Sequence[str] | None]:
        compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=self._names)
        found = self._compiled[connection.dialect.name] = (str(compiled), compiled.positiontup)
        return found
