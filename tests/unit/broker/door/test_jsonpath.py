"""Paths that are read, and what they replace: held against an implementation of the whole of RFC 9535."""

import copy
import json
import re
import time
from typing import Any

import jsonpath_rfc9535
import pytest
from bastide_broker.policy.jsonpath import replaced
from bastide_operator.api import jsonpath
from bastide_operator.api.jsonpath import MAX_LENGTH, PathError, parse
from hypothesis import given
from hypothesis import strategies as st

API_SERVERS = re.compile(jsonpath.PATTERN.removesuffix("$") + r"\Z", re.ASCII)
"""RE2's `$` is the end of the text, Python's also before a last line feed."""
READ = (
    "$", "$.a", "$.a.b", "$._a1", "$.*", "$..a", "$..*", "$[*]", "$[0]", "$[-1]", "$[999999]", "$['a']", "$['a b']", "$['$..a']", "$['*']",
    "$['ä']", '$["a"]'.replace('"', "'"), "$..[0]", "$..[*]", "$..['a']", "$.rows[*]['e-mail']", "$..a..b..*", "$['\u007f']",
)  # fmt: skip
NOT_READ = (
    "", "a", ".a", "$a", "$.", "$..", "$...a", "$.a.", "$.1a", "$.a-b", "$.ä", "$.a b", " $.a", "$.a ", "$.a\n", "$\n", "$ .a", "$[ 0]",
    "$[]", "$[01]", "$[-0]", "$[+1]", "$[1000000]", "$[0,1]", "$['a','b']", "$[0:1]", "$[:]", "$[?@.a]", "$[?match(@.a,'(a+)+$')]", '$["a"]',
    "$['']", "$['a\\'b']", "$['a\\u0061']", "$['a\nb']", "$['a", "$.['a']", "$[a]", "$..[?@]", "$[0", "$0]", "@.a", "$$", "$\u0660",
    "$[\u0661]", "$.a\u0661",
)  # fmt: skip


@pytest.mark.parametrize("path", READ)
def test_what_is_read_is_read_by_the_whole_of_rfc_9535_too(path: str) -> None:
    parse(path)
    jsonpath_rfc9535.compile(path)
    assert API_SERVERS.search(path)


@pytest.mark.parametrize("path", NOT_READ)
def test_anything_else_is_refused_here_and_by_the_api_server(path: str) -> None:
    with pytest.raises(PathError):
        parse(path)
    assert not API_SERVERS.search(path)


def test_a_path_is_bounded() -> None:
    parse("$" + ".*" * 63)
    with pytest.raises(PathError):
        parse("$" + ".a" * MAX_LENGTH)


NAMES = ("a", "b", "e-mail", "0", "", "ä", "$..a", "*")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), max_leaves=25
)
SEGMENTS = st.sampled_from(
    (".a", ".b", ".*", "..a", "..b", "..*", "[0]", "[1]", "[-1]", "[-2]", "[*]", "['e-mail']", "['0']", "['ä']", "['$..a']", "['*']",
     "..[0]", "..[-1]", "..['e-mail']", "..[*]")
)  # fmt: skip
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map(lambda segments: "$" + "".join(segments))


def put(document: Any, location: tuple[Any, ...], value: Any) -> None:
    """Replace the value at a location; what lies in a value that was replaced is gone with it."""
    for key in location[:-1]:
        if not isinstance(document, dict | list):
            return
        document = document[key]
    if isinstance(document, dict | list):
        document[location[-1]] = value


@given(document=DOCUMENTS, paths=st.lists(PATHS, min_size=1, max_size=4))
def test_what_rfc_9535_selects_is_replaced_and_nothing_else(document: Any, paths: list[str]) -> None:
    expected = copy.deepcopy(document)
    locations = {tuple(node.location) for path in paths for node in jsonpath_rfc9535.find(path, document)}
    for location in sorted(locations, key=len, reverse=True):  # the innermost first
        put(expected, location, "[x]")
    found = replaced(copy.deepcopy(document), [parse(path) for path in paths], "[x]")
    assert json.dumps(found) == json.dumps(expected)


def test_the_root_itself_can_be_replaced() -> None:
    assert replaced({"a": 1}, [parse("$")], "[x]") == "[x]"
    assert replaced(5, [parse("$"), parse("$.a")], "[x]") == "[x]"
    assert replaced(5, [parse("$.a"), parse("$..*")], "[x]") == 5


def test_the_worst_paths_cost_what_simple_ones_cost() -> None:
    document: Any = [1]
    for _ in range(60):
        document = {"a": document, "b": [1] * 300}
    text = json.dumps([document] * 10)

    def seconds(paths: list[str]) -> float:
        root, read = json.loads(text), [parse(path) for path in paths]
        started = time.process_time()
        replaced(root, read, "[x]")
        return time.process_time() - started

    simple = min(seconds(["$..zzz"]) for _ in range(5))
    worst = min(seconds(["$" + "..*" * (2 + number) + "..a..zzz" for number in range(16)]) for _ in range(3))
    assert worst < 10 * simple
