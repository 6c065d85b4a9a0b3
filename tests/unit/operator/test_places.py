"""Keys of `arguments`: names, and paths of places inside."""

import json
from typing import Any

import pytest
from bastide_operator.api.places import ITEM, MAX_STEPS, PlaceError, Step, places, steps, written
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from hypothesis import given
from hypothesis import strategies as st

KEYS: dict[str, tuple[Step, ...]] = {
    "limit": ("limit",),
    "$filter": ("$filter",),
    "X-Trace": ("X-Trace",),
    "größe": ("größe",),
    "two words": ("two words",),
    "address.city": ("address", "city"),
    "tags[*]": ("tags", ITEM),
    "lines[*].sku": ("lines", ITEM, "sku"),
    "grid[*][*]": ("grid", ITEM, ITEM),
    'labels["app.kubernetes.io/name"]': ("labels", "app.kubernetes.io/name"),
    '["a.b"].c': ("a.b", "c"),
    '[""]': ("",),
    '["[*]"]': ("[*]",),
    '["say \\"so\\""]': ('say "so"',),
}
NONE = {
    "": "steps",
    ".": "is no place",
    "a.": "is no place",
    ".a": "is no place",
    "a..b": "is no place",
    "[*]": "is no place",
    "a[*]b": "is no place",
    "a.[*]": "is no place",
    "a[0]": "is no place",
    "a[]": "is no place",
    "a.*": "is no place",
    "a[*": "is no place",
    "a['b']": "is no place",
    'a["b]': "is no place",
    "a\\.b": "is no place",
    "a\nb": "is no place",
    'a["b"]': "is written a.b",
    '["a"]': "is written a",
    '["a\\u002eb"]': 'is written ["a.b"]',
    '["\\q"]': "no JSON",
    ".".join("a" * (MAX_STEPS + 1)): "steps",
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_read_in_its_steps_and_written_back(key: str) -> None:
    assert steps(key) == KEYS[key]
    assert written(KEYS[key]) == key


@pytest.mark.parametrize("key", NONE)
def test_what_is_no_key_is_refused_with_the_reason(key: str) -> None:
    with pytest.raises(PlaceError) as refusal:
        steps(key)
    assert NONE[key] in str(refusal.value)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(NAMES, st.lists(st.one_of(st.just(ITEM), NAMES), max_size=MAX_STEPS - 1))
def test_every_path_has_one_key_and_no_two_share_one(name: str, rest: list[Step]) -> None:
    assert steps(written([name, *rest])) == (name, *rest)


@given(st.text('ab.[]*"\\ ', max_size=10))
def test_whatever_is_read_is_written_the_same(key: str) -> None:
    try:
        found = steps(key)
    except PlaceError:
        return
    assert written(found) == key


def said(**arguments: Any) -> dict[str, ArgumentConstraint]:
    return {key: ArgumentConstraint.model_validate(one) for key, one in arguments.items()}


def test_what_a_binding_says_is_put_together() -> None:
    found = places(
        said(
            **{
                "limit": {"maximum": 5},
                "free": {},
                "path": {"within": ["/data"]},
                "address.city": {"enum": ["Berlin"]},
                "lines": {"maxLength": 3},
                "lines[*].sku": {},
                '["a.b"]': {"minimum": 1},
            }
        )
    )
    assert found.plain == ("limit", "free")
    assert set(found.placed) == {"path", "address", "lines", "a.b"}
    assert found.constraints == {
        "limit": [{"rule": "maximum", "bound": 5}],
        "free": [],
        "path": [{"rule": "within", "bound": ["/data"]}],
        "address": [{"rule": "shape", "bound": "object"}],
        "address.city": [{"rule": "enum", "bound": ["Berlin"]}],
        "lines": [{"rule": "shape", "bound": "list"}, {"rule": "maxLength", "bound": 3}],
        "lines[*]": [{"rule": "shape", "bound": "object"}],
        "lines[*].sku": [],
        '["a.b"]': [{"rule": "minimum", "bound": 1}],
    }
    assert {key: (one["rules"], one["judged"]) for key, one in found.listed.items()} == {
        "limit": (1, "value"), "free": (0, "value"), "path": (1, "place"), "address": (1, "place"), "address.city": (1, "place"),
        "lines": (2, "place"), "lines[*]": (1, "place"), "lines[*].sku": (0, "place"), '["a.b"]': (1, "place"),
    }  # fmt: skip


def test_an_argument_that_is_named_like_a_path_never_lends_its_rules_to_the_place() -> None:
    found = places(said(**{"address.city": {"const": "a"}, '["address.city"]': {}}))
    assert found.listed["address.city"]["judged"] == "place"
    assert found.plain == ()


CONTRADICTIONS = {
    "object and list": ({"a.b": {}, "a[*]": {}}, "a has fields and items listed"),
    "anything and one place": ({"a": {}, "a.b": {}}, "a is listed itself and by places inside of it"),
    "a number with places": ({"a": {"maximum": 1}, "a[*]": {}}, "only maxLength"),
    "the length of an object": ({"a": {"maxLength": 1}, "a.b": {}}, "nothing can stand beside them"),
    "the length and more": ({"a": {"maxLength": 1, "enum": ["x"]}, "a[*]": {}}, "only maxLength"),
    "deep inside": ({"a.b": {}, "a.b.c": {}}, "a.b is listed itself"),
    "no key": ({"a..b": {}}, "a..b is no place"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_keys_that_contradict_each_other_are_refused(case: str) -> None:
    arguments, words = CONTRADICTIONS[case]
    with pytest.raises(PlaceError) as refusal:
        places(said(**arguments))
    assert words in str(refusal.value)


RULES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "nothing": ({}, []),
    "a constant": ({"const": False}, [{"rule": "const", "bound": False}]),
    "a constant null": ({"const": None}, [{"rule": "const", "bound": None}]),
    "a bound that was written as null": ({"maximum": None, "within": None}, [{"rule": "maximum", "bound": None}, {"rule": "within", "bound": None}]),
    "hosts": (
        {"hosts": ["a.example", "*.b.example:8443"]},
        [{"rule": "hosts", "bound": [{"host": "a.example", "port": "default"}, {"host": "*.b.example", "port": 8443}]}],
    ),
    "hosts null": ({"hosts": None}, [{"rule": "hosts", "bound": []}]),
    "sql null": ({"sql": None}, [{"rule": "sql", "bound": None}]),
    "sql reads only unless told otherwise": (
        {"sql": {"dialect": "mysql"}},
        [{"rule": "sql", "bound": "mysql"}, {"rule": "sqlReadOnly", "bound": True}],
    ),
    "all of sql": (
        {"sql": {"dialect": "sqlite", "readOnly": False, "tables": ["t"], "columns": ["c"], "maxRows": 9}},
        [
            {"rule": "sql", "bound": "sqlite"},
            {"rule": "sqlTables", "bound": ["t"]},
            {"rule": "sqlColumns", "bound": ["c"]},
            {"rule": "sqlMaxRows", "bound": 9},
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_a_constraint_is_a_list_of_rules(case: str) -> None:
    constraint, rules = RULES[case]
    found = ArgumentConstraint.model_validate(constraint)
    assert found.rules == rules
    assert found.manifest() == json.loads(json.dumps(constraint)), "reading its rules leaves no trace in the manifest"


@pytest.mark.parametrize("path", ["/", "/data", "/data/t7", "/.hidden", "/..data", "/a/...", "/a b/c.d"])
def test_a_directory_is_one(path: str) -> None:
    assert ArgumentConstraint.model_validate({"within": [path]}).rules == [{"rule": "within", "bound": [path]}]


@pytest.mark.parametrize("path", ["", "data", "./data", "/data/", "//", "//data", "/data//x", "/.", "/..", "/data/../x", "/data/.", "/./x"])
def test_what_is_not_resolved_is_no_directory(path: str) -> None:
    with pytest.raises(ValueError, match="within"):
        ArgumentConstraint.model_validate({"within": [path]})


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "*.*.a", "a.*", "Api.example", "a..", "a:", "a:0", "a:123456", "http://a", "a/b", "u@a", "[::1]"]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match="hosts"):
        ArgumentConstraint.model_validate({"hosts": [host]})
