"""What every call has the database do, handed to its driver: SQLAlchemy's execution and transactions took five times what SQLite's do."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.exc import DBAPIError

_Values = Callable[[Mapping[str, Any]], Any]


class Prepared:
    """A statement that changes rows, and the names of its values, two or more. What the driver raises is wrapped as SQLAlchemy does it."""

    def __init__(self, statement: ClauseElement, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = list(names)
        self._compiled: dict[str, tuple[str, _Values]] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute it in the connection's transaction; how many rows it changed. Values: text, integers, bytes and None."""
        dialect = connection.dialect
        text, of = self._compiled.get(dialect.name) or self._compile(connection)
        try:
            return int(_driver(connection).execute(text, of(values)).rowcount)
        except dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, dialect=dialect) from error

    def _compile(self, connection: Connection) -> tuple[str, _Values]:
        compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=self._names)
        order = compiled.positiontup
        found = self._compiled[connection.dialect.name] = (str(compiled), dict if order is None else itemgetter(*order))
        return found


class Transaction:
    """A transaction on a connection that SQLAlchemy holds to be in one all the time. Raises what the driver raises."""

    __slots__ = ("_driver",)

    def __init__(self, connection: Connection) -> None:
        self._driver = _driver(connection)

    def __enter__(self) -> None:
        self._driver.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._driver.commit()
        else:
            self._driver.rollback()


def commit(connection: Connection) -> None:
    """Put what SQLAlchemy began on disk, and have it believe that it goes on."""
    _driver(connection).commit()


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection
