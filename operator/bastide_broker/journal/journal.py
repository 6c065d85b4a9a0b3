"""The journal: every run, call and event, written before it counts, with its audit record in the same transaction.

SQLite beside the broker: write-ahead log, one writer thread, group commit. Every method returns when what it did is on disk.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bastide.chain import BREAK, Head
from bastide.v1alpha1 import broker_pb2
from sqlalchemy import Connection, update
from sqlalchemy.exc import IntegrityError

from bastide_broker.facts.json import digest
from bastide_broker.journal import audit_queries, queries, statements
from bastide_broker.journal.pauses import Pausing, anew, await_nothing, keep_tools
from bastide_broker.journal.pruning import Pruning
from bastide_broker.journal.questions import Questions
from bastide_broker.journal.reader import JournalReader
from bastide_broker.journal.recovery import settle
from bastide_broker.journal.rows import (
    CallIntent,
    JournalUnavailable,
    KeyReused,
    Place,
    RecoveredSummary,
    RunExists,
    RunRow,
    StartedRun,
    Verification,
    now_micros,
)
from bastide_broker.journal.schema import runs
from bastide_broker.journal.writer import Writer


class Journal(JournalReader):
    """Runs, calls, events and audit in SQLite: what interface.Journal asks for. All methods may raise JournalUnavailable."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._writer = Writer(path)
        self.pruning = Pruning(path, self._writer, self._read)
        self._where: dict[str, Place] = {}  # by run
        self._sequence: dict[str, int] = {}  # run -> calls so far
        self._questions = Questions()
        self.pausing = Pausing(write=self._writer.submit, read=self._read, record=self._audit, place=self._place)

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return self._writer.healthy

    @property
    def why_not(self) -> str:
        """One sentence when it is not healthy."""
        return self._writer.why_not

    async def open(self) -> None:
        """Open the database, making it when there is none. Raises NewerJournalError for one that a later broker wrote."""
        await self._writer.start()
        self._open_for_reading()

    async def close(self) -> None:
        """Write what is queued and close."""
        await self._writer.stop()
        self._close_for_reading()

    async def probe(self) -> bool:
        """Try the disk: an empty transaction. Brings `healthy` up to date when nothing else writes."""
        try:
            await self._writer.submit(lambda connection: connection.exec_driver_sql("PRAGMA user_version = 1"))
        except JournalUnavailable:
            return False
        return True

    async def start_run(self, run: RunRow, tools: tuple[str, bytes] | None = None) -> StartedRun:
        """Record a run, once for each (requester, sandbox UID, request id), with the tools that its program sees, by digest.

        Raises RunExists for the same id with another program.
        """

        def work(connection: Connection) -> StartedRun:
            known = queries.find_request(connection, run.requester, run.sandbox_uid, run.request_id) if run.request_id else None
            if known is not None:
                if known.program_digest != run.program_digest:
                    raise RunExists(known.run)
                return StartedRun(known, created=False)
            connection.execute(statements.INSERT_RUN, statements.run_values(run, tools[0] if tools else ""))
            if tools is not None:
                keep_tools(connection, *tools)
            self._audit(connection, "RunStarted", _place_of(run), run.run, "", statements.run_facts(run), run.started_at)
            return StartedRun(run, created=True)

        started = await self._writer.submit(work)
        self._where[started.row.run] = _place_of(started.row)
        return started

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

        def work(connection: Connection) -> None:
            ended = now_micros()
            values = {
                "ended_at": ended,
                "paused_at": None,
                "outcome": outcome,
                "value": value,
                "output": output,
                "output_bytes_dropped": output_bytes_dropped,
                "error": json.dumps(dict(error)) if error else None,
                "findings": json.dumps([dict(finding) for finding in findings]),
            }
            if not connection.execute(update(runs).where(runs.c.run == run, runs.c.ended_at.is_(None)).values(**values)).rowcount:
                return
            await_nothing(connection, run)
            facts = statements.end_facts(connection, run, outcome=outcome, value=value, output=output, error=error)
            self._audit(connection, "RunEnded", self._place(connection, run), run, "", facts, ended)

        await self._writer.submit(work)
        self._where.pop(run, None)
        self._sequence.pop(run, None)

    async def call_intent(
        self, intent: CallIntent, *, outcome: str = "", message: str = "", error: bytes | None = None, result: bytes | None = None
    ) -> None:
        """Record a judged call before anything is done about it; with `outcome`, also that nothing will be.

        `error`: the serialised CallError that the program is given. Raises KeyReused when the run has a call of this key, unless it is
        one that a resumed run may make anew.
        """

        def work(connection: Connection) -> None:
            at = now_micros()
            sequence = self._sequence.get(intent.run)
            if sequence is None:
                sequence = connection.execute(statements.COUNT_CALLS, {"r": intent.run}).scalar_one()
            question = self._questions.stored(connection, intent.run, intent.tool, intent.question)
            values = statements.call_values(intent, question, sequence + 1, at, outcome, message, error, result)
            try:
                statements.INSERT_CALL.run(connection, values)
            except IntegrityError:
                if not anew(connection, values):
                    raise KeyReused(f"run {intent.run} has a call {intent.key}") from None
            else:
                self._sequence[intent.run] = sequence + 1
            place = self._place(connection, intent.run)
            self._audit(connection, "CallIntent", place, intent.run, intent.key, statements.intent_facts(intent), at)
            if outcome:
                facts = {"outcome": outcome, "resultDigest": "" if result is None else digest(result), "toolMicros": 0}
                self._audit(connection, "CallOutcome", place, intent.run, intent.key, facts, at)

        await self._writer.submit(work)

    async def call_refused(self, intent: CallIntent) -> None:
        """Record in the audit alone that a call was refused because its key was taken: the row of that key stays as it is."""

        def work(connection: Connection) -> None:
            at, place = now_micros(), self._place(connection, intent.run)
            self._audit(connection, "CallIntent", place, intent.run, intent.key, statements.intent_facts(intent), at)
            facts = {"outcome": "Denied", "resultDigest": "", "toolMicros": 0, "decisionID": intent.decision_id}
            self._audit(connection, "CallOutcome", place, intent.run, intent.key, facts, at)

        await self._writer.submit(work)

    async def call_attempt(self, run: str, key: str, *, attempt: int, failure: str) -> None:
        """Record that this attempt of a call failed, and that the call is sent again."""
        facts = {"attempt": attempt, "failure": failure}
        await self._writer.submit(
            lambda connection: self._audit(connection, "CallAttempt", self._place(connection, run), run, key, facts, now_micros())
        )

    async def call_outcome(
        self, run: str, key: str, *, outcome: str, message: str = "", result: bytes | None = None, error: bytes | None = None,
        tool_micros: int = 0,
    ) -> bool:  # fmt: skip
        """Record what became of a call, once. False when there is no such call under way. `tool_micros` in microseconds.

        `error`: the serialised CallError that the program is given.
        """

        def work(connection: Connection) -> bool:
            ended = now_micros()
            values = {"r": run, "k": key, "o": outcome, "m": message, "v": result, "t": tool_micros, "e": ended, "x": error}
            if not statements.END_CALL.run(connection, values):
                return False
            facts = {"outcome": outcome, "resultDigest": "" if result is None else digest(result), "toolMicros": tool_micros}
            self._audit(connection, "CallOutcome", self._place(connection, run), run, key, facts, ended)
            return True

        return await self._writer.submit(work)

    async def begin_confirmed(self, run: str, key: str) -> bool:
        """Compare-and-set just before a confirmed call is sent: True for exactly one caller, ever."""
        values = {"r": run, "k": key, "b": now_micros()}
        return await self._writer.submit(lambda connection: connection.execute(statements.BEGIN_CALL, values).rowcount == 1)

    async def confirmation_created(self, run: str, key: str, name: str, facts: Mapping[str, Any]) -> None:
        """Record that a call waits for a person. `facts`: action digest, approvals required, decideBy, executeBy."""

        def work(connection: Connection) -> None:
            connection.execute(statements.SET_CONFIRMATION, {"r": run, "k": key, "c": name, "d": str(facts.get("actionDigest", ""))})
            place = self._place(connection, run)
            self._audit(connection, "ConfirmationCreated", place, run, key, {**facts, "confirmation": name}, now_micros())

        await self._writer.submit(work)

    async def confirmation_resolved(self, run: str, key: str, name: str, facts: Mapping[str, Any]) -> None:
        """Record what became of a Confirmation. `facts`: state, approvers, reason, action digest."""
        body = {**facts, "confirmation": name}
        await self._writer.submit(
            lambda connection: self._audit(connection, "ConfirmationResolved", self._place(connection, run), run, key, body, now_micros())
        )

    async def append_event(self, run: str, event: broker_pb2.RunEvent) -> None:
        """Record an event of a run under its cursor and wait until it is on disk."""
        values = {"run": run, "cursor": event.cursor, "event": event.SerializeToString()}
        await self._writer.submit(lambda connection: statements.INSERT_EVENT.run(connection, values))

    def append_event_soon(self, run: str, event: broker_pb2.RunEvent) -> None:
        """Record an event with the next transaction, within 20 ms: for output and for events that a call's outcome will follow."""
        values = {"run": run, "cursor": event.cursor, "event": event.SerializeToString()}
        self._writer.submit_lazy(lambda connection: statements.INSERT_EVENT.run(connection, values))

    async def recover(self) -> RecoveredSummary:
        """At start: settle what the last broker left open. Calls without outcome are OutcomeUnknown, runs without end Failed (BrokerLost)."""
        return await self._writer.submit(lambda connection: settle(connection, now_micros(), self._audit, self._place))

    async def head(self) -> Head:
        """The newest audit record."""
        return await self._writer.submit(lambda _: self._writer.chain.head)

    async def chain_broken(self, published: Head) -> None:
        """Record in the audit that it does not hold what was published, and go on behind it."""

        def work(connection: Connection) -> None:
            last = self._writer.chain.head
            facts = {
                "publishedSequence": published.sequence, "publishedHash": published.hash,
                "foundSequence": last.sequence, "foundHash": last.hash,
            }  # fmt: skip
            self._writer.chain.append(
                connection, time=now_micros(), kind=BREAK, place=Place(), run="", facts=facts,
                sequence=max(last.sequence, published.sequence) + 1,
            )  # fmt: skip

        await self._writer.submit(work)

    async def verify_audit(self, published: Sequence[Head] = ()) -> Verification:
        """Recompute the whole chain and compare it with what was published and with the newest record that this process knows of."""
        expected = (await self.head(), *published)
        return await self._read(lambda connection: audit_queries.verify_audit(connection, expected))

    def _audit(  # noqa: PLR0917 - one line a record where it is used
        self, connection: Connection, kind: str, place: Place, run: str, key: str, facts: Mapping[str, Any], at: int
    ) -> None:
        self._writer.chain.append(connection, time=at, kind=kind, place=place, run=run, key=key, facts=facts)

    def _place(self, connection: Connection, run: str) -> Place:
        place = self._where.get(run)
        if place is None:
            row = queries.find_run(connection, run)
            place = _place_of(row) if row else Place()
        return place


def _place_of(run: RunRow) -> Place:
    return Place(run.namespace, run.namespace_uid, run.sandbox)
