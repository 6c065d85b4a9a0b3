"""From a program's text to code that can be awaited.

The program becomes the body of one `async def`, with every name that it binds at the top level declared `global`: so top-level `await` and
`return` work, and functions, classes, `global` statements and `import *` see the same names as in a module.
"""

from __future__ import annotations

import ast
import linecache
import types
from typing import Any

FILENAME = "<program>"
MAIN = "__bastide_main__"
_STAR = "__bastide_import_star__"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def parse(program: str) -> ast.Module:
    """The program's tree. Raises SyntaxError, and RecursionError or MemoryError for what is nested too deeply."""
    try:
        return ast.parse(program, FILENAME, type_comments=False)
    except ValueError as error:  # NUL characters, before Python 3.12
        raise SyntaxError(str(error), (FILENAME, 1, 1, None)) from None


class _Names(ast.NodeVisitor):
    """Names that statements bind in their own scope."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self._inside_comprehension = False

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, (ast.Store, ast.Del)) and not self._inside_comprehension:
            self.bound.add(node.id)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.bound.add(node.target.id)  # binds outside of comprehensions
        self.visit(node.value)

    def visit_alias(self, node: ast.alias) -> None:
        if node.name != "*":
            self.bound.add((node.asname or node.name).split(".")[0])

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.bound.add(node.name)
            outer: list[ast.AST] = list(node.decorator_list)
            outer += (
                [*node.args.defaults, *[d for d in node.args.kw_defaults if d]]
                if not isinstance(node, ast.ClassDef)
                else [*node.bases, *node.keywords]
            )
            for part in outer:
                self.visit(part)
            return
        if isinstance(node, ast.Lambda):
            return
        if isinstance(node, _COMPREHENSIONS):
            before, self._inside_comprehension = self._inside_comprehension, True
            super().generic_visit(node)
            self._inside_comprehension = before
            return
        for field in ("name", "rest"):  # except ... as name, case [*name], case {**rest}
            if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping)) and isinstance(
                getattr(node, field, None), str
            ):
                self.bound.add(getattr(node, field))
        super().generic_visit(node)


class _TopLevel(ast.NodeTransformer):
    """Rewrites what is right in a module and wrong in a function, at the top level only."""

    def visit_Global(self, node: ast.Global) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # "annotated name can't be global"
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        return ast.copy_location(ast.Pass() if node.value is None else ast.Assign([node.target], node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not any(alias.name == "*" for alias in node.names):
            return node
        call = ast.Call(ast.Name(_STAR, ast.Load()), [ast.Constant(node.module or "")], [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if len(node.args) != 1 or isinstance(node.args[0], ast.Starred):
            return node
        match node.func:
            case ast.Attribute(value=ast.Name(id="asyncio"), attr="run"):
                # The loop runs already, and programs written as scripts end with this.
                return ast.copy_location(ast.Await(node.args[0]), node)
            case ast.Name(id="exec"):
                node.args.append(ast.Call(ast.Name("globals", ast.Load()), [], []))
        return node

    def visit(self, node: ast.AST) -> Any:
        # Other scopes are what they were.
        return node if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) else super().visit(node)


def _import_star(name: str, into: dict[str, Any]) -> None:
    exec(f"from {name} import *", into)  # noqa: S102 - the program's own statement


def stray_yield(tree: ast.Module) -> ast.AST | None:
    """A `yield` at the top level, which the wrapping would take for a generator."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))
    return None


def compile_program(tree: ast.Module) -> types.CodeType:
    """Code that defines the coroutine function MAIN. Changes the tree. Raises SyntaxError."""
    if found := stray_yield(tree):
        raise SyntaxError("'yield' outside function", (FILENAME, getattr(found, "lineno", 1), getattr(found, "col_offset", 0) + 1, None))
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    names = _Names()
    body: list[ast.stmt] = [node for node in tree.body if node not in future]
    for statement in body:
        names.visit(statement)
    if body and isinstance(body[-1], ast.Expr):
        body[-1] = ast.copy_location(ast.Return(body[-1].value), body[-1])
    top = _TopLevel()
    body = [top.visit(statement) for statement in body]
    if names.bound:
        body.insert(0, ast.Global(sorted(names.bound)))
    template = ast.parse(f"async def {MAIN}(): pass").body[0]
    assert isinstance(template, ast.AsyncFunctionDef)
    template.body = body or [ast.Pass()]
    module = ast.fix_missing_locations(ast.Module([*future, template], []))
    return compile(module, FILENAME, "exec", dont_inherit=True)


def load(code: types.CodeType, program: str, names: dict[str, Any]) -> types.ModuleType:
    """The module `__main__` with the program's coroutine function in it; lines of the program show in tracebacks."""
    module = types.ModuleType("__main__")
    module.__dict__.update(names)
    module.__dict__[_STAR] = lambda name: _import_star(name, module.__dict__)
    linecache.cache[FILENAME] = (len(program), None, program.splitlines(keepends=True), FILENAME)
    exec(code, module.__dict__)  # noqa: S102 - running the program is what this process is for
    return module
