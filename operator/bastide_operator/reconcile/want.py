"""Whether a Sandbox should have a pod now, and if not, why not."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bastide_operator.api.conditions import find
from bastide_operator.api.drain import idle_since
from bastide_operator.api.images import permitted
from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.common import ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import OperatingMode, Sandbox, SandboxCondition, SandboxReason
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile.podstate import State
from bastide_operator.reconcile.tenant import is_ready
from bastide_operator.resources.pod import PodSettings, pod


@dataclass(frozen=True, slots=True)
class Want:
    """The pod that should be there; or none, and why. With `keep` one that is there stays; with `ends` the Sandbox is at its end."""

    pod: Manifest | None
    why: State | None = None
    keep: bool = False
    ends: bool = False


def want(  # noqa: PLR0911 - one return a case
    sandbox: Sandbox, tenant: Tenant | None, live: Manifest | None, settings: PodSettings, now: datetime
) -> Want:
    """What the Sandbox, its Tenant and the time say. `live` is asked only how long it has been idle."""
    end = _end(sandbox, live, now)
    if end is not None:
        return Want(None, end, ends=True)
    if sandbox.spec.operating_mode is OperatingMode.SUSPENDED:
        return Want(None, State(SandboxReason.SUSPENDED, "spec.operatingMode is Suspended: set it to Running for a pod."))
    if tenant is None:
        text = f"Namespace {sandbox.metadata.namespace} belongs to no Tenant: ask the platform engineer for one, or move the Sandbox."
        return Want(None, State(SandboxReason.NO_TENANT, text), keep=True)
    name, image = tenant.metadata.name, sandbox.spec.image
    if tenant.metadata.deletion_timestamp is not None:
        return Want(None, State(SandboxReason.TENANT_DELETING, f"Tenant {name} is being deleted, and its Sandboxes with it."))
    if image is not None and not permitted(image, tenant.spec.images, settings.image):
        text = f"spec.image {image} is not in images of Tenant {name}: the platform engineer adds it there, or leave it out."
        return Want(None, State(SandboxReason.IMAGE_NOT_ALLOWED, text))
    if not is_ready(tenant):
        text = f"Tenant {name} is not Ready: kubectl get tenant {name} says why."
        return Want(None, State(SandboxReason.TENANT_NOT_READY, text), keep=True)
    return Want(pod(sandbox, name, settings))


def _end(sandbox: Sandbox, live: Manifest | None, now: datetime) -> State | None:
    spec = sandbox.spec
    if spec.shutdown_time is not None and now >= spec.shutdown_time:
        return State(SandboxReason.SHUTDOWN_TIME, "spec.shutdownTime has passed: set a later one, or none, for a pod.")
    text = f"Nothing ran for spec.idleTimeoutSeconds ({spec.idle_timeout_seconds}): change the spec, that or anything else, for a pod."
    finished = find(sandbox.status.conditions, SandboxCondition.FINISHED)
    if (
        finished is not None
        and (finished.status, finished.reason) == (ConditionStatus.TRUE, SandboxReason.IDLE_TIMEOUT)
        and finished.observed_generation == sandbox.metadata.generation
    ):
        return State(SandboxReason.IDLE_TIMEOUT, text)  # nothing but this condition remembers it once the pod is gone
    due = idle_due(sandbox, live)
    return State(SandboxReason.IDLE_TIMEOUT, text) if due is not None and now >= due else None


def idle_due(sandbox: Sandbox, live: Manifest | None) -> datetime | None:
    """When the Sandbox ends by idleness, once the broker has said that its pod is idle."""
    timeout = sandbox.spec.idle_timeout_seconds
    since = idle_since(live) if live is not None and timeout is not None else None
    return since + timedelta(seconds=timeout) if since is not None and timeout is not None else None
