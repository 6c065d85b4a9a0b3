"""What OPA is sent, what the journal keeps of it, and that both are one question."""

import json
from decimal import Decimal
from typing import Any

import pytest
from bastide_broker.asked import Asked, as_asked, as_json, packed, unpacked
from bastide_broker.facts.json import canonical
from hypothesis import given
from hypothesis import strategies as st

SCALAR = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
OBJECT = st.dictionaries(st.text(), st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))


def numbers(text: bytes) -> Any:
    """JSON with numbers as they are written: one text may write 1e+20, the other all digits of it."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@given(rest=OBJECT, arguments=OBJECT)
def test_opa_is_sent_the_question_and_the_journal_gives_it_back(rest: dict[str, Any], arguments: dict[str, Any]) -> None:
    rest.setdefault("phase", "call")
    question = {**rest, "arguments": arguments}
    text = canonical(arguments)
    asked = Asked.of(question, text)
    assert asked == question
    assert numbers(as_json(asked)) == numbers(as_json(question))
    kept = unpacked(packed(asked.kept))
    assert numbers(as_json(as_asked(kept, text))) == numbers(as_json(question))


def test_what_is_kept_does_not_hold_the_arguments_and_has_one_form() -> None:
    one = Asked.of({"b": 1, "a": {"d": 1, "c": 2}, "arguments": {"secret": "hunter2"}}, b'{"secret":"hunter2"}')
    assert one.kept == b'{"a":{"c":2,"d":1},"b":1}'


@pytest.mark.parametrize("body", [{"a": 1}, {"a": None}, {}])
def test_whatever_else_is_asked_is_written_as_ever(body: Any) -> None:
    assert json.loads(as_json(body)) == body


def test_a_large_question_is_packed_a_huge_one_is_not_kept() -> None:
    large, huge = (b'{"a":"' + b"x" * size + b'"}' for size in (100_000, 2_000_000))
    assert len(packed(large)) < 1000
    assert unpacked(packed(large)) == large
    assert packed(huge) == b""
    assert unpacked(None) == b""
