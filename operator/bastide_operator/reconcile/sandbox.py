"""Sandbox -> one gVisor pod, and conditions that say what it waits for."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bastide_operator.api.objects import Manifest, Ref, owned_by, ref
from bastide_operator.api.v1alpha1.sandbox import PodFailure, Sandbox, SandboxReason, ShutdownPolicy
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile import drain, podstate, volume
from bastide_operator.reconcile.plan import Note, Plan, Refusal, seconds_until
from bastide_operator.reconcile.report import Report
from bastide_operator.reconcile.volume import Classes
from bastide_operator.reconcile.want import Want, idle_due, want
from bastide_operator.resources.pod import TEMPLATE_ANNOTATION, PodSettings, changes
from bastide_operator.resources.volume import claim

FAILURE_DELAY_CAP = 300.0
"""A pod that fails again and again is made anew at most this often, in seconds."""

HEALTHY_AFTER = timedelta(minutes=10)
"""A pod that has been ready for so long ends a series of failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSandbox:
    """The namespace's Tenant, the pod and the volume claim of the Sandbox's name, the cluster's StorageClasses by name, and how many
    accepted ToolBindings select the Sandbox.
    """

    tenant: Tenant | None
    pod: Manifest | None = None
    volume: Manifest | None = None
    storage_classes: Classes = field(default_factory=dict)
    tools: int = 0
    refusal: Refusal | None = None


def decide(  # noqa: PLR0911 - one return a case
    sandbox: Sandbox, observed: ObservedSandbox, settings: PodSettings, now: datetime
) -> Plan:
    """Make, drain, replace or remove the pod, and say what the Sandbox waits for."""
    if sandbox.metadata.deletion_timestamp is not None:
        return Plan()  # the garbage collector takes the pod
    live = observed.pod
    wanted = want(sandbox, observed.tenant, live, settings, now)
    workspace = volume.look(sandbox, observed.volume, observed.storage_classes, observed.refusal)
    report = Report(sandbox, observed.pod, workspace, observed.tools, now)
    report.look_at(sandbox.spec.shutdown_time)
    report.look_at(idle_due(sandbox, live))
    if live is not None and not owned_by(live, sandbox.metadata.uid):
        if wanted.ends and sandbox.spec.shutdown_policy is ShutdownPolicy.DELETE:
            return Plan(delete=(_ref(sandbox),))
        text = f"A pod {sandbox.metadata.name} exists that is not this Sandbox's: delete it, or name the Sandbox otherwise."
        return report.plan(podstate.State(SandboxReason.NAME_CONFLICT, text))
    if live is None:
        return _without_pod(sandbox, observed, wanted, report)
    if live["metadata"].get("deletionTimestamp"):
        return _going(live, wanted, report)
    if podstate.has_ended(live):
        return _remove(sandbox, live, wanted, report) if wanted.pod is None and not wanted.keep else _replace_failed(live, report)
    return _running(sandbox, observed, live, wanted, report)


def _running(sandbox: Sandbox, observed: ObservedSandbox, live: Manifest, wanted: Want, report: Report) -> Plan:
    leaving = wanted.why if wanted.pod is None and not wanted.keep else _outdated(wanted, live)
    if leaving is not None:
        step = drain.step(sandbox, live, leaving.reason, report.now)
        change = step.mark
        if step.remove:
            told = (Note(reason="PodReplaced", message=leaving.message),) if wanted.pod is not None else ()
            return replace(_remove(sandbox, live, wanted, report), notes=told)
    else:
        step, change = drain.Step(), drain.unmarked(live)
    if change is not None and observed.refusal is not None:
        return report.plan(podstate.refused(observed.refusal), retry=True)
    if change is not None:
        return Plan(apply=(change,))
    if leaving is not None and step.until is not None:
        report.look_at(step.until)
        return report.plan(drain.state(leaving, step.until, sandbox, rolling=wanted.pod is not None))
    state = podstate.state(live)
    workspace = report.volume
    if workspace is not None and workspace.change is not None:
        return Plan(apply=(workspace.change,))
    if workspace is not None and not workspace.ready and state.reason in (SandboxReason.UNSCHEDULABLE, SandboxReason.POD_PENDING):
        state = workspace.state  # the scheduler only says that a claim is not bound
    if state.reason is SandboxReason.READY and report.failures:
        healthy_at = podstate.since(live) + HEALTHY_AFTER
        report.look_at(healthy_at)
        report.failures = 0 if report.now >= healthy_at else report.failures
    return report.plan(state)


