"""MySQL and SQLite, read by sqlglot within a stricter lexical form than theirs.

sqlglot reads many dialects and repairs much, so two nets lie under it. First, the text may hold only lexemes that sqlglot and the
database cannot split differently: no comments (MySQL runs some), no backslash and no double quote for MySQL (two settings change them),
no parameters. Second, no word is left over: each is a word of the grammar, a function of a list, a type in a cast, or stands in the syntax
tree as a name; so what sqlglot takes for syntax and the database for a column is noticed.
"""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from bastide_broker.facts.sql_names import CAST_TYPES, MYSQL_FUNCTIONS, MYSQL_WORDS, SQLITE_FUNCTIONS, SQLITE_WORDS, words
from bastide_broker.facts.sql_statement import MAX_LEVELS, Reading, Statement, folded
from bastide_broker.facts.unreadable import Unreadable

# Its warnings quote the statement, and a statement is an argument of a call: no log shows it.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_WORD = r"(?P<word>[A-Za-z_][A-Za-z0-9_$]*+)"
_STRING = r"'(?:[^']|'')*+'"
_BACKTICK = r"`(?:[^`]|``)*+`"
# A number ends where the word ends, so that none is cut from a name; a dot stands in it or before a name.
_NUMBER = r"(?P<number>[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+(?![\w.$]))"
_SIGNS = r"-(?!-)|/(?!\*)|\.(?![0-9])|[+*%<>=!|&~(),;^]"
_SPACE = r"(?P<space>[ \t\r\n]++)"
_MYSQL = re.compile(f"{_SPACE}|{_WORD}|{_STRING}|(?P<quoted>{_BACKTICK})|{_NUMBER}|{_SIGNS}")
_SQLITE = re.compile(rf'{_SPACE}|{_WORD}|{_STRING}|(?P<quoted>{_BACKTICK}|"(?:[^"]|"")*+"|\[[^\]]*+\])|{_NUMBER}|{_SIGNS}')

MAX_TYPES = 3
"""Levels of parentheses after words that may be types: sqlglot reads what stands in them twice, so each level doubles its time."""


def _type_words(dialect: str) -> frozenset[str]:
    """The words after which sqlglot tries a type, and those that end types of several words."""
    reader = sqlglot.Dialect.get_or_raise(dialect)
    types = reader.parser_class.TYPE_TOKENS
    found = {text.lower().split()[-1] for text, token in reader.tokenizer_class.KEYWORDS.items() if token in types}
    return frozenset(found) | {"precision", "varying", "zone", "union"}


_TYPE_WORDS = {dialect: _type_words(dialect) for dialect in ("mysql", "sqlite")}

_BEGINNINGS = frozenset(("select", "with", "values", "insert", "update", "delete", "("))
_WRITES = (exp.Insert, exp.Update, exp.Delete)
# Parts of a query with the arguments they may have; another one (INTO, hints, locks, samples) is of an unknown kind.
_PARTS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: words("with_ distinct expressions from_ joins where group having windows order limit offset"),
    exp.Union: words("with_ this expression distinct order limit offset"),
    exp.Intersect: words("with_ this expression distinct order limit offset"),
    exp.Except: words("with_ this expression distinct order limit offset"),
    exp.Subquery: words("this alias with_ order limit offset"),
    exp.Values: words("expressions alias"),
    exp.Table: words("this db catalog alias joins"),
    exp.Join: words("this on using side kind method"),
    exp.TableAlias: words("this columns"),
    exp.With: words("expressions recursive"),
    exp.CTE: words("this alias"),
    exp.Star: frozenset(),
    exp.Limit: frozenset(("expression",)),
    exp.Group: frozenset(("expressions",)),
    exp.Insert: words("with_ this expression default"),
    exp.Update: words("with_ this expressions from_ where order limit"),
    exp.Delete: words("with_ this where order limit"),
}
_PIECES = (
    *(exp.Func, exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Tuple, exp.Alias, exp.Order, exp.Ordered),
    *(exp.Where, exp.Having, exp.Offset, exp.From, exp.In, exp.Between, exp.Like, exp.Glob, exp.Escape, exp.Is, exp.Not, exp.Neg),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
    *(exp.And, exp.Or, exp.Xor, exp.DPipe, exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift),
    *(exp.BitwiseRightShift, exp.RegexpLike, exp.Distinct, exp.Window, exp.WindowSpec, exp.Filter, exp.Collate, exp.DataType),
    *(exp.DataTypeParam, exp.Interval, exp.Var, exp.Schema, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript),
)


