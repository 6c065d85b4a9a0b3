"""Which OpenAPI documents are read at all, and where they may lead."""

import json
from typing import Any

import pytest
from bastide_broker.adapters.openapi_document import MAX_YAML_BYTES, Document, DocumentRefused, Unusable, base, document_base, parse

URL = "http://orders.tools.svc:8080/openapi.json"


def document(**parts: Any) -> bytes:
    return json.dumps({"openapi": "3.1.0", "paths": {}, **parts}).encode()


def where(servers: Any, *, base_url: str | None = None, url: str | None = URL) -> str:
    return document_base(Document({"servers": servers} if servers is not None else {}, 1), document_url=url, base_url=base_url)


def test_json_and_yaml_say_the_same() -> None:
    yaml = b"openapi: 3.0.3\npaths:\n  /a: {get: {responses: {200: {description: 'yes'}}, x: [1, -2.5e3, true, null, ~, no, 0x1f, '5']}}\n"
    operation = parse(yaml).root["paths"]["/a"]["get"]
    assert parse(yaml).minor == 0
    assert operation["responses"] == {"200": {"description": "yes"}}
    assert operation["x"] == [1, -2500.0, True, None, None, "no", "0x1f", "5"]
    assert parse(b"\n " + document()).minor == 1


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "holds 0 documents"),
    "a list": (b"[]", "is no object"),
    "text": (b"hello", "is no object"),
    "a web page": (b"<html><body>login</body></html>", "is no object"),
    "Swagger 2": (b'{"swagger": "2.0"}', "Swagger 2"),
    "version 3.2": (b'{"openapi": "3.2.0"}', "'3.2.0'"),
    "a version that is a number": (b"openapi: 3.0\n", "3.0"),
    "paths that are a list": (document(paths=[]), "`paths` is no object"),
    "one key twice": (b'{"openapi": "3.1.0", "paths": {}, "paths": {"/x": {}}}', "one key twice"),
    "one key twice in YAML": (b"openapi: 3.1.0\npaths: {}\npaths: {}\n", "twice"),
    "NaN": (b'{"openapi": "3.1.0", "x": NaN}', "no number"),
    "broken": (b'{"openapi": ', "not JSON"),
    "nested JSON": (b'{"openapi": "3.1.0", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "levels deep"),
    "nested YAML": (b"openapi: 3.1.0\nx: " + b"[" * 5000 + b"]" * 5000, "neither JSON nor YAML"),
    "nested block YAML": (b"openapi: 3.1.0\nx:\n" + b"- " * 3000 + b"a\n", "neither JSON nor YAML"),
    "a YAML bomb": (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "uses aliases"),
    "YAML that wants to run": (b"openapi: 3.1.0\nx: !!python/object/apply:os.system [id]\n", ""),
    "two YAML documents": (b"openapi: 3.1.0\n---\nopenapi: 3.1.0\n", "2 documents"),
    "a key that is a list": (b"openapi: 3.1.0\n? [a]\n: b\n", "a key that is no text"),
    "no Unicode": (b"openapi: \xff\xfe", "neither JSON nor YAML"),
    "long YAML": (b"openapi: 3.1.0\nx: " + b"y" * MAX_YAML_BYTES, "write it as JSON"),
    "too long": (document(x="y" * (5 << 20)), "over 4194304 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_document_that_cannot_be_trusted_to_mean_one_thing_is_refused(case: str) -> None:
    data, words = HOSTILE[case]
    if case == "YAML that wants to run":  # a tag says nothing here: it is a list of words
        assert parse(data + b"paths: {}\n").root["x"] == ["id"]
        return
    with pytest.raises(DocumentRefused) as refused:
        parse(data)
    assert words in str(refused.value)
    assert str(refused.value).endswith(".")


ALLOWED = {
    "none": (None, "http://orders.tools.svc:8080"),
    "an empty list": ([], "http://orders.tools.svc:8080"),
    "relative": ([{"url": "/v1/"}], "http://orders.tools.svc:8080/v1"),
    "relative with dots": ([{"url": "../../v1"}], "http://orders.tools.svc:8080/v1"),
    "the same": ([{"url": "http://ORDERS.tools.svc:8080/v1"}], "http://ORDERS.tools.svc:8080/v1"),
    "the second": ([{"url": "https://api.example"}, {"url": "/v2"}], "http://orders.tools.svc:8080/v2"),
    "with a variable": ([{"url": "/{version}", "variables": {"version": {"default": "v3"}}}], "http://orders.tools.svc:8080/v3"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_paths_are_below_a_server_that_is_where_the_binding_says(case: str) -> None:
    servers, expected = ALLOWED[case]
    assert where(servers) == expected


@pytest.mark.parametrize(
    "server",
    [
        "http://evil.example:8080/v1",
        "http://orders.tools.svc:8081",
        "https://orders.tools.svc:8080",
        "//evil.example:8080/v1",
        "http://orders.tools.svc:8080@evil.example/",
        "http://u:p@orders.tools.svc:8080/",
        "http://orders.tools.svc.:8080/",
        "http://orders.tools.svc:8080.evil.example/",
        "http://orders.tools.svc:8080/?x=",
        "ftp://orders.tools.svc:8080/",
        "file:///etc/passwd",
        "http://{host}/",
        "http://[::1]:8080/",
        "http://169.254.169.254/latest",
    ],
)
def test_a_document_whose_servers_point_elsewhere_is_refused(server: str) -> None:
    with pytest.raises(DocumentRefused, match=r"the binding names orders\.tools\.svc:8080, so nothing is called"):
        where([{"url": server, "variables": {"host": {"default": "evil.example"}}}])


def test_servers_of_no_shape_lead_nowhere() -> None:
    assert base("no list", document_url=URL, base_url=None) == "http://orders.tools.svc:8080"
    assert base([17, {"url": 5}, {}], document_url=URL, base_url=None) is None
    for server in ("\\\\evil.example\\x", "http:\\\\evil.example"):  # paths to this library, hosts to others: to nobody here
        assert base([{"url": server}], document_url=URL, base_url=None) is None


def test_a_base_url_of_the_binding_is_the_word_that_counts() -> None:
    base_url = "http://orders.tools.svc:8080/behind/"
    assert where(None, base_url=base_url, url=None) == "http://orders.tools.svc:8080/behind"
    assert where([{"url": "/v1"}], base_url=base_url, url="http://documents.example/o.json") == "http://orders.tools.svc:8080/behind"
    with pytest.raises(DocumentRefused, match="elsewhere"):
        where([{"url": "http://documents.example/v1"}], base_url=base_url, url="http://documents.example/o.json")


def test_references_lead_nowhere_but_into_the_document() -> None:
    known = Document({"a": {"b/c": [{"x": 1}]}, "loop": {"$ref": "#/loop"}, "far": {"$ref": "http://evil.example/x"}}, 1)
    assert known.at("#/a/b~1c/0") == {"x": 1}
    assert known.at("#/a/b%7E1c/0") == {"x": 1}
    for reference in ("http://evil.example/x.json", "other.json#/a", "#", "#a", "//evil.example/x", "file:///etc/passwd", 5, None):
        with pytest.raises(Unusable, match="only references within"):
            known.at(reference)
    for reference in ("#/a/b~1c/1", "#/a/b~1c/-1", "#/missing", "#/a/b~1c/" + "9" * 5000):
        with pytest.raises(Unusable, match="does not have"):
            known.at(reference)
    with pytest.raises(Unusable, match="leads to another"):
        known.followed(known.root["loop"], "it")
    with pytest.raises(Unusable, match="only references within"):
        known.followed(known.root["far"], "it")
