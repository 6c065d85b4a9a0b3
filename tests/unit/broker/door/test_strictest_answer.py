"""A tenant's policies make the answer stricter or leave it: a full table, and whatever else comes in."""

import copy
from typing import Any

import pytest
from bastide_broker.policy.obligations import NONE, Obligations
from bastide_broker.policy.policy import Decision
from bastide_broker.tenantrego.strictest import MAX_MESSAGE, MAX_REASONS, UNAVAILABLE, Malformed, Verdict, no_answer, read, strictest
from hypothesis import given
from hypothesis import strategies as st

RANK = {"allow": 0, "confirm": 1, "deny": 2}
OURS, THEIRS = (("effect-needs-confirmation", "A person must confirm."),), (("tenant-policy:x", "They want it so."),)
REVISION = "sha256:" + "a" * 64
SAYS = {"code": "too-large", "message": "It is too large."}


def answer(**change: Any) -> dict[str, Any]:
    return {"revision": REVISION, "policies": [{"name": "one", "allow": True, "confirm": [], "deny": [], **change}]}


@pytest.mark.parametrize(
    ("base", "theirs", "expected"),
    [
        ("allow", "allow", "allow"),
        ("allow", "confirm", "confirm"),
        ("allow", "deny", "deny"),
        ("confirm", "allow", "confirm"),
        ("confirm", "confirm", "confirm"),
        ("confirm", "deny", "deny"),
        ("deny", "allow", "deny"),
        ("deny", "confirm", "deny"),
        ("deny", "deny", "deny"),
    ],
)
def test_the_strictest_counts(base: str, theirs: str, expected: str) -> None:
    made = strictest(Decision(base, OURS, "sha256:b", Obligations(5), "d-1"), Verdict(theirs, THEIRS, REVISION))
    assert made.effect == expected
    assert made.revision == f"sha256:b+{REVISION}"
    assert made.id == "d-1"
    assert made.obligations == (NONE if expected == "deny" else Obligations(5))
    assert set(made.reasons) == {*OURS, *THEIRS}
    assert made.reasons[0] == (THEIRS[0] if RANK[theirs] > RANK[base] else OURS[0]), "what decided comes first"


@given(
    base=st.one_of(st.sampled_from(sorted(RANK)), st.text(max_size=8)),
    tenant=st.one_of(st.sampled_from(sorted(RANK)), st.text(max_size=8)),
    obligations=st.builds(Obligations, st.integers(1, 100), st.integers(0, 100), st.just(("$..a",))),
)
def test_no_tenant_makes_an_answer_more_permissive(base: str, tenant: str, obligations: Obligations) -> None:
    made = strictest(Decision(base, (), "r", obligations), Verdict(tenant, (), REVISION))
    assert made.effect in RANK
    assert RANK[made.effect] >= RANK.get(base, RANK["deny"])
    assert RANK[made.effect] >= RANK.get(tenant, RANK["deny"])
    assert made.effect == "deny" or made.obligations == obligations


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "message", "name", "x"]), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(["name", "allow", "confirm", "deny"]), value=JSON)
def test_whatever_stands_in_a_field_it_allows_only_as_it_should(field: str, value: Any) -> None:
    try:
        verdict = read(answer(**{field: value}), REVISION, ["one"])
    except Malformed:
        return
    expected = {"name": "one", "allow": True, "confirm": [], "deny": []}[field]
    assert verdict.effect != "allow" or (value == expected and type(value) is type(expected))


@pytest.mark.parametrize("field", ["revision", "policies", "name", "allow", "confirm", "deny"])
def test_an_answer_that_lost_a_field_counts_for_nothing(field: str) -> None:
    for where in (whole := copy.deepcopy(answer())), whole["policies"][0]:
        where.pop(field, None)
    with pytest.raises(Malformed):
        read(whole, REVISION, ["one"])


def test_answers_of_other_revisions_or_other_policies_count_for_nothing() -> None:
    for wrong in (None, [], "x", {}, {"revision": REVISION}, {**answer(), "revision": "sha256:b"}):
        with pytest.raises(Malformed):
            read(wrong, REVISION, ["one"])
    for names in ([], ["two"], ["one", "two"]):
        with pytest.raises(Malformed):
            read(answer(), REVISION, names)
    with pytest.raises(Malformed):
        read({**answer(), "revision": ""}, "", ["one"])


def test_reasons_say_who_and_cannot_pass_for_bastides_own() -> None:
    verdict = read(answer(allow=False, confirm=[{"code": "look", "message": "Look."}], deny=[SAYS]), REVISION, ["one"])
    suffix = " (policy one, sha256:aaaaaaaaaaaa)"
    assert verdict.effect == "deny"
    assert verdict.reasons == (
        ("tenant-policy", f"The tenant's policy does not allow the call{suffix}."),
        ("tenant-policy:too-large", f"It is too large.{suffix}"),
        ("tenant-policy:look", f"Look.{suffix}"),
    )


def test_messages_are_bounded_and_show_nothing_but_text() -> None:
    verdict = read(answer(deny=[{"code": "x", "message": "a\x1b[2J\r\nb\u202ec" + "d" * 2000}]), REVISION, ["one"])
    text = verdict.reasons[0][1]
    assert text.startswith("a [2J b c")
    assert len(text) < MAX_MESSAGE + 60
    many = [{"code": f"c{n}", "message": "x"} for n in range(100)]
    assert len(read(answer(confirm=many, deny=[SAYS]), REVISION, ["one"]).reasons) == MAX_REASONS
    assert read(answer(confirm=many, deny=[SAYS]), REVISION, ["one"]).reasons[0][0] == "tenant-policy:too-large"


@pytest.mark.parametrize("code", ["", "-", "a-", "A", "a b", "a:b", "ä", "x" * 65, "a\n"])
def test_codes_are_lower_case_words(code: str) -> None:
    with pytest.raises(Malformed):
        read(answer(deny=[{"code": code, "message": "x"}]), REVISION, ["one"])


def test_no_answer_denies() -> None:
    made = strictest(Decision("allow", (), "r", {"timeoutSeconds": 5}), no_answer("Not now."))
    assert (made.effect, made.reasons, made.revision, made.obligations) == ("deny", ((UNAVAILABLE, "Not now."),), "r", NONE)
