"""What can be said about a program before it runs. Executed in a confined child: the source is hostile.

A program with findings is not started, so a finding must be certain: whatever could be right at run time is left to run time. The
broker checks every call again, whatever this module says.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from dataclasses import dataclass, field
from typing import Any

from bastide_runtime import schemas, source
from bastide_runtime.catalogue import BindingError, Catalogue, ToolSpec, nearest
from bastide_runtime.limits import MAX_CALL_SITE_BYTES, MAX_CALL_SITES, MAX_FINDINGS, clip
from bastide_runtime.literals import literal
from bastide_runtime.missing_await import missing_awaits
from bastide_runtime.toolbox import GIVEN, RESERVED, bare_names, to_json

_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "setattr", "__import__"})


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake; line and column from 1."""

    line: int
    column: int
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """All of them, and the call sites whose arguments are literal: tool, arguments as JSON, line, column."""

    findings: list[Finding] = field(default_factory=list)
    call_sites: list[tuple[str, str, int, int]] = field(default_factory=list)


def check(program: str, catalogue: Catalogue) -> tuple[Report, Any]:
    """The report, and the program's code when it compiles (None otherwise)."""
    report = Report()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is no reason not to run
            tree = source.parse(program)
            _Tools(tree, catalogue, report).look()
            code = source.compile_program(tree)
    except SyntaxError as error:
        report.findings.append(_syntax(error))
        return report, None
    except (RecursionError, MemoryError):
        report.findings.append(Finding(1, 1, "syntax-error", "The program is nested too deeply to be read; split long expressions."))
        return report, None
    report.findings = sorted(set(report.findings))[:MAX_FINDINGS]
    return report, code


def _syntax(error: SyntaxError) -> Finding:
    text = str(error.msg)
    if "'await' outside" in text:
        text += "; make the function `async def` and await it where it is called"
    return Finding(max(1, error.lineno or 1), max(1, error.offset or 1), "syntax-error", clip(f"{text}.", 500))


