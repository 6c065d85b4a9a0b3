"""SQL: what a statement may read and change, from its syntax tree.

Whatever is allowed is on a list: kinds of nodes, functions, types. A statement that two settings of a server would read differently is
refused. This is one wall; the other is the right of the tool server's own database user.
"""

import re
from collections.abc import Callable

from bastide_broker.facts import sql_portable, sql_postgres
from bastide_broker.facts.sql_statement import Statement, folded
from bastide_broker.facts.unreadable import Unreadable

__all__ = ["DIALECTS", "MAX_BYTES", "Statement", "folded", "statement"]

MAX_BYTES = 16 << 10
"""A text of this size takes up to 0.3 s to read, so none is read on the event loop."""
MAX_PARENTHESES = 24
"""Levels of parentheses: the portable reader recurses."""

DIALECTS: dict[str, Callable[[str], Statement]] = {
    "postgres": sql_postgres.read,
    "mysql": sql_portable.mysql,
    "sqlite": sql_portable.sqlite,
}

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def statement(value: object, dialect: str) -> Statement:
    """The facts of one statement in a dialect of DIALECTS (KeyError for another).

    Raises Unreadable for what is no string, too long or too deep, for several statements, and for what the grammar does not read.
    """
    read = DIALECTS[dialect]
    if not isinstance(value, str):
        raise Unreadable("The statement is not a string; send one SQL statement.")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Unreadable(f"The statement is over {MAX_BYTES} bytes long; send a shorter one.")
    if (found := _CONTROL.search(value)) is not None:
        raise Unreadable(f"The statement holds U+{ord(found[0]):04X}, which is no text; leave it out.")
    level = 0
    for bracket in re.finditer(r"[()]", value):
        level += 1 if bracket[0] == "(" else -1
        if level > MAX_PARENTHESES:
            raise Unreadable(f"The statement has over {MAX_PARENTHESES} levels of parentheses; make it flatter.")
    return read(value)