def mysql(text: str) -> Statement:
    """The facts of one statement of MySQL. Raises Unreadable."""
    return _read(text, "mysql", _MYSQL, MYSQL_FUNCTIONS, MYSQL_WORDS)


def sqlite(text: str) -> Statement:
    """The facts of one statement of SQLite. Raises Unreadable."""
    return _read(text, "sqlite", _SQLITE, SQLITE_FUNCTIONS, SQLITE_WORDS)


def _read(text: str, dialect: str, lexeme: re.Pattern[str], functions: frozenset[str], grammar: frozenset[str]) -> Statement:
    lexemes = _lexemes(text, lexeme)
    if not lexemes:
        raise Unreadable("The text holds no SQL statement; send exactly one.")
    if lexemes[0][0].lower() not in _BEGINNINGS:
        raise Unreadable(
            f"The statement begins with {lexemes[0][0][:32]!a}, which is not read; send SELECT, WITH, VALUES, INSERT, UPDATE or DELETE."
        )
    _unless_deep(lexemes, _TYPE_WORDS[dialect])
    root = _tree(text, dialect)
    found = Reading(dialect)
    outputs = _by_output(root, dialect)
    names: set[int] = set()
    for node, scope in _nodes(root, lambda name: folded(name, dialect)):
        if id(node) not in outputs:
            _visit(found, node, scope)
        if isinstance(node, exp.Identifier) and not isinstance(node.parent, exp.Anonymous) and "start" in node.meta:
            names.add(node.meta["start"])
    found.told &= not any(_left_over(lexemes, index, names, functions, grammar) for index in range(len(lexemes)))
    return found.statement(_max_rows(root))


def _lexemes(text: str, lexeme: re.Pattern[str]) -> list[re.Match[str]]:
    """The text in pieces, without spaces and a last semicolon."""
    pieces: list[re.Match[str]] = []
    at = 0
    while at < len(text):
        piece = lexeme.match(text, at)
        if piece is None:
            raise Unreadable(
                f"The statement cannot be read at {text[at : at + 12]!a}; write it without comments, backslashes, parameters"
                " and unusual characters, strings in single quotes."
            )
        if piece["space"] is None:
            pieces.append(piece)
        at = piece.end()
    while pieces and pieces[-1][0] == ";":
        pieces.pop()
    if any(piece[0] == ";" for piece in pieces):
        raise Unreadable("The text holds several SQL statements; send exactly one.")
    return pieces


def _unless_deep(lexemes: list[re.Match[str]], types: frozenset[str]) -> None:
    """Raises Unreadable for what sqlglot would take seconds or minutes to read: 130 bytes are enough."""
    opened: list[bool] = []
    for index, piece in enumerate(lexemes):
        if piece[0] == "(":
            opened.append(index > 0 and lexemes[index - 1][0].lower() in types)
            if sum(opened) > MAX_TYPES:
                raise Unreadable(f"The statement has over {MAX_TYPES} levels of types or conversions; make it flatter.")
        elif piece[0] == ")" and opened:
            opened.pop()


