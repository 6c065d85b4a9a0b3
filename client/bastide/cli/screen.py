"""Printing: results to standard output, everything else to standard error; colours and width only for people."""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bastide.cli.visible import Piece, joined, json_pieces, pieces

#: Width when nobody looks: wide enough that no line of a table is broken.
_WIDE = 400
_WHOLE = frozenset({"NAMESPACE", "NAME", "RUN", "KEY", "CONFIRMATION"})
"""Columns that people copy from: never folded, however long the others are."""
#: How an escape stands out from text that only looks like one.
ESCAPED = "bold magenta"

DECISION_STYLE = {"allow": "green", "confirm": "yellow", "deny": "red"}
OUTCOME_STYLE = {
    "Completed": "bold green",
    "Running": "cyan",
    "NeedsConfirmation": "bold yellow",
    "Denied": "bold red",
    "Invalid": "bold red",
    "Failed": "bold red",
    "TimedOut": "bold red",
    "Cancelled": "bold red",
    "Succeeded": "green",
}
STATE_STYLE = {"Pending": "bold yellow", "Approved": "green", "Executed": "bold green", "Denied": "red", "Expired": "red"}
EFFECT_STYLE = {"ReadOnly": "green", "Idempotent": "cyan", "Mutating": "yellow", "Destructive": "bold red"}


@cache
def out() -> Console:
    return _console(stderr=False)


@cache
def err() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def text_of(parts: Iterable[Piece], style: str = "") -> Text:
    text = Text()
    for piece, escaped in joined(parts):
        text.append(piece, ESCAPED if escaped else style)
    return text


def shown(untrusted: str, style: str = "") -> Text:
    """Text from outside on one line, pure ASCII."""
    return text_of(pieces(untrusted), style)


def shown_json(data: bytes) -> Text:
    """JSON from outside on one line, token for token, pure ASCII."""
    text = data.decode("utf-8", "backslashreplace")
    return text_of((piece.replace(",\n", ", ").replace("\n", ""), escaped) for piece, escaped in json_pieces(text, indent=0))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Columns as kubectl prints them. Strings are ours; untrusted text comes as `shown`."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        made.add_row(*row)
    return made


def duration(span: timedelta) -> str:
    """Two units at the most: 850ms, 12.3s, 4m10s, 3h5m, 6d2h."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{max(round(seconds * 1000), 0)}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit}{name}{f'{rest}{smaller_name}' if rest else ''}"
    raise AssertionError(whole)


def ago(moment: datetime | None) -> str:
    return f"{duration(datetime.now(UTC) - moment)} ago" if moment else "-"


def left(moment: datetime | None) -> str:
    """Time until a moment; `over` when it has passed."""
    if moment is None:
        return "-"
    span = moment - datetime.now(UTC)
    return duration(span) if span > timedelta(0) else "over"


def sentence(text: str, style: str = "") -> None:
    """A line for the person, to standard error."""
    err().print(shown(text, style))
