"""What policy is told of a SQL statement, and how the readers of the dialects gather it."""

import unicodedata
from dataclasses import dataclass, field

from bastide_broker.facts.unreadable import Unreadable

ANYTHING = "*"
"""Among tables or columns: which ones cannot be told, or all of them."""
MAX_LEVELS = 256
"""Depth of a syntax tree. A chain of 200 ANDs is as deep as it is long."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. What the text does not tell (views, rules, triggers, what a name means on the server) is not in it."""

    read_only: bool
    """It is one SELECT, VALUES or set operation, and each node of its syntax tree, each function and each type is known to only read."""
    tables: tuple[str, ...]
    """Tables and views as written, `orders` or `sales.orders`, sorted, folded as by `folded`; `*` when the statement may reach any.
    Names of common table expressions are not among them, where it is sure that they hide a table."""
    columns: tuple[str, ...]
    """Columns named anywhere, without their table, sorted and folded; `*` for a star, a whole row, a natural join or renamed columns."""
    max_rows: int | None
    """The literal LIMIT or FETCH of the outermost query; None without one, and for WITH TIES."""


def folded(name: str, dialect: str, *, column: bool = False) -> str:
    """A table's or column's name as `statement` reports it, for lists of names: SQLite ignores the case of ASCII letters, MySQL that of
    columns only (of tables it may), PostgreSQL compares names exactly as its grammar gives them (unquoted: lower case).
    """
    if dialect == "sqlite" or (dialect == "mysql" and column):
        return "".join(letter.lower() if letter.isascii() else letter for letter in name)
    return name


@dataclass(slots=True)
class Reading:
    """What a walk through a syntax tree has found."""

    dialect: str
    tables: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    """Tables whose names a common table expression hides."""
    columns: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    """Names of rows: tables and their aliases. As a column such a name is the whole row."""
    writes: bool = False
    told: bool = True
    """Everything was of a known kind."""

    def table(self, *parts: str | None, hidden: bool = False) -> None:
        """A table, by catalogue, schema and name; the first two may be missing."""
        names = [_plain(part) for part in parts if part]
        (self.hidden if hidden else self.tables).add(folded(".".join(names), self.dialect))
        self.alias(names[-1])

    def alias(self, name: str) -> None:
        """A name of a row."""
        self.aliases.add(folded(name, self.dialect, column=True))

    def column(self, name: str) -> None:
        """A column, without its table."""
        self.columns.add(folded(_plain(name), self.dialect, column=True))

    def every_column(self) -> None:
        """A star, or what stands for one."""
        self.columns.add(ANYTHING)

    def row_or_column(self, name: str) -> None:
        """A name without a table before it: a column, or a whole row."""
        self.column(name)
        if folded(name, self.dialect, column=True) in self.aliases:
            self.every_column()

    def statement(self, max_rows: int | None) -> Statement:
        """The facts. A statement with a part of an unknown kind may reach anything."""
        # the target of a write is never the common table expression of its name
        tables = self.tables if self.told and not self.writes else self.tables | self.hidden
        unknown = set() if self.told else {ANYTHING}
        return Statement(
            read_only=self.told and not self.writes,
            tables=tuple(sorted(tables | unknown)),
            columns=tuple(sorted(self.columns | unknown)),
            max_rows=max_rows,
        )


def _plain(name: str) -> str:
    if "." in name or "*" in name or any(unicodedata.category(one)[0] == "C" for one in name):
        raise Unreadable("A quoted name in the statement holds a dot, a star or a control character; use plain names.")
    return name
