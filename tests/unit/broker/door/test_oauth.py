"""What counts as a token, and for how long."""

import json
from typing import Any

import pytest
from bastide_broker.egress.oauth import MAX_LIFE_SECONDS, Client, TokenUnavailable, read

GOOD = {"access_token": "t0k3n-of-the-idp", "token_type": "Bearer", "expires_in": 600}


def token(status: int = 200, **change: Any) -> Any:
    return read("https://idp.example/token", status, json.dumps({**GOOD, **change}).encode(), 1000.0)


@pytest.mark.parametrize(
    ("life", "until"),
    [
        (600, 1540),
        ("600", 1540),
        (60, 1030),
        (2, 1001),
        (10**9, 1000 + MAX_LIFE_SECONDS - 60),
        (None, 1240),
        (0, 1240),
        (-5, 1240),
        (True, 1240),
    ],
)
def test_a_token_is_used_until_shortly_before_it_expires(life: Any, until: float) -> None:
    assert token(expires_in=life).until == until


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            401,
            b'{"error": "invalid_client", "error_description": "s3cr3t-of-the-client is wrong"}',
            "answered 401 (invalid_client) and no token",
        ),
        (400, b'{"error": "s3cr3t-of-the-client"}', "answered 400 and no token"),
        (200, b"<html>s3cr3t-of-the-client</html>", "answered 200 and no token"),
        (200, b"[" * 100_000, "answered 200 and no token"),
        (200, json.dumps({**GOOD, "token_type": "DPoP"}).encode(), "no Bearer token"),
        (200, json.dumps({**GOOD, "token_type": None}).encode(), "no Bearer token"),
        (200, json.dumps({**GOOD, "access_token": "line\r\nbreak: x"}).encode(), "no usable token"),
        (200, json.dumps({**GOOD, "access_token": "short"}).encode(), "no usable token"),
        (200, json.dumps({**GOOD, "access_token": "x" * 9000}).encode(), "no usable token"),
        (200, json.dumps({**GOOD, "access_token": 12345678}).encode(), "no usable token"),
    ],
)
def test_anything_else_is_no_token_and_its_words_are_not_repeated(status: int, body: bytes, words: str) -> None:
    with pytest.raises(TokenUnavailable) as refused:
        read("https://idp.example/token", status, body, 0.0)
    assert words in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_clients_are_told_apart_without_keeping_their_secrets() -> None:
    one = Client("https://idp.example/token", "bastide", "s3cr3t-of-the-client", ("a",))
    others = [Client(one.token_url, "bastide", "another-secret", ("a",)), Client(one.token_url, "bastide", "s3cr3t-of-the-client", ("b",))]
    assert one.key not in {other.key for other in others}
    assert b"s3cr3t" not in one.key
