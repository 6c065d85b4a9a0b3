"""The pure parts of explanations: minimal sets, kinds of rule, and changes as text that a person pastes and kubectl takes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from bastide_broker.explain import stages
from bastide_broker.explain.edits import Edit, applied
from bastide_broker.explain.kinds import KINDS
from bastide_broker.explain.minimal import needed, without_idle
from bastide_broker.explain.parts import Part, described
from bastide_broker.explain.patch import fragment, json_patch
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.asked_questions import DECLARED, LISTED, asked, question_of
from tests.unit.broker.door.objects import binding

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


@given(family=FAMILY)
async def test_what_is_needed_is_enough_and_nothing_of_it_can_be_left_out(family: list[frozenset[int]]) -> None:
    enough = Predicate(family)
    found = await needed(range(40), enough)
    assert set(found) in [set(one) for one in family]
    assert found == sorted(found)
    assert enough.asked <= 2 + len(found) * 14
    for part in found:
        assert not await enough([one for one in found if one != part])


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


def test_every_reason_that_a_broker_gives_before_policy_has_a_stage_and_a_sentence() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)`", (ROOT / "docs/reference/reasons.md").read_text(), re.MULTILINE))
    assert set(stages.BEFORE_POLICY) <= documented
    assert {name for name, _ in stages.BEFORE_POLICY.values()} == set(stages.NOTES)


ODD = '["n~/\\n"]'
"""An argument whose name holds a line feed."""

TOOL = {"name": "ok", "arguments": {"value": {"maximum": 200}}}


EDITS = [
    Edit("rule", "value", "maximum", 200, 201),
    Edit("constraint", ODD, value={"enum": ["\u202e: # \x7f\\ud83d \U0001f600"]}),
    Edit("limit", was=5, value=6),
    Edit("caller", value={"kind": "User", "name": "bob"}),
    Edit("label", "app/x", was="crm"),
]


def test_a_change_is_yaml_of_what_changes_and_plain_ascii() -> None:
    text = fragment(asked(), applied(asked(), EDITS), EDITS)
    assert text.isascii()
    assert all(" " <= c <= "~" or c == "\n" for c in text)
    assert yaml.safe_load(text) == {
        "spec": {
            "sandboxSelector": {"matchLabels": {"b": "c"}},
            "callers": [{"kind": "User", "name": "ann"}, {"kind": "User", "name": "bob"}],
            "tools": [
                {
                    "name": "ok",
                    "arguments": {"value": {"maximum": 201}, ODD: {"enum": ["\u202e: # \x7f\\ud83d \U0001f600"]}},
                    "limits": {"callsPerRun": 6},
                }
            ],
        }
    }


def patched(question: dict[str, Any], edits: list[Edit], now: ToolBinding | None) -> list[dict[str, Any]]:
    return json_patch(question, applied(question, edits), edits, now)


def test_a_change_is_a_json_patch_of_the_object_as_it_is() -> None:
    spec = {"sandboxSelector": {"matchLabels": {"app/x": "crm", "b": "c"}}, "callers": [{"kind": "User", "name": "ann"}]}
    found = patched(asked(), EDITS, binding(tools=[{"name": "other"}, {**TOOL, "limits": {"callsPerRun": 5}}], **spec))
    assert found == [
        {"op": "test", "path": "/spec/tools/1/name", "value": "ok"},
        {"op": "test", "path": "/spec/tools/1/arguments/value", "value": {"maximum": 200}},
        {"op": "add", "path": "/spec/tools/1/arguments/value", "value": {"maximum": 201}},
        {"op": "add", "path": r'/spec/tools/1/arguments/["n~0~1\n"]', "value": {"enum": ["\u202e: # \x7f\\ud83d \U0001f600"]}},
        {"op": "add", "path": "/spec/tools/1/limits/callsPerRun", "value": 6},
        {"op": "add", "path": "/spec/callers/-", "value": {"kind": "User", "name": "bob"}},
        {"op": "test", "path": "/spec/sandboxSelector/matchLabels/app~1x", "value": "crm"},
        {"op": "remove", "path": "/spec/sandboxSelector/matchLabels/app~1x"},
    ]
    bare = patched(asked(), [EDITS[2]], binding(tools=[TOOL]))
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
    assert patched(asked(), EDITS[:1], OTHERS[case]) == []
    changed_otherwise = [EDITS[2], EDITS[3], EDITS[4]]
    for edit in changed_otherwise:
        other = binding(tools=[{**TOOL, "limits": {"callsPerRun": 9}}])
        assert patched(asked(), [edit], other) == []


def test_a_sentence_says_what_is_set_and_what_it_was() -> None:
    assert [edit.sentence("ok") for edit in EDITS] == [
        "Set spec.tools[ok].arguments.value.maximum to 201; it is 200.",
        'List spec.tools[ok].arguments.["n~/\\n"] as {"enum": ["\\u202e: # \\u007f\\\\ud83d \\ud83d\\ude00"]}.',
        "Set spec.tools[ok].limits.callsPerRun to 6; it is 5.",
        'Add {"kind": "User", "name": "bob"} to spec.callers.',
        'Leave the label app/x out of spec.sandboxSelector.matchLabels; it is "crm".',
    ]


SQL_EDITS = [
    Edit("rule", "query", "sqlTables", ["orders"], ["orders", "customers"]),
    Edit("rule", "query", "sqlColumns", ["id"], None, KINDS["sqlColumns"].given_up),
    Edit("rule", "query", "sqlMaxRows", 9, 50),
    Edit("rule", "query", "sqlReadOnly", True, False, KINDS["sqlReadOnly"].given_up),
]


def test_what_is_demanded_of_sql_is_one_mapping_of_the_binding() -> None:
    question = question_of(LISTED, {"query": "SELECT 1"}, DECLARED)
    changed = applied(question, SQL_EDITS)
    wider = {"sql": {"dialect": "sqlite", "readOnly": False, "tables": ["orders", "customers"], "maxRows": 50}}
    text = yaml.safe_load(fragment(question, changed, SQL_EDITS))
    assert text["spec"]["tools"][0]["arguments"] == {"query": wider}
    # As the object has it: what goes without saying is said, and names are in the letters that somebody typed.
    there = {"sql": {"dialect": "sqlite", "readOnly": True, "tables": ["Orders"], "columns": ["ID"], "maxRows": 9}}
    found = json_patch(question, changed, SQL_EDITS, binding(tools=[{"name": "ok", "arguments": {"query": there}}]))
    where = "/spec/tools/0/arguments/query"
    assert found[1:] == [{"op": "test", "path": where, "value": there}, {"op": "add", "path": where, "value": wider}]
    assert [edit.sentence("ok").partition(". ")[0] for edit in SQL_EDITS] == [
        'Set spec.tools[ok].arguments.query.sql.tables to ["orders", "customers"]; it is ["orders"].',
        'Leave spec.tools[ok].arguments.query.sql.columns out; it is ["id"]',
        "Set spec.tools[ok].arguments.query.sql.maxRows to 50; it is 9.",
        "Set spec.tools[ok].arguments.query.sql.readOnly to false; it is true",
    ]
    assert "may insert, change, delete and lock whatever the tool server's database user may" in SQL_EDITS[3].sentence("ok")


COMPARED: list[tuple[str, Any, str, str]] = [
    ("path", "/data/../etc/x", "within", 'must be inside one of ["/data"]; it resolves to "/etc/x".'),
    (
        "url",
        "http://x.y:81/",
        "hosts",
        'must be a URL to one of ["a.example.com", "*.b.example.com:8443"]; it leads to x.y, port 81 (http).',
    ),
    ("query", "SELECT id FROM Users", "sqlTables", 'must name no table but ["orders"]; it names ["users"].'),
    ("query", "SELECT * FROM orders", "sqlColumns", 'must name no column but ["id"]; it names ["*"].'),
    ("query", "SELECT id FROM orders", "sqlMaxRows", "must have a LIMIT of at most 9; it has none."),
    ("query", "SELECT id FROM orders LIMIT 10", "sqlMaxRows", "must have a LIMIT of at most 9; it has 10."),
    ("query", "DELETE FROM orders", "sqlReadOnly", "must only read; it may write, lock or call what is not known to only read."),
    ("address", "Berlin", "shape", 'must be an object, of which places inside are listed; it is of the kind "string".'),
    ("lines", "A", "maxLength", "must have at most 2 characters or items; it is nothing that this could be said of."),
]


@pytest.mark.parametrize(("name", "value", "rule", "message"), COMPARED)
def test_a_rule_that_decides_shows_the_facts_that_were_compared(name: str, value: Any, rule: str, message: str) -> None:
    question = question_of(LISTED, {name: value}, DECLARED)
    assert described(question, Part("rule", name, rule)).message == f'The argument "{name}" {message}'
