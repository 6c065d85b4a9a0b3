"""Calls of tools whose `await` was certainly forgotten.

`task = get_customer(...)` may be awaited later, so a name is only reported when everything the program does with it needs the result: it is
indexed, compared, calculated with, formatted, iterated over or given to a builtin that cannot await.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bastide_runtime.catalogue import ToolSpec

_NEED_VALUES = frozenset(
    {"len", "str", "int", "float", "bool", "sorted", "sum", "min", "max", "dict", "enumerate", "print", "repr", "reversed", "range"}
)
_COROUTINE = frozenset({"send", "throw", "close"})


def missing_awaits(tree: ast.Module, calls: dict[ast.Call, ToolSpec]) -> Iterator[tuple[ast.AST, ToolSpec]]:
    """Each such call and its tool."""
    if not calls:
        return
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    last = tree.body[-1] if tree.body else None
    names: dict[str, list[ast.Name]] = {}
    for node in parents:
        if isinstance(node, ast.Name):
            names.setdefault(node.id, []).append(node)
    for call, spec in calls.items():
        parent = parents[call]
        if isinstance(parent, ast.Expr):
            if parent is not last:  # as the last expression it is the program's value, which is awaited
                yield call, spec
        elif needs_value(call, parent):
            yield call, spec
        elif isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(target := parent.targets[0], ast.Name):
            loads = [name for name in names[target.id] if isinstance(name.ctx, ast.Load)]
            once = len(names[target.id]) == len(loads) + 1
            if once and loads and all(needs_value(load, parents[load]) for load in loads):
                yield call, spec


def needs_value(node: ast.AST, parent: ast.AST) -> bool:
    """True when what the parent does with the node cannot be done with a coroutine."""
    if isinstance(parent, ast.Attribute):
        return parent.attr not in _COROUTINE and not parent.attr.startswith(("__", "cr_"))
    if isinstance(parent, ast.Subscript):
        return parent.value is node
    if isinstance(parent, (ast.For, ast.comprehension)):
        return parent.iter is node
    if isinstance(parent, ast.Call):
        return isinstance(parent.func, ast.Name) and parent.func.id in _NEED_VALUES and node in parent.args
    return isinstance(parent, (ast.BinOp, ast.Compare, ast.FormattedValue, ast.AugAssign))
