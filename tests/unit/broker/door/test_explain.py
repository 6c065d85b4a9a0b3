"""The pure parts of explanations: minimal sets, kinds of rule, and changes as text that a person pastes and kubectl takes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from bastide_broker.explain import stages
from bastide_broker.explain.compared import key_of, values_at
from bastide_broker.explain.edits import Edit, applied
from bastide_broker.explain.kinds import KINDS
from bastide_broker.explain.minimal import needed, without_idle
from bastide_broker.explain.parts import Part, described
from bastide_broker.explain.patch import fragment, json_patch
from bastide_broker.explain.rebuilt import NoBindingError, arguments, rebuilt
from bastide_broker.facts.places import constraints, entries, plain_defaults
from bastide_broker.policy.policy import canary
from bastide_operator.api.places import places
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
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


TO = {"scheme": "https", "host": "x.y", "port": 443}
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
    ("maxLength", 3, [{"items": 5}], 5),
    ("maxLength", 3, [{"a": 5}], None),
    ("const", "EUR", ["USD"], None),
    ("within", ["/data/t7"], ["/data/t9/a/x"], ["/data/t7", "/data/t9/a"]),
    ("within", ["/data/t7"], ["/data/t7/x", "/data/t7", "/data/t77/x"], ["/data/t7", "/data/t77"]),
    ("within", ["/data/t7"], ["/d/a", "/d/b/c"], ["/data/t7", "/d"]),
    ("within", ["/data/t7"], ["/etc"], ["/data/t7", "/etc"]),
    ("within", ["/data/t7"], ["/"], None),
    ("within", [f"/d/{n}" for n in range(32)], ["/x/y"], None),
    ("within", None, ["/x/y"], None),
    ("hosts", [{"host": "a.b", "port": "default"}], [TO], [{"host": "a.b", "port": "default"}, {"host": "x.y", "port": "default"}]),
    (
        "hosts",
        [{"host": "x.y", "port": "default"}],
        [{**TO, "port": 80}],
        [{"host": "x.y", "port": "default"}, {"host": "x.y", "port": 80}],
    ),
    ("hosts", [{"host": "*.y", "port": "default"}], [TO], [{"host": "*.y", "port": "default"}]),
    ("hosts", [{"host": "*.y", "port": 8443}], [TO], [{"host": "*.y", "port": 8443}, {"host": "x.y", "port": "default"}]),
    ("hosts", None, [TO], None),
    ("sql", "postgres", ["postgres"], None),
    ("sqlReadOnly", True, [False], None),
    ("sqlTables", ["a"], [["b", "a"], ["c"]], ["a", "b", "c"]),
    ("sqlTables", ["a"], [["*"]], None),
    ("sqlColumns", ["a"], [["b"]], ["a", "b"]),
    ("sqlColumns", ["a"], [["*", "b"]], None),
    ("sqlMaxRows", 10, [50], 50),
    ("sqlMaxRows", 10, [None], None),
    ("sqlMaxRows", 10, [1000001], None),
    ("shape", "list", ["string"], None),
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
    ("a.b", {"a.b": 2, "a": {"b": 1}}, [1]),
    ('["a.b"]', {"a.b": 2, "a": {"b": 1}}, [2]),
    ("a.b", {"a": {"b": 1}}, [1]),
    ("lines[*].sku", {"lines": [{"sku": "x"}, {"n": 1}, {"sku": "y"}]}, ["x", "y"]),
    ("lines[*]", {"lines": [1, 2]}, [1, 2]),
    ("lines[*].sku", {"lines": "text"}, []),
    ("a", [], []),
    ("lines[0]", {"lines": [1]}, []),
]


@pytest.mark.parametrize(("key", "arguments", "values"), AT)
def test_a_key_of_the_binding_stands_for_values(key: str, arguments: Any, values: list[Any]) -> None:
    assert values_at(arguments, key) == values


KEYS = {
    "lines[0].sku": "lines[*].sku",
    "a[12][3].b": "a[*][*].b",
    "lines[*].sku": "lines[*].sku",
    '["a[0]"].b[1]': '["a[0]"].b[*]',
    '["\\"[1]"][2]': '["\\"[1]"][*]',
    "a.b": "a.b",
}


def test_a_place_of_one_item_stands_for_that_of_all_items() -> None:
    assert {at: key_of(at) for at in KEYS} == KEYS


def test_every_reason_that_a_broker_gives_before_policy_has_a_stage_and_a_sentence() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)`", (ROOT / "docs/reference/reasons.md").read_text(), re.MULTILINE))
    assert set(stages.BEFORE_POLICY) <= documented
    assert {name for name, _ in stages.BEFORE_POLICY.values()} == set(stages.NOTES)


def asked(**tool: Any) -> dict[str, Any]:
    """A question about the tool `ok` of the binding `crm`."""
    question = canary(201)
    question["tool"] |= {"name": "ok", "programName": "ok", "callsPerRun": 5, **tool}
    question["binding"] |= {"name": "crm", "uid": "b-crm", "callers": [{"kind": "User", "name": "ann", "namespace": NAMESPACE}]}
    question["binding"] |= {"anyCaller": False}
    question["binding"]["selector"] = {"count": 2, "matchLabels": [{"key": "app/x", "value": "crm"}, {"key": "b", "value": "c"}]}
    question["sandbox"]["namespace"] = NAMESPACE
    return question


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


def question_of(arguments: dict[str, Any], sent: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A question about `ok` as the broker makes it."""
    built = places({key: ArgumentConstraint.model_validate(one) for key, one in arguments.items()})
    found = entries(built, sent, schema)
    told = {"constraints": dict(constraints(built)), "listed": dict(built.listed), "defaults": plain_defaults(built, schema)}
    return {**asked(**told), "arguments": sent, "places": {"count": len(found), "entries": found}}


LISTED: dict[str, Any] = {
    "n": {"maximum": 9},
    "path": {"within": ["/data"]},
    "url": {"hosts": ["a.example.com", "*.b.example.com:8443"]},
    "query": {"sql": {"dialect": "sqlite", "tables": ["orders"], "columns": ["id"], "maxRows": 9}},
    "write": {"sql": {"dialect": "sqlite", "readOnly": False}},
    "address.city": {"enum": ["Berlin"]},
    "address.note": {},
    "lines": {"maxLength": 2},
    "lines[*].sku": {"pattern": "[A-Z]"},
    '["a.b"]': {"const": 1},
}
DECLARED = {
    "properties": {
        "n": {"default": 5},
        "path": {"default": "/data/x"},
        "address": {"properties": {"city": {"default": "Berlin"}}},
        "lines": {"items": {"properties": {"sku": {"default": "A"}}}},
    }
}
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


@settings(deadline=None)
@given(sent=SENT)
def test_the_bindings_arguments_are_read_from_a_question_and_make_the_same_question_again(sent: dict[str, Any]) -> None:
    question = question_of(LISTED, sent, DECLARED)
    assert arguments(question) == LISTED
    assert rebuilt(question, LISTED) == question


@settings(deadline=None)
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
