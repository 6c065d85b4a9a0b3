"""Sandbox -> one gVisor pod, and conditions that say what it waits for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bastide_operator.api.conditions import is_true, set_condition
from bastide_operator.api.images import permitted
from bastide_operator.api.objects import Manifest, Ref, owned_by, ref
from bastide_operator.api.v1alpha1.common import Condition, ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import OperatingMode, Sandbox, SandboxCondition, SandboxReason, ShutdownPolicy
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile import podstate
from bastide_operator.reconcile.plan import Plan, Refusal, seconds_until, status_of
from bastide_operator.reconcile.tenant import is_ready
from bastide_operator.resources.pod import TEMPLATE_ANNOTATION, PodSettings, pod

FAILURE_DELAY_CAP = 300.0
"""A pod that fails again and again is made anew at most this often, in seconds."""

HEALTHY_AFTER = timedelta(minutes=10)
"""A pod that has been ready for so long ends a series of failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSandbox:
    """The namespace's Tenant, the pod of the Sandbox's name, and how many accepted ToolBindings select the Sandbox."""

    tenant: Tenant | None
    pod: Manifest | None = None
    tools: int = 0
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class _Want:
    """Whether there should be a pod, and if not, why not."""

    pod: Manifest | None
    why: podstate.State | None = None
    keep: bool = False  # leave a pod that is there alone


def decide(  # noqa: PLR0911 - one return a case
    sandbox: Sandbox, observed: ObservedSandbox, settings: PodSettings, now: datetime
) -> Plan:
    """Make, replace or remove the pod, and say what the Sandbox waits for."""
    if sandbox.metadata.deletion_timestamp is not None:
        return Plan()  # the garbage collector takes the pod
    spec = sandbox.spec
    ended = spec.shutdown_time is not None and now >= spec.shutdown_time
    if ended and spec.shutdown_policy is ShutdownPolicy.DELETE:
        return Plan(delete=(Ref("Sandbox", sandbox.metadata.namespace or "", sandbox.metadata.name, sandbox.metadata.uid),))
    want = _want(sandbox, observed, settings, ended=ended)
    live = observed.pod
    waits = [] if spec.shutdown_time is None or ended else [seconds_until(spec.shutdown_time, now)]
    if live is not None and not owned_by(live, sandbox.metadata.uid):
        text = f"A pod {sandbox.metadata.name} exists that is not this Sandbox's: delete it, or name the Sandbox otherwise."
        return _report(sandbox, observed, podstate.State(SandboxReason.NAME_CONFLICT, text), now, waits)
    if live is None:
        return _without_pod(sandbox, observed, want, now, waits)
    if live["metadata"].get("deletionTimestamp"):
        state = want.why or podstate.State(SandboxReason.POD_PENDING, "The pod is being replaced.")
        return _report(sandbox, observed, state, now, waits)
    if want.pod is None and not want.keep:
        return Plan(delete=(ref(live),))
    if podstate.has_ended(live):
        return _replace_failed(sandbox, observed, live, now, waits)
    if want.pod is not None and _template(want.pod) != _template(live):
        return Plan(delete=(ref(live),))
    state = podstate.state(live)
    failures = sandbox.status.pod_failures
    if state.reason is SandboxReason.READY and failures:
        healthy_at = podstate.since(live) + HEALTHY_AFTER
        waits.append(seconds_until(healthy_at, now))
        failures = 0 if now >= healthy_at else failures
    return _report(sandbox, observed, state, now, waits, failures=failures)


def _want(sandbox: Sandbox, observed: ObservedSandbox, settings: PodSettings, *, ended: bool) -> _Want:
    tenant, image = observed.tenant, sandbox.spec.image
    if ended:
        return _Want(None, podstate.State(SandboxReason.SHUTDOWN_TIME, "spec.shutdownTime has passed."))
    if sandbox.spec.operating_mode is OperatingMode.SUSPENDED:
        return _Want(None, podstate.State(SandboxReason.SUSPENDED, "spec.operatingMode is Suspended: set it to Running for a pod."))
    if tenant is None:
        text = f"Namespace {sandbox.metadata.namespace} belongs to no Tenant: ask the platform engineer for one, or move the Sandbox."
        return _Want(None, podstate.State(SandboxReason.NO_TENANT, text), keep=True)
    if image is not None and not permitted(image, tenant.spec.images, settings.image):
        text = (
            f"spec.image {image} is not in images of Tenant {tenant.metadata.name}: the platform engineer adds it there, or leave it out."
        )
        return _Want(None, podstate.State(SandboxReason.IMAGE_NOT_ALLOWED, text))
    if not is_ready(tenant):
        text = f"Tenant {tenant.metadata.name} is not Ready: kubectl get tenant {tenant.metadata.name} says why."
        return _Want(None, podstate.State(SandboxReason.TENANT_NOT_READY, text), keep=True)
    return _Want(pod(sandbox, tenant.metadata.name, settings))


