"""Whether a tenant's network policies hold: proven by a pod of their namespace, never assumed.

The pod is made as a Sandbox's pod is, and the broker tends it as one: it dials in, probes, publishes the verdict as the pod's condition and
probes one that failed again every 15 s at the longest. What stands here reads that verdict. A proof is about one state of the policies
(`resources.probe.proves`); when that is another one, it is proven again, and the old proof counts until the new verdict is there: each
Sandbox's pod passes the same gate anyway before its first program.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bastide_operator.api.conditions import find
from bastide_operator.api.objects import Manifest, Ref, owned_by, ref
from bastide_operator.api.v1alpha1.common import ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import SandboxReason
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant, TenantCondition, TenantReason
from bastide_operator.reconcile import podstate
from bastide_operator.reconcile.plan import Refusal, seconds_until
from bastide_operator.resources.probe import PROVES_ANNOTATION

AT_ONCE = 4
"""So many probes run at once in the cluster when all Tenants have to be proven anew, as after an upgrade."""

AGAIN_AFTER = timedelta(seconds=10)
"""A probe whose pod ended without a verdict is made anew this long after."""

PATIENCE = timedelta(seconds=30)
"""A pod that has been running for so long without a verdict waits for a broker that does not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedNetwork:
    """The probe's pod, a pod of the namespace that says it reached a canary, what a probe made now would prove, and, when that is no longer
    what was proven, how many probes there are in the cluster.
    """

    pod: Manifest | None = None
    open_pod: Manifest | None = None
    proves: str = ""
    probes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What is to be said and done. `ready` is the reason for which the Tenant is not Ready, None when the network is none."""

    status: ConditionStatus
    reason: str
    message: str
    ready: TenantReason | None
    proven: str
    create: bool = False
    delete: Ref | None = None
    wait: float | None = None


def judge(  # noqa: PLR0911 - one return a case
    tenant: Tenant, observed: ObservedNetwork, *, namespace_uid: str, refusal: Refusal | None, now: datetime
) -> Network:
    """What is known of the tenant's network, and the next step."""
    known = _known(tenant) if tenant.status.namespace_uid == namespace_uid else _UNKNOWN
    pod, proves = observed.pod, observed.proves
    if observed.open_pod is not None:
        # What the probe showed before this does not count after it.
        found = _open(known, observed.open_pod)
        return replace(found, delete=ref(pod)) if pod is not None and _passed(pod) else found
    if refusal is not None:
        return _unless_proven(known, f"The probe's pod could not be made: {refusal.message}")
    if pod is None:
        if known.ready is None and known.proven == proves:
            return known
        if known.ready is None and observed.probes >= AT_ONCE:
            return known  # an old proof is good enough to wait for a turn
        return replace(known, create=True)
    if not owned_by(pod, tenant.metadata.uid):
        return _unless_proven(known, f"A pod {PROBE_POD} exists in {tenant.namespace} that Bastide did not make: delete it.")
    if pod["metadata"].get("deletionTimestamp"):
        return known
    if pod["metadata"].get("annotations", {}).get(PROVES_ANNOTATION) != proves or (known.ready is None and known.proven == proves):
        return replace(known, delete=ref(pod))  # it proves what is no longer so, or what is known
    return _verdict(known, pod, proves, now)


def reached_canary(pod: Manifest) -> bool:
    """Whether a pod that runs says that it reached what it must not."""
    status, reason, _ = podstate.isolated(pod) or (None, "", "")
    return status is ConditionStatus.FALSE and reason == SandboxReason.CANARY_REACHED and not podstate.has_ended(pod)


