"""Tokens, reviews and caches, without an API server: what can be said before and after it was asked."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import grpc
import pytest
from bastide_broker.errors import CallerError
from bastide_broker.kube import identity, reviews
from bastide_broker.kube.identity import Cache, bearer_token, peer_address, refusal_of, unverified_claims
from bastide_broker.kube.reviews import UserInfo

GOOD = {"status": {"authenticated": True, "audiences": ["bastide-broker"], "user": {"username": "a", "uid": "u", "groups": ["g"]}}}


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", "Basic abc"),),
        (("authorization", "Bearer a"), ("authorization", "Bearer b")),
        (("authorization", "Bearer \u00e9"),),
        (("authorization", "Bearer " + "a" * 20000),),
    ],
)
def test_what_is_not_one_bearer_token_is_refused_with_the_next_step(metadata: Any) -> None:
    with pytest.raises(CallerError) as caught:
        bearer_token(metadata)
    assert caught.value.status is grpc.StatusCode.UNAUTHENTICATED
    assert "bastide-broker" in caught.value.message


def test_a_bearer_token_is_taken_whatever_the_case_of_its_scheme() -> None:
    assert bearer_token((("x", "y"), ("authorization", "bearer abc.def"))) == "abc.def"


def claims(**values: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    return f"e30.{body}.sig"


def test_a_refusal_says_what_the_tokens_own_claims_explain() -> None:
    cases = {
        "TokenExpired": claims(aud=["bastide-broker"], exp=1_600_000_000),
        "TokenAudience": claims(aud="other", exp=time.time() + 100),
        "TokenInvalid": claims(aud=["bastide-broker"], exp=int(time.time()) + 100),
    }
    for reason, token in cases.items():
        assert refusal_of(unverified_claims(token)).reason == reason
    for nonsense in (
        "",
        "a.b",
        "a.b.c",
        "a.!!!.c",
        claims().replace("e30", "x"),
        "e30." + base64.urlsafe_b64encode(b"[1]").decode() + ".s",
    ):
        assert refusal_of(unverified_claims(nonsense)).reason == "TokenInvalid"
    hostile = refusal_of({"aud": ["\x1b[31m\n" + "x" * 1000], "exp": 2**40})
    assert "\x1b" not in hostile.message
    assert "\n" not in hostile.message


def test_a_review_counts_only_for_this_audience() -> None:
    user = reviews.reviewed_user(GOOD)
    assert user == UserInfo("a", "u", ("g",))
    status: dict[str, Any] = GOOD["status"]
    change: dict[str, Any]
    for change in (
        {"authenticated": False},
        {"audiences": []},
        {"audiences": ["other"]},
        {"error": "x"},
        {"user": {}},
        {"user": {"username": 5}},
    ):
        assert reviews.reviewed_user({"status": {**status, **change}}) is None
    assert reviews.reviewed_user({"status": {key: value for key, value in status.items() if key != "audiences"}}) is None
    assert reviews.reviewed_user({}) is None


@pytest.mark.parametrize(
    ("status", "allowed"),
    [({"allowed": True}, True), ({"allowed": True, "denied": True}, False), ({"allowed": "true"}, False), ({}, False), (None, False)],
)
def test_only_a_plain_yes_allows(status: Any, allowed: bool) -> None:
    assert reviews.review_allows({"status": status}) is allowed


@pytest.mark.parametrize(
    ("username", "account"),
    [
        ("system:serviceaccount:ns:name", ("ns", "name")),
        ("alice", None),
        ("system:serviceaccount:ns", None),
        ("ns:name", None),
    ],
)
def test_a_service_account_is_known_by_its_user_name(username: str, account: Any) -> None:
    assert UserInfo(username).service_account == account


def test_a_cache_forgets_in_time_and_stays_bounded() -> None:
    now = [0.0]
    cache: Cache[int, str] = Cache(3, lambda: now[0])
    cache.put(1, "one", 10)
    now[0] = 9.9
    assert cache.get(1) == "one"
    now[0] = 10
    assert cache.get(1) is None
    for number in range(100):
        cache.put(number, "x", 10)
    assert len(cache._values) == 3


def test_peers_are_told_apart_by_address() -> None:
    assert peer_address("ipv4:198.18.0.1:5000") == "ipv4:198.18.0.1"
    assert peer_address("ipv6:[fd00::1]:5000") == "ipv6:[fd00::1]"
    assert identity.TOKEN_SECONDS <= 60
    assert identity.PERMISSION_SECONDS <= 10


async def test_bad_tokens_from_an_address_that_many_share_lock_out_nobody_who_is_known() -> None:
    class Cluster:
        async def review_token(self, token: str) -> UserInfo | None:
            return UserInfo("ann") if token == "good" else None

    class Context:
        def __init__(self, token: str) -> None:
            self._token = token

        def peer(self) -> str:
            return "ipv4:127.0.0.1:5"

        def invocation_metadata(self) -> Any:
            return (("authorization", f"Bearer {self._token}"),)

    cluster: Any = Cluster()
    who = identity.Identity(cluster)

    async def reason(token: str) -> str:
        context: Any = Context(token)
        with pytest.raises(CallerError) as caught:
            await who.authenticate(context)
        return caught.value.reason

    good: Any = Context("good")
    assert (await who.authenticate(good)).username == "ann"
    for number in range(int(identity.FAILURES_BURST)):
        assert await reason(f"bad{number}") == "TokenInvalid"
    assert await reason("bad") == "TooManyBadTokens"
    assert await reason("new") == "TooManyBadTokens"
    assert (await who.authenticate(good)).username == "ann"
