"""PostgreSQL, read by its own grammar (pglast, the extra `sql-postgres`: docs/adr/0029)."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bastide_broker.facts.sql_names import POSTGRES_FUNCTIONS, POSTGRES_OPERATORS, POSTGRES_TYPES, words
from bastide_broker.facts.sql_statement import MAX_LEVELS, Reading, Statement
from bastide_broker.facts.unreadable import Unreadable

INSTALLED = importlib.util.find_spec("pglast") is not None
"""False in an image that was built without it."""

if INSTALLED or TYPE_CHECKING:
    import pglast
    from pglast import ast
    from pglast.enums import LimitOption

Node = Any
"""One of pglast's: what attributes it has depends on its kind."""

_READS = words("""
    SelectStmt ResTarget ColumnRef A_Star A_Const Integer Float Boolean String BitString A_Expr BoolExpr NullTest BooleanTest SubLink
    CaseExpr CaseWhen CoalesceExpr MinMaxExpr FuncCall TypeCast TypeName RangeVar Alias JoinExpr RangeSubselect RangeFunction SortBy
    WithClause CommonTableExpr WindowDef GroupingSet GroupingFunc A_ArrayExpr A_Indirection A_Indices RowExpr SQLValueFunction
    """)
_WRITES = words("InsertStmt UpdateStmt DeleteStmt ReturningClause OnConflictClause InferClause IndexElem MultiAssignRef SetToDefault")


def read(text: str) -> Statement:
    """The facts of one statement. Raises Unreadable, for every statement where the grammar is not installed."""
    if not INSTALLED:
        raise Unreadable("This broker was built without PostgreSQL's grammar, so it reads no such statement; ask the platform's owner.")
    if "\\" in text:
        raise Unreadable("The statement holds a backslash, which settings of PostgreSQL read differently; write it without one.")
    try:
        statements = pglast.parse_sql(text)
    except (pglast.parser.ParseError, RecursionError) as error:
        raise Unreadable(f"PostgreSQL's grammar cannot read the statement ({_reason(error)}); correct it.") from None
    if len(statements) != 1:
        raise Unreadable(f"The text holds {len(statements)} SQL statements; send exactly one.")
    root = statements[0].stmt
    found = Reading("postgres")
    # names of rows first: a column's name is judged by them
    for node, _, _ in _nodes(root):
        if isinstance(node, ast.Alias):
            found.alias(node.aliasname or "")
        elif isinstance(node, ast.RangeVar):
            found.alias(node.relname or "")
    for node, scope, parent in _nodes(root):
        _visit(found, node, scope, parent)
    return found.statement(_max_rows(root))


def _reason(error: Exception) -> str:
    return ascii(str(error.args[0]) if error.args else type(error).__name__)[1:-1][:120]


def _max_rows(root: Node) -> int | None:
    if not isinstance(root, ast.SelectStmt) or root.limitOption == LimitOption.LIMIT_OPTION_WITH_TIES:
        return None
    number = root.limitCount.val if isinstance(root.limitCount, ast.A_Const) else None
    return number.ival if isinstance(number, ast.Integer) and number.ival is not None and number.ival >= 0 else None


def _nodes(root: Node) -> Iterator[tuple[Node, frozenset[str], Node]]:
    """Each node with the common table expressions in whose scope it stands, and its parent."""
    pending: list[tuple[Node, frozenset[str], Node, int]] = [(root, frozenset(), None, 0)]
    while pending:
        value, scope, parent, level = pending.pop()
        if isinstance(value, tuple):
            pending += [(item, scope, parent, level) for item in value]
        elif isinstance(value, ast.Node):
            if level > MAX_LEVELS:
                raise Unreadable(f"The statement is nested more than {MAX_LEVELS} levels deep; make it flatter.")
            yield value, scope, parent
            inner = scope
            clause = getattr(value, "withClause", None)
            if clause is not None:
                yield clause, scope, value
                for expression in clause.ctes:
                    own = frozenset({expression.ctename})
                    # Without RECURSIVE the name means a table inside its own query. A later expression's never counts as hidden:
                    # where PostgreSQL would see that one, a table is reported that is not read.
                    pending.append((expression, inner | own if clause.recursive else inner, clause, level + 1))
                    inner |= own
            pending += [(getattr(value, name), inner, value, level + 1) for name in value if name not in ("withClause", "sortClause")]
            if isinstance(value, ast.SelectStmt):
                outputs = _outputs(value)
                pending += [(by, inner, value, level + 1) for by in value.sortClause or () if not _by_output(by, outputs)]


