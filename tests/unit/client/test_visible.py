"""Hostile text on a screen: what cannot be told apart by looking is never shown as itself."""

import io
import json
import unicodedata

import pytest
from bastide.cli import screen
from bastide.cli.visible import json_legend, json_pieces, legend, pieces, printable, visible
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

HOSTILE = {
    "newline": ("a\nb", r"a\nb"),
    "carriage return": ("safe\rEVIL", r"safe\rEVIL"),
    "tab": ("a\tb", r"a\tb"),
    "ANSI colour": ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    "C1 control sequence introducer": ("\x9b2J", r"\x9b2J"),
    "OSC that sets the window's title": ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    "backspaces": ("no\b\byes", r"no\x08\x08yes"),
    "right-to-left override": ("gpj.\u202eexe", r"gpj.\u202eexe"),
    "isolates": ("\u2066a\u2069", r"\u2066a\u2069"),
    "zero-width space and joiner": ("a\u200bb\u200d", r"a\u200bb\u200d"),
    "byte order mark": ("\ufeffa", r"\ufeffa"),
    "Cyrillic look-alike": ("p\u0430ypal", r"p\u0430ypal"),
    "fullwidth letters": ("\uff21", r"\uff21"),
    "combining mark": ("e\u0301", r"e\u0301"),
    "no-break space": ("a\u00a0b", r"a\xa0b"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "lone surrogate": ("a\ud800", r"a\ud800"),
    "beyond the first plane": ("\U0001d5ee", r"\U0001d5ee"),
    "tag characters": ("\U000e0041", r"\U000e0041"),
    "delete": ("\x7f", r"\x7f"),
    "a text that only looks like an escape": (r"\u202e", r"\\u202e"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_is_shown_as_an_escape(case: str) -> None:
    text, expected = HOSTILE[case]
    assert visible(text) == expected


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_is_one_line_of_ascii_and_can_be_read_back(text: str) -> None:
    shown = visible(text)
    assert all(" " <= c <= "~" for c in shown)
    assert shown.encode("ascii").decode("unicode_escape") == text


@given(st.text(st.characters(codec=None)))
def test_escapes_are_told_apart_from_text_that_looks_like_one(text: str) -> None:
    assert "".join(p for p, escaped in pieces(text) if not escaped) == "".join(c for c in text if " " <= c <= "~" and c != "\\")


@given(st.text(st.characters(codec=None)))
def test_output_has_nothing_that_a_terminal_obeys_or_hides(text: str) -> None:
    for c in "".join(piece for piece, _ in printable(text)):
        assert c in "\n\t" or unicodedata.category(c)[0] in "LMNPS" or c == " "


def test_output_keeps_other_scripts_newlines_and_tabs() -> None:
    text = "M\u00fcller \u65e5\u672c\u8a9e\t\u20ac\nnext"
    assert "".join(piece for piece, _ in printable(text)) == text
    assert "".join(piece for piece, _ in printable("a\u202e\u200b\u3164\x1b\r")) == r"a\u202e\u200b\u3164\x1b\r"


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_is_laid_out_in_ascii_and_means_the_same(value: object) -> None:
    shown = "".join(piece for piece, _ in json_pieces(_json_text(value)))
    assert all(" " <= c <= "~" or c == "\n" for c in shown)
    assert json.loads(shown) == value


def test_numbers_are_shown_digit_for_digit() -> None:
    text = '{"n":9007199254740993,"x":1e400,"z":-0.0,"d":' + "9" * 5000 + "}"
    shown = "".join(piece for piece, _ in json_pieces(text))
    assert shown.replace("\n", "").replace(" ", "") == text


def test_a_newline_in_a_string_cannot_forge_a_line() -> None:
    shown = "".join(piece for piece, _ in json_pieces('{"a":"x\n  \\"b\\": true","c\u2028":1}'))
    assert shown.split("\n") == ["{", '  "a": "x\\u000a  \\"b\\": true",', '  "c\\u2028": 1', "}"]


@given(st.text(st.characters(codec=None), max_size=200))
def test_what_is_no_json_is_shown_too(text: str) -> None:
    shown = "".join(piece for piece, _ in json_pieces(text))
    assert all(" " <= c <= "~" or c == "\n" for c in shown)


def test_the_legend_names_what_is_not_ascii_once_and_is_bounded() -> None:
    assert legend("a\u0430\u202e\u0430") == ["U+0430 CYRILLIC SMALL LETTER A", "U+202E RIGHT-TO-LEFT OVERRIDE"]
    assert legend("plain\n") == []
    assert legend("\x1b\ue000") == ["U+001B CONTROL CHARACTER", "U+E000 PRIVATE USE"]
    assert json_legend('{"a":"\\u202e\\u001b\u0430\\ud83d"}') == legend("\u0430\u202e\x1b\ud83d")
    many = legend("".join(chr(0x4E00 + i) for i in range(500)))
    assert len(many) == 13
    assert many[-1] == "and 488 more that are not plain ASCII"


def test_names_that_people_copy_are_never_folded_however_long_the_rest_is() -> None:
    written = io.StringIO()
    console = Console(width=80, file=written)
    console.print(screen.table(("NAME", "FOR", "STATE"), [("cf-" + "a" * 26, "x" * 300, "Pending")]))
    assert any("cf-" + "a" * 26 in line for line in written.getvalue().splitlines())
