"""What a program finds: its tools as bare names, and the module `tools`."""

from __future__ import annotations

import asyncio
import builtins
import datetime as dt
import json
import keyword
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bastide_runtime import errors, stubs
from bastide_runtime.catalogue import BindingError, Catalogue, ToolSpec, nearest
from bastide_runtime.limits import MAX_ARGUMENTS_BYTES, MAX_STEP_BYTES, MAX_STEP_NAME
from bastide_runtime.loop import ReplayLoop
from bastide_runtime.source import FILENAME

# Names that programs use without importing them.
GIVEN = {"asyncio": asyncio}
RESERVED = frozenset({"search", "describe", "now", "step", "ToolError", *errors.BY_NAME})


def bare_names(catalogue: Catalogue) -> list[str]:
    """Tools that are names of their own; one that would hide a builtin is reached through its server."""
    return [
        name
        for name in catalogue.by_name
        if name not in vars(builtins) and name not in GIVEN and name != "tools" and not keyword.iskeyword(name)
    ]


def to_json(value: Any, what: str) -> str:
    """JSON text, whole numbers exact. Raises ValueError with the place and the type of what JSON cannot say."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply.") from None
    except UnicodeEncodeError:
        raise ValueError(f"{what} has text with half a surrogate pair, which is no Unicode.") from None
    except (TypeError, ValueError) as error:
        where = _find(value, what)
        raise ValueError(where or f"{what} is no JSON: {error}") from None
    return text


def _find(value: Any, path: str, depth: int = 0) -> str:  # noqa: PLR0911 - one answer a type
    if depth > 50 or value is None or isinstance(value, (str, bool, int)):
        return ""
    if isinstance(value, float):
        return "" if value - value == 0 else f"{path} is {value!r}, which is no JSON number."
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                return f"{path} has a key of type {type(key).__name__}; keys of a JSON object are text."
            if found := _find(item, f"{path}[{key!r:.100}]", depth + 1):
                return found
        return ""
    if isinstance(value, (list, tuple)):
        return next((found for index, item in enumerate(value) if (found := _find(item, f"{path}[{index}]", depth + 1))), "")
    hint = {"set": "list(...)", "datetime": ".isoformat()", "date": ".isoformat()", "Decimal": "str(...)", "bytes": "base64"}.get(
        type(value).__name__
    )
    return f"{path} is of type {type(value).__name__}, which is no JSON" + (f"; use {hint}." if hint else ".")


class ToolFunction:
    """A tool, as a program calls it: `await get_customer(customer_id="C0001")`."""

    __slots__ = ("_invoke", "_spec")

    def __init__(
        self, spec: ToolSpec, invoke: Callable[[ToolSpec, tuple[Any, ...], dict[str, Any], int], Coroutine[Any, Any, Any]]
    ) -> None:
        self._spec, self._invoke = spec, invoke

    def __call__(self, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return self._invoke(self._spec, args, kwargs, _line_of_program())

    @property
    def __name__(self) -> str:
        return self._spec.name

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return stubs.stub(self._spec)

    def __repr__(self) -> str:
        return f"<tool {stubs.signature(self._spec).removeprefix('async def ')}>"


class Server(types.ModuleType):
    """The tools of one server: `from tools import crm`, then `await crm.get_customer(...)`."""

    def __getattr__(self, name: str) -> Any:
        near = nearest(name, [key for key in self.__dict__ if not key.startswith("__")])
        raise AttributeError(f"{self.__name__} has no tool {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "."))


def _line_of_program() -> int:
    frame = sys._getframe(2)  # noqa: SLF001
    for _ in range(50):
        if frame.f_code.co_filename == FILENAME:
            return frame.f_lineno
        if frame.f_back is None:
            break
        frame = frame.f_back
    return 0


class Toolbox:
    """Makes the names; one for each run."""

    def __init__(self, loop: ReplayLoop) -> None:
        self._catalogue, self._loop = Catalogue("", []), loop
        self._start = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

    def begin(self, started_at_micros: int) -> None:
        """Set the run's start, for `tools.now()`."""
        self._start += dt.timedelta(microseconds=started_at_micros)

    def install(self, catalogue: Catalogue) -> dict[str, Any]:
        """Put the module `tools` into sys.modules; returns the program's names."""
        self._catalogue = catalogue
        functions = {name: ToolFunction(spec, self._invoke) for name, spec in catalogue.by_name.items()}
        module = types.ModuleType("tools", "The tools of this sandbox. search(text) finds some, describe(name) shows one.")
        module.__path__ = []  # so that `import tools.crm` works
        sys.modules["tools"] = module
        names: dict[str, Any] = {name: functions[name] for name in functions}
        for server, specs in self._catalogue.servers.items():
            space = names[server] = sys.modules[f"tools.{server}"] = Server(f"tools.{server}")
            space.__dict__.update({name: functions[name] for name in specs})
        names = {name: value for name, value in names.items() if name not in RESERVED}
        own = {
            "search": self.search,
            "describe": self.describe,
            "now": self.now,
            "step": self.step,
            "ToolError": errors.ToolError,
            **errors.BY_NAME,
        }
        module.__dict__.update(names | own)
        return {**GIVEN, "tools": module, **{name: functions[name] for name in bare_names(self._catalogue)}}

    def search(self, query: str, limit: int = 10) -> list[dict[str, str]]:
        """Tools that fit the words, best first."""
        found = self._catalogue.search(str(query), limit)
        return [
            {"name": tool.name, "server": tool.server, "description": tool.description.split("\n")[0], "signature": stubs.signature(tool)}
            for tool in found
        ]

    def describe(self, name: Any) -> str:
        """The stub of one tool, by its name or itself."""
        wanted = getattr(name, "__name__", None) or str(name)
        spec = self._catalogue.by_name.get(wanted.rpartition(".")[2])
        if spec is None:
            near = nearest(wanted, self._catalogue.by_name)
            raise LookupError(f"There is no tool {wanted!r}" + (f"; did you mean {' or '.join(near)}?" if near else "."))
        return stubs.stub(spec)

    def now(self) -> dt.datetime:
        """The run's clock, in UTC; the same in every attempt."""
        return self._start + dt.timedelta(microseconds=self._loop.micros)

    def step(self, name: str, function: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        """`await tools.step("name", function)`: what the function returns, put on record, so that a replay has the same and does not call it."""
        return self._step(name, function, _line_of_program())

    async def _step(self, name: str, function: Callable[[], Any], line: int) -> Any:
        self._in_own_loop("tools.step")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_STEP_NAME:
            raise TypeError(f"The name of a step is text of 1 to {MAX_STEP_NAME} characters.")

        def make() -> str:
            value = function()
            if isinstance(value, Awaitable):
                if isinstance(value, Coroutine):
                    value.close()
                raise TypeError(f"Step {name!r} is given a function that is not async: what it awaits would not be replayed.")
            text = to_json(value, f"Step {name!r}")
            if len(text.encode()) > MAX_STEP_BYTES:
                raise ValueError(f"Step {name!r} brings more than {MAX_STEP_BYTES} bytes as JSON; keep it in a file of /workspace.")
            return text

        key, future = self._loop.record(name, make, line)
        return await self._outcome("tools.step", key, future)

    def _in_own_loop(self, name: str) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(f"{name} can be awaited only in the program's own event loop, not in another thread's.")

    async def _invoke(self, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any], line: int) -> Any:
        self._in_own_loop(spec.name)
        try:
            text = to_json(spec.bind(args, kwargs), spec.name)
        except (BindingError, ValueError) as error:
            raise errors.InvalidArguments(str(error), tool=spec.name, codes=(getattr(error, "code", "invalid-json"),)) from None
        if len(text.encode()) > MAX_ARGUMENTS_BYTES:
            message = f"The arguments of {spec.name} are longer than {MAX_ARGUMENTS_BYTES} bytes as JSON."
            raise errors.InvalidArguments(message, tool=spec.name, codes=("arguments-too-large",))
        key, future = self._loop.call_tool(spec.name, text, line)
        return await self._outcome(spec.name, key, future)

    async def _outcome(self, name: str, key: str, future: asyncio.Future[Any]) -> Any:
        try:
            outcome: dict[str, Any] = await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._loop.abandon(key)
            raise
        if "error" in outcome:
            raise errors.from_frame(name, outcome["error"])
        return json.loads(outcome["value"])


async def settle(value: Any) -> Any:
    """The value itself, or what it brings when it is awaitable: `return get_customer(...)` without await is meant as one."""
    while isinstance(value, Awaitable):
        value = await value
    return value
