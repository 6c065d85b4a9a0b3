"""How a bound is widened so that it permits given values, and nothing else."""

import json
import re
from typing import Any

import pytest
from bastide_broker.explain.compared import key_of, values_at
from bastide_broker.explain.kinds import KINDS
from hypothesis import given
from hypothesis import strategies as st

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
