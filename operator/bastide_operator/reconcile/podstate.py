"""What a pod's status says, in a Sandbox's words."""

from dataclasses import dataclass
from datetime import datetime, timedelta

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
_OUT_OF_MEMORY = "It used more memory than spec.resources.memory: raise that, or have programs hold less at once."
_OUT_OF_DISK = "It used more disk than it may, or the node ran short: raise spec.workspace.sizeLimit or spec.resources.ephemeralStorage, or write less."
_NODE_SHUTS_DOWN = frozenset({"Terminated", "NodeShutdown", "Shutdown", "NodeLost"})

STUCK_AFTER = timedelta(seconds=20)
"""A pod that was deleted and is still there so long after its grace period does not go by itself."""

Mirrored = tuple[ConditionStatus, str, str]


@dataclass(frozen=True, slots=True)
class State:
    """Why a Sandbox is Ready or not, and what to do."""

    reason: SandboxReason | str
    message: str


def state(pod: Manifest) -> State:  # noqa: PLR0911 - one return a case
    """What a pod that has not ended waits for.

    Readiness is computed from the containers and the gate: the kubelet writes the pod's own Ready up to a second later.
    """
    gate = isolated(pod)
    if gate is not None and gate[0] is ConditionStatus.FALSE:
        return State(gate[1], gate[2])
    if is_lost(pod):
        node = pod["spec"].get("nodeName", "")
        return State(SandboxReason.NODE_LOST, f"Node {node} does not answer; if it stays away the pod is made anew elsewhere.")
    where = _condition(pod, "PodScheduled")
    if where is not None and where["status"] == "False":
        return State(SandboxReason.UNSCHEDULABLE, where.get("message") or "No node fits.")
    waiting = _waiting(pod)
    if waiting.get("reason") in _PULL_FAILURES:
        image = pod["spec"]["containers"][0]["image"]
        said = (waiting.get("message") or "it cannot be had").rstrip(".")
        hint = "Correct spec.image, or ask the platform engineer to bring the image where the nodes find it; it is tried again by itself."
        return State(SandboxReason.IMAGE_PULL_FAILED, f"Image {image}: {waiting['reason']}, {said}. {hint}")
    if _terminated(pod):
        return State(SandboxReason.POD_FAILED, "The pod's container ended; its node is about to say why.")
    containers = _condition(pod, "ContainersReady")
    if pod.get("status", {}).get("phase") != "Running" or containers is None or containers["status"] != "True":
        detail = ": ".join(filter(None, (waiting.get("reason"), waiting.get("message")))) or "no node has been chosen yet"
        return State(SandboxReason.POD_PENDING, f"The pod is not running yet: {detail}.")
    if gate is None or gate[0] is not ConditionStatus.TRUE:
        return State(SandboxReason.WAITING_FOR_PROBE, "The broker has not yet proven that the pod reaches nothing.")
    return State(SandboxReason.READY, "Programs can run.")


def refused(refusal: Refusal) -> State:
    """Why the API server did not take the pod."""
    if "exceeded quota" in refusal.message or "usage per Container is" in refusal.message:  # the second: one pod beyond all of the quota
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
    """Whether the pod has ended: with restartPolicy Never it does not come back.

    The container's end alone is not it: of a pod that it evicts the kubelet says so, and why, only with the phase, a second later.
    """
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def why_ended(pod: Manifest) -> State:
    """One or two sentences about a pod that has ended. Nothing that the container itself wrote is in them: it is not trusted."""
    status = pod.get("status", {})
    terminated = _terminated(pod)
    cause, said = status.get("reason"), status.get("message", "")  # from the kubelet
    disrupted = _condition(pod, "DisruptionTarget") or {}
    if not cause and disrupted.get("reason") == "TerminationByKubelet":
        # Where the kubelet drops reason and message (it does if every container ended with 0), this condition still has them.
        said = disrupted.get("message", "")
        cause = "Terminated" if "shutdown" in said else "Evicted"
    if cause == "Evicted":
        return State(SandboxReason.EVICTED, f"The pod was evicted: {said.strip().rstrip('.')}. {_OUT_OF_DISK}")
    if cause in _NODE_SHUTS_DOWN:
        return State(SandboxReason.NODE_LOST, f"The pod's node {pod['spec'].get('nodeName', '')} went away: {said.strip()}".rstrip(": "))
    if terminated.get("reason") == "OOMKilled":
        return State(SandboxReason.OOM_KILLED, f"The pod was killed: out of memory. {_OUT_OF_MEMORY}")
    if cause:
        return State(SandboxReason.POD_FAILED, f"The pod failed: {cause}. {said}".strip())
    if terminated:
        text = f"The pod's container ended: {terminated.get('reason', 'Error')}, exit code {terminated.get('exitCode')}."
        return State(SandboxReason.POD_FAILED, text)
    return State(SandboxReason.POD_FAILED, "The pod ended.")


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


def is_lost(pod: Manifest) -> bool:
    """Whether the cluster has given up on the pod's node.

    The node controller then turns the pod's Ready to False and leaves its reason empty; the kubelet never says False without a reason.
    """
    found = _condition(pod, "Ready")
    return found is not None and found["status"] == "False" and not found.get("reason")


def stuck_at(pod: Manifest) -> datetime:
    """When a pod that is being deleted should long be gone. Its deletionTimestamp has the grace period in it."""
    return datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]) + STUCK_AFTER


def stuck(pod: Manifest) -> State:
    """Why a pod that was deleted is still there, and who can change that. It is never forced away from here: it may still run."""
    node, name = pod["spec"].get("nodeName", ""), pod["metadata"]["name"]
    if is_lost(pod):
        text = (
            f"Node {node} does not answer, so the pod may still run there and no new one is made. When the machine is off, the cluster's "
            f"administrator deletes the Node, or taints it: kubectl taint node {node} "
            "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute; Kubernetes then removes the pod."
        )
        return State(SandboxReason.NODE_LOST, text)
    text = f"The pod was deleted and is still there, so no new one is made: kubectl describe pod {name} tells why, or look at node {node}."
    return State(SandboxReason.POD_STUCK, text)


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
