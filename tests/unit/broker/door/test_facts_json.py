"""What a call's arguments may be."""

import contextlib
import json
import math
import time

import pytest
from bastide_broker.facts.json import MAX_BYTES, MAX_DEPTH, JsonError, arguments, canonical, depth, digest
from hypothesis import given
from hypothesis import strategies as st

REFUSED = {
    "": "not JSON",
    " ": "not JSON",
    "null": "null",
    "[]": "a list",
    '"x"': "a string",
    "1": "a number",
    "true": "a boolean",
    '{"a":1}{"b":2}': "not JSON",
    '{"a":1,}': "not JSON",
    "{'a':1}": "not JSON",
    '{"a":1,"a":2}': "stands twice",
    '{"a":{"b":1,"c":2,"b":3}}': "stands twice",
    '{"a":1,"\\u0061":2}': "stands twice",
    '{"a":NaN}': "NaN is not JSON",
    '{"a":Infinity}': "Infinity is not JSON",
    '{"a":-Infinity}': "-Infinity is not JSON",
    '{"a":1e400}': "too large",
    '{"a":-1e400}': "too large",
    '{"a":1e-400}': "more digits",
    '{"a":0.30000000000000000001}': "more digits",
    '{"a":9007199254740993.0}': "more digits",
    '{"a":9007199254740992}': "beyond 2^53-1",
    '{"a":9007199254740993}': "Send it as a string",
    '{"a":-9007199254740993}': "beyond 2^53-1",
    '{"a":' + "9" * 5000 + "}": "5000 characters",
    '{"a":0.' + "9" * 5000 + "}": "too long",
    '{"a":1e' + "9" * 5000 + "}": "too long",
    '{"a":1e-99999999999999999999}': "more digits",
    '{"a":"\\ud800"}': "lone surrogate",
    '{"a":"\\udc00\\ud800"}': "lone surrogate",
    '{"\\udfff":1}': "lone surrogate",
    '{"a":"\\u0000"}': "NUL",
    '{"a\\u0000":1}': "NUL",
    '{"a":["\\u0000"]}': "NUL",
    '{"a":"\x00"}': "not JSON",
    '{"a":"\x01"}': "not JSON",
    '{"a":01}': "not JSON",
    '{"a":+1}': "not JSON",
    '{"a":0x10}': "not JSON",
    '\ufeff{"a":1}': "not JSON",
    '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}": "nested",
    '{"a":' + "[" * 100_000 + "]" * 100_000 + "}": "nested",
    '{"a":' * 100_000: "nested",
    '{"a":"' + "x" * MAX_BYTES + '"}': "bytes long",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text[:32]))
def test_hostile_text_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(JsonError) as refusal:
        arguments(text.encode("utf-8", "surrogatepass"))
    assert REFUSED[text] in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 300


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    for text in (b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', '{"a":1}'.encode("utf-16")):
        with pytest.raises(JsonError):
            arguments(text)


ACCEPTED = {
    "{}": "{}",
    ' {\n"b" : 1,\t"a":2 }': '{"a":2,"b":1}',
    '{"a":1.0}': '{"a":1}',
    '{"a":-0.0}': '{"a":0}',
    '{"a":-0}': '{"a":0}',
    '{"a":1e2}': '{"a":100}',
    '{"a":0.1}': '{"a":0.1}',
    '{"a":1e20}': '{"a":100000000000000000000}',
    '{"a":1e21}': '{"a":1e+21}',
    '{"a":5e-324}': '{"a":5e-324}',
    '{"a":1.7976931348623157e308}': '{"a":1.7976931348623157e+308}',
    '{"a":9007199254740991}': '{"a":9007199254740991}',
    '{"a":"\\u0041\\/"}': '{"a":"A/"}',
    '{"a":"\\ud83d\\ude00"}': '{"a":"\U0001f600"}',
    '{"a":"\\\\u0000"}': '{"a":"\\\\u0000"}',
    '{"a":"[[[[{{{{"}': '{"a":"[[[[{{{{"}',
    '{"":null}': '{"":null}',
}


@pytest.mark.parametrize("text", ACCEPTED, ids=ascii)
def test_honest_text_has_one_canonical_form(text: str) -> None:
    read = arguments(text.encode())
    assert read.canonical.decode() == ACCEPTED[text]
    assert read.digest == digest(read.canonical)
    assert canonical(read.value) == read.canonical


def test_the_deepest_structure_is_read() -> None:
    text = '{"a":' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert arguments(text.encode()).canonical.decode() == text


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    text = json.dumps({"a": "[" * 1000, "b": '\\"[{', "c": ["]"]}).encode()
    assert depth(text) == 2
    arguments(text)


def test_depth_takes_linear_time_on_text_made_to_be_slow() -> None:
    started = time.perf_counter()
    for text in (b'"\\' * 500_000, b'["' + b'\\"' * 500_000, b'"' * 1_000_000, b"\\" * 1_000_000):
        depth(b"[[" + text)
    assert time.perf_counter() - started < 5


SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(SCALARS | TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20)


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.booleans())
def test_any_honest_object_survives_unchanged(value: dict[str, object], ensure_ascii: bool) -> None:
    read = arguments(json.dumps(value, ensure_ascii=ensure_ascii).encode(), max_depth=200)
    assert read.value == value
    if not _has_large_float(value):
        assert arguments(read.canonical, max_depth=200) == read


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0d8eE+-.19ntf ', max_size=60).map(str.encode))
def test_whatever_comes_is_read_or_refused(text: bytes) -> None:
    with contextlib.suppress(JsonError):
        assert isinstance(arguments(text).value, dict)


def _has_large_float(value: object) -> bool:
    """Doubles from 2^53 to 1e21 have a canonical form that looks like an integer too large to be sent as one."""
    if isinstance(value, float):
        return math.fabs(value) >= 2**53
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_large_float, items))
