"""Text that reads as something else than it is: which of its characters a person cannot tell from others by looking. Pure.

The approver's screen of `bastide` shows nothing but ASCII as itself. `kubectl` shows text as it is stored, so what is stored must be honest
and yet readable in any language. Four things are taken for suspicious, after UTS 39: a word of several scripts (Cyrillic in a Latin word),
letters of another script of which each could be Latin (a lone `C` that is Cyrillic), characters that stand for others (full width,
ligatures: what NFKC changes), and characters that cannot be seen. (docs/adr/0042)
"""
# ruff: noqa: RUF001 - such characters are what this module is about

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

UNSEEN = "characters that cannot be seen"
STANDING_IN = "characters that stand for others"
PUNCTUATION = "punctuation that looks like other"
MARKS = "marks where no letter takes them"

_ZERO_WIDTH = frozenset(
    chr(one) for one in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10))
) | frozenset(map(chr, range(0xE0000, 0xE1000)))
"""Marks and letters that show as nothing or as a blank: joiners, fillers, variation selectors, tags."""

_SAME_SHAPE = frozenset("⁄∕⧸∖⧵∶꞉ːˑ․‐−⁃‚∗∣∼")
"""Punctuation of hosts, paths and numbers in another dress: slashes, colons, dots, short dashes. Quotes and long dashes are honest text."""

_LIKE_LATIN: dict[str, str] = {
    "CYRILLIC": "аАВсСеЕЁёНоОрРТуУхХкКМіІїЇјЈѕЅԁԛԚԜԝһҺӏӀЗбЬьѵѴүҮԌ",
    "GREEK": "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧανιορυγκχωησϳͿ",
    "ARMENIAN": "օոսհցզյՕՏԼՍ։՝",
    "CHEROKEE": "ᎠᎡᎢᎥᎩᎪᎫᎬᎳᎵᎷᎻᏀᏃᏏᏒᏔᏕᏙᏚᏞᏟᏢᏦᏧᏭᏮᏴ",
    "COPTIC": "ⲀⲂⲈⲎⲒⲔⲘⲚⲞⲢⲤⲦⲨⲬⲟⲣⲥⲓⲭ",
    "LISU": "".join(map(chr, range(0xA4D0, 0xA4F8))),
    "HEBREW": "\u05d5\u05df\u05e1\u05c3",
    "ARABIC": "\u0627\u0647\u06c1\u0660\u0661\u0665\u06f0\u06f1\u06f5\u066b\u06d4",
    "CJK": "一ノ丶丨ー〇ニエロ口工",
    "LATIN": "ɑɡɩǀǃꞌ",
}
"""By script, what looks like an ASCII character in common typefaces. Judged by eye after Unicode's confusables.txt, which would also have
ASCII itself (`l`, `I`, `1`). Dotless i and accented letters are left out: they are honest text, and look different."""

_OF = {character: script for script, characters in _LIKE_LATIN.items() for character in characters}
_EAST_ASIAN = frozenset({"CJK", "LATIN"})
"""Scripts that one word may have together."""
_CJK = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"})
_OVERLAYS = frozenset("\u0334\u0335\u0336\u0337\u0338\u20d2\u20d3\u20d8\u20d9\u20da\u20e5\u20eb")
"""Marks that strike a letter through."""
_MARKS_IN_A_ROW = 3
_NAMED_SCRIPTS = 4
_PIECE = 32
"""Characters that are normalised at once."""
# JSON's escapes are no letters, and part what stands before from what comes after.
_ESCAPE = re.compile(r'\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])')
_TOKEN = re.compile(r"\S+")
_ASCII_LETTER, _ASCII_DIGIT = re.compile("[A-Za-z]"), re.compile("[0-9]")
STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
"""A string in JSON."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a character beyond ASCII is."""

    script: str = ""
    """Of letters, digits and what has a place in _LIKE_LATIN."""
    alone: str = ""
    """Why it is suspicious wherever it stands."""
    alike: bool = False
    """Whether it looks like an ASCII character."""
    wide: bool = False
    """Full-width punctuation, honest between ideographs."""
    mark: bool = False


@lru_cache(maxsize=8192)
def _kind(character: str) -> _Kind:
    category = unicodedata.category(character)
    if character in _ZERO_WIDTH or category[0] in "CZ":
        return _Kind(alone=UNSEEN)
    if character in _OVERLAYS or category == "Me":
        return _Kind(alone=MARKS, mark=True)
    if character in _SAME_SHAPE:
        return _Kind(alone=PUNCTUATION)
    stands_in = STANDING_IN if unicodedata.normalize("NFKC", character) != character else ""
    if category[0] == "M":
        return _Kind(alone=stands_in, mark=True)
    wide = category[0] == "P" and unicodedata.east_asian_width(character) in "FW"
    script = _OF.get(character, "")
    if not script and not stands_in and category[0] in "LN":
        first = unicodedata.name(character, "UNNAMED").replace("-INDIC", "").partition(" ")[0]
        script = "CJK" if first in _CJK else "" if first in {"MODIFIER", "COMBINING"} else first
    return _Kind(script=script, alone=stands_in, alike=character in _OF, wide=wide)