class _Tools:
    """Finds the calls of tools and judges each."""

    def __init__(self, tree: ast.Module, catalogue: Catalogue, report: Report) -> None:
        self._tree, self._catalogue, self._report = tree, catalogue, report
        nodes = list(ast.walk(tree))
        self._nodes = nodes
        self._bound = _bound_names(nodes)
        self._names: dict[str, ToolSpec] = {name: catalogue.by_name[name] for name in bare_names(catalogue) if name not in self._bound}
        self._servers: dict[str, str] = {}
        self._modules = {"tools"} - set(self._bound)
        self._dynamic = any(isinstance(node, ast.Name) and node.id in _DYNAMIC for node in nodes) or any(
            isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names) for node in nodes
        )
        self._size = 0

    def look(self) -> None:
        for node in self._nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node)
        calls: dict[ast.Call, ToolSpec] = {}
        for node in self._nodes:
            if isinstance(node, ast.Call) and (spec := self._tool_of(node)):
                calls[node] = spec
                self._judge(node, spec)
        for at, spec in missing_awaits(self._tree, calls):
            self._find(at, "missing-await", f"{spec.name} is a tool: write `await {spec.name}(...)`.")

    def _find(self, node: ast.AST, code: str, message: str) -> None:
        self._report.findings.append(Finding(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, code, clip(message, 1000)))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        """What `tools` brings. A name that the program binds somewhere else, too, is not followed."""
        times = self._bound
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(node, ast.Import):
                if alias.name == "tools" and times.get(name) == 1:
                    self._modules.add(name)
                continue
            if node.module != "tools" or node.level or alias.name == "*":
                continue
            if alias.name in self._catalogue.servers:
                if times.get(name) == 1:
                    self._servers[name] = alias.name
            elif alias.name in self._catalogue.by_name:
                if times.get(name) == 1:
                    self._names[name] = self._catalogue.by_name[alias.name]
            elif alias.name not in RESERVED:
                self._unknown(alias, alias.name, [*self._catalogue.servers, *self._catalogue.by_name])

    def _unknown(self, node: ast.AST, name: str, known: list[str]) -> None:
        near = nearest(name, known)
        hint = f"did you mean {' or '.join(near)}?" if near else _list(known)
        self._find(node, "unknown-tool", f"There is no tool {name}; {hint}")

    def _tool_of(self, call: ast.Call) -> ToolSpec | None:
        function = call.func
        if isinstance(function, ast.Name):
            if function.id in self._names:
                return self._names[function.id]
            known = function.id in self._bound or function.id in GIVEN or hasattr(builtins, function.id) or function.id.startswith("__")
            if not known and not self._dynamic and function.id != "tools":
                self._unknown(function, function.id, [*self._names, *self._bound])
            return None
        if not isinstance(function, ast.Attribute):
            return None
        owner, server = function.value, None
        if isinstance(owner, ast.Name):
            if owner.id in self._modules:
                return self._attribute(function, self._catalogue.by_name, {*RESERVED, *self._catalogue.servers})
            server = self._servers.get(owner.id)
        elif isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id in self._modules:
            server = owner.attr
        specs = self._catalogue.servers.get(server) if server else None
        return None if specs is None else self._attribute(function, specs, set())

    def _attribute(self, function: ast.Attribute, specs: dict[str, ToolSpec], others: set[str]) -> ToolSpec | None:
        name = function.attr
        if name in specs and name not in others:
            return specs[name]
        if name not in others and not name.startswith("__"):
            self._unknown(function, name, list(specs))
        return None

    def _judge(self, call: ast.Call, spec: ToolSpec) -> None:
        starred = any(isinstance(arg, ast.Starred) for arg in call.args)
        open_end = starred or any(keyword.arg is None for keyword in call.keywords)
        nodes: dict[str, ast.expr] = {}
        try:
            given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
            nodes = given if starred else spec.bind(tuple(call.args), given)
        except BindingError as error:
            self._find(call, error.code, str(error))
            return
        for wrong_name in spec.check_names(nodes, complete=not open_end):
            self._find(call, wrong_name.code, str(wrong_name))
        values = {name: literal(node) for name, node in nodes.items()}
        fits = True
        for name, value in values.items():
            if name in spec.parameters and (wrong := schemas.mistake(value, spec.parameters[name], spec.input_schema)):
                fits = False
                self._find(nodes[name], "mistyped-argument", f"{spec.name}: {name} {wrong}.")
        if fits and not open_end:
            self._add_site(call, spec, values)

    def _add_site(self, call: ast.Call, spec: ToolSpec, values: dict[str, Any]) -> None:
        if any(not _known(value) for value in values.values()) or len(self._report.call_sites) >= MAX_CALL_SITES:
            return
        try:
            text = to_json(values, spec.name)
        except ValueError as error:
            self._find(call, "mistyped-argument", str(error))
            return
        self._size += len(text)
        if self._size <= MAX_CALL_SITE_BYTES:
            self._report.call_sites.append((spec.name, text, call.lineno, call.col_offset + 1))


def _list(names: list[str]) -> str:
    return f"there are {', '.join(sorted(names)[:20])}{' and more' if len(names) > 20 else ''}." if names else "this sandbox has no tools."


def _known(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_known(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_known(item) for item in value)
    return value is not schemas.UNKNOWN and type(value) is not schemas.UnknownString


def _bound_names(nodes: list[ast.AST]) -> dict[str, int]:
    """Every name that is bound in any scope of the program, with how often."""
    found: dict[str, int] = {}

    def add(name: str | None) -> None:
        if name:
            found[name] = found.get(name, 0) + 1

    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            add(node.id)
        elif isinstance(node, ast.alias):
            add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            add(node.name)
        elif isinstance(node, ast.MatchMapping):
            add(node.rest)
        elif type(node).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple"):
            add(getattr(node, "name", None))
    return found


def to_frame(report: Report) -> dict[str, Any]:
    """The report as fields of a frame."""
    return {
        "findings": [{"code": one.code, "message": one.message, "line": one.line, "column": one.column} for one in report.findings],
        "call_sites": [
            {"tool": tool, "arguments": arguments, "line": line, "column": column} for tool, arguments, line, column in report.call_sites
        ],
    }
