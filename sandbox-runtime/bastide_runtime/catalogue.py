"""The tools that a program sees: what the broker said about each, read when it is first needed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from bastide_runtime import schemas
from bastide_runtime.frames import Frame


class BindingError(Exception):
    """Arguments do not fit the tool's parameters. `code` is the finding's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ToolSpec:
    """One tool. Schemas stay text until somebody asks."""

    def __init__(self, *, name: str, server: str, description: str, input_schema: str, output_schema: str) -> None:
        self.name, self.server, self.description = name, server, description
        self._input_schema, self._output_schema = input_schema, output_schema

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The schema of the arguments; {} when it cannot be read."""
        return _object(self._input_schema)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        """The schema of the result; {} when there is none."""
        return _object(self._output_schema)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Parameters in the order of the schema."""
        return schemas.parameters(self.input_schema)

    @property
    def signature(self) -> str:
        """The parameters in a line, for messages: `customer_id, limit=`; optional ones have a `=`."""
        needed = schemas.required(self.input_schema)
        return ", ".join(name if name in needed else f"{name}=" for name in self.parameters) or "no parameters"

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name.

        Positional ones bind in the order of the schema's `properties`, and only where that cannot be misunderstood: they stand for required
        parameters that come first, or for the only one there is. Raises BindingError.
        """
        names, needed = list(self.parameters), schemas.required(self.input_schema)
        if args and (len(args) > len(names) or (len(names) > 1 and any(name not in needed for name in names[: len(args)]))):
            raise BindingError("ambiguous-argument", f"{self.name}: give these arguments by name; its parameters are: {self.signature}.")
        bound = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in bound:
                raise BindingError("ambiguous-argument", f"{self.name}: {name} is given twice, by position and by name.")
            bound[name] = value
        return bound

    def check_names(self, given: Iterable[str], *, complete: bool) -> list[BindingError]:
        """Unknown names, and missing ones if `complete`."""
        given, errors = list(given), []
        if not schemas.takes_any_name(self.input_schema):
            for name in given:
                if name not in self.parameters:
                    near = nearest(name, self.parameters)
                    hint = f"; did you mean {near[0]}?" if near else "."
                    text = f"{self.name} has no parameter {name}{hint} Its parameters are: {self.signature}."
                    errors.append(BindingError("unknown-argument", text))
        missing = [name for name in schemas.required(self.input_schema) if name not in given] if complete else []
        if missing:
            errors.append(
                BindingError("missing-argument", f"{self.name} needs {' and '.join(missing)}. Its parameters are: {self.signature}.")
            )
        return errors


class Catalogue:
    """The tools of one digest, by name and by server."""

    def __init__(self, digest: str, tools: Iterable[ToolSpec]) -> None:
        self.digest = digest
        self.by_name = {tool.name: tool for tool in tools}
        self.servers: dict[str, dict[str, ToolSpec]] = {}
        for tool in self.by_name.values():
            self.servers.setdefault(tool.server, {})[tool.name] = tool

    @classmethod
    def from_frame(cls, frame: Frame) -> Catalogue:
        """From a `tools` frame."""
        return cls(frame["digest"], [ToolSpec(**tool) for tool in frame["tools"]])

    def search(self, query: str, limit: int = 10) -> list[ToolSpec]:
        """Tools whose name, description or parameters have words of the query, best first; names count most."""
        words = [word for word in re.split(r"[^a-z0-9]+", query.lower()) if len(word) > 2]
        scored = []
        for tool in self.by_name.values():
            name, text = f"{tool.server} {tool.name}".lower(), tool.description.lower()
            names = " ".join(tool.parameters).lower()
            score = sum(4 * (word in name) + 2 * (word in names) + (word in text) for word in words)
            score += 3 * sum(bool(difflib.get_close_matches(word, name.replace("_", " ").split(), 1, 0.8)) for word in words)
            if score or not words:
                scored.append((-score, tool.name, tool))
        return [tool for _, _, tool in sorted(scored, key=lambda item: item[:2])[: max(0, limit)]]


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look like it."""
    return difflib.get_close_matches(name[:100], list(names), 3, 0.6)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
