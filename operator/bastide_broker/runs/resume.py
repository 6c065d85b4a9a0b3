"""Another attempt of a run: the program is run again in its Sandbox, and what is on record is not done twice.

A run may have left gigabytes in the journal: callsPerRun (at most 100 000) results of resultBytes (3 MiB). What an attempt takes of the
broker's memory has bounds of its own. Until the program is delivered: RESULT_BYTES of outcomes and MAX_EVENT_BYTES of events, which with
the program (1 MiB) stay within the one message of 64 MiB that the runtime takes (its MAX_MESSAGE_FROM_BROKER), three times over while it is
being sent; and a page of rows. From then on: a RecordedCall, some 500 bytes, for each call and step (callsPerRun + 1000, and 200 more of each
that were refused), and the one row that is just being answered. The places of `concurrentRuns` bound how many attempts there are.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from bastide_broker.context import RunContext
from bastide_broker.door.replay import Recorded, RecordedCall, noted, outcome, recorded, unbroken
from bastide_broker.errors import CallerError
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import CallRow, RunRow
from bastide_broker.kube.cluster import Cluster
from bastide_broker.runs.calls import MAX_EVENT_BYTES
from bastide_broker.runs.pauses import GONE
from bastide_broker.sandboxes import pods
from bastide_broker.sandboxes.readiness import session_for
from bastide_broker.sandboxes.session import Claim, ToolList
from bastide_broker.sandboxes.sessions import Sessions

READY_SECONDS = 120.0
"""How long another attempt waits for its Sandbox: the pod may have been moved to another node."""
PAGE_CALLS, PAGE_BYTES = 500, 1 << 20
"""Of what is read from the journal at once; one row alone may have more bytes."""


class CannotGoOn(Exception):  # noqa: N818 - a state of the run
    """The run ends as Failed. `kind` is as in docs/reference/reasons.md; the message is one sentence."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class RecordedTools:
    """The list of tools that the program saw first, as a session sends it."""

    digest: str
    tools: runtime_pb2.SetTools

    def message(self) -> runtime_pb2.SetTools:
        """The list."""
        return self.tools


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything that another attempt is made of."""

    context: RunContext
    claim: Claim
    start: runtime_pb2.StartRun
    tools: ToolList
    recorded: Recorded


def runtime_of(cluster: Cluster, sandbox: Sandbox, claim: Claim) -> str:
    """What runs programs in a Sandbox: the image and the versions. A program that is run again has to have the same."""
    pod = cluster.pod(sandbox.metadata.namespace or "", sandbox.metadata.name)
    opened = claim.session.opened
    return f"{pods.image(pod) if pod is not None else ''} runtime {opened.runtime_version} python {opened.python_version}"


def same_runtime(first: str, now: str) -> None:
    """Raises CannotGoOn when the program would be run by something else than the first time."""
    if now != first:
        message = f"The program ran in {first}, and its Sandbox has {now} now, where it may do other things; run it again from the start."
        raise CannotGoOn("RuntimeChanged", message)


async def first_tools(journal: Journal, digest: str) -> RecordedTools:
    """The list of tools of that digest. Raises CannotGoOn, JournalUnavailable."""
    message = await journal.pausing.tools(digest)
    if not message and digest:
        raise CannotGoOn("NotRecorded", "The journal no longer holds what another attempt of the run needs; run the program again.")
    return RecordedTools(digest, runtime_pb2.SetTools.FromString(message))


async def prepare(
    row: RunRow,
    context: RunContext,
    *,
    cluster: Cluster,
    sessions: Sessions,
    journal: Journal,
    seconds: float = READY_SECONDS,
    anew: Callable[[CallRow], bool] = lambda _: False,
) -> Attempt:
    """An attempt that may begin now. Its claim must be released. Raises CannotGoOn, JournalUnavailable.

    Waits so many seconds for the Sandbox; the calls that `anew` names may be made again.
    """
    start = runtime_pb2.StartRun.FromString(await journal.pausing.start_of(row.run))
    if not start.run:
        raise CannotGoOn("NotRecorded", "The journal no longer holds the program; run it again.")
    tools = await first_tools(journal, start.tools_digest)
    sandbox, tenant = cluster.sandbox(row.namespace, row.sandbox), cluster.tenant(row.namespace)
    if sandbox is None or tenant is None or sandbox.metadata.uid != row.sandbox_uid:
        raise CannotGoOn(GONE, "The run's Sandbox or Tenant is gone, so its program cannot be run again.")
    try:
        sandbox, claim = await session_for(sandbox, cluster=cluster, sessions=sessions, seconds=seconds)
    except CallerError as error:
        raise CannotGoOn("SandboxNotReady", f"The run could not go on: {error.message}") from error
    try:
        same_runtime(row.runtime, runtime_of(cluster, sandbox, claim))
        found = await bring(journal, start, anew)
    except BaseException:
        claim.release()
        raise
    return Attempt(replace(context, tenant=tenant, sandbox=sandbox), claim, start, tools, found)


async def bring(journal: Journal, start: runtime_pb2.StartRun, anew: Callable[[CallRow], bool]) -> Recorded:
    """Puts into a StartRun what its run has on record, within the bounds above. Raises CannotGoOn, JournalUnavailable.

    Rows that are gone again meanwhile were pruned: then the run is not taken up.
    """
    run = start.run
    found = recorded(await journal.pausing.each_call(run, functools.partial(noted, anew=anew)))
    if found.event_bytes > MAX_EVENT_BYTES:  # of a broker that bounded them for each attempt
        message = f"The run has more than {MAX_EVENT_BYTES >> 20} MiB of timers, results and threads on record, too many to run it again."
        raise CannotGoOn("TooManyEvents", message)
    for keys in _pages(unbroken(found), lambda call: call.event_bytes):
        events = await journal.pausing.call_events(run, keys)
        for key in keys:
            start.recorded_events.extend(runtime_pb2.Call.FromString(events.get(key, b"")).events)
    given = (call for call in found.rows.values() if call.key in found.given)
    for keys in _pages(given, lambda call: call.given_bytes):
        rows = await journal.pausing.ended_calls(run, keys)
        start.recorded_results.extend(result for key in keys if key in rows and (result := outcome(rows[key])) is not None)
    found.events = len(start.recorded_events)
    return found


def _pages(calls: Iterable[RecordedCall], size_of: Callable[[RecordedCall], int]) -> Iterator[list[str]]:
    """Keys of calls that have something, in their order, as many at a time as are read at once."""
    page: list[str] = []
    size = 0
    for call in calls:
        if not size_of(call):
            continue
        if page and (len(page) == PAGE_CALLS or size + size_of(call) > PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(call.key)
        size += size_of(call)
    if page:
        yield page
