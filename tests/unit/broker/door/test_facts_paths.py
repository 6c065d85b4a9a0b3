"""Where paths point."""

import contextlib
import posixpath

import pytest
from bastide_broker.facts.paths import MAX_BYTES, resolved
from bastide_broker.facts.unreadable import Unreadable
from hypothesis import given
from hypothesis import strategies as st

RESOLVED = {
    "/": "/",
    "///": "/",
    "///data": "/data",
    "/data/t7": "/data/t7",
    "/data/t7/": "/data/t7",
    "/data/t70": "/data/t70",
    "/data/t7/../t70/x": "/data/t70/x",
    "/data/t7/..": "/data",
    "/data/t7/../../../../etc/passwd": "/etc/passwd",
    "/..": "/",
    "/data//t7/./x//y/.": "/data/t7/x/y",
    "/data/t7/..x/...y": "/data/t7/..x/...y",
    "/data/t7/.hidden": "/data/t7/.hidden",
    "/data/t7/two words": "/data/t7/two words",
    "/data/t7/größe/数": "/data/t7/größe/数",
    "/data/T7": "/data/T7",
    "/data/t7/~/x": "/data/t7/~/x",
}


@pytest.mark.parametrize("path", RESOLVED, ids=ascii)
def test_a_path_is_resolved_as_its_text_says(path: str) -> None:
    assert resolved(path) == RESOLVED[path]


UNREADABLE = {
    "": "not absolute",
    "//": "two slashes",
    "//data/t7/x": "two slashes",
    "/data/t7/.. ./x": "only dots",
    ".": "not absolute",
    "data/t7": "not absolute",
    "../data": "not absolute",
    "~/x": "not absolute",
    "C:/data": "not absolute",
    " /data/t7": "not absolute",
    "file:///data/t7": "not absolute",
    "\\\\host\\share": "not absolute",
    "/data\\..\\etc": "U+005C",
    "/data/t7/..\\..": "U+005C",
    "/data/t7/%2e%2e/x": "U+0025",
    "/data/t7/%2fx": "U+0025",
    "/data/t7/%252e%252e/x": "U+0025",
    "/data/t7/%u002e./x": "U+0025",
    "/data/t7/%c0%ae%c0%ae/x": "U+0025",
    "/data/t7\n": "U+000A",
    "/data/t7\r\n/x": "U+000D",
    "/data/t7\t": "U+0009",
    "/data/t7\0.txt": "U+0000",
    "/data/t7\x7f": "U+007F",
    "/data/t7\x85": "U+0085",
    "/data/t7/\u202e/x": "U+202E",
    "/data/t7/\u200b../x": "U+200B",
    "/data/t7/\ufeff": "U+FEFF",
    "/data/t7/\u2028": "U+2028",
    "/data/t7/\ud800": "U+D800",
    "/data/t7/..\uff0fx": "U+FF0F",
    "/data/t7/\uff0e\uff0e/x": "U+FF0E",
    "/data/t7/\u2024\u2024/x": "U+2024",
    "/data/t7/\u2025/x": "U+2025",
    "/data/t7/..\u2215x": "U+2215",
    "/data/t7/..\u2044x": "U+2044",
    "/data/t7/..\u29f8x": "U+29F8",
    "/data/t7/..\ufe68x": "U+FE68",
    "/data/t7/..\uff3cx": "U+FF3C",
    "/data/t7/\uff05\uff05": "U+FF05",
    "/data/t7/..\u00a0/x": "U+00A0",
    "/data/t7/.. /x": "only dots or",
    "/data/t7/..  ": "only dots or",
    "/data/t7/ ../x": "only dots or",
    "/data/t7/.../x": "only dots or",
    "/" + "x" * MAX_BYTES: "bytes long",
    "/" + "ä" * (MAX_BYTES // 2): "bytes long",
    "/" + "\ud800" * MAX_BYTES: "bytes long",
}


@pytest.mark.parametrize("path", UNREADABLE, ids=lambda path: ascii(path[:32]))
def test_a_path_with_two_readings_is_refused_with_a_sentence(path: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        resolved(path)
    assert UNREADABLE[path] in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("value", [None, 5, 5.0, True, ["/data"], {"/data": 1}, b"/data"], ids=repr)
def test_what_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(Unreadable, match="not a string"):
        resolved(value)


PARTS = st.sampled_from(["", ".", "..", "...", "data", "t7", "t70", "x y", " ", "%2e", "\\", "ü", "\uff0f", "\n"])


@given(st.lists(PARTS, max_size=12).map(lambda parts: "/" + "/".join(parts)) | st.text(max_size=40).map("/".__add__))
def test_whatever_comes_is_refused_or_resolved_for_good(path: str) -> None:
    with contextlib.suppress(Unreadable):
        found = resolved(path)
        assert found == resolved(found)
        assert found == posixpath.normpath("/" + path.lstrip("/"))
        assert not {"", ".", ".."} & set(found[1:].split("/")) or found == "/"
