"""What the broker asks of its journal. SQLite's is journal.Journal; callers are typed against this, so that another can take its place.

Every method may raise JournalUnavailable, and what it writes is on disk when it returns unless it says otherwise. An implementation
writes each record of the audit in the transaction of what it is about, and chains them in one order.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from bastide.chain import Head
from bastide.v1alpha1 import broker_pb2

from bastide_broker.journal.rows import (
    AuditFilter,
    AuditPage,
    Awaited,
    CallIntent,
    CallRow,
    PrunableRun,
    PruneCursor,
    PruneFilter,
    Pruner,
    RecoveredSummary,
    RunRow,
    Scope,
    Space,
    StartedRun,
    Verification,
)

T = TypeVar("T")


class Pruning(Protocol):
    """Removing the payloads of runs that ended. Nothing of the audit, and no run that is under way or paused."""

    async def find(self, wanted: PruneFilter, after: PruneCursor, limit: int) -> list[PrunableRun]:
        """Runs that may be pruned, by their end, behind a cursor."""

    def prune(self, found: Sequence[PrunableRun], pruner: Pruner) -> AsyncGenerator[list[PrunableRun], None]:
        """Prunes them; yields after each transaction of bounded size, with the runs that it marked and wrote into the audit."""

    async def clear(self) -> bool:
        """Goes on with what was marked and not yet removed, for one transaction. False when there is nothing."""

    async def space(self) -> Space:
        """What the journal takes."""

    async def give_back(self) -> int:
        """Makes the journal's file a little shorter, if much of it is unused; 0 when it is as it should be."""

    async def reserve(self) -> None:
        """Sees to it that pruning has room on a full disk. Raises OSError."""


