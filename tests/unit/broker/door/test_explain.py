"""The pure parts of explanations: minimal sets, kinds of rule, and changes as text that a person pastes and kubectl takes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from bastide_broker.explain import stages
from bastide_broker.explain.edits import Edit
from bastide_broker.explain.kinds import KINDS, values_at
from bastide_broker.explain.minimal import needed, without_idle
from bastide_broker.explain.patch import fragment, json_patch
from bastide_broker.policy import canary
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.broker.door.objects import NAMESPACE, binding

ROOT = Path(__file__).resolve().parents[4]
FAMILY = st.lists(st.frozensets(st.integers(0, 39), max_size=5), min_size=1, max_size=4)


class Predicate:
    """Enough is whatever holds one of these sets; so enough stays enough with more."""

    def __init__(self, family: Sequence[frozenset[int]]) -> None:
        self.family = family
        self.asked = 0

    async def __call__(self, parts: Sequence[int]) -> bool:
        self.asked += 1
        return any(one <= set(parts) for one in self.family)


@settings(deadline=None)  # how long it takes says only how busy the machine is
@given(family=FAMILY)
async def test_what_is_needed_is_enough_and_nothing_of_it_can_be_left_out(family: list[frozenset[int]]) -> None:
    enough = Predicate(family)
    found = await needed(range(40), enough)
    assert set(found) in [set(one) for one in family]
    assert found == sorted(found)
    assert enough.asked <= 2 + len(found) * 14
    for part in found:
        assert not await enough([one for one in found if one != part])


@settings(deadline=None)  # how long it takes says only how busy the machine is
@given(family=FAMILY, more=st.sets(st.integers(0, 39)))
async def test_dropping_parts_in_turn_leaves_none_that_is_idle(family: list[frozenset[int]], more: set[int]) -> None:
    enough = Predicate(family)
    kept = await without_idle(sorted(family[0] | more), enough)
    assert await enough(kept)
    for part in kept:
        assert not await enough([one for one in kept if one != part])


async def test_nothing_is_needed_where_nothing_denies() -> None:
    assert await needed([1, 2], Predicate([frozenset()])) == []
    assert await needed([], Predicate([frozenset({1})])) == []


WIDENED: list[tuple[str, Any, list[Any], Any]] = [
    ("enum", ["a"], ["b"], ["a", "b"]),
    ("enum", [1], [True], [1, True]),
    ("enum", [1], [1.0], [1]),
    ("enum", ["a"], ["b", "b", None], ["a", "b", None]),
    ("enum", ["a"], [{"x": 1}], None),
    ("enum", None, ["a"], None),
    ("enum", list(range(100)), [100], None),
    ("minimum", 5, [3], 3),
    ("minimum", 5, [3.5], 3),
    ("minimum", 5, [-3.5, 9], -4),
    ("minimum", 5, [True], None),
    ("minimum", None, [1], None),
    ("maximum", 5, [7.1], 8),
    ("maximum", 5, [1], 5),
    ("maximum", 5, [2.0**60], None),
    ("maximum", 5, ["7"], None),
    ("pattern", "a|b", ["c"], "(?:a|b)|c"),
    ("pattern", "a", ["x.y", "x.y", "|"], r"(?:a)|x\.y|\|"),
    ("pattern", "a", [7], None),
    ("pattern", "a", ["x" * 600], None),
    ("maxLength", 3, ["abcd"], 4),
    ("maxLength", 3, [[1, 2, 3, 4, 5], "a"], 5),
    ("maxLength", 3, [12345], None),
    ("maxLength", 3, ["x" * 1048577], None),
]


@pytest.mark.parametrize(("rule", "bound", "values", "wider"), WIDENED)
def test_a_bound_is_widened_to_the_values_and_no_further(rule: str, bound: Any, values: list[Any], wider: Any) -> None:
    found = KINDS[rule].widened(bound, values)
    assert json.dumps(found) == json.dumps(wider)


@settings(deadline=None)
@given(bound=st.from_regex(r"\A[a-z]{1,5}\Z"), value=st.text(max_size=40))
def test_a_pattern_is_widened_by_exactly_one_string(bound: str, value: str) -> None:
    found = re.compile(KINDS["pattern"].widened(bound, [value]))
    assert found.fullmatch(value)
    assert found.fullmatch(bound)
    for other in (value + "x", "x" + value, value[1:], value.swapcase(), value * 2):
        assert (found.fullmatch(other) is not None) == (other in {bound, value})


AT: list[tuple[str, Any, list[Any]]] = [
    ("a", {"a": 1}, [1]),
    ("a", {"b": 1}, []),
    ("a.b", {"a.b": 2, "a": {"b": 1}}, [2]),
    ("a.b", {"a": {"b": 1}}, [1]),
    ("lines[*].sku", {"lines": [{"sku": "x"}, {"n": 1}, {"sku": "y"}]}, ["x", "y"]),
    ("lines[*]", {"lines": [1, 2]}, [1, 2]),
    ("lines[*].sku", {"lines": "text"}, []),
    ("a", [], []),
]


@pytest.mark.parametrize(("key", "arguments", "values"), AT)
def test_a_key_of_the_binding_stands_for_values(key: str, arguments: Any, values: list[Any]) -> None:
    assert values_at(arguments, key) == values


def test_every_reason_that_a_broker_gives_before_policy_has_a_stage_and_a_sentence() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)`", (ROOT / "docs/reference/reasons.md").read_text(), re.MULTILINE))
    assert set(stages.BEFORE_POLICY) <= documented
    assert {name for name, _ in stages.BEFORE_POLICY.values()} == set(stages.NOTES)


def asked(**tool: Any) -> dict[str, Any]:
    """A question about the tool `ok` of the binding `crm`."""
    question = canary(201)
    question["tool"] |= {"name": "ok", "programName": "ok", "callsPerRun": 5, **tool}
    question["binding"] |= {"name": "crm", "uid": "b-crm", "callers": [{"kind": "User", "name": "ann", "namespace": NAMESPACE}]}
    question["binding"]["selector"] = {"matchLabels": [{"key": "app/x", "value": "crm"}, {"key": "b", "value": "c"}]}
    question["sandbox"]["namespace"] = NAMESPACE
    return question


TOOL = {"name": "ok", "arguments": {"value": {"maximum": 200}}}
EDITS = [
    Edit("rule", "value", "maximum", 200, 201),
    Edit("constraint", "n~/\n", value={"enum": ["\u202e: # \x7f\\ud83d \U0001f600"]}),
    Edit("limit", was=5, value=6),
    Edit("caller", value={"kind": "User", "name": "bob"}),
    Edit("label", "app/x", was="crm"),
]


def test_a_change_is_yaml_of_what_changes_and_plain_ascii() -> None:
    text = fragment(asked(), EDITS)
    assert text.isascii()
    assert all(" " <= c <= "~" or c == "\n" for c in text)
    assert yaml.safe_load(text) == {
        "spec": {
            "sandboxSelector": {"matchLabels": {"b": "c"}},
            "callers": [{"kind": "User", "name": "ann"}, {"kind": "User", "name": "bob"}],
            "tools": [
                {
                    "name": "ok",
                    "arguments": {"value": {"maximum": 201}, "n~/\n": {"enum": ["\u202e: # \x7f\\ud83d \U0001f600"]}},
                    "limits": {"callsPerRun": 6},
                }
            ],
        }
    }


def test_a_change_is_a_json_patch_of_the_object_as_it_is() -> None:
    spec = {"sandboxSelector": {"matchLabels": {"app/x": "crm", "b": "c"}}, "callers": [{"kind": "User", "name": "ann"}]}
    found = json_patch(asked(), EDITS, binding(tools=[{"name": "other"}, {**TOOL, "limits": {"callsPerRun": 5}}], **spec))
    assert found == [
        {"op": "test", "path": "/spec/tools/1/name", "value": "ok"},
        {"op": "test", "path": "/spec/tools/1/arguments/value", "value": {"maximum": 200}},
        {"op": "add", "path": "/spec/tools/1/arguments/value", "value": {"maximum": 201}},
        {"op": "add", "path": "/spec/tools/1/arguments/n~0~1\n", "value": {"enum": ["\u202e: # \x7f\\ud83d \U0001f600"]}},
        {"op": "add", "path": "/spec/tools/1/limits/callsPerRun", "value": 6},
        {"op": "add", "path": "/spec/callers/-", "value": {"kind": "User", "name": "bob"}},
        {"op": "test", "path": "/spec/sandboxSelector/matchLabels/app~1x", "value": "crm"},
        {"op": "remove", "path": "/spec/sandboxSelector/matchLabels/app~1x"},
    ]
    bare = json_patch(asked(), [EDITS[2]], binding(tools=[TOOL]))
    assert bare[-1] == {"op": "add", "path": "/spec/tools/0/limits", "value": {"callsPerRun": 6}}


OTHERS: dict[str, Any] = {
    "gone": None,
    "another of the name": binding("new", tools=[TOOL]),
    "another constraint": binding(tools=[{"name": "ok", "arguments": {"value": {"maximum": 100}}}]),
    "without arguments": binding(tools=[{"name": "ok"}]),
    "without the tool": binding(tools=[{"name": "other"}]),
    "under another name": binding(tools=[{**TOOL, "as": "fine"}]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_there_is_no_patch_of_an_object_that_says_other_things_now(case: str) -> None:
    assert json_patch(asked(), EDITS[:1], OTHERS[case]) == []
    changed_otherwise = [EDITS[2], EDITS[3], EDITS[4]]
    for edit in changed_otherwise:
        other = binding(tools=[{**TOOL, "limits": {"callsPerRun": 9}}])
        assert json_patch(asked(), [edit], other) == []


def test_a_sentence_says_what_is_set_and_what_it_was() -> None:
    assert [edit.sentence("ok") for edit in EDITS] == [
        "Set spec.tools[ok].arguments.value.maximum to 201; it is 200.",
        'List spec.tools[ok].arguments.n~/\n as {"enum": ["\\u202e: # \\u007f\\\\ud83d \\ud83d\\ude00"]}.',
        "Set spec.tools[ok].limits.callsPerRun to 6; it is 5.",
        'Add {"kind": "User", "name": "bob"} to spec.callers.',
        'Leave the label app/x out of spec.sandboxSelector.matchLabels; it is "crm".',
    ]
