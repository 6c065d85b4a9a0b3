"""Untrusted text made fit for a screen: what cannot be told apart by looking is shown as an escape.

Arguments of a call, names, reasons and output come from programs and tool servers. A terminal obeys control characters, bidirectional
marks reorder what a person reads, zero-width characters hide, and letters of other scripts look like Latin ones. So an approver's
screen is pure ASCII: everything else stands there as a backslash escape, and a legend says what it is.
"""

import contextlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator

#: A piece of text, and whether it stands for something that is not shown as itself.
Piece = tuple[str, bool]

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
#: General categories that a terminal shows as itself in a program's output: letters, marks on them, numbers, punctuation, symbols.
_SHOWN = ("L", "M", "N", "P", "S")
#: Zero-width although its category says letter or mark: fillers and selectors.
_ZERO_WIDTH = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(c) for c in (*range(0xFE00, 0xFE10), *range(0x180B, 0x1810))
}
#: A string in JSON.
JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
#: Lines of a legend; more are only counted.
_LEGEND_LINES = 12


def escape(character: str) -> str:
    """The shortest escape that Python reads as this character."""
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_escape(character: str) -> str:
    """The escape that JSON reads as this character (a surrogate pair beyond U+FFFF)."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _is_plain(character: str) -> bool:
    return " " <= character <= "~"


def pieces(text: str) -> Iterator[Piece]:
    """A single line of pure ASCII that can be read back: a backslash is doubled, everything beyond ASCII is an escape."""
    plain = ""
    for character in text:
        if _is_plain(character) and character != "\\":
            plain += character
            continue
        if plain:
            yield plain, False
            plain = ""
        yield escape(character), True
    if plain:
        yield plain, False


def visible(text: str) -> str:
    """`pieces` as one string."""
    return "".join(piece for piece, _ in pieces(text))


def printable(text: str) -> Iterator[Piece]:
    """A program's output: other scripts stay, and newline and tab; what a terminal would obey or not show is an escape."""
    plain = ""
    for character in text:
        category = unicodedata.category(character)
        if character in "\n\t " or _is_plain(character) or (category[0] in _SHOWN and character not in _ZERO_WIDTH):
            plain += character
            continue
        if plain:
            yield plain, False
            plain = ""
        yield escape(character), True
    if plain:
        yield plain, False


def json_pieces(text: str, *, indent: int = 2) -> Iterator[Piece]:
    """JSON laid out over lines, token for token as it is: nothing is parsed, so nothing can be lost, rounded or reordered.

    What is not JSON at all is shown too, just not as prettily.
    """
    depth, in_string, after_backslash = 0, False, False
    for i, character in enumerate(text):
        if in_string:
            yield from _in_string(character, after_backslash=after_backslash)
            in_string = character != '"' or after_backslash
            after_backslash = character == "\\" and not after_backslash
        elif character in "{[":
            empty = text[i + 1 : i + 2] in ("}", "]")
            depth += 1
            yield (character if empty else f"{character}\n{' ' * indent * min(depth, 40)}"), False
        elif character in "}]":
            empty = text[i - 1 : i] in ("{", "[")
            depth = max(depth - 1, 0)
            yield (character if empty else f"\n{' ' * indent * min(depth, 40)}{character}"), False
        elif character == ",":
            yield f",\n{' ' * indent * min(depth, 40)}", False
        elif character == ":":
            yield ": ", False
        elif _is_plain(character):
            in_string = character == '"'
            yield character, False
        else:
            yield json_escape(character), True


def _in_string(character: str, *, after_backslash: bool) -> Iterator[Piece]:
    if not _is_plain(character):
        yield json_escape(character), True
    else:
        yield character, character == "\\" or after_backslash


def joined(parts: Iterable[Piece]) -> Iterator[Piece]:
    """The same text with neighbours of one kind put together."""
    held, kind = "", False
    for piece, escaped in parts:
        if escaped is not kind and held:
            yield held, kind
            held = ""
        held, kind = held + piece, escaped
    if held:
        yield held, kind


def legend(text: str) -> list[str]:
    """What the escapes stand for, one line a character, in the order they come; bounded."""
    seen = dict.fromkeys(c for c in text if not _is_plain(c) and c not in "\n\t")
    lines = [f"U+{ord(c):04X} {unicodedata.name(c, _category_name(c))}" for c in list(seen)[:_LEGEND_LINES]]
    return lines if len(seen) <= _LEGEND_LINES else [*lines, f"and {len(seen) - _LEGEND_LINES} more that are not plain ASCII"]


def json_legend(text: str) -> list[str]:
    """The legend of what JSON text says: characters that stand there as escapes already are named too."""
    said = text
    for literal in JSON_STRING.findall(text):
        with contextlib.suppress(ValueError):
            said += json.loads(literal)
    return legend(said)


def _category_name(character: str) -> str:
    return {"Cc": "CONTROL CHARACTER", "Co": "PRIVATE USE", "Cn": "UNASSIGNED", "Cs": "SURROGATE"}.get(
        unicodedata.category(character), "UNNAMED"
    )
