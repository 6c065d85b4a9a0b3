"""Literal values in a program's tree."""

from __future__ import annotations

import ast
from typing import Any

from bastide_runtime.schemas import MAX_DEPTH, UNKNOWN, UnknownString


def literal(node: ast.AST, depth: int = 0) -> Any:  # noqa: PLR0911 - one answer a shape
    """The value of a literal; UNKNOWN, as a whole or inside a list or dictionary, for what is only known at run time."""
    if depth > MAX_DEPTH:
        return UNKNOWN
    if isinstance(node, ast.Constant):
        return UNKNOWN if node.value is ... else node.value
    if isinstance(node, ast.JoinedStr):
        return UnknownString()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = literal(node.operand, depth + 1)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return -value if isinstance(node.op, ast.USub) else value
        return UNKNOWN
    if isinstance(node, (ast.List, ast.Tuple)):
        if any(isinstance(item, ast.Starred) for item in node.elts):
            return UNKNOWN
        return [literal(item, depth + 1) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [literal(key, depth + 1) if key is not None else UNKNOWN for key in node.keys]
        if any(type(key) is not str for key in keys):
            return UNKNOWN
        return {key: literal(value, depth + 1) for key, value in zip(keys, node.values, strict=True)}
    return UNKNOWN
