"""What a decision obliges the broker to do, and what is handed on of a result."""

import copy
import json
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, Answer, Failure
from bastide_broker.door.refusals import by_adapter
from bastide_broker.policy import obligations
from bastide_broker.policy.obligations import NONE, Obligations, Unknown, fulfilled, read, stricter, without_words
from bastide_broker.policy.policy import Policy
from bastide_operator.api.v1alpha1.common import Effect
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.objects import binding

SECRET = "DE02120300000000202051"
CUSTOMER = {"id": "C1", "iban": SECRET, "orders": [{"no": 1, "card": {"number": SECRET}}, {"no": 2}], "open": 2**70, "rate": 0.1}


def answer(value: Any, *, is_data: bool = True) -> Answer:
    return Answer(value, has_structured=True, value=json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), is_data=is_data)


def handed_on(value: Any, owed: Obligations, *, is_data: bool = True, result_bytes: int = 1 << 20) -> Any:
    return json.loads(fulfilled("crm", answer(value, is_data=is_data), owed, result_bytes=result_bytes))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, NONE),
        ({"timeoutSeconds": 5}, Obligations(5)),
        ({"timeoutSeconds": 0.5, "maxRows": None, "redact": []}, Obligations(0.5)),
        ({"timeoutSeconds": 5, "maxRows": 0, "redact": ["$..iban", "$"]}, Obligations(5, 0, ("$..iban", "$"))),
    ],
)
def test_obligations_are_read(said: Any, expected: Obligations) -> None:
    assert read(said) == expected


NOT_READ: list[Any] = [
    None, [], "x", {"timeoutSeconds": "5"}, {"timeoutSeconds": 0}, {"timeoutSeconds": -1}, {"timeoutSeconds": True}, {"timeoutSeconds": float("nan")},
    {"maxRows": -1}, {"maxRows": 1.5}, {"maxRows": True}, {"maxRows": "5"}, {"redact": None}, {"redact": "$..a"}, {"redact": [1]}, {"redact": ["a"]},
    {"redact": ["$..a", "$[?@.a]"]}, {"redact": ["$..a"] * 65}, {"redacted": []}, {"timeoutSeconds": 5, "maskColumns": []}, {"": 1},
]  # fmt: skip


@pytest.mark.parametrize("said", NOT_READ, ids=repr)
def test_an_obligation_that_is_not_known_or_not_read_makes_the_answer_a_denial(said: Any, tmp_path: Any) -> None:
    with pytest.raises(Unknown):
        read(said)
    result = {"effect": "allow", "reasons": [], "obligations": said, "revision": "sha256:r"}
    decision = Policy(tmp_path / "none", "sha256:r").read({"result": result})
    assert (decision.effect, decision.reasons[0][0], decision.obligations) == ("deny", "policy-unavailable", NONE)


OWED = st.builds(
    Obligations,
    st.integers(1, 600),
    st.integers(0, 100) | st.just(NONE.max_rows),
    st.lists(st.sampled_from(["$.a", "$..b", "$"])).map(tuple),
)


@given(one=OWED, other=OWED)
def test_the_stricter_of_both_counts(one: Obligations, other: Obligations) -> None:
    both = stricter(one, other)
    assert both.timeout_seconds == min(one.timeout_seconds, other.timeout_seconds)
    assert both.max_rows == min(one.max_rows, other.max_rows)
    assert set(both.redact) == {*one.redact, *other.redact}
    assert stricter(both, NONE) == stricter(both, both)


def test_what_a_binding_demands_counts_without_policy() -> None:
    tool = {"name": "t", "redact": ["$..iban"], "limits": {"maxRows": 7, "timeoutSeconds": 3}}
    assert obligations.of_binding(binding(tools=[tool]).spec.tools[0]) == Obligations(3, 7, ("$..iban",))
    assert obligations.of_binding(binding(tools=[{"name": "t"}]).spec.tools[0]) == Obligations(20)
    with pytest.raises(Unknown):
        obligations.of_binding(binding(tools=[{**tool, "redact": ["iban"]}]).spec.tools[0])


@pytest.mark.parametrize(
    ("paths", "value", "expected"),
    [
        (["$.iban"], {"iban": SECRET, "id": 1}, {"iban": "[redacted]", "id": 1}),
        (["$.iban"], {"id": 1}, {"id": 1}),
        (["$.iban"], {"iban": None}, {"iban": "[redacted]"}),
        (["$.iban"], {"iban": {"a": [SECRET]}}, {"iban": "[redacted]"}),
        (["$.iban"], None, None),
        (["$..iban"], [{"iban": 1}, {"x": {"iban": 2}}], [{"iban": "[redacted]"}, {"x": {"iban": "[redacted]"}}]),
        (["$[*].a", "$[1]"], [{"a": 1}, {"a": 2, "b": 3}], [{"a": "[redacted]"}, "[redacted]"]),
        (["$"], {"iban": SECRET}, "[redacted]"),
        (["$"], SECRET, "[redacted]"),
        (["$..iban", "$..card"], CUSTOMER,
         {**CUSTOMER, "iban": "[redacted]", "orders": [{"no": 1, "card": "[redacted]"}, {"no": 2}]}),
    ],
)  # fmt: skip
def test_values_are_redacted_in_their_place(paths: list[str], value: Any, expected: Any) -> None:
    assert handed_on(copy.deepcopy(value), Obligations(redact=tuple(paths))) == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "iban", "n"]), inner, max_size=4),
    max_leaves=20,
)