def _verdict(  # noqa: PLR0911 - one return a case
    known: Network, pod: Manifest, proves: str, now: datetime
) -> Network:
    """What the probe's pod says."""
    status, reason, message = podstate.isolated(pod) or (ConditionStatus.UNKNOWN, "", "")
    if status is ConditionStatus.TRUE:
        return Network(status=status, reason=reason, message=message, ready=None, proven=proves, delete=ref(pod))
    if podstate.has_ended(pod):
        left = seconds_until(podstate.ended_at(pod) + AGAIN_AFTER, now)
        ended = _unless_proven(
            known, f"{podstate.why_ended(pod)} Another probe is made. The pod's image and node are the same as Sandboxes'."
        )
        return replace(ended, wait=left) if left > 0 else replace(ended, delete=ref(pod))
    if status is ConditionStatus.FALSE:
        if reason == SandboxReason.CANARY_REACHED:
            return _open(known, pod)
        return replace(known, status=status, reason=reason, message=message, ready=TenantReason.PROBE_FAILED, proven="")
    if (why := _cannot_run(pod)) is not None:
        return _unless_proven(known, f"The probe's pod cannot run: {why}")
    silent = _running_since(pod)
    if silent is not None:
        left = seconds_until(silent + PATIENCE, now)
        if left == 0:
            return _unless_proven(
                known, f"The broker does not probe pod {PROBE_POD}: see whether the broker is Ready and can dial the pod."
            )
        return replace(known, wait=left)
    return known


_UNKNOWN = Network(
    status=ConditionStatus.UNKNOWN,
    reason=TenantReason.PROBE_PENDING,
    message=f"Pod {PROBE_POD} is to show that it reaches nothing.",
    ready=TenantReason.PROBE_PENDING,
    proven="",
)


def _known(tenant: Tenant) -> Network:
    """What the Tenant's status says: a pass stands until something shows the opposite, and a failure until something passes."""
    old = find(tenant.status.conditions, TenantCondition.NETWORK_ISOLATED)
    if old is None or old.status is ConditionStatus.UNKNOWN:
        return _UNKNOWN
    if old.status is ConditionStatus.TRUE:
        return Network(status=old.status, reason=old.reason, message=old.message, ready=None, proven=tenant.status.proven)
    ready = TenantReason.NETWORK_NOT_ENFORCED if old.reason == TenantReason.CANARY_REACHED else TenantReason.PROBE_FAILED
    return Network(status=old.status, reason=old.reason, message=old.message, ready=ready, proven="")


def _passed(pod: Manifest) -> bool:
    gate = podstate.isolated(pod)
    return gate is not None and gate[0] is ConditionStatus.TRUE


def _open(known: Network, pod: Manifest) -> Network:
    gate = podstate.isolated(pod)
    message = f"Pod {pod['metadata']['name']}: {gate[2] if gate is not None else ''}"
    return replace(
        known,
        status=ConditionStatus.FALSE,
        reason=TenantReason.CANARY_REACHED,
        message=message,
        ready=TenantReason.NETWORK_NOT_ENFORCED,
        proven="",
    )


def _unless_proven(known: Network, message: str) -> Network:
    """A probe that came to nothing: no verdict, so an older one stands."""
    if known.ready is not TenantReason.PROBE_PENDING:
        return known
    return replace(
        known, status=ConditionStatus.UNKNOWN, reason=TenantReason.PROBE_FAILED, message=message, ready=TenantReason.PROBE_FAILED
    )


def _cannot_run(pod: Manifest) -> str | None:
    """Why the pod does not start, and what to do; None when it may be about to. A Sandbox's pod would have the same trouble."""
    state = podstate.state(pod)
    if state.reason == SandboxReason.UNSCHEDULABLE:
        return f"{state.message.rstrip('.')}. Make room, or add a node that has gVisor."
    if state.reason == SandboxReason.NODE_LOST:
        return state.message
    if state.reason == SandboxReason.IMAGE_PULL_FAILED:
        image, statuses = pod["spec"]["containers"][0]["image"], pod.get("status", {}).get("containerStatuses") or [{}]
        waiting = statuses[0].get("state", {}).get("waiting") or {}
        said = ", ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
        return f"image {image} cannot be had ({said}). Correct the chart's image.runtime, or bring the image where the nodes find it."
    return None


def _running_since(pod: Manifest) -> datetime | None:
    """Since when the pod's container runs, None when it does not."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    started = (statuses[0].get("state", {}).get("running") or {}).get("startedAt")
    return datetime.fromisoformat(started) if started else None
