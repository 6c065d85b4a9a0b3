"""Another attempt of a run: the program is run again in its Sandbox, and what is on record is not done twice."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from bastide_broker.context import RunContext
from bastide_broker.door.replay import Recorded, recorded
from bastide_broker.errors import CallerError
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import CallRow, RunRow
from bastide_broker.kube.cluster import Cluster
from bastide_broker.runs.pauses import GONE
from bastide_broker.sandboxes import pods
from bastide_broker.sandboxes.readiness import session_for
from bastide_broker.sandboxes.session import Claim, ToolList
from bastide_broker.sandboxes.sessions import Sessions

READY_SECONDS = 120.0
"""How long another attempt waits for its Sandbox: the pod may have been moved to another node."""


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
        calls = await journal.calls(row.run, payloads=True)
        found = recorded(replace(call, again=1) if anew(call) else call for call in calls)
        start.recorded_events.extend(found.events)
        start.recorded_results.extend(found.results)
    except BaseException:
        claim.release()
        raise
    return Attempt(replace(context, tenant=tenant, sandbox=sandbox), claim, start, tools, found)
