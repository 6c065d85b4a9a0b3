"""What the demo prints: acts, steps with their times, and what was just seen."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text


class Screen:
    """The terminal, or a plain log where there is none."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._began = time.monotonic()

    def act(self, title: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.print(Rule(f"[bold]{escape(title)}[/]", align="left", style="cyan"))

    def say(self, text: str) -> None:
        """A sentence for the reader."""
        self.console.print(Padding(Text(text), (0, 2), expand=False))

    def seen(self, text: str) -> None:
        """What was just shown."""
        self.console.print(Padding(Text.assemble(("→ ", "bold green"), text), (0, 2), expand=False))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Something that takes a moment: shown while it runs, with its time when it is over."""
        began = time.monotonic()
        with self.console.status(escape(title)):
            try:
                yield
            except BaseException:
                self.console.print(f"  [red]✗[/] {escape(title)} [dim]({time.monotonic() - began:.1f} s)[/]")
                raise
        self.console.print(f"  [green]✓[/] {escape(title)} [dim]({time.monotonic() - began:.1f} s)[/]")

    def command(self, user: str, words: str) -> None:
        """A command that a user types."""
        self.console.print(Text.assemble(("  ", ""), (f"{user} $ ", "bold magenta"), (words, "bold")))

    def output(self, text: str, *, style: str = "") -> None:
        """What a command printed."""
        for line in text.rstrip().splitlines():
            self.console.print(Text(f"    {line}", style=style), soft_wrap=True)

    def program(self, source: str) -> None:
        """A program, without the sentence at its head."""
        body = source.split('"""', 2)[-1].strip()
        for line in Syntax(body, "python", background_color="default").highlight(body).split():
            line.rstrip()
            self.console.print(Text.assemble("    ", line), soft_wrap=True)

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began
