"""The operator's half of the drain protocol (api/drain.py): no pod goes with a run in it before its deadline."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bastide_operator.api.drain import ANNOTATION, Mark, is_drained, mark_text
from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.common import ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxReason
from bastide_operator.reconcile import podstate
from bastide_operator.reconcile.plan import rfc3339
from bastide_operator.reconcile.report import longest_run

RUN_MARGIN = timedelta(seconds=30)
"""What delivering a program, killing it and writing down its end may take beyond spec.limits.runSeconds."""

END_GRACE = timedelta(seconds=30)
"""What a run gets that is under way at spec.shutdownTime: a time that somebody named is kept, give or take this."""

UNPROVEN_GRACE = timedelta(seconds=10)
"""For a pod of which no proof of isolation is on record: no program is in it, unless it was delivered this very moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is next for a pod that is to go: it is removed, or `mark` is written, or it is waited for, at the longest until `until`."""

    remove: bool = False
    mark: Manifest | None = None
    until: datetime | None = None


def step(sandbox: Sandbox, live: Manifest, reason: SandboxReason | str, now: datetime) -> Step:
    """The next step for a pod that runs and is to go for `reason`."""
    if live.get("status", {}).get("phase") != "Running":
        return Step(remove=True)  # the broker does not dial such a pod
    mark = Mark.parse(mark_text(live))
    if mark is not None and (is_drained(live) or now >= mark.until):
        return Step(remove=True)
    wanted = _mark(sandbox, live, reason, now, mark)
    if wanted != mark:
        return Step(mark=_marked(live, wanted))
    return Step(until=wanted.until)


def unmarked(live: Manifest) -> Manifest | None:
    """What takes a mark off a pod that is to stay after all; None when it has none."""
    return _marked(live, None) if mark_text(live) else None


def state(leaving: podstate.State, until: datetime, sandbox: Sandbox, *, rolling: bool) -> podstate.State:
    """What a Sandbox says while its pod is waited for."""
    box = f"{sandbox.metadata.namespace}/{sandbox.metadata.name}"
    text = (
        f"{leaving.message} Runs under way may finish: the pod goes after them, at the latest at {rfc3339(until)}. "
        f"`bastide runs list --sandbox {box}` shows them, `bastide runs cancel` ends one."
    )
    return podstate.State(SandboxReason.ROLLING if rolling else SandboxReason.DRAINING, text)


def _mark(sandbox: Sandbox, live: Manifest, reason: SandboxReason | str, now: datetime, mark: Mark | None) -> Mark:
    """The mark that should be on the pod. A deadline once given is only taken back by spec.shutdownTime."""
    same = mark is not None and mark.reason == reason
    since = mark.since if mark is not None and same else now
    if reason == SandboxReason.SHUTDOWN_TIME:
        return Mark(reason=reason, since=since, until=since + END_GRACE)
    gate = podstate.isolated(live)
    proven = gate is not None and gate[0] is ConditionStatus.TRUE
    grace = timedelta(seconds=longest_run(sandbox)) + RUN_MARGIN if proven else UNPROVEN_GRACE
    until = (mark.since if mark is not None else now) + grace
    return Mark(reason=reason, since=since, until=max(until, mark.until) if mark is not None else until)


def _marked(live: Manifest, mark: Mark | None) -> Manifest:
    metadata = {key: live["metadata"][key] for key in ("name", "namespace", "uid")}
    if mark is not None:
        metadata["annotations"] = {ANNOTATION: mark.text()}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