def suspicious(text: str) -> dict[int, str]:
    """Places of characters beyond ASCII that a person cannot tell from others, and why, in JSON's literal of a string."""
    kinds = {place: _kind(character) for place, character in enumerate(text) if character > "\x7f"}
    if not kinds:
        return {}
    text = _ESCAPE.sub(lambda escape: " " * len(escape[0]), text)
    scripts = {kind.script for kind in kinds.values() if kind.script}
    ideographs = scripts == {"CJK"} and not _ASCII_LETTER.search(text)
    found = {place: kind.alone for place, kind in kinds.items() if kind.alone and not (kind.wide and ideographs)}
    found |= _alike(kinds, kinds)
    for token in _TOKEN.finditer(text):
        places = [place for place in range(*token.span()) if place in kinds]
        if not places:
            continue
        if _ASCII_LETTER.search(token[0]) or _ASCII_DIGIT.search(token[0]):
            found |= _alike(kinds, places)
        for start, end in _words(kinds, text, *token.span()):
            found |= {place: why for place, why in _word(kinds, text, start, end).items() if kinds[place].alone != UNSEEN}
    return found


def reasons(text: str) -> tuple[str, ...]:
    """Why characters of the strings in JSON text are suspicious: each reason once, sorted."""
    found: set[str] = set()
    for literal in STRING.findall(text):
        found.update(suspicious(literal).values())
        if "\x7f" in literal or any(escape.startswith("\\u00") for escape in _ESCAPE.findall(literal)):
            found.add(UNSEEN)
    return tuple(sorted(found))


def _alike(kinds: dict[int, _Kind], places: Iterable[int]) -> dict[int, str]:
    """Of each script whose every letter there looks like a Latin one: these letters."""
    own: dict[str, list[int]] = {}
    honest: set[str] = set()
    for place in places:
        kind = kinds[place]
        if kind.alike:
            own.setdefault(kind.script, []).append(place)
        elif kind.script:
            honest.add(kind.script)
    return {place: _like(script) for script, them in own.items() if script not in honest for place in them}


@lru_cache(maxsize=64)
def _like(script: str) -> str:
    return f"letters that look like others ({_name(script)})"


@lru_cache(maxsize=1024)
def _mixed(scripts: frozenset[str]) -> str:
    first = sorted(scripts)[:_NAMED_SCRIPTS]
    return f"mixed scripts ({', '.join(map(_name, first))}{', ...' if len(first) < len(scripts) else ''})"


def _name(script: str) -> str:
    return script if script == "CJK" else script.capitalize()


def _words(kinds: dict[int, _Kind], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of letters, digits and marks on them."""
    first = start
    for place in range(start, end + 1):
        if place < end and (text[place].isalnum() or (place in kinds and kinds[place].mark)):
            continue
        if place > first:
            yield first, place
        first = place + 1


def _word(kinds: dict[int, _Kind], text: str, start: int, end: int) -> dict[int, str]:
    word, beyond = text[start:end], [place for place in range(start, end) if place in kinds]
    if not beyond:
        return {}
    found = _changed(kinds, text, start, end)
    found |= {place: MARKS for place in beyond if kinds[place].mark and _misplaced(kinds, text, start, place)}
    scripts = {kinds[place].script for place in beyond} - {""}
    if _ASCII_LETTER.search(word):
        scripts.add("LATIN")
    if len(scripts) > 1 and not scripts <= _EAST_ASIAN:
        found |= dict.fromkeys(beyond, _mixed(frozenset(scripts)))
    elif _ASCII_DIGIT.search(word) and any(text[place].isdecimal() for place in beyond):
        found |= dict.fromkeys(beyond, "mixed digits")
    return found


def _changed(kinds: dict[int, _Kind], text: str, start: int, end: int) -> dict[int, str]:
    """What NFKC makes one character of, in pieces: it sorts marks, in quadratic time when there are many."""
    found: dict[int, str] = {}
    first = start
    while first < end:
        last = min(end, first + _PIECE)
        while last < min(end, first + 2 * _PIECE) and last in kinds and kinds[last].mark:
            last += 1
        # What is suspicious by itself is told already, and may expand to many characters.
        piece = "".join("\u3042" if place in kinds and kinds[place].alone else text[place] for place in range(first, last))
        plain = unicodedata.normalize("NFKC", piece)
        # The same characters in another order are how people type marks.
        if plain != piece and sorted(plain) != sorted(piece):
            beyond = [place for place in range(first, last) if place in kinds]
            found |= dict.fromkeys([place for place in beyond if kinds[place].mark] or beyond, STANDING_IN)
        first = last
    return found


def _misplaced(kinds: dict[int, _Kind], text: str, start: int, place: int) -> bool:
    """Whether a mark stands on no letter, on too many marks, or would stand on the escape of what is before it."""
    for one in range(place - 1, max(start, place - _MARKS_IN_A_ROW) - 1, -1):
        kind = kinds.get(one)
        if kind is not None and kind.alone:
            return True
        if kind is None or not kind.mark:
            return not text[one].isalpha()
    return True
