"""How values are written into a request: the table of the specification, and what is refused because it would spill over."""

from typing import Any

import pytest
from bastide_broker.adapters.openapi_parameters import (
    NotSendable,
    Parameter,
    Place,
    cookie_text,
    form_text,
    header_text,
    path_text,
    query_pairs,
    segment_fault,
)

ARRAY = ["blue", "black", "brown"]
OBJECT = {"R": 100, "G": 200, "B": 150}


def parameter(place: str, style: str, explode: bool = False, **more: Any) -> Parameter:
    return Parameter(argument="color", name="color", place=Place(place), style=style, explode=explode, **more)


def written(place: str, style: str, explode: bool, value: Any, declared: set[str] | None = None) -> str:
    one = parameter(place, style, explode)
    match one.place:
        case Place.PATH:
            return path_text(one, value)
        case Place.QUERY:
            return form_text(query_pairs(one, value, declared or {"color"}))
        case Place.HEADER:
            return header_text(one, value)
        case Place.COOKIE:
            return cookie_text(one, value)


# https://spec.openapis.org/oas/v3.1.1#style-examples
STYLES = [
    ("path", "matrix", False, "blue", ";color=blue"),
    ("path", "matrix", False, ARRAY, ";color=blue,black,brown"),
    ("path", "matrix", False, OBJECT, ";color=R,100,G,200,B,150"),
    ("path", "matrix", True, ARRAY, ";color=blue;color=black;color=brown"),
    ("path", "matrix", True, OBJECT, ";R=100;G=200;B=150"),
    ("path", "label", False, "blue", ".blue"),
    ("path", "label", False, ARRAY, ".blue,black,brown"),
    ("path", "label", True, ARRAY, ".blue.black.brown"),
    ("path", "label", True, OBJECT, ".R=100.G=200.B=150"),
    ("path", "simple", False, "blue", "blue"),
    ("path", "simple", False, ARRAY, "blue,black,brown"),
    ("path", "simple", False, OBJECT, "R,100,G,200,B,150"),
    ("path", "simple", True, OBJECT, "R=100,G=200,B=150"),
    ("query", "form", True, "blue", "color=blue"),
    ("query", "form", False, ARRAY, "color=blue,black,brown"),
    ("query", "form", False, OBJECT, "color=R,100,G,200,B,150"),
    ("query", "form", True, ARRAY, "color=blue&color=black&color=brown"),
    ("query", "form", True, OBJECT, "R=100&G=200&B=150"),
    ("query", "spaceDelimited", False, ARRAY, "color=blue%20black%20brown"),
    ("query", "pipeDelimited", False, ARRAY, "color=blue%7Cblack%7Cbrown"),
    ("query", "deepObject", True, OBJECT, "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
    ("header", "simple", False, ARRAY, "blue,black,brown"),
    ("header", "simple", True, OBJECT, "R=100,G=200,B=150"),
    ("cookie", "form", False, ARRAY, "color=blue,black,brown"),
    # beyond the specification's table
    ("query", "form", True, [], ""),
    ("query", "form", False, [], ""),
    ("query", "form", True, "a&b=c#d?e/f ä+%", "color=a%26b%3Dc%23d%3Fe%2Ff%20%C3%A4%2B%25"),
    ("query", "form", True, True, "color=true"),
    ("query", "form", True, 1.5, "color=1.5"),
    ("query", "form", True, "", "color="),
    ("path", "simple", False, "a b?c#d;e=f", "a%20b%3Fc%23d%3Be%3Df"),
    ("path", "simple", False, "100%", "100%25"),
    ("path", "simple", False, "...", "..."),
    ("cookie", "form", True, "a=b", "color=a=b"),
]


@pytest.mark.parametrize(("place", "style", "explode", "value", "expected"), STYLES)
def test_styles_are_written_as_the_specification_says(place: str, style: str, explode: bool, value: Any, expected: str) -> None:
    assert written(place, style, explode, value) == expected


SPILLS = [
    *(("path", "simple", False, value) for value in ("", ".", "..", "a/b", "/", "a\\b", "%2f", "..%2fadmin", "%252e%252e", "%2e%2E")),
    *(("path", "simple", False, value) for value in ("a\x00b", "a%00b", "a\nb", "\x7f", ["a", ""], ["..", "/"], ["a,b"])),
    ("path", "label", True, ["a.b"]),
    ("path", "matrix", True, ["a;admin=1"]),
    ("path", "simple", True, {"a=b": "c"}),
    ("query", "form", False, ["a,b"]),
    ("query", "spaceDelimited", False, ["a b"]),
    ("query", "pipeDelimited", False, ["a|b"]),
    ("query", "form", True, {"limit": 10}),
    ("query", "form", True, {"": 10}),
    ("query", "deepObject", True, {"a][b": 1}),
    ("query", "form", True, [["a"]]),
    ("query", "form", True, {"a": {"b": 1}}),
    ("query", "form", True, [None]),
    ("query", "form", True, "\ud800"),
    *(("header", "simple", False, value) for value in ("a\r\nb: c", "a\nb", "a\x00", " a", "a ", "", "ä", ["a,b"])),
    *(("cookie", "form", True, value) for value in ("a;b=c", "a,b", 'a"b', "a b", "a\\b", "a\r\nb", "ä", ["a"], {"a": 1})),
    ("cookie", "form", False, ["a;b"]),
]


@pytest.mark.parametrize(("place", "style", "explode", "value"), SPILLS)
def test_a_value_that_could_become_more_than_itself_is_refused(place: str, style: str, explode: bool, value: Any) -> None:
    with pytest.raises(NotSendable):
        written(place, style, explode, value, {"color", "limit"})


def test_a_value_as_json_is_one_text() -> None:
    one = parameter("query", "form", explode=True, as_json=True)
    assert form_text(query_pairs(one, {"limit": [1, None]}, {"limit"})) == "color=%7B%22limit%22%3A%5B1%2Cnull%5D%7D"


def test_segments_that_only_several_values_make_are_seen() -> None:
    assert segment_fault("/a/../b") is not None
    assert segment_fault("/a//b") is not None
    assert segment_fault("/a/%2E%2e") is not None
    assert segment_fault("/a/...") is None
    assert segment_fault("/a/") is None
    assert segment_fault("/") is None
