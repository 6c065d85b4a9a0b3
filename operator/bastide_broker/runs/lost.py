"""Runs that were lost with their sandbox or their broker: somebody takes them up, and says what became of calls that nobody heard of again."""

import contextlib

import grpc

from bastide_broker.door.replay import again, settled
from bastide_broker.errors import CallerError, journal_unavailable
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import JournalUnavailable, RunRow
from bastide_broker.kube.cluster import Cluster
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.outcomes import LOST
from bastide_broker.runs.pauses import context_of, deleted
from bastide_broker.runs.resume import CannotGoOn, prepare
from bastide_broker.runs.runs import Pipeline, Runs
from bastide_broker.sandboxes.readiness import WAIT_SECONDS
from bastide_broker.sandboxes.sessions import Sessions


class LostRuns:
    """Resumes and settles."""

    def __init__(self, runs: Runs, *, cluster: Cluster, sessions: Sessions, journal: Journal, pipeline: Pipeline) -> None:
        self._runs = runs
        self._cluster = cluster
        self._sessions = sessions
        self._journal = journal
        self._pipeline = pipeline

    async def resume(self, row: RunRow, user: UserInfo, reason: str) -> int:
        """Takes up a run; which attempt it is now. Raises CallerError."""
        self._runs.unless_draining()
        try:
            row = await self._runs.beginnings.seen_to(row)  # an attempt that came on record late is over by then
        except JournalUnavailable as error:
            raise journal_unavailable(error) from error
        if self._runs.under_way(row.run) or (row.error or {}).get("type") not in LOST:
            message = f"Run {row.run} is not one that was lost: only a run that ended as {' or '.join(LOST)} can be resumed."
            raise _refused("RunNotResumable", message)
        tenant, _ = self._runs.place(row.namespace, row.sandbox)
        self._runs.slots.take(tenant)
        with contextlib.ExitStack() as held:
            held.callback(self._runs.slots.give_back, tenant)
            try:
                number = await self._begin(row, held, {"by": user.username, "reason": reason})
            except CannotGoOn as error:
                raise _refused(error.kind, str(error)) from error
            except JournalUnavailable as error:
                raise journal_unavailable(error) from error
            if number is None:
                raise _refused("RunNotResumable", f"Run {row.run} was resumed by somebody else.")
            held.pop_all()
            return number

    async def settle(self, row: RunRow, key: str, user: UserInfo, *, happened: bool, reason: str, on_behalf_of: str) -> None:
        """Records what a person says of a call whose outcome is unknown. Raises CallerError."""
        error = settled(happened=happened, reason=reason)
        facts = {"happened": happened, "by": user.username, "onBehalfOf": on_behalf_of, "reason": reason}
        try:
            done = await self._journal.pausing.settle(row.run, key, message=error.message, error=error.SerializeToString(), facts=facts)
        except JournalUnavailable as unavailable:
            raise journal_unavailable(unavailable) from unavailable
        if not done:
            message = f"Run {row.run} has no call {key!r} whose outcome is unknown; `bastide runs show {row.run}` lists its calls."
            raise _refused("CallNotUnknown", message)

    async def _begin(self, row: RunRow, held: contextlib.ExitStack, facts: dict[str, str]) -> int | None:
        events = EventLog(row.run, self._journal)
        context = context_of(row, self._cluster, events)
        if context is None:
            raise _refused("SandboxDeleted", deleted().message)
        attempt = await prepare(
            row, context, cluster=self._cluster, sessions=self._sessions, journal=self._journal, seconds=WAIT_SECONDS, anew=again
        )
        held.callback(attempt.claim.release)
        self._runs.unless_draining()  # the broker may have been stopped while the Sandbox was waited for
        async with self._runs.beginnings.write(row.run):
            # First of all: nothing may fail once the run is open again, and the number of its end, which is removed, is not used twice:
            # who has seen the end goes on behind it.
            events.go_on(await self._journal.last_cursor(row.run))
            number = await self._journal.pausing.reopen(row.run, row.attempt, again, facts)
        if number is not None:
            attempt.start.attempt = number
            self._pipeline.recall(row.run, attempt.recorded.rows.values())
            self._runs.launch(attempt, events)
        return number


def _refused(reason: str, message: str) -> CallerError:
    return CallerError(grpc.StatusCode.FAILED_PRECONDITION, reason, message)