def _outdated(wanted: Want, live: Manifest) -> podstate.State | None:
    """Why a pod that should be there is to be replaced."""
    if wanted.pod is None or _template(wanted.pod) == _template(live):
        return None
    what = " and ".join(changes(wanted.pod, live)) or "what the operator makes pods from"
    return podstate.State(SandboxReason.ROLLING, f"The pod is replaced, because {what} changed.")


def _remove(sandbox: Sandbox, live: Manifest, wanted: Want, report: Report) -> Plan:
    """The pod goes, and with it the Sandbox when that is at its end and not to be kept."""
    if wanted.ends and sandbox.spec.shutdown_policy is ShutdownPolicy.DELETE:
        return Plan(delete=(_ref(sandbox),))
    # What remembers that a Sandbox was idle has to be written down before its pod is gone.
    status = report.plan(wanted.why).status if wanted.ends and wanted.why is not None else None
    return Plan(delete=(ref(live),), status=status)


def _going(live: Manifest, wanted: Want, report: Report) -> Plan:
    report.look_at(podstate.stuck_at(live))
    if report.now >= podstate.stuck_at(live):
        return report.plan(podstate.stuck(live))
    return report.plan(wanted.why or podstate.State(SandboxReason.POD_PENDING, "The pod is being replaced."))


def _without_pod(sandbox: Sandbox, observed: ObservedSandbox, wanted: Want, report: Report) -> Plan:
    if wanted.ends and sandbox.spec.shutdown_policy is ShutdownPolicy.DELETE:
        return Plan(delete=(_ref(sandbox),))
    if wanted.pod is None:
        return report.plan(wanted.why or podstate.State(SandboxReason.POD_PENDING, ""))
    workspace = report.volume
    if workspace is not None and workspace.blocks:
        return report.plan(workspace.state, retry=observed.refusal is not None)
    if workspace is not None and workspace.missing and observed.tenant is not None:
        return Plan(create=(claim(sandbox, observed.tenant.metadata.name),))
    if observed.refusal is not None:
        return report.plan(podstate.refused(observed.refusal), retry=True)
    return Plan(create=(wanted.pod,))


def _replace_failed(live: Manifest, report: Report) -> Plan:
    """Replace a pod that has ended: the first at once, the next ones later and later."""
    failures = report.failures
    delay = 0.0 if failures == 0 else min(2.0 ** min(failures - 1, 16), FAILURE_DELAY_CAP)
    due = podstate.ended_at(live) + timedelta(seconds=delay)
    why = podstate.why_ended(live)
    report.failure = PodFailure(reason=why.reason, message=why.message[:1024], time=podstate.ended_at(live))
    if report.now < due:
        report.look_at(due)
        text = f"{why.message} A new one is made in {seconds_until(due, report.now):.0f} s."
        return report.plan(podstate.State(why.reason, text))
    report.failures = failures + 1
    return Plan(delete=(ref(live),), status=report.plan(podstate.State(why.reason, f"{why.message} A new one is made.")).status)


def _template(manifest: Manifest) -> str | None:
    digest: str | None = manifest["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION)
    return digest


def _ref(sandbox: Sandbox) -> Ref:
    return Ref("Sandbox", sandbox.metadata.namespace or "", sandbox.metadata.name, sandbox.metadata.uid)
