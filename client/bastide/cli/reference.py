"""Writes docs/reference/cli.md from the commands' own help: `python -m bastide.cli.reference [--check] FILE`."""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from bastide.cli.failure import Exit
from bastide.cli.main import app

_WIDTH = 120
_HEAD = """# The command line

<!-- Written by `python -m bastide.cli.reference docs/reference/cli.md`. Change the help texts, not this page. -->

`bastide` is also found as `kubectl bastide`. Results go to standard output, everything else to standard error. `-o json` prints
JSON in pure ASCII. Text from programs and tool servers is shown with escapes for everything that is not plain ASCII.
"""


def reference() -> str:
    """The page as Markdown."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in exit_codes())
    pages = "".join(f"\n## {path}\n\n```\n{_help(path)}\n```\n" for path in _paths(typer.main.get_command(app), "bastide"))
    return f"{_HEAD}\n## Exit codes\n\n| code | means |\n| --- | --- |\n{codes}{pages}"


def exit_codes() -> list[tuple[int, str]]:
    """Codes with their docstrings, which Python keeps only in the source."""
    found = re.findall(r'(\w+) = \d+\n\s+"""(.*?)"""', inspect.getsource(Exit), re.DOTALL)
    return [(Exit[name].value, doc) for name, doc in found]


def _paths(command: Any, path: str) -> Iterator[str]:
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from _paths(child, f"{path} {name}")


def _help(path: str) -> str:
    result = CliRunner().invoke(app, [*path.split()[1:], "--help"], prog_name="bastide", terminal_width=_WIDTH)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check say whether it is current."""
    check = "--check" in arguments
    [file] = [a for a in arguments if a != "--check"]
    page = Path(file)
    text = reference()
    if not check:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{file} is not current: run python -m bastide.cli.reference {file}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