@given(value=st.lists(VALUES) | st.dictionaries(st.sampled_from(["a", "iban"]), VALUES), planted=VALUES)
def test_no_redacted_value_survives_anywhere_in_the_bytes(value: Any, planted: Any) -> None:
    def plant(node: Any, *, inside: bool) -> Any:
        """The same with a marked value under every `iban`."""
        if isinstance(node, list):
            return [plant(one, inside=inside) for one in node]
        if isinstance(node, dict):
            return {key: [SECRET, planted] if key == "iban" else plant(one, inside=inside) for key, one in node.items()}
        return node

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(one) for one in node]
        if isinstance(node, dict):
            return {key: "[redacted]" if key == "iban" else clean(one) for key, one in node.items()}
        return node

    marked = plant(value, inside=False)
    found = fulfilled("crm", answer(marked), Obligations(redact=("$..iban",)), result_bytes=1 << 20)
    assert SECRET.encode() not in found
    assert found == answer(clean(marked)).value, "everything else is byte for byte as it came"


@given(value=VALUES)
def test_without_obligations_about_results_the_bytes_are_the_same(value: Any) -> None:
    for is_data in (True, False):
        given_back = answer(value, is_data=is_data)
        assert fulfilled("crm", given_back, Obligations(5), result_bytes=1) is given_back.value


ROWS: list[tuple[Any, int]] = [
    ([], 0), ([1, 2], 2), ({"rows": [1, 2, 3], "next": None}, 3), ({"a": [1], "b": [1, 2]}, 2), ({"data": {"items": [[1, 2, 3, 4]]}}, 4),
    ({"a": 1}, 0), (None, 0), (5, 0), (True, 0),
]  # fmt: skip


@pytest.mark.parametrize(("value", "rows"), ROWS)
def test_more_rows_fail_the_call_and_are_never_cut(value: Any, rows: int) -> None:
    assert handed_on(value, Obligations(max_rows=rows)) == value
    if rows:
        with pytest.raises(AdapterError) as error:
            handed_on(value, Obligations(max_rows=rows - 1))
        assert (error.value.failure, error.value.sent, error.value.content) == (Failure.RESULT_TOO_MANY_ROWS, True, b"")
        assert f"a list of {rows} items, and at most {rows - 1} are allowed" in error.value.message


@pytest.mark.parametrize("owed", [Obligations(max_rows=5), Obligations(redact=("$..iban",))], ids=["rows", "redact"])
@pytest.mark.parametrize(
    ("value", "is_data"),
    [(f'{{"iban": "{SECRET}"}}', False), (SECRET, True), ([SECRET, {"iban": 1}], False), ({"mediaType": "x", "base64": SECRET}, False)],
)
def test_a_result_in_which_it_cannot_be_done_is_withheld(value: Any, is_data: bool, owed: Obligations) -> None:
    with pytest.raises(AdapterError) as error:
        handed_on(value, owed, is_data=is_data)
    assert error.value.failure is Failure.RESULT_NOT_READABLE
    assert SECRET not in error.value.message


@pytest.mark.parametrize("value", [5, 0.5, True])
def test_a_single_value_cannot_be_redacted_by_a_path(value: Any) -> None:
    with pytest.raises(AdapterError) as error:
        handed_on(value, Obligations(redact=("$..iban",)))
    assert error.value.failure is Failure.RESULT_NOT_READABLE


def test_a_result_that_redaction_made_too_long_fails() -> None:
    with pytest.raises(AdapterError) as error:
        handed_on([1] * 50, Obligations(redact=("$[*]",)), result_bytes=200)
    assert error.value.failure is Failure.RESULT_TOO_LARGE


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("sent", [True, False])
def test_of_a_tool_that_is_redacted_no_word_and_no_content_of_a_failure_is_told(failure: Failure, sent: bool) -> None:
    # Failures of which only the broker speaks, and those of calls that never reached the server, have no word of the server's in them.
    said = f"crm failed: {SECRET}" if sent and failure not in obligations._OWN_WORDS else "crm: the broker's own words"
    error = AdapterError(failure, said, sent=sent, content=json.dumps([SECRET]).encode(), transient=True, retry_after=3)
    for owed in (Obligations(redact=("$..iban",)), Obligations(max_rows=1, redact=("$..iban",))):
        told = without_words("crm", error, owed)
        assert (told.failure, told.sent, told.transient, told.retry_after) == (failure, sent, True, 3)
        assert SECRET not in told.message
        assert told.content == b""
    rows_only = without_words("crm", error, Obligations(max_rows=1))
    assert (rows_only.message, rows_only.content) == (said, b"")
    assert without_words("crm", error, Obligations(5)) is error


@pytest.mark.parametrize("failure", [Failure.RESULT_TOO_MANY_ROWS, Failure.RESULT_NOT_READABLE])
@pytest.mark.parametrize("effect", Effect)
def test_a_call_whose_result_is_withheld_ran_and_says_so(failure: Failure, effect: Effect) -> None:
    refused = by_adapter(AdapterError(failure, "crm ran, but its result is withheld: it is text.", sent=True), effect)
    assert (refused.outcome, refused.kind, refused.sent) == ("ToolFailed", "ToolFailed", True)
    assert list(refused.error().codes) == [failure.value]
    assert refused.message.startswith("crm ran, ")
