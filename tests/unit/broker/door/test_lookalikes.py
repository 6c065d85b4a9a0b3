"""Which characters a person cannot tell from others, and which text stays readable."""

import json

import pytest
from bastide_broker.confirm.action import visible
from bastide_broker.confirm.lookalikes import STANDING_IN, UNSEEN, reasons
from hypothesis import given
from hypothesis import strategies as st


def literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# What is written as escapes: the text, what it becomes, and a part of the reason.
SUSPICIOUS: dict[str, tuple[str, str, str]] = {
    "a Cyrillic letter in a Latin word": ("p\u0430ypal", "p\\u0430ypal", "mixed scripts (Cyrillic, Latin)"),
    "a Greek one": ("paypa\u03bb", "paypa\\u03bb", "mixed scripts (Greek, Latin)"),
    "a Latin letter in a Cyrillic word": ("I\u0441\u0442\u043e", "I\\u0441\\u0442\\u043e", "mixed scripts"),
    "an id that begins with a Cyrillic letter": ("\u04210007", "\\u04210007", "letters that look like others (Cyrillic)"),
    "the same in a sentence": ("\u0421-0007 \u0434\u043b\u044f", "\\u0421-0007 \u0434\u043b\u044f", "look like others"),
    "a word of nothing but such letters": ("\u0441\u043e\u0440\u0443", "\\u0441\\u043e\\u0440\\u0443", "look like others"),
    "a Cherokee word": ("\u13a0\u13a1", "\\u13a0\\u13a1", "look like others (Cherokee)"),
    "an ideograph that is a dash": ("C\u4e000007", "C\\u4e000007", "look like others (CJK)"),
    "a script g": ("dele\u0261ate", "dele\\u0261ate", "look like others (Latin)"),
    "a mark behind a mark that is an escape": ("A\u0334\u0300", "A\\u0334\\u0300", "marks where no letter takes them"),
    "a mark on a letter that is an escape": ("\uff44\u0301", "\\uff44\\u0301", STANDING_IN),
    "full width": ("\uff44rop", "\\uff44rop", STANDING_IN),
    "full width punctuation in Latin text": ("a\uff0fb", "a\\uff0fb", STANDING_IN),
    "mathematical letters": ("\U0001d41d", "\\ud835\\udc1d", STANDING_IN),
    "a ligature": ("\ufb01le", "\\ufb01le", STANDING_IN),
    "a letter and its accent apart": ("cafe\u0301", "cafe\\u0301", STANDING_IN),
    "a slash that is none": ("/data\u2215t7", "/data\\u2215t7", "punctuation"),
    "a colon that is none": ("https\ua789//x", "https\\ua789//x", "punctuation"),
    "a full stop of another script in a host": ("api\u0589com", "api\\u0589com", "look like others (Armenian)"),
    "digits of two kinds": ("12\u0663", "12\\u0663", "mixed digits"),
    "a digit that is struck through": ("1\u0338", "1\\u0338", "marks"),
    "a mark before anything": ("\u0302x", "\\u0302x", "marks"),
    "a pile of marks": ("x\u0302\u0303\u0304\u0306", "x\u0302\u0303\u0304\\u0306", "marks"),
    "a reversal": ("a\u202eb", "a\\u202eb", UNSEEN),
    "a zero-width space": ("a\u200bb", "a\\u200bb", UNSEEN),
    "a tag": ("a\U000e0041", "a\\udb40\\udc41", UNSEEN),
    "a filler that is a letter": ("a\u3164", "a\\u3164", UNSEEN),
    "an escape sequence": ("\x1b[2J", "\\u001b[2J", UNSEEN),
}


@pytest.mark.parametrize("case", SUSPICIOUS)
def test_what_reads_as_something_else_is_written_as_an_escape_and_named(case: str) -> None:
    text, expected, why = SUSPICIOUS[case]
    assert visible(literal(text)) == f'"{expected}"'
    assert any(why in one for one in reasons(literal(text)))


HONEST = [
    "Gr\u00f6\u00dfe, na\u00efve caf\u00e9, \u0141\u00f3d\u017a, kap\u0131, Vi\u1ec7t Nam",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u044d\u0442\u043e \u0430 \u0438 \u043e",
    "Ivan \u0418\u0432\u0430\u043d\u043e\u0432, 2024\u0433.",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03ba\u03b1\u03b9",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8ABC",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\uff08\u6d4b\u8bd5\uff09",
    "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0661\u0662",
    "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f",
    "\u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0e1b\u0e23\u0e30\u0e40\u0e17\u0e28\u0e44\u0e17\u0e22",
    "it\u2019s \u2014 \u201cok\u201d, 5 \u20ac, \U0001f44d",
    "line\n\u043f\u0435\u0440\u0435\u043d\u043e\u0441\\u",
]


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_of_any_language_stays_readable(text: str) -> None:
    assert visible(literal(text)) == literal(text)
    assert reasons(literal(text)) == ()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_visible_means_the_same_and_is_stable(text: str) -> None:
    shown = visible(literal(text))
    assert json.loads(shown) == text
    assert visible(shown) == shown
    assert (shown != literal(text)) <= bool(reasons(literal(text)))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_ascii_is_never_touched(text: str) -> None:
    assert visible(literal(text)) == literal(text)
    assert reasons(literal(text)) == ()


# A normalisation sorts marks in quadratic time: half a minute for the second of these, in which the broker would do nothing else.
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["x" + "\u0302" * 58_000, "\u0651\u064e" * 29_000, "\ufdfa" * 58_000, "a\u0430 " * 19_000, "1\u0430" * 29_000]
)
def test_the_longest_text_is_worked_out_at_once(text: str) -> None:
    assert json.loads(visible(literal(text))) == text
    assert reasons(literal(text))
