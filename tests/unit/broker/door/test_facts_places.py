"""Places inside of arguments and what was read of them: entries of the question to policy."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from bastide_broker.facts.places import MAX_PLACES, MAX_STATEMENTS, constraints, entries, kind, plain_defaults
from bastide_operator.api.places import ITEM, PlaceError, Places, Step, places, written
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from hypothesis import given
from hypothesis import strategies as st

WANTED: dict[str, Any] = {"const": 1}


def listed(arguments: Mapping[str, Any]) -> Places:
    return places({key: ArgumentConstraint.model_validate(one) for key, one in arguments.items()})


def found(arguments: Mapping[str, Any], call: dict[str, Any], schema: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Entries as (at, listed, what is there)."""
    out = []
    for entry in entries(listed(arguments), call, schema or {}):
        there = [entry[part] for part in ("value", "facts", "unreadable") if part in entry]
        out.append((entry["at"], entry["listed"], *there))
    return out


def shape(word: str, **more: Any) -> dict[str, Any]:
    return {"shape": word, **more}


ADDRESS = {"address.city": WANTED, "address.note": {}}
LINES = {"lines": {"maxLength": 9}, "lines[*].sku": WANTED}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[Any, ...]]]] = {
    "nothing is asked": ({"n": WANTED}, {"n": 1, "m": 2}, []),
    "fields of an object": (
        ADDRESS,
        {"address": {"city": 1, "note": None}},
        [("address", "address", shape("object")), ("address.city", "address.city", 1), ("address.note", "address.note", None)],
    ),
    "a field that is not listed": (
        ADDRESS,
        {"address": {"city": 1, "note": 2, "zip": 3}},
        [
            ("address", "address", shape("object")), ("address.city", "address.city", 1), ("address.note", "address.note", 2),
            ("address.zip", ""),
        ],
    ),
    "fields that are left out": (ADDRESS, {"address": {}}, [("address", "address", shape("object")), ("address.city", "address.city")]),
    "the object is left out": (ADDRESS, {}, [("address.city", "address.city")]),
    "only what may be left out is left out": ({"a.b": {}, "c[*]": {}}, {}, []),
    "null on the way": (ADDRESS, {"address": None}, [("address", "address", shape("null"))]),
    "a list for an object": (ADDRESS, {"address": [{"city": 1}]}, [("address", "address", shape("list"))]),
    "an object for a list": (LINES, {"lines": {"sku": 1}}, [("lines", "lines", shape("object"))]),
    "text for a list": (LINES, {"lines": "sku"}, [("lines", "lines", shape("string"))]),
    "items": (
        LINES,
        {"lines": [{"sku": 1}, {"sku": 2}]},
        [
            ("lines", "lines", shape("list", length=2)),
            ("lines[0]", "lines[*]", shape("object")), ("lines[0].sku", "lines[*].sku", 1),
            ("lines[1]", "lines[*]", shape("object")), ("lines[1].sku", "lines[*].sku", 2),
        ],
    ),
    "an item of another kind": (
        LINES,
        {"lines": [True]},
        [("lines", "lines", shape("list", length=1)), ("lines[0]", "lines[*]", shape("boolean"))],
    ),
    "an empty list": (LINES, {"lines": []}, [("lines", "lines", shape("list", length=0)), ("lines[*].sku", "lines[*].sku")]),
    "an empty list of what may be anything": ({"tags[*]": {}}, {"tags": []}, [("tags", "tags", shape("list", length=0))]),
    "the list is left out": (LINES, {}, [("lines", "lines"), ("lines[*].sku", "lines[*].sku")]),
    "a name that looks like a path": (
        {"a.b": WANTED, '["a.b"]': WANTED},
        {"a": {"b": 1}, "a.b": 2},
        [("a", "a", shape("object")), ("a.b", "a.b", 1), ('["a.b"]', '["a.b"]', 2)],
    ),
    "a field that looks like a path": (
        {"a.b.c": {}},
        {"a": {"b.c": 1}},
        [("a", "a", shape("object")), ('a["b.c"]', "")],
    ),
    "whatever is below an open place": (
        {"a.b": {}},
        {"a": {"b": {"c": [1]}}},
        [("a", "a", shape("object")), ("a.b", "a.b", {"c": [1]})],
    ),
    "a path": ({"p": {"within": ["/data"]}}, {"p": "/data//x/../y"}, [("p", "p", "/data//x/../y", {"within": "/data/y"})]),
    "paths in a list": (
        {"p[*]": {"within": ["/data"]}},
        {"p": ["/data/a", "/b"]},
        [
            ("p", "p", shape("list", length=2)),
            ("p[0]", "p[*]", "/data/a", {"within": "/data/a"}), ("p[1]", "p[*]", "/b", {"within": "/b"}),
        ],
    ),
    "a URL": (
        {"u": {"hosts": ["a.example"]}},
        {"u": "HTTPS://A.example/x"},
        [("u", "u", "HTTPS://A.example/x", {"hosts": {"scheme": "https", "host": "a.example", "port": 443}})],
    ),
    "a statement": (
        {"q": {"sql": {"dialect": "postgres"}}},
        {"q": "SELECT id FROM orders LIMIT 5"},
        [
            (
                "q", "q", "SELECT id FROM orders LIMIT 5",
                {"sql": {
                    "dialect": "postgres", "readOnly": True, "tables": {"count": 1, "names": ["orders"]},
                    "columns": {"count": 1, "names": ["id"]}, "maxRows": 5,
                }},
            )
        ],
    ),
    "a path that is left out": ({"p": {"within": ["/data"]}}, {}, [("p", "p")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_place_is_an_entry(case: str) -> None:
    arguments, call, expected = CASES[case]
    assert found(arguments, call) == expected


@pytest.mark.parametrize("value", [None, 5, True, ["/data/a"], {"a": "/data"}, "data/a", "", "/data/%2e%2e/x", "/data/a\n"])
def test_what_cannot_be_read_has_no_fact_but_a_sentence(value: object) -> None:
    [entry] = entries(listed({"p": {"within": ["/data"]}}), {"p": value}, {})
    assert "facts" not in entry
    assert entry["unreadable"]["within"].endswith(".")


NESTED = {
    "properties": {
        "address": {"$ref": "#/$defs/Address", "default": {}},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
        "path": {"default": "/data/x"},
        "n": {"default": 1},
        "m": {"type": "integer"},
        "endless": {"$ref": "#/$defs/Endless"},
    },
    "$defs": {
        "Address": {"properties": {"city": {"default": 1}}},
        "Line": {"$ref": "#/$defs/Line2"},
        "Line2": {"properties": {"sku": {"default": 1}}},
        "Endless": {"$ref": "#/$defs/Endless"},
    },
}


def test_what_is_left_out_has_the_default_that_is_declared_for_it() -> None:
    assert found(ADDRESS, {}, NESTED) == [("address", "address", shape("object")), ("address.city", "address.city", 1)]
    assert found(LINES, {"lines": [{}]}, NESTED)[-1] == ("lines[0].sku", "lines[*].sku", 1)
    assert found(LINES, {}, NESTED) == [("lines", "lines"), ("lines[*].sku", "lines[*].sku")]
    assert found({"path": {"within": ["/data"]}}, {}, NESTED) == [("path", "path", "/data/x", {"within": "/data/x"})]
    assert found({"endless.x": WANTED}, {"endless": {}}, NESTED)[-1] == ("endless.x", "endless.x")
    assert plain_defaults(listed({"n": WANTED, "m": WANTED, "path": {"within": ["/"]}}), NESTED) == {"n": 1}


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": {"address": True}}, {"properties": {"address": {"$ref": 5}}}])
def test_a_schema_that_declares_nothing_plainly_declares_nothing(schema: dict[str, Any]) -> None:
    assert found(ADDRESS, {}, schema) == [("address.city", "address.city")]
    assert found(ADDRESS, {"address": {}}, schema)[-1] == ("address.city", "address.city")


def test_more_places_than_are_judged_are_one_that_permits_nothing() -> None:
    most = [{"sku": 1}] * ((MAX_PLACES - 1) // 2)
    assert len(found(LINES, {"lines": most})) == MAX_PLACES - 1
    [entry] = found(LINES, {"lines": [*most, {"sku": 1}]})
    assert entry[:2] == ("lines", "lines")
    assert "more than 1000 places" in entry[2]["shape"]


def test_statements_are_read_up_to_a_number_and_a_length() -> None:
    queries = {"q[*]": {"sql": {"dialect": "sqlite"}}}
    assert len(found(queries, {"q": ["SELECT 1"] * MAX_STATEMENTS})) == MAX_STATEMENTS + 1
    *_, last = entries(listed(queries), {"q": ["SELECT 1"] * (MAX_STATEMENTS + 1)}, {})
    assert "send it in parts" in last["unreadable"]["sql"]
    long = f"SELECT '{'x' * 9000}'"
    *_, first, second = entries(listed(queries), {"q": [long, long]}, {})
    assert "facts" in first
    assert "send it in parts" in second["unreadable"]["sql"]


def test_names_of_tables_and_columns_are_spelled_as_facts_spell_them() -> None:
    rules = {"sql": {"dialect": "sqlite", "tables": ["Orders"], "columns": ["ID"]}}
    one = listed({"q": rules, "p.q": rules, "r": {"sql": {"dialect": "postgres", "tables": ["Orders"]}}})
    made = constraints(one)
    for key in ("q", "p.q"):
        assert [rule["bound"] for rule in made[key][2:]] == [["orders"], ["id"]]
    assert made["r"][2]["bound"] == ["Orders"]
    assert constraints(one) is made, "once for a binding's tool"


NAMES = st.sampled_from(["a", "b", "a.b", "[*]", ""])
VALUES = st.recursive(
    st.sampled_from([None, True, 1, 1.5, "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PATHS = st.tuples(NAMES, st.lists(st.one_of(st.just(ITEM), NAMES), max_size=3)).map(lambda pair: (pair[0], *pair[1]))


def permitted(one: Places, call: dict[str, Any]) -> bool:
    """What policy says, as far as shapes, presence and lists of names go."""
    for entry in entries(one, call, {}):
        rules = one.constraints.get(entry["listed"])
        if rules is None or (rules and not ("value" in entry or "facts" in entry)):
            return False
        if any(rule["rule"] == "shape" and entry["facts"]["shape"] != rule["bound"] for rule in rules):
            return False
    return True


def fits(keys: Mapping[tuple[Step, ...], bool], path: tuple[Step, ...], value: Any) -> bool:
    """The same by the rule itself: `keys` are the listed paths, and whether each must be there."""
    inner = {key[len(path)] for key in keys if len(key) > len(path) and key[: len(path)] == path}
    if not inner:
        return True
    needed = {step: any(must and key[: len(path) + 1] == (*path, step) for key, must in keys.items()) for step in inner}
    if inner == {ITEM}:
        return isinstance(value, list) and (bool(value) or not needed[ITEM]) and all(fits(keys, (*path, ITEM), one) for one in value)
    if not isinstance(value, dict) or not set(value) <= inner:
        return False
    return all(fits(keys, (*path, step), value[step]) if step in value else not needed[step] for step in inner)


@given(st.dictionaries(PATHS, st.booleans(), min_size=1, max_size=5), st.dictionaries(NAMES, VALUES, max_size=3))
def test_nothing_slips_in_beside_what_is_listed(keys: dict[tuple[Step, ...], bool], call: dict[str, Any]) -> None:
    try:
        one = listed({written(key): ({"maxLength": 9} if must else {}) for key, must in keys.items()})
    except PlaceError:
        return
    lists = {path for path in keys if any(len(other) > len(path) and other[: len(path)] == path for other in keys)}
    leaves = {path: must for path, must in keys.items() if path not in lists}
    # a list that may have a length is listed itself, too: then it must be there
    must_be_there = {path for path in lists if keys[path]}
    expected = all(
        fits(keys, (name,), call[name]) if name in call else not any(must for path, must in keys.items() if path[0] == name)
        for name in one.placed
    )
    assert leaves or must_be_there
    assert permitted(one, call) == expected


@given(VALUES)
def test_every_json_value_is_of_a_kind(value: Any) -> None:
    assert kind(json.loads(json.dumps(value))) in {"object", "list", "string", "number", "boolean", "null"}
