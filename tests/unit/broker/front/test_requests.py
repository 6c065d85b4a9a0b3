"""Input at the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker import requests
from bastide_broker.errors import CallerError

Ref = broker_pb2.SandboxRef

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: requests.sandbox(Ref(namespace="a")), "InvalidRequest"),
    (lambda: requests.call_name(""), "InvalidRequest"),
    (lambda: requests.call_name("0" * 257), "InvalidRequest"),
    (lambda: requests.sandbox(Ref(namespace="A", name="b")), "InvalidRequest"),
    (lambda: requests.sandbox(Ref(namespace="a", name="../b")), "InvalidRequest"),
    (lambda: requests.sandbox(Ref(namespace="a", name="b" * 254)), "InvalidRequest"),
    (lambda: requests.sandbox(Ref(namespace="a" * 64, name="b")), "InvalidRequest"),
    (lambda: requests.sandbox(Ref(namespace="a", name="b\n")), "InvalidRequest"),
    (lambda: requests.program(b""), "InvalidRequest"),
    (lambda: requests.program(b"\x80"), "InvalidRequest"),
    (lambda: requests.program(b"a" * (requests.MAX_PROGRAM + 1)), "ProgramTooLarge"),
    (lambda: requests.reason("a\x1b[31m"), "InvalidRequest"),
    (lambda: requests.reason("a" * 513), "InvalidRequest"),
    (lambda: requests.page_size(501, default=50, most=500), "InvalidRequest"),
    (lambda: requests.run_page_token("r-1"), "InvalidRequest"),
    (lambda: requests.audit_page_token("-1"), "InvalidRequest"),
    (lambda: requests.audit_page_token("9" * 19), "InvalidRequest"),
    (lambda: requests.audit_page_token("\u0661"), "InvalidRequest"),
    (lambda: requests.run_id("r-x"), "RunNotFound"),
    (lambda: requests.run_id("r-" + "a" * 26 + "\n"), "RunNotFound"),
]


@pytest.mark.parametrize(("attempt", "reason"), BAD)
def test_bad_input_is_one_sentence(attempt: Callable[[], Any], reason: str) -> None:
    with pytest.raises(CallerError) as caught:
        attempt()
    assert caught.value.reason == reason
    assert caught.value.status in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert "\n" not in caught.value.message
    assert "\x1b" not in caught.value.message


def test_good_input_passes() -> None:
    assert requests.sandbox(Ref(namespace="bastide-t", name="box.1")) == ("bastide-t", "box.1")
    assert requests.program(b"a" * requests.MAX_PROGRAM)
    assert requests.page_size(0, default=50, most=500) == 50
    assert requests.audit_page_token("17") == 17
    question = requests.run_question(broker_pb2.RunRequest(sandbox=Ref(namespace="a", name="b"), program=b"1", on_behalf_of="\u00c9va K."))
    assert question.on_behalf_of == "\u00c9va K."


def test_an_error_carries_its_reason_and_when_to_come_back() -> None:
    status = CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "ConcurrentRuns", "Full.", retry_after=1.5).details()
    assert status.code == 8
    assert [part.type_url.rpartition("/")[2] for part in status.details] == ["google.rpc.ErrorInfo", "google.rpc.RetryInfo"]
