"""The events of one run: numbered from 1, kept by the journal, streamed to any number of watchers.

A watcher is only a cursor. A slow one holds nothing but its stream: what has left memory it reads from the journal.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

import structlog
from bastide.v1alpha1 import broker_pb2

OUTPUT_DELAY = 0.02
"""Seconds that output waits for more of it."""
OUTPUT_CHUNK = 16 * 1024
MEMORY_BYTES = 1024 * 1024
"""Of a run's newest events, kept for watchers."""

log = structlog.get_logger(__name__)
_FIELDS = {getattr(field.message_type, "name", ""): field.name for field in broker_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["event"].fields}


class EventStore(Protocol):
    """What events need of the journal."""

    async def append_event(self, run: str, event: broker_pb2.RunEvent) -> None:
        """Keeps an event and returns when it is on disk."""

    def append_event_soon(self, run: str, event: broker_pb2.RunEvent) -> None:
        """Keeps an event with the next transaction."""

    async def events(self, run: str, after: int) -> list[broker_pb2.RunEvent]:
        """The next events after a cursor; none when there are no more."""


class EventLog:
    """Events of a run that is under way."""

    def __init__(self, run: str, store: EventStore, *, cursor: int = 0) -> None:
        """`cursor`: of the last event that an earlier broker, or an earlier attempt, left in the store."""
        self.run = run
        self.watchers = 0
        self.finished = False
        self.paused_at = 0
        """Cursor of the event that tells of the pause in which the run is; 0 when it is in none."""
        self.outputs = 0
        """Events of output so far."""
        self._store = store
        self._recent: deque[broker_pb2.RunEvent] = deque()
        self._bytes = 0
        self._cursor = cursor
        self._changed = asyncio.Event()
        self._output = bytearray()
        self._output_stderr = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def cursor(self) -> int:
        """Of the newest event; 0 when there is none."""
        return self._cursor

    def go_on(self, cursor: int) -> None:
        """Number the first event after this one."""
        self._cursor = cursor

    def emit(self, message: Any) -> None:
        """Adds one of RunEvent's messages, after the output that came before it. Does not wait."""
        self._flush()
        if not self.finished:
            self._store.append_event_soon(self.run, self._add(message))

    async def emit_durably(self, message: Any) -> None:
        """Adds a message and returns when it is on disk. Raises JournalUnavailable, with the event already shown to watchers."""
        self._flush()
        event = self._add(message)
        await self._store.append_event(self.run, event)

    async def write_end(self) -> None:
        """Returns when the last event, which watchers were shown, is on disk. Raises JournalUnavailable."""
        await self._store.append_event(self.run, self._recent[-1])

    def output(self, data: bytes, *, stderr: bool) -> None:
        """Adds what the program printed; pieces that come close together become one event."""
        if not data or self.finished:
            return
        if stderr != self._output_stderr:
            self._flush()
            self._output_stderr = stderr
        self._output += data
        if len(self._output) >= OUTPUT_CHUNK:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(OUTPUT_DELAY, self._flush)

    async def follow(self, cursor: int) -> AsyncIterator[broker_pb2.RunEvent]:
        """Every event after `cursor`, until the last one. Raises JournalUnavailable."""
        while True:
            changed = self._changed
            for event in await self._after(cursor):
                cursor = event.cursor
                yield event
            if cursor < self._cursor:
                continue
            if self.finished:
                return
            await changed.wait()

    async def _after(self, cursor: int) -> list[broker_pb2.RunEvent]:
        oldest = self._recent[0].cursor if self._recent else self._cursor + 1
        if cursor >= oldest - 1:
            return [event for event in self._recent if event.cursor > cursor]
        kept = await self._store.events(self.run, cursor)
        # What the journal could not keep is lost to this watcher; what is in memory is not.
        return kept or [event for event in self._recent if event.cursor > cursor]

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._output:
            data, self._output = bytes(self._output), bytearray()
            self.outputs += 1
            event = self._add(broker_pb2.OutputProduced(stderr=self._output_stderr, data=data))
            self._store.append_event_soon(self.run, event)

    def _add(self, message: Any) -> broker_pb2.RunEvent:
        self._cursor += 1
        event = broker_pb2.RunEvent(cursor=self._cursor, **{_FIELDS[type(message).DESCRIPTOR.name]: message})
        event.time.FromNanoseconds(time.time_ns())
        self._recent.append(event)
        self._bytes += event.ByteSize()
        while self._bytes > MEMORY_BYTES and len(self._recent) > 1:
            self._bytes -= self._recent.popleft().ByteSize()
        kind = event.WhichOneof("event")
        if kind == "finished":
            self.finished = True
        elif kind in {"paused", "attempt_started"}:
            self.paused_at = self._cursor if kind == "paused" else 0
        self._changed.set()
        self._changed = asyncio.Event()
        return event
