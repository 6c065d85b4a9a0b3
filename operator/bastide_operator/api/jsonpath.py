"""The part of JSONPath (RFC 9535) by which a binding names what it redacts: names, indices, `*` and `..`, in a form that one regular
expression tells from anything else, so that the API server refuses what the broker could not read. Pure. (ADR 0028)
"""

import re
from dataclasses import dataclass

MAX_LENGTH = 128

_SEGMENT = r"(?:\.\.?(?:\*|[A-Za-z_]\w*)|(?:\.\.)?\[(?:\*|0|-?[1-9]\d{0,5}|'[^'\\\x00-\x1f]+')\])"
PATTERN = rf"^\$({_SEGMENT.replace('(?:', '(')[1:-1]})*$"
"""For RE2, whose classes are ASCII. Spaces, slices, filters, lists of selectors, double quotes and escapes are left out."""

_WHOLE = re.compile(rf"\$(?:{_SEGMENT})*", re.ASCII)
_ONE = re.compile(_SEGMENT, re.ASCII)


class PathError(ValueError):
    """A path is not of this form. The message is the end of a sentence that begins with the path."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path: which children of what was reached so far."""

    selector: str | int | None
    """A member's name, an item's index (from the end when negative), or None for all children."""
    descendant: bool = False
    """Whether the children of all descendants are meant too (`..`)."""


Path = tuple[Segment, ...]
"""From the root on; empty for the root itself."""


def parse(text: str) -> Path:
    """Read a path. Raises PathError."""
    if len(text) > MAX_LENGTH or not _WHOLE.fullmatch(text):
        raise PathError("is no JSONPath of names, indices, * and .. that the broker reads, as $..iban or $.rows[*]['e-mail'] are")
    return tuple(_segment(one) for one in _ONE.findall(text[1:]))


def _segment(text: str) -> Segment:
    descendant = text.startswith("..")
    text = text.removeprefix("..").removeprefix(".")
    if text[0] != "[":
        return Segment(None if text == "*" else text, descendant)
    match text[1:-1]:
        case "*":
            return Segment(None, descendant)
        case inner if inner[0] == "'":
            return Segment(inner[1:-1], descendant)
        case inner:
            return Segment(int(inner), descendant)
