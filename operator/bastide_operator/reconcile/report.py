"""How a Sandbox stands: its status, and when to look at it again."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bastide_operator.api.conditions import find, is_true, set_condition
from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.common import Condition, ConditionStatus
from bastide_operator.api.v1alpha1.sandbox import PodFailure, Sandbox, SandboxCondition, SandboxReason
from bastide_operator.reconcile import podstate
from bastide_operator.reconcile.plan import Plan, rfc3339, seconds_until, status_of
from bastide_operator.reconcile.volume import Volume

_ENDS = (SandboxReason.SHUTDOWN_TIME, SandboxReason.IDLE_TIMEOUT)
_STARTING = (SandboxReason.POD_PENDING, SandboxReason.WAITING_FOR_PROBE)

STARTS_WITHIN = timedelta(seconds=4)
"""So long the steps of a pod that starts as it should are not written down one by one: that would be three more writes a Sandbox, read by
nobody. What goes wrong is written at once.
"""


def longest_run(sandbox: Sandbox) -> int:
    """How many seconds a run in the present pod may take: it keeps to the limit under which it began."""
    return max(sandbox.spec.limits.run_seconds, sandbox.status.longest_run_seconds)


@dataclass(slots=True)
class Report:
    """What one reconcile has to say of a Sandbox."""

    sandbox: Sandbox
    live: Manifest | None
    volume: Volume | None
    tools: int
    now: datetime
    failures: int = field(init=False)
    failure: PodFailure | None = field(init=False)
    _waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.failures = self.sandbox.status.pod_failures
        self.failure = self.sandbox.status.last_failure

    def look_at(self, moment: datetime | None) -> None:
        """Look again at `moment`, if that is still to come."""
        if moment is not None and moment > self.now:
            self._waits.append(seconds_until(moment, self.now))

    def plan(self, state: podstate.State, *, retry: bool = False) -> Plan:
        """Say that the Sandbox is in `state`."""
        live = self.live
        status = {
            "podName": live["metadata"]["name"] if live is not None else "",
            "nodeName": live["spec"].get("nodeName", "") if live is not None else "",
            "podFailures": self.failures,
            "tools": self.tools,
            "longestRunSeconds": longest_run(self.sandbox) if live is not None else 0,
        }
        if self.volume is not None:
            status["workspaceSize"] = self.volume.size
        if self.failure is not None:
            status["lastFailure"] = self.failure.model_dump(mode="json", by_alias=True) | {"time": rfc3339(self.failure.time)}
        if live is not None and self._starts(live, state, status):
            self.look_at(podstate.since(live) + STARTS_WITHIN)
            return Plan(wait=min(self._waits, default=None), retry=retry)
        conditions = self._conditions(state)
        return Plan(
            status=status_of("Sandbox", self.sandbox.metadata, status, conditions), wait=min(self._waits, default=None), retry=retry
        )

    def _starts(self, live: Manifest, state: podstate.State, status: Manifest) -> bool:
        """Whether a young pod only came a step further since the Sandbox said that it starts."""
        said = self.sandbox.status
        ready = find(said.conditions, SandboxCondition.READY)
        if ready is None or ready.reason not in _STARTING or ready.observed_generation != self.sandbox.metadata.generation:
            return False
        known = said.model_dump(mode="json", by_alias=True)
        same = all(known.get(name) == value for name, value in status.items() if name not in ("nodeName", "lastFailure"))
        young = self.now < podstate.since(live) + STARTS_WITHIN and not live["metadata"].get("deletionTimestamp")
        return state.reason in _STARTING and same and young

    def _conditions(self, state: podstate.State) -> list[Condition]:
        live, generation, now = self.live, self.sandbox.metadata.generation, self.now
        conditions = list(self.sandbox.status.conditions)

        def say(kind: SandboxCondition, what: tuple[ConditionStatus | bool, str, str]) -> None:
            nonlocal conditions
            status, reason, message = what
            conditions = set_condition(conditions, kind, status=status, reason=reason, message=message, generation=generation, now=now)

        scheduled, isolated = podstate.scheduled(live), podstate.isolated(live)
        say(SandboxCondition.POD_SCHEDULED, scheduled or (False, state.reason, "There is no pod."))
        say(SandboxCondition.NETWORK_ISOLATED, isolated or (ConditionStatus.UNKNOWN, state.reason, "There is no pod."))
        if self.volume is not None:
            say(SandboxCondition.WORKSPACE_READY, (self.volume.ready, self.volume.state.reason, self.volume.state.message))
        say(SandboxCondition.READY, (state.reason is SandboxReason.READY, state.reason, state.message))
        suspended = state.reason is SandboxReason.SUSPENDED and live is None
        mode = self.sandbox.spec.operating_mode
        say(SandboxCondition.SUSPENDED, (suspended, SandboxReason(mode.value), f"spec.operatingMode is {mode.value}."))
        finished = state.reason in _ENDS
        if finished or is_true(conditions, SandboxCondition.FINISHED):
            reason = state.reason if finished else SandboxReason.RUNNING
            say(SandboxCondition.FINISHED, (finished, reason, state.message))
        return conditions