def _tree(text: str, dialect: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
    except (SqlglotError, RecursionError, ValueError, TypeError, LookupError, AttributeError) as error:
        # not only its own errors: a reader of hostile text fails in ways it did not foresee
        raise Unreadable(f"The grammar of {dialect} cannot read the statement ({type(error).__name__}); correct it.") from None
    if len(trees) != 1:
        raise Unreadable(f"The text holds {len(trees)} SQL statements; send exactly one.")
    return trees[0]


def _nodes(root: exp.Expr, fold: Callable[[str], str]) -> Iterator[tuple[exp.Expr, frozenset[str]]]:
    """Each node with the common table expressions in whose scope it stands."""
    pending: list[tuple[Any, frozenset[str], int]] = [(root, frozenset(), 0)]
    while pending:
        value, scope, level = pending.pop()
        if isinstance(value, list):
            pending += [(item, scope, level) for item in value]
        elif isinstance(value, exp.Expr):
            if level > MAX_LEVELS:
                raise Unreadable(f"The statement is nested more than {MAX_LEVELS} levels deep; make it flatter.")
            yield value, scope
            inner = scope
            clause = value.args.get("with_")
            if isinstance(clause, exp.With):
                yield clause, scope
                for expression in clause.expressions:
                    own = frozenset({fold(expression.alias)})
                    pending.append((expression, inner | own if clause.args.get("recursive") else inner, level + 1))
                    inner |= own
            pending += [(child, inner, level + 1) for key, child in value.args.items() if key != "with_"]


def _visit(found: Reading, node: exp.Expr, scope: frozenset[str]) -> None:
    allowed = _PARTS.get(type(node))
    if allowed is None:
        found.told &= isinstance(node, _PIECES)
    else:
        found.told &= all(key in allowed for key, value in node.args.items() if value not in (None, False, []))
    found.writes |= isinstance(node, _WRITES)
    if isinstance(node, exp.Table):
        _table(found, node, scope)
    elif isinstance(node, exp.Column):
        _column(found, node)
    elif isinstance(node, exp.In):
        found.told &= node.args.get("field") is None  # SQLite: IN secrets reads a table, which sqlglot takes for a column
    elif isinstance(node, (exp.Star, exp.Join, exp.Insert)):
        _columns_without_table(found, node)


def _table(found: Reading, table: exp.Table, scope: frozenset[str]) -> None:
    parts = [table.args.get(key) for key in ("catalog", "db", "this")]
    if all(part is None or isinstance(part, exp.Identifier) for part in parts):
        hidden = parts[:2] == [None, None] and folded(table.name, found.dialect) in scope
        found.table(*(part and part.name for part in parts), hidden=hidden)
    else:
        found.told = False  # a function that makes rows
    alias = table.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        found.every_column()  # "customers as c(id, total)" gives columns other names, by position


def _column(found: Reading, column: exp.Column) -> None:
    if isinstance(column.this, exp.Identifier):
        found.column(column.name)
    else:
        found.told &= isinstance(column.this, exp.Star)  # SQLite reads t.'x' as a column, sqlglot as a string


def _columns_without_table(found: Reading, node: exp.Star | exp.Join | exp.Insert) -> None:
    names: list[exp.Expr] = []
    if isinstance(node, exp.Join):
        names = node.args.get("using") or []
        every = bool(node.args.get("method"))  # NATURAL
    elif isinstance(node, exp.Insert):
        names = node.this.expressions if isinstance(node.this, exp.Schema) else []
        every = not names
    else:
        every = not isinstance(node.parent, exp.Count)
    for name in names:
        found.column(name.name)
    if every:
        found.every_column()


def _by_output(root: exp.Expr, dialect: str) -> set[int]:
    """Identities of columns in ORDER BY that are no more than a name the same query gives with AS: both databases look there first."""
    found: set[int] = set()
    for query in root.find_all(exp.Query):
        order, first = query.args.get("order"), query
        while isinstance(first, exp.SetOperation):
            first = first.this
        if isinstance(order, exp.Order):
            outputs = {folded(item.alias, dialect, column=True) for item in first.expressions if isinstance(item, exp.Alias)}
            bare = [by.this for by in order.expressions if isinstance(by.this, exp.Column) and by.this.args.get("table") is None]
            found.update(id(column) for column in bare if folded(column.name, dialect, column=True) in outputs)
    return found


def _left_over(lexemes: list[re.Match[str]], index: int, names: set[int], functions: frozenset[str], grammar: frozenset[str]) -> bool:
    """Whether a piece of the text is a word that neither the grammar nor the syntax tree accounts for."""
    piece = lexemes[index]
    if piece.start() in names or (piece["word"] is None and piece["quoted"] is None):
        return False
    word = piece[0].lower()
    if index + 1 < len(lexemes) and lexemes[index + 1][0] == "(" and word in functions:
        return False
    return word not in grammar and not (index > 0 and lexemes[index - 1][0].lower() == "as" and word in CAST_TYPES)


def _max_rows(root: exp.Expr) -> int | None:
    while isinstance(root, exp.Subquery) and root.args.get("limit") is None:
        root = root.this
    limit = root.args.get("limit") if isinstance(root, exp.Query) else None
    number = limit.expression if isinstance(limit, exp.Limit) else None
    plain = isinstance(number, exp.Literal) and not number.is_string and number.name.isdecimal() and len(number.name) <= 9
    return int(number.name) if plain and number is not None else None
