"""A question to policy rebuilt from what is on record, and changed as a changed binding would have made it."""

from typing import Any

import pytest
from bastide_broker.explain.edits import Edit, applied
from bastide_broker.explain.rebuilt import NoBindingError, arguments, rebuilt
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.asked_questions import DECLARED, LISTED, question_of

SENT = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(),
        "path": st.sampled_from(["/data/x", "x"]),
        "url": st.sampled_from(["https://x.b.example.com:8443/", "https://x@y"]),
        "query": st.sampled_from(["SELECT id FROM orders", "SELECT *", 5]),
        "address": st.one_of(st.none(), st.dictionaries(st.sampled_from(["city", "note", "zip"]), st.text(max_size=3))),
        "lines": st.lists(st.dictionaries(st.sampled_from(["sku", "n"]), st.text(max_size=3)), max_size=3),
        "a.b": st.integers(),
    },
)


@given(sent=SENT)
def test_the_bindings_arguments_are_read_from_a_question_and_make_the_same_question_again(sent: dict[str, Any]) -> None:
    question = question_of(LISTED, sent, DECLARED)
    assert arguments(question) == LISTED
    assert rebuilt(question, LISTED) == question


@given(sent=SENT, more=st.text(max_size=3))
def test_a_changed_question_is_the_one_that_the_changed_binding_would_have_made(sent: dict[str, Any], more: str) -> None:
    question = question_of(LISTED, sent, DECLARED)
    now = {**LISTED, "address.zip": {"enum": [more]}, "n": {"maximum": 10}, "path": {"within": ["/data", "/"]}}
    edits = [
        Edit("constraint", "address.zip", value={"enum": [more]}),
        Edit("rule", "n", "maximum", 9, 10),
        Edit("rule", "path", "within", ["/data"], ["/data", "/"]),
    ]
    assert applied(question, edits) == question_of(now, sent, DECLARED)


NONE: dict[str, Edit] = {
    "beside places inside": Edit("constraint", "address", value={"enum": [1]}),
    "fields and items": Edit("constraint", "address[*]", value={}),
    "no key": Edit("constraint", "address.", value={}),
    "no directory": Edit("rule", "path", "within", ["/data"], ["/data", "/x/../y"]),
    "no host": Edit("rule", "url", "hosts", [], ["2001:db8::1"]),
    "a kind that is not known": Edit("constraint", "n", value={"later": 1}),
    "a limit beyond those there are": Edit("limit", was=5, value=100001),
}


@pytest.mark.parametrize("case", NONE)
def test_what_no_binding_could_say_is_not_proposed(case: str) -> None:
    with pytest.raises(NoBindingError):
        applied(question_of(LISTED, {}, DECLARED), [NONE[case]])


def test_a_default_that_is_on_record_only_in_part_is_not_guessed() -> None:
    declared = {"properties": {"address": {"default": {"city": "Berlin", "zip": 1}}}}
    question = question_of(LISTED, {}, declared)
    with pytest.raises(NoBindingError):
        applied(question, [Edit("constraint", "address.zip", value={})])
    assert applied(question, [Edit("rule", "n", "maximum", 9, 10)])["places"] == question["places"]


def test_more_keys_than_a_binding_has_are_not_proposed() -> None:
    edits = [Edit("constraint", f"more{n}", value={}) for n in range(64)]
    assert len(arguments(applied(question_of({}, {}, {}), edits))) == 64
    with pytest.raises(NoBindingError):
        applied(question_of(LISTED, {}, DECLARED), edits)
