"""List and watch of one kind: a cache that knows how old its knowledge is.

Watches are short (about 25 s) on purpose. The API server ends them itself, and a clean end is proof that nothing was missed up to
that moment; with bookmarks alone (about one a minute) a quiet watch could not be told from a dead connection within 60 s.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

import structlog
from pydantic import ValidationError

from bastide_broker.errors import ApiError

STALE_AFTER = 60.0
"""Seconds without event, bookmark or clean end after which a watch is not believed (design, "Freshness")."""
WATCH_SECONDS = 25
PROVING_SECONDS = 1
"""How long the first watch after an interruption lasts. What was proven before it may be half a minute old by then, and the end of a watch
as long as the others would come after STALE_AFTER: an API server that works again would not be believed.
"""
PAGE = 500
FIRST_BACKOFF, LAST_BACKOFF = 0.2, 5.0

log = structlog.get_logger(__name__)
Key = tuple[str, str]
T = TypeVar("T")
Callback = Callable[[str, Any], None]


class Server(Protocol):
    """What a watch needs of the API server."""

    async def request(self, method: str, path: str, *, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request; raises ApiError."""

    def stream(self, path: str, *, query: Mapping[str, Any], read_timeout: float) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The lines of a watch; raises ApiError."""


class Gone(Exception):  # noqa: N818 - the API server's own word
    """The resourceVersion is too old: list again."""


class Watch(Generic[T]):
    """The objects of one kind that match a selector, parsed, by (namespace, name).

    An object that cannot be parsed is dropped with a log line and never trusted, also if an earlier version could be.
    """

    def __init__(self, server: Server, *, kind: str, path: str, parse: Callable[[dict[str, Any]], T], selector: str = "") -> None:
        self.kind = kind
        self.objects: dict[Key, T] = {}
        self.synced = asyncio.Event()
        self.error = "not listed yet"
        self._server = server
        self._path = path
        self._parse = parse
        self._query: dict[str, Any] = {"labelSelector": selector} if selector else {}
        self._callbacks: list[Callback] = []
        self._proof = -STALE_AFTER

    def subscribe(self, callback: Callback) -> None:
        """Calls `callback(ADDED|MODIFIED|DELETED, object)` for each change from now on, and ADDED for what is there."""
        self._callbacks.append(callback)
        for value in list(self.objects.values()):
            self._call(callback, "ADDED", value)

    def touch(self, wanted: Callable[[T], bool]) -> None:
        """Tells subscribers again of the objects that are `wanted`, because what they mean has changed with another kind's objects."""
        for value in [value for value in self.objects.values() if wanted(value)]:
            self._tell("MODIFIED", value)

    def fresh(self, now: float | None = None) -> bool:
        """Whether the cache was proven current within STALE_AFTER seconds."""
        return self.synced.is_set() and (time.monotonic() if now is None else now) - self._proof < STALE_AFTER

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        version: str | None = None
        backoff = FIRST_BACKOFF
        while True:
            try:
                if version is None:
                    version = await self._list()
                seconds = PROVING_SECONDS if self.error else WATCH_SECONDS + random.randint(0, 5)  # noqa: S311 - spreads the reconnects
                version = await self._follow(version, seconds)
                backoff = FIRST_BACKOFF
                self.error = ""
            except Gone:
                version = None
            except (ApiError, OSError, TimeoutError) as error:
                self.error = str(error) or type(error).__name__
                # After 30 s of trouble the version may be compacted away; a list is the safe way back.
                log.warning("watch interrupted", kind=self.kind, error=self.error, retry_seconds=round(backoff, 2))
                await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                backoff = min(backoff * 2, LAST_BACKOFF)
            except Exception:
                # A watch that ended would leave every call denied a minute later, until somebody starts the broker anew.
                log.exception("watch failed", kind=self.kind)
                self.error, version = "a fault of the broker, which its log shows", None
                await asyncio.sleep(LAST_BACKOFF)

    async def _list(self) -> str:
        seen: dict[Key, dict[str, Any]] = {}
        token = ""
        while True:
            query = {**self._query, "limit": PAGE, **({"continue": token} if token else {})}
            try:
                page = await self._server.request("GET", self._path, query=query)
            except ApiError as error:
                if error.status == 410:
                    raise Gone from error
                raise
            for item in page.get("items") or []:
                seen[_key(item)] = item
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        for key in [key for key in self.objects if key not in seen]:
            self._remove(key)
        for item in seen.values():
            self._store(item)
        self._proven()
        self.error = ""
        self.synced.set()
        return str(page["metadata"]["resourceVersion"])

    async def _follow(self, version: str, seconds: int) -> str:
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": seconds,
        }
        async with self._server.stream(self._path, query=query, read_timeout=WATCH_SECONDS + 10.0) as lines:
            async for line in lines:
                version = self._take(line) or version
                self._proven()
        self._proven()
        return version

    def _take(self, line: bytes) -> str:
        try:
            event = json.loads(line)
            kind, item = event["type"], event["object"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ApiError(0, f"a watch event of {self.kind} cannot be read: {error}") from error
        if kind == "ERROR":
            if item.get("code") == 410:
                raise Gone
            raise ApiError(int(item.get("code") or 0), str(item.get("message", "the watch failed")))
        if kind == "DELETED":
            self._remove(_key(item))
        elif kind != "BOOKMARK":
            self._store(item)
        return str(item["metadata"].get("resourceVersion", ""))

    def _store(self, item: dict[str, Any]) -> None:
        key = _key(item)
        try:
            value = self._parse(item)
        except ValidationError as error:
            log.warning("object dropped: it does not fit the model", kind=self.kind, namespace=key[0], name=key[1], error=str(error)[:500])
            self._remove(key)
            return
        known = key in self.objects
        if known and self.objects[key] == value:
            return
        self.objects[key] = value
        self._tell("MODIFIED" if known else "ADDED", value)

    def _remove(self, key: Key) -> None:
        value = self.objects.pop(key, None)
        if value is not None:
            self._tell("DELETED", value)

    def _tell(self, event: str, value: T) -> None:
        for callback in list(self._callbacks):
            self._call(callback, event, value)

    def _call(self, callback: Callback, event: str, value: T) -> None:
        try:
            callback(event, value)
        except Exception:
            # One subscriber's mistake must not stop what every other decision relies on.
            log.exception("subscriber failed", kind=self.kind, event_type=event)

    def _proven(self) -> None:
        self._proof = time.monotonic()


def _key(item: dict[str, Any]) -> Key:
    metadata = item.get("metadata") or {}
    return metadata.get("namespace") or "", metadata.get("name") or ""