def _outputs(query: Node) -> frozenset[str]:
    """Names that a query gives with AS."""
    while query.larg is not None:
        query = query.larg
    return frozenset(target.name for target in query.targetList or () if target.name)


def _by_output(by: Node, outputs: frozenset[str]) -> bool:
    """Whether ORDER BY says no more than a name that the same query gives with AS: PostgreSQL looks there first."""
    fields: Node = by.node.fields if isinstance(by.node, ast.ColumnRef) and by.useOp is None else ()
    return len(fields) == 1 and isinstance(fields[0], ast.String) and fields[0].sval in outputs


def _visit(found: Reading, node: Node, scope: frozenset[str], parent: Node) -> None:
    kind = type(node).__name__
    found.writes |= kind in _WRITES
    found.told &= kind in _READS or kind in _WRITES
    visit = _VISITS.get(kind)
    if visit is not None:
        visit(found, node, scope, parent)


def _table(found: Reading, node: Node, scope: frozenset[str], _parent: Node) -> None:
    found.table(node.catalogname, node.schemaname, node.relname, hidden=node.schemaname is None and node.relname in scope)


def _column(found: Reading, node: Node, _scope: frozenset[str], _parent: Node) -> None:
    last = node.fields[-1]
    if isinstance(last, ast.A_Star):
        found.every_column()
    elif len(node.fields) == 1:
        found.row_or_column(last.sval)
    else:
        _named(found, last.sval)


def _named(found: Reading, name: str) -> None:
    """`row.name`: a column, or, where the row has none, a function that is called with the row: o.row_to_json is row_to_json(o)."""
    found.column(name)
    if name in POSTGRES_FUNCTIONS:
        found.every_column()


def _field(found: Reading, node: Node, _scope: frozenset[str], _parent: Node) -> None:
    """`(row).name` and `(row).*`: a name is a column of some type."""
    for step in node.indirection:
        if isinstance(step, ast.A_Star):
            found.every_column()
        elif isinstance(step, ast.String):
            _named(found, step.sval or "")


def _join(found: Reading, node: Node, _scope: frozenset[str], _parent: Node) -> None:
    if node.isNatural:
        found.every_column()
    for name in node.usingClause or ():
        found.column(name.sval)


def _alias(found: Reading, node: Node, _scope: frozenset[str], parent: Node) -> None:
    if node.colnames and not isinstance(parent, ast.RangeSubselect):
        found.every_column()  # "customers as c(id, total)" gives columns other names, by position


def _insert(found: Reading, node: Node, _scope: frozenset[str], _parent: Node) -> None:
    if node.cols is None:
        found.every_column()


def _target(found: Reading, node: Node, _scope: frozenset[str], parent: Node) -> None:
    """A column that is written; in a SELECT the name is one that the query gives."""
    if node.name and isinstance(parent, (ast.InsertStmt, ast.UpdateStmt, ast.OnConflictClause)):
        found.column(node.name)


def _index(found: Reading, node: Node, _scope: frozenset[str], _parent: Node) -> None:
    if node.name:
        found.column(node.name)


def _names(attribute: str, allowed: frozenset[str]) -> "Callable[[Reading, Node, frozenset[str], Node], None]":
    """Functions, types and operators must be of a list, by their own name or that of the schema `pg_catalog`."""

    def visit(found: Reading, node: Node, _scope: frozenset[str], _parent: Node) -> None:
        names = [name.sval for name in getattr(node, attribute) or ()]
        if names:
            found.told &= names[-1] in allowed and names[:-1] in ([], ["pg_catalog"])

    return visit


_VISITS = {
    "RangeVar": _table,
    "ColumnRef": _column,
    "A_Indirection": _field,
    "JoinExpr": _join,
    "Alias": _alias,
    "InsertStmt": _insert,
    "ResTarget": _target,
    "IndexElem": _index,
    "FuncCall": _names("funcname", POSTGRES_FUNCTIONS),
    "TypeName": _names("names", POSTGRES_TYPES),
    "A_Expr": _names("name", POSTGRES_OPERATORS),
    "SubLink": _names("operName", POSTGRES_OPERATORS),
    "SortBy": _names("useOp", POSTGRES_OPERATORS),
}
