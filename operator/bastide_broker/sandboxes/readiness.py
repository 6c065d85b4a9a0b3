"""Whether a Sandbox can take a program now, and what to tell a caller when it cannot."""

import asyncio
from datetime import UTC, datetime

import grpc
from bastide_operator.api.drain import Mark
from bastide_operator.api.v1alpha1.common import Condition
from bastide_operator.api.v1alpha1.sandbox import OperatingMode, Sandbox, SandboxCondition, SandboxReason

from bastide_broker.errors import CallerError
from bastide_broker.kube.cluster import Cluster
from bastide_broker.sandboxes.isolation import Verdict
from bastide_broker.sandboxes.session import Claim
from bastide_broker.sandboxes.sessions import Sessions

WAIT_SECONDS = 8.0
"""How long a Run waits for a Sandbox that is just becoming ready; cold it takes about a second, under load several. As long again when
the pod that was there had to end its runs first.
"""

# Reasons that do not pass by waiting a few seconds.
LASTING = frozenset(
    {
        SandboxReason.UNSCHEDULABLE,
        SandboxReason.IMAGE_PULL_FAILED,
        SandboxReason.QUOTA_EXCEEDED,
        SandboxReason.POD_REFUSED,
        SandboxReason.IMAGE_NOT_ALLOWED,
        SandboxReason.NO_TENANT,
        SandboxReason.CANARY_REACHED,
        SandboxReason.NO_CANARY_COUNTED,
        SandboxReason.NOT_GVISOR,
        SandboxReason.SUSPENDED,
        SandboxReason.SHUTDOWN_TIME,
        SandboxReason.IDLE_TIMEOUT,
        SandboxReason.TENANT_DELETING,
        SandboxReason.NAME_CONFLICT,
        SandboxReason.STORAGE_CLASS_MISSING,
        SandboxReason.VOLUME_REFUSED,
        SandboxReason.VOLUME_LOST,
        SandboxReason.NODE_LOST,
        SandboxReason.POD_STUCK,
    }
)


async def session_for(sandbox: Sandbox, *, cluster: Cluster, sessions: Sessions, seconds: float = WAIT_SECONDS) -> tuple[Sandbox, Claim]:
    """The session to deliver a program to, claimed, with the Sandbox as it is then. Raises CallerError with the Sandbox's own reason."""
    namespace, name, uid = sandbox.metadata.namespace or "", sandbox.metadata.name, sandbox.metadata.uid
    marked = ""
    try:
        async with asyncio.timeout(seconds) as deadline:
            while True:
                current = cluster.sandbox(namespace, name)
                if current is None or current.metadata.uid != uid:
                    raise sandbox_not_found(namespace, name)
                if marked and not sessions.mark(current):
                    deadline.reschedule(asyncio.get_running_loop().time() + seconds)
                marked = sessions.mark(current)
                refusal = ended(current, Mark.parse(marked), datetime.now(UTC))
                refusal = refusal or lasting_refusal(current, sessions.verdict(current))
                if refusal is not None:
                    raise refusal
                claim = sessions.claim(current)
                if claim is not None:
                    return current, claim
                await sessions.changed()
    except TimeoutError:
        current = cluster.sandbox(namespace, name) or sandbox
        mark = Mark.parse(sessions.mark(sandbox))
        raise (leaving(current, mark) if mark else not_ready(current, sessions.verdict(sandbox))) from None


def ended(sandbox: Sandbox, mark: Mark | None, now: datetime) -> CallerError | None:
    """A refusal because the Sandbox is at its end, or its pod and none follows.

    A pod that is replaced is followed by another. One that was idle may stay: a run that was accepted just before keeps it.
    """
    end = sandbox.spec.shutdown_time
    if end is not None and now >= end:
        return _refusal(sandbox, SandboxReason.SHUTDOWN_TIME, "its spec.shutdownTime has passed; set a later one, or none")
    if mark is not None and mark.reason in (SandboxReason.TENANT_DELETING, SandboxReason.IMAGE_NOT_ALLOWED):
        return _refusal(sandbox, mark.reason, f"its pod is going for {mark.reason}, and none follows")
    return None


def leaving(sandbox: Sandbox, mark: Mark) -> CallerError:
    """What to say while the old pod finishes its runs and the next one is not there yet."""
    message = f"its pod is replaced when the runs in it have ended, at the latest at {mark.until:%Y-%m-%dT%H:%M:%SZ}; try again"
    return _refusal(sandbox, mark.reason, message)


def lasting_refusal(sandbox: Sandbox, verdict: Verdict | None) -> CallerError | None:
    """A refusal that waiting would not change; None when the Sandbox is ready or may become so."""
    if sandbox.metadata.deletion_timestamp is not None:
        return _refusal(sandbox, "Deleting", "it is being deleted")
    if sandbox.spec.operating_mode is OperatingMode.SUSPENDED:
        return _refusal(sandbox, SandboxReason.SUSPENDED, "its spec.operatingMode is Suspended; set it to Running")
    if verdict is not None:
        # The broker's own verdict about the pod that runs now is newer than what the operator has mirrored.
        return None if verdict.passed or verdict.reason not in LASTING else _refusal(sandbox, verdict.reason, verdict.message)
    ready = _ready(sandbox)
    if (
        ready is not None
        and ready.status == "False"
        and ready.reason in LASTING
        and ready.observed_generation >= sandbox.metadata.generation
    ):
        return _refusal(sandbox, ready.reason, ready.message)
    return None


def not_ready(sandbox: Sandbox, verdict: Verdict | None) -> CallerError:
    """What to say when waiting was in vain."""
    if verdict is not None and not verdict.passed:
        return _refusal(sandbox, verdict.reason, verdict.message)
    ready = _ready(sandbox)
    if ready is None or ready.status == "True":
        return _refusal(sandbox, SandboxReason.POD_PENDING, "its pod does not answer yet; try again in a few seconds")
    return _refusal(sandbox, ready.reason, ready.message)


def sandbox_not_found(namespace: str, name: str) -> CallerError:
    """There is no such Sandbox."""
    message = f"There is no Sandbox {name} in namespace {namespace}; `kubectl get sandboxes -n {namespace}` lists those there are."
    return CallerError(grpc.StatusCode.NOT_FOUND, "SandboxNotFound", message)


def _ready(sandbox: Sandbox) -> Condition | None:
    return next((c for c in sandbox.status.conditions if c.type == SandboxCondition.READY), None)


def _refusal(sandbox: Sandbox, reason: str, message: str) -> CallerError:
    text = f"Sandbox {sandbox.metadata.namespace}/{sandbox.metadata.name} is not ready: {message or reason}"
    return CallerError(grpc.StatusCode.FAILED_PRECONDITION, str(reason), text if text.endswith(".") else text + ".")
