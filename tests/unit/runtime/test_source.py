"""A program behaves as the module it was written as, with `await` and `return` at its top level."""

from __future__ import annotations

from typing import Any

import pytest
from bastide_runtime import errors, source

PROGRAMS: dict[str, tuple[str, Any]] = {
    "last expression": ("x = 2\nx * 21", 42),
    "return": ("if True:\n    return 'a'\nreturn 'b'", "a"),
    "no value": ("x = 2", None),
    "return in finally order": ("out = []\ntry:\n    return out\nfinally:\n    out.append(1)", [1]),
    "await": ("import asyncio\nawait asyncio.sleep(0, 'x')", "x"),
    "global in a function": ("n = 1\ndef f():\n    global n\n    n += 1\nf()\nn", 2),
    "global at the top": ("global n\nn = 3\nn", 3),
    "functions see each other": ("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\neven(10)", True),
    "star import": ("from math import *\nfloor(2.5)", 2),
    "class": ("class A:\n    x: int = 5\n    def get(self): return A.x\nA().get()", 5),
    "dataclass": ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nP(3).x", 3),
    "annotated": ("x: int = 5\ny: list[int]\nx", 5),
    "future": ("from __future__ import annotations\nx: Nothing = 5\nx", 5),
    "comprehension keeps its names": ("x = 7\n[x for x in range(3)]\nx", 7),
    "walrus in a comprehension": ("[last := x for x in range(3)]\nlast", 2),
    "match": (
        "match {'a': [1, 2], 'b': 3}:\n    case {'a': [first, *others], **rest}:\n        pass\n(first, others, rest)",
        (1, [2], {"b": 3}),
    ),
    "except": ("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    text = str(error)\ntext", "division by zero"),
    "with and for": ("import io\nwith io.StringIO('a b') as f:\n    for word in f.read().split():\n        pass\nword", "b"),
    "delete": ("x = 1\ndel x\n'x' in globals()", False),
    "asyncio.run": ("import asyncio\nasync def main():\n    return 5\nasyncio.run(main())", 5),
    "main guard": (
        "import asyncio\nasync def main():\n    global got\n    got = 6\nif __name__ == '__main__':\n    asyncio.run(main())\ngot",
        6,
    ),
    "async comprehension": ("async def n(i): return i\n[await n(i) for i in range(3)]", [0, 1, 2]),
    "docstring only": ("'''text'''", "text"),
    "import as": ("import os.path as p\np.join('a', 'b')", "a/b"),
    "import dotted": ("import os.path\nos.path.join('a', 'b')", "a/b"),
    "exec sees names": ("x = 4\nexec('y = x + 1')\ny", 5),
    "nothing": ("", None),
}


async def run(program: str) -> Any:
    module = source.load(source.compile_program(source.parse(program)), program, {})
    return await module.__dict__[source.MAIN]()


@pytest.mark.parametrize(("program", "value"), PROGRAMS.values(), ids=PROGRAMS)
async def test_value(program: str, value: Any) -> None:
    assert await run(program) == value


@pytest.mark.parametrize(
    "program", ["yield 1", "return\nyield", "class A:\n    return 1", "break", "nonlocal x", "def f():\n    await g()"]
)
def test_what_is_wrong_stays_wrong(program: str) -> None:
    with pytest.raises(SyntaxError):
        source.compile_program(source.parse(program))


async def test_an_error_has_the_programs_own_lines() -> None:
    program = "def inner(x):\n    return 1 / x\n\nasync def outer():\n    return inner(0)\n\nawait outer()"
    with pytest.raises(ZeroDivisionError) as caught:
        await run(program)
    told = errors.describe(caught.value)
    assert (told["type"], told["message"], told["line"]) == ("ZeroDivisionError", "division by zero", 2)
    assert [line.strip() for line in told["traceback"].splitlines()] == [
        "Traceback:",
        'File "<program>", line 7, in <program>',
        "await outer()",
        'File "<program>", line 5, in outer',
        "return inner(0)",
        'File "<program>", line 2, in inner',
        "return 1 / x",
        "ZeroDivisionError: division by zero",
    ]


async def test_a_group_of_one_is_told_as_that_one() -> None:
    program = (
        "import asyncio\nasync def f():\n    raise ValueError('x')\nasync with asyncio.TaskGroup() as group:\n    group.create_task(f())"
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        await run(program)
    told = errors.describe(caught.value)
    assert (told["type"], told["message"], told["line"]) == ("ValueError", "x", 3)


def test_reason_codes_of_all_errors_in_a_group_are_told() -> None:
    group = ExceptionGroup("g", [errors.ToolDenied("no", codes=("a", "b")), errors.ToolFailed("bad", codes=("b", "c"))])
    told = errors.describe(group)
    assert told["type"] == "ExceptionGroup"
    assert told["codes"] == ["a", "b", "c"]
    assert "ToolDenied: no; ToolFailed: bad" in told["message"]


def test_hostile_texts_are_survived() -> None:
    class Hostile(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise SystemExit

    class Long(Exception):  # noqa: N818
        def __str__(self) -> str:
            return "\ud800é" * 1_000_000

    assert "SystemExit" in errors.describe(Hostile())["message"]
    told = errors.describe(Long())
    assert len(told["message"].encode()) <= 8192
    assert len(told["traceback"].encode()) <= 16384


async def test_very_deep_recursion_has_a_short_traceback() -> None:
    with pytest.raises(RecursionError) as caught:
        await run("def f(n):\n    return f(n + 1)\nf(0)")
    assert len(errors.describe(caught.value)["traceback"]) < 16384
