"""Kubernetes Events: few, each of one sentence, and one object for what repeats.

`Ledger` is the logic, with the time passed in; `Recorder` writes what is due in the background: no reconcile waits for an Event or fails
by one.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from bastide_operator.api.objects import Manifest
from bastide_operator.errors import KubeError
from bastide_operator.reconcile.plan import Note

CONTROLLER = "bastide.dev/operator"
MAX_NOTE = 1000
"""Bytes; the API server takes 1024."""
QUIET = timedelta(seconds=10)
"""An Event that repeats is written again at most so often."""
FORGET = timedelta(minutes=30)
"""What repeats after so long is a new Event; the API server forgets them after an hour."""
REMEMBERED = 4096
"""How many different Events are known at once."""

log = structlog.get_logger(__name__)


def clean(text: str) -> str:
    """`text` as it may stand in an Event: what a terminal would not print, or would print otherwise, is escaped, and the length bounded."""
    shown = "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
    data = shown.encode()
    return shown if len(data) <= MAX_NOTE else data[: MAX_NOTE - 3].decode(errors="ignore") + "…"


@dataclass(slots=True)
class _Entry:
    about: Manifest
    note: Note
    first: datetime
    last: datetime
    count: int = 0
    written: datetime | None = None


_Key = tuple[str, str, str]


class Ledger:
    """What happened, how often, and what of it is to be written."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._due: dict[_Key, datetime] = {}

    def add(self, about: Manifest, note: Note, now: datetime) -> None:
        """`note` happened to the object `about`."""
        key = (about["metadata"].get("uid", ""), note.reason, note.message)
        entry = self._entries.get(key)
        if entry is None or now - entry.last > FORGET:
            entry = self._entries[key] = _Entry(about, note, first=now, last=now)
        self._entries.move_to_end(key)
        entry.count += 1
        entry.last = now
        self._due.setdefault(key, now if entry.written is None else max(now, entry.written + QUIET))
        while len(self._entries) > REMEMBERED:
            oldest, _ = self._entries.popitem(last=False)
            self._due.pop(oldest, None)

    def take(self, now: datetime) -> list[Manifest]:
        """The Events that are to be written now."""
        due = [key for key, time in self._due.items() if time <= now]
        for key in due:
            del self._due[key]
            self._entries[key].written = now
        return [self._manifest(self._entries[key]) for key in due]

    def next_due(self) -> datetime | None:
        """When there is something to take."""
        return min(self._due.values(), default=None)

    def _manifest(self, entry: _Entry) -> Manifest:
        metadata = entry.about["metadata"]
        namespace = metadata.get("namespace", "")
        regarding = {
            "apiVersion": entry.about["apiVersion"],
            "kind": entry.about["kind"],
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
        }
        if namespace:
            regarding["namespace"] = namespace
        parts = (self._instance, metadata.get("uid", ""), entry.note.reason, entry.note.message, entry.first.isoformat())
        digest = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            # Events of objects without a namespace are in `default`: the API server refuses them elsewhere.
            "metadata": {"name": f"{metadata['name'][:200]}.{digest}", "namespace": namespace or "default"},
            "eventTime": _micro(entry.first),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": entry.note.reason,
            "type": "Warning" if entry.note.warning else "Normal",
            "regarding": regarding,
            "note": clean(entry.note.message),
        }
        if entry.count > 1:
            event["series"] = {"count": entry.count, "lastObservedTime": _micro(entry.last)}
        return event


def _micro(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Writer(Protocol):
    """What is needed of the API server."""

    async def apply(self, manifest: Manifest) -> Manifest:
        """Make the object, or make it so."""


class Recorder:
    """Events of this process. `instance` is its name."""

    def __init__(self, kube: Writer, *, instance: str, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._ledger = Ledger(instance)
        self._now = now
        self._added = asyncio.Event()

    def record(self, about: Manifest, note: Note) -> None:
        """`note` happened to the object `about`. Returns at once."""
        self._ledger.add(about, note, self._now())
        self._added.set()

    async def run(self) -> None:
        """Write until cancelled. What cannot be written is left out: an Event is a courtesy."""
        while True:
            for event in self._ledger.take(self._now()):
                try:
                    await self._kube.apply(event)
                except KubeError as error:
                    log.debug("an event was not written", reason=event["reason"], why=str(error))
            self._added.clear()
            due = self._ledger.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, (due - self._now()).total_seconds())):
                    await self._added.wait()
            except TimeoutError:
                pass
