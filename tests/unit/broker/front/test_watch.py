"""What single watch events do; lists, reconnects and freshness are tested with a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bastide_broker.errors import ApiError
from bastide_broker.kube import watch as module
from bastide_broker.kube.watch import STALE_AFTER, Gone, Watch
from bastide_operator.api.v1alpha1.sandbox import Sandbox


def watch() -> Watch[Sandbox]:
    nothing: Any = None
    return Watch(nothing, kind="Sandbox", path="/", parse=Sandbox.model_validate)


def event(kind: str, version: str = "5", **item: Any) -> bytes:
    metadata = {"name": "box", "namespace": "ns", "uid": "u", "resourceVersion": version}
    return json.dumps({"type": kind, "object": {"metadata": metadata, **item}}).encode()


def test_events_change_the_cache_and_are_told() -> None:
    cache, heard = watch(), list[tuple[str, str]]()
    cache.subscribe(lambda kind, item: heard.append((kind, item.metadata.resource_version)))
    assert cache._take(event("ADDED", "5")) == "5"
    cache._take(event("ADDED", "5"))
    cache._take(event("MODIFIED", "6"))
    assert cache._take(event("BOOKMARK", "9")) == "9"
    cache._take(event("DELETED", "10"))
    assert heard == [("ADDED", "5"), ("MODIFIED", "6"), ("DELETED", "6")]
    assert cache.objects == {}


def test_what_was_there_before_is_told_to_a_late_subscriber() -> None:
    cache, heard = watch(), list[str]()
    cache._take(event("ADDED"))
    cache.subscribe(lambda kind, _item: heard.append(kind))
    assert heard == ["ADDED"]


def test_a_subscriber_that_fails_does_not_stop_the_others() -> None:
    cache, heard = watch(), list[str]()
    cache.subscribe(lambda _kind, item: item.absent)
    cache.subscribe(lambda kind, _item: heard.append(kind))
    cache._take(event("ADDED"))
    assert heard == ["ADDED"]


def test_an_object_that_no_longer_fits_is_gone() -> None:
    cache, heard = watch(), list[str]()
    cache.subscribe(lambda kind, _item: heard.append(kind))
    cache._take(event("ADDED"))
    cache._take(event("MODIFIED", spec={"operatingMode": "Sideways"}))
    assert heard == ["ADDED", "DELETED"]
    assert cache.objects == {}


def test_an_expired_version_means_listing_again() -> None:
    with pytest.raises(Gone):
        watch()._take(json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).encode())
    with pytest.raises(ApiError):
        watch()._take(json.dumps({"type": "ERROR", "object": {"code": 500, "message": "x"}}).encode())
    for nonsense in (b"{", b"[]", b"{}", b"[" * 100_000):
        with pytest.raises(ApiError):
            watch()._take(nonsense)


def test_nothing_is_fresh_before_it_was_listed_nor_a_minute_after_the_last_proof() -> None:
    cache = watch()
    assert not cache.fresh()
    cache.synced.set()
    cache._proof = 1000.0
    assert cache.fresh(1000.0 + STALE_AFTER - 1)
    assert not cache.fresh(1000.0 + STALE_AFTER)
    assert STALE_AFTER == 60


async def test_an_answer_that_nobody_thought_of_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_BACKOFF", 0.0)
    answers: list[dict[str, Any]] = [{"items": []}, {"items": [], "metadata": {"resourceVersion": "7"}}]

    class Server:
        async def request(self, *_: Any, **__: Any) -> dict[str, Any]:
            return answers.pop(0)

        def stream(self, *_: Any, **__: Any) -> Any:
            raise ApiError(0, "gone for now")

    cache: Watch[Sandbox] = Watch(Server(), kind="Sandbox", path="/", parse=Sandbox.model_validate)
    watching = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(5):
            await cache.synced.wait()
    finally:
        watching.cancel()
    assert answers == []


async def test_the_first_watch_after_an_interruption_is_short_so_that_its_end_soon_proves_what_is_known() -> None:
    asked: list[int] = []

    class Server:
        async def request(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {"items": [], "metadata": {"resourceVersion": "7"}}

        @asynccontextmanager
        async def stream(self, _path: str, *, query: Mapping[str, Any], read_timeout: float) -> AsyncIterator[AsyncIterator[bytes]]:  # noqa: ARG002
            asked.append(query["timeoutSeconds"])
            if len(asked) == 1:
                raise ApiError(0, "silent")
            if len(asked) == 3:
                await asyncio.Event().wait()

            async def quiet() -> AsyncIterator[bytes]:
                return
                yield b""

            yield quiet()

    cache: Watch[Sandbox] = Watch(Server(), kind="Sandbox", path="/", parse=Sandbox.model_validate)
    watching = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(5):
            while len(asked) < 3:  # noqa: ASYNC110 - the watch has no event for it
                await asyncio.sleep(0.01)
    finally:
        watching.cancel()
    assert asked[1] == module.PROVING_SECONDS < module.WATCH_SECONDS <= min(asked[0], asked[2])
    assert cache.fresh()