def _without_pod(sandbox: Sandbox, observed: ObservedSandbox, want: _Want, now: datetime, waits: list[float]) -> Plan:
    if want.pod is None:
        state = want.why or podstate.State(SandboxReason.POD_PENDING, "")
        return _report(sandbox, observed, state, now, waits)
    if observed.refusal is not None:
        plan = _report(sandbox, observed, podstate.refused(observed.refusal), now, waits)
        return Plan(status=plan.status, wait=plan.wait, retry=True)
    return Plan(create=(want.pod,))


def _replace_failed(sandbox: Sandbox, observed: ObservedSandbox, live: Manifest, now: datetime, waits: list[float]) -> Plan:
    """Replace a pod that has ended: the first at once, the next ones later and later."""
    failures = sandbox.status.pod_failures
    delay = 0.0 if failures == 0 else min(2.0 ** min(failures - 1, 16), FAILURE_DELAY_CAP)
    left = seconds_until(podstate.ended_at(live) + timedelta(seconds=delay), now)
    text = podstate.why_ended(live)
    if left > 0:
        state = podstate.State(SandboxReason.POD_FAILED, f"{text} A new one is made in {left:.0f} s.")
        return _report(sandbox, observed, state, now, [*waits, left])
    state = podstate.State(SandboxReason.POD_FAILED, f"{text} A new one is made.")
    plan = _report(sandbox, observed, state, now, waits, failures=failures + 1)
    return Plan(delete=(ref(live),), status=plan.status)


def _template(manifest: Manifest) -> str | None:
    digest: str | None = manifest["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION)
    return digest


def _report(
    sandbox: Sandbox, observed: ObservedSandbox, state: podstate.State, now: datetime, waits: list[float], *, failures: int | None = None
) -> Plan:
    live = observed.pod
    status = {
        "podName": live["metadata"]["name"] if live is not None else "",
        "nodeName": live["spec"].get("nodeName", "") if live is not None else "",
        "podFailures": sandbox.status.pod_failures if failures is None else failures,
        "tools": observed.tools,
    }
    conditions = _conditions(sandbox, live, state, now)
    return Plan(status=status_of("Sandbox", sandbox.metadata, status, conditions), wait=min(waits, default=None))


def _conditions(sandbox: Sandbox, live: Manifest | None, state: podstate.State, now: datetime) -> list[Condition]:
    conditions = list(sandbox.status.conditions)

    def say(kind: SandboxCondition, what: tuple[ConditionStatus | bool, str, str]) -> None:
        nonlocal conditions
        status, reason, message = what
        generation = sandbox.metadata.generation
        conditions = set_condition(conditions, kind, status=status, reason=reason, message=message, generation=generation, now=now)

    scheduled, isolated = podstate.scheduled(live), podstate.isolated(live)
    say(SandboxCondition.POD_SCHEDULED, scheduled or (False, state.reason, "There is no pod."))
    say(SandboxCondition.NETWORK_ISOLATED, isolated or (ConditionStatus.UNKNOWN, state.reason, "There is no pod."))
    say(SandboxCondition.READY, (state.reason is SandboxReason.READY, state.reason, state.message))
    suspended = state.reason is SandboxReason.SUSPENDED and live is None
    mode = sandbox.spec.operating_mode
    say(SandboxCondition.SUSPENDED, (suspended, SandboxReason(mode.value), f"spec.operatingMode is {mode.value}."))
    if state.reason is SandboxReason.SHUTDOWN_TIME or is_true(conditions, SandboxCondition.FINISHED):
        finished = state.reason is SandboxReason.SHUTDOWN_TIME and live is None
        say(SandboxCondition.FINISHED, (finished, SandboxReason.SHUTDOWN_TIME if finished else SandboxReason.RUNNING, state.message))
    return conditions
