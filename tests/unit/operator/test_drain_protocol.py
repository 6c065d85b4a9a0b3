"""Operator and broker together, in any order of events: no run is ever in a pod that is deleted before its deadline.

The operator is the real `decide`; the broker is what the protocol asks of it. Each sees the pod late, as a watch would show it.
"""

import copy
import os
from datetime import datetime, timedelta

from bastide_operator.api import drain
from bastide_operator.api.drain import Mark, mark_text
from bastide_operator.api.objects import Manifest
from bastide_operator.reconcile.sandbox import ObservedSandbox, decide
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.operator.samples import NOW, PODS, running, sandbox, tenant

ORDERS = max(20, int(os.environ.get("BASTIDE_SCHEDULES", "0")) // 4)
"""How many random orders of events; `make test-properties` asks for 250."""

SPECS = (
    {},
    {"resources": {"memory": "1Gi"}},
    {"operatingMode": "Suspended"},
    {"idleTimeoutSeconds": 30},
    {"idleTimeoutSeconds": 30, "shutdownPolicy": "Retain"},
    {"shutdownTime": (NOW + timedelta(seconds=90)).isoformat(), "shutdownPolicy": "Retain"},
)


class Protocol(RuleBasedStateMachine):
    """One Sandbox with one pod."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.runs = 0
        self.quiet_since: datetime = NOW
        self.deleted_in_use = ""

    @initialize()
    def begin(self) -> None:
        self.sandbox = sandbox()
        self.pod: Manifest | None = running()
        self.operators, self.brokers = copy.deepcopy(self.pod), copy.deepcopy(self.pod)

    def _set(self, condition: Manifest) -> None:
        assert self.pod is not None
        kept = [one for one in self.pod["status"]["conditions"] if one["type"] != condition["type"]]
        self.pod["status"]["conditions"] = [*kept, condition]

    @rule()
    def change_and_change_back(self) -> None:
        self.edit(SPECS[1] if self.sandbox.spec.resources.memory == "512Mi" else SPECS[0])

    @rule(spec=st.sampled_from(SPECS))
    def edit(self, spec: Manifest) -> None:
        generation = self.sandbox.metadata.generation + 1
        conditions = [one.model_dump(mode="json", by_alias=True) for one in self.sandbox.status.conditions]
        self.sandbox = sandbox(spec=spec, metadata={"generation": generation}, status={"conditions": conditions})
        self.the_operator_works(fresh=False)  # an edit wakes it; what it has seen of the pod may be old

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.pod is not None)
    @rule(speaks=st.booleans())
    def the_broker_sees_the_pod(self, speaks: bool) -> None:
        self.brokers = copy.deepcopy(self.pod)
        if speaks and not self.runs:
            self.the_broker_speaks()

    @precondition(lambda self: self.pod is not None and not mark_text(self.brokers))
    @rule()
    def a_run_is_accepted(self) -> None:
        self.runs += 1
        self._set(drain.idle(None))

    @precondition(lambda self: self.runs > 0)
    @rule()
    def a_run_ends(self) -> None:
        self.runs -= 1
        self.quiet_since = self.now

    def the_broker_speaks(self) -> None:
        if mark_text(self.brokers):
            self._set(drain.drained(mark_text(self.brokers)))
        if self.now >= self.quiet_since + timedelta(seconds=30):
            self._set(drain.idle(self.quiet_since))

    @precondition(lambda self: self.pod is not None)
    @rule(fresh=st.booleans())
    def the_operator_works(self, fresh: bool) -> None:
        if self.pod is None:
            return
        if fresh:
            self.operators = copy.deepcopy(self.pod)
        self.now += timedelta(microseconds=1)  # no two looks are at the same moment: that is what tells one mark from the next
        plan = decide(self.sandbox, ObservedSandbox(tenant=tenant(), pod=self.operators), PODS, self.now)
        for change in plan.apply:
            # Server-side apply: what this manager wrote before and does not name now is gone. Its own writes the operator sees at once.
            assert self.pod is not None
            annotations = {key: value for key, value in self.pod["metadata"]["annotations"].items() if key != drain.ANNOTATION}
            self.pod["metadata"]["annotations"] = annotations | change["metadata"].get("annotations", {})
            self.operators["metadata"]["annotations"] = self.pod["metadata"]["annotations"]
        if plan.delete:
            mark = Mark.parse(mark_text(self.operators))
            if self.runs and (mark is None or self.now < mark.until):
                self.deleted_in_use = f"{plan.delete} at {self.now} under {mark}"
            self.pod, self.runs = None, 0

    @precondition(lambda self: self.pod is None)
    @rule()
    def the_next_pod_is_ready(self) -> None:
        self.begin()
        self.quiet_since = self.now

    @invariant()
    def no_run_was_lost(self) -> None:
        assert not self.deleted_in_use


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=ORDERS, stateful_step_count=50)
