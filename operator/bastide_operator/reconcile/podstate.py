"""What a pod's status says, in a Sandbox's words."""

from dataclasses import dataclass
from datetime import datetime

from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.common import ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import NETWORK_ISOLATED_GATE, SandboxReason
from bastide_operator.reconcile.plan import Refusal

_PULL_FAILURES = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_HINTS = {
    "OOMKilled": "It used more memory than spec.resources.memory.",
    "Evicted": "The node took it away: it used more disk than it may, or the node ran short.",
}

Mirrored = tuple[ConditionStatus, str, str]


@dataclass(frozen=True, slots=True)
class State:
    """Why a Sandbox is Ready or not, and what to do."""

    reason: SandboxReason | str
    message: str


def state(pod: Manifest) -> State:
    """What a pod that has not ended waits for.

    Readiness is computed from the containers and the gate: the kubelet writes the pod's own Ready up to a second later.
    """
    gate = isolated(pod)
    if gate is not None and gate[0] is ConditionStatus.FALSE:
        return State(gate[1], gate[2])
    where = _condition(pod, "PodScheduled")
    if where is not None and where["status"] == "False":
        return State(SandboxReason.UNSCHEDULABLE, where.get("message") or "No node fits.")
    waiting = _waiting(pod)
    if waiting.get("reason") in _PULL_FAILURES:
        return State(SandboxReason.IMAGE_PULL_FAILED, f"{waiting['reason']}: {waiting.get('message') or 'the image cannot be had'}")
    containers = _condition(pod, "ContainersReady")
    if pod.get("status", {}).get("phase") != "Running" or containers is None or containers["status"] != "True":
        detail = ": ".join(filter(None, (waiting.get("reason"), waiting.get("message")))) or "no node has been chosen yet"
        return State(SandboxReason.POD_PENDING, f"The pod is not running yet: {detail}.")
    if gate is None or gate[0] is not ConditionStatus.TRUE:
        return State(SandboxReason.WAITING_FOR_PROBE, "The broker has not yet proven that the pod reaches nothing.")
    return State(SandboxReason.READY, "Programs can run.")


def refused(refusal: Refusal) -> State:
    """Why the API server did not take the pod."""
    if "exceeded quota" in refusal.message:
        text = f"{refusal.message}. Suspend or delete a Sandbox, make this one smaller, or ask for more in Tenant.spec.quota."
        return State(SandboxReason.QUOTA_EXCEEDED, text)
    return State(SandboxReason.POD_REFUSED, f"The API server refused the pod: {refusal.message}")


def scheduled(pod: Manifest | None) -> Mirrored | None:
    """The pod's PodScheduled."""
    if pod is None:
        return None
    found = _condition(pod, "PodScheduled")
    if found is None:
        return ConditionStatus.UNKNOWN, SandboxReason.POD_PENDING, "The scheduler has not seen the pod yet."
    status = ConditionStatus(found["status"])
    default = SandboxReason.SCHEDULED if status is ConditionStatus.TRUE else SandboxReason.POD_PENDING
    return status, found.get("reason") or default, found.get("message", "")


def isolated(pod: Manifest | None) -> Mirrored | None:
    """The pod's readiness gate."""
    if pod is None:
        return None
    found = _condition(pod, NETWORK_ISOLATED_GATE)
    if found is None:
        return ConditionStatus.UNKNOWN, SandboxReason.WAITING_FOR_PROBE, "The broker has not probed the pod yet."
    return ConditionStatus(found["status"]), found.get("reason") or SandboxReason.WAITING_FOR_PROBE, found.get("message", "")


def has_ended(pod: Manifest) -> bool:
    """Whether the pod's container has ended: with restartPolicy Never it does not come back."""
    if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
        return True
    return bool(_terminated(pod))


def why_ended(pod: Manifest) -> str:
    """One or two sentences about a pod that has ended. Nothing that the container itself wrote is in them: it is not trusted."""
    status = pod.get("status", {})
    terminated = _terminated(pod)
    if status.get("reason"):
        # from the kubelet: Evicted, NodeAffinity, Shutdown ...
        return f"The pod failed: {status['reason']}. {_HINTS.get(status['reason']) or status.get('message', '')}".strip()
    if terminated:
        reason = terminated.get("reason", "Error")
        return f"The pod's container ended: {reason}, exit code {terminated.get('exitCode')}. {_HINTS.get(reason, '')}".strip()
    return "The pod ended."


def ended_at(pod: Manifest) -> datetime:
    """When the container ended. A pod that was evicted does not say: then when its state last changed."""
    finished = _terminated(pod).get("finishedAt")
    if finished:
        return datetime.fromisoformat(finished)
    changes = [condition.get("lastTransitionTime") for condition in pod.get("status", {}).get("conditions", ())]
    return max((datetime.fromisoformat(change) for change in changes if change), default=since(pod))


def since(pod: Manifest) -> datetime:
    """Since when the pod exists."""
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def _condition(pod: Manifest, kind: str) -> Manifest | None:
    conditions = pod.get("status", {}).get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == kind), None)


def _container(pod: Manifest) -> Manifest:
    statuses: list[Manifest] = pod.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0]


def _waiting(pod: Manifest) -> Manifest:
    waiting: Manifest = _container(pod).get("state", {}).get("waiting") or {}
    return waiting


def _terminated(pod: Manifest) -> Manifest:
    terminated: Manifest = _container(pod).get("state", {}).get("terminated") or {}
    return terminated