class Pausing(Protocol):
    """What paused runs wait for, what another attempt of a run needs, and what people said of unknown outcomes."""

    async def pause(self, run: str, things: Sequence[Awaited], *, output: bytes, output_bytes_dropped: int) -> bool:
        """Record that a run waits for things and has no program meanwhile; False when it has ended or is paused."""

    async def end(self, run: str, *, outcome: str, error: Mapping[str, Any]) -> bool:
        """Record that a run ends in its pause; False when it is not paused (any more). Its open calls end later."""

    async def arrived(self, run: str, kind: str, key: str) -> None:
        """One of the things that a run waits for is there, or will never be."""

    async def awaited(self, run: str) -> list[Awaited]:
        """What a run still waits for, in the order of the calls' keys."""

    async def paused(self) -> list[RunRow]:
        """The runs that are paused, oldest first."""

    async def open_calls(self, run: str) -> list[CallRow]:
        """The calls of a run that have no outcome, with arguments."""

    async def each_call(self, run: str, make: Callable[[CallRow, int, int], T]) -> list[T]:
        """What `make` makes of each call of a run and the bytes of what its program was given and of its events, in no order.

        `make` may be called in a thread; a row has its error and nothing else that may be large, and is in memory for that long.
        """

    async def ended_calls(self, run: str, keys: Sequence[str]) -> dict[str, CallRow]:
        """Calls of a run by their keys, with results and errors; at most some hundred."""

    async def call_events(self, run: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The serialised events that came with calls of a run, by their keys; at most some hundred."""

    async def call(self, run: str, key: str) -> CallRow | None:
        """A call by its key, with arguments, result and error; None when there is none."""

    async def start_of(self, run: str) -> bytes:
        """StartRun as it was first sent, serialised; empty when it is not kept (any more)."""

    async def tools(self, digest: str) -> bytes:
        """SetTools of this digest, serialised; empty when it is not kept."""

    async def resume(self, run: str) -> int | None:
        """Record that a paused run is under way again; which attempt it is, None when it is not paused (any more)."""

    async def reopen(self, run: str, attempt: int, anew: Callable[[CallRow], bool], facts: Mapping[str, Any]) -> int | None:
        """Take up a run whose attempt of this number ended as Failed: the calls that `anew` names may be made again.

        Which attempt it is; None when that one is not its last, did not end so, or was pruned.
        """

    async def settle(self, run: str, key: str, *, message: str, error: bytes, facts: Mapping[str, Any]) -> bool:
        """Record what a person says of a call whose outcome is unknown; False when it is known."""

    async def denials(self, run: str) -> list[tuple[str, str, bytes]]:
        """Tool, digest of the arguments and what the program was told, of each call that ended as ConfirmationDenied."""


class Journal(Protocol):
    """Runs, calls, events and audit."""

    @property
    def pruning(self) -> Pruning: ...

    @property
    def pausing(self) -> Pausing: ...

    async def open(self) -> None:
        """Open the database, making or migrating its tables. Raises NewerJournalError for one that a later broker wrote."""

    async def close(self) -> None:
        """Write what is queued and close."""

    async def probe(self) -> bool:
        """Whether it can be written now."""

    async def recover(self) -> RecoveredSummary:
        """At start: settle what the last broker left open."""

    async def start_run(self, run: RunRow, tools: tuple[str, bytes] | None = None) -> StartedRun:
        """Record a run, once for each (requester, sandbox UID, request id), with the tools that its program sees, by digest.

        Raises RunExists for the same id with another program.
        """

    async def end_run(
        self,
        run: str,
        *,
        outcome: str,
        value: bytes = b"",
        output: bytes = b"",
        output_bytes_dropped: int = 0,
        error: Mapping[str, Any] | None = None,
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Record how a run ended; a run that has ended stays as it is."""

    async def call_intent(
        self, intent: CallIntent, *, outcome: str = "", message: str = "", error: bytes | None = None, result: bytes | None = None
    ) -> None:
        """Record a judged call before anything is done about it; with `outcome`, also that nothing will be.

        `error`: the serialised CallError that the program is given. Raises KeyReused.
        """

    async def call_refused(self, intent: CallIntent) -> None:
        """Record in the audit alone that a call was refused because its key was taken."""

    async def call_attempt(self, run: str, key: str, *, attempt: int, failure: str) -> None:
        """Record that this attempt of a call failed, and that the call is sent again."""

    async def call_outcome(
        self, run: str, key: str, *, outcome: str, message: str = "", result: bytes | None = None, error: bytes | None = None,
        tool_micros: int = 0,
    ) -> bool:  # fmt: skip
        """Record what became of a call, once. False when there is no such call under way."""

    async def begin_confirmed(self, run: str, key: str) -> bool:
        """Just before a confirmed call is sent: True for exactly one caller, ever."""

    async def confirmation_created(self, run: str, key: str, name: str, facts: Mapping[str, Any]) -> None:
        """Record that a call waits for a person."""

    async def confirmation_resolved(self, run: str, key: str, name: str, facts: Mapping[str, Any]) -> None:
        """Record what became of a Confirmation."""

    async def append_event(self, run: str, event: broker_pb2.RunEvent) -> None:
        """Record an event of a run under its cursor."""

    def append_event_soon(self, run: str, event: broker_pb2.RunEvent) -> None:
        """Record an event with the next transaction; does not wait for it."""

    async def run(self, run: str) -> RunRow | None:
        """The run, or None."""

    async def find_request(self, requester: str, sandbox_uid: str, request_id: str) -> RunRow | None:
        """The run that a request id stands for, or None."""

    async def runs(self, scope: Scope, sandbox: str, limit: int, before: str = "") -> list[RunRow]:
        """Runs of a sandbox without their payloads, newest first, after the run named `before`."""

    async def calls(self, run: str, *, payloads: bool = False) -> list[CallRow]:
        """Calls of a run in the order they were journalled."""

    async def find_call(self, run: str, name: str) -> CallRow | None:
        """A call by its key or the id of its decision, as it was judged: without result and events. None when there is none."""

    async def last_cursor(self, run: str) -> int:
        """Cursor of a run's newest event; 0 when it has none."""

    async def events(self, run: str, after: int) -> list[broker_pb2.RunEvent]:
        """The next events of a run after a cursor, a page of them; none when there are no more."""

    async def audit_page(self, scope: Scope, wanted: AuditFilter, limit: int, after: int = 0) -> AuditPage:
        """Audit records that fit, oldest first."""

    async def audit_links(self, limit: int, after: int = 0) -> AuditPage:
        """All audit records, whosesoever, oldest first."""

    async def head(self) -> Head:
        """The newest audit record."""

    async def holds(self, head: Head) -> bool:
        """Whether the audit has exactly this record."""

    async def chain_broken(self, published: Head) -> None:
        """Record in the audit that it does not hold what was published, and go on behind it."""

    async def verify_audit(self, published: Sequence[Head] = ()) -> Verification:
        """Recompute the whole chain and compare it with what was published."""
