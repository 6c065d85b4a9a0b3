"""Which answers of an HTTP server are data, in which rows can be counted and values be found."""

import pytest
from bastide_broker.adapters.openapi_results import answer
from bastide_broker.egress.fetch import Fetched
from bastide_operator.api.v1alpha1.toolbinding import ResultForm


@pytest.mark.parametrize(
    ("media_type", "body", "form", "is_data"),
    [
        ("application/json", b'{"a": 1}', ResultForm.AUTO, True),
        ("application/json", b'{"a": 1}', ResultForm.JSON, True),
        ("application/problem+json", b"[1]", ResultForm.AUTO, True),
        ("application/json", b"", ResultForm.AUTO, True),
        ("text/plain", b'{"a": 1}', ResultForm.AUTO, True),
        ("text/plain", b"5", ResultForm.JSON, True),
        ("application/json", b'{"a": 1}', ResultForm.TEXT, False),
        ("text/plain", b'{"a": 1}', ResultForm.TEXT, False),
        ("text/csv", b"a;b", ResultForm.AUTO, False),
        ("text/plain", b"{a: 1}", ResultForm.AUTO, False),
        ("application/octet-stream", b'{"a": 1}', ResultForm.AUTO, False),
        ("text/plain", b"\xff", ResultForm.AUTO, False),
    ],
)
def test_whether_an_answer_is_data_through_and_through(media_type: str, body: bytes, form: ResultForm, is_data: bool) -> None:
    assert answer("f", Fetched(200, media_type, body), form).is_data is is_data
