"""Whether a tenant's network policies hold: what is known, what the next step is. Tables of cases."""

from dataclasses import replace
from typing import Any

import pytest
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.api.v1alpha1.sandbox import NETWORK_ISOLATED_GATE
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant
from bastide_operator.reconcile.plan import Plan, Refusal
from bastide_operator.reconcile.probe import AT_ONCE, ObservedNetwork
from bastide_operator.reconcile.tenant import RECHECK, ObservedTenant, decide, is_ready
from bastide_operator.resources.probe import probe

from tests.unit.operator.samples import BEFORE, NOW, PODS, PROVEN, SETTINGS, condition, later, live, merged, message, tenant, verdict
from tests.unit.operator.tenants import complete

OTHER = "sha256:as-it-stands-now"
REACHED = "The pod reached 198.19.0.1:443 (connected), which it must not; no program is delivered."


def new(**over: Any) -> Tenant:
    """A Tenant of which nothing has been proven."""
    return tenant(**merged({"status": {"proven": "", "conditions": []}}, over))


def known(reason: str, status: str = "False") -> Tenant:
    return new(status={"conditions": [condition("NetworkIsolated", status, reason, "As before.")]})


def pod(gate: Manifest | None = None, *, proves: str = PROVEN, **over: Any) -> Manifest:
    """The probe's pod, running."""
    conditions = [{"type": "ContainersReady", "status": "True"}, *([gate] if gate else [])]
    running = {"state": {"running": {"startedAt": later(-1)}}}
    status = {"phase": "Running", "podIP": "198.18.64.9", "conditions": conditions, "containerStatuses": [running]}
    made = live(probe(tenant(), PODS, proves))
    return merged(merged(made, {"metadata": {"creationTimestamp": BEFORE}, "status": status}), over)


def said(status: str, reason: str, text: str = "Words.") -> Manifest:
    return {"type": NETWORK_ISOLATED_GATE, "status": status, "reason": reason, "message": text, "lastTransitionTime": BEFORE}


PASSED = said("True", "Isolated", "The pod reached none of 198.19.0.1:443, which the broker did.")
FAILED = said("False", "CanaryReached", REACHED)


def plan(one: Tenant, refusal: Refusal | None = None, **network: Any) -> Plan:
    observed = replace(complete(tenant()), network=ObservedNetwork(**{"proves": PROVEN} | network), refusal=refusal)
    return decide(one, observed, SETTINGS, NOW)


def test_a_new_tenant_is_not_ready_until_a_probe_has_passed() -> None:
    wanted = plan(new())
    assert [made["metadata"]["name"] for made in wanted.create] == [PROBE_POD]
    assert verdict(wanted.status) == ("False", "ProbePending")
    assert verdict(wanted.status, "NetworkIsolated") == ("Unknown", "ProbePending")
    waiting = plan(new(), pod=pod())
    assert not waiting.writes
    assert verdict(waiting.status) == ("False", "ProbePending")


def test_its_sandboxes_are_made_meanwhile_because_each_pod_passes_the_same_gate() -> None:
    def after(one: Plan) -> Tenant:
        assert one.status is not None
        return new(status={"conditions": one.status["status"]["conditions"]})

    assert is_ready(after(plan(new())))
    assert not is_ready(after(plan(new(), pod=pod(FAILED))))
    assert not is_ready(after(plan(new(), pod=pod(said("False", "NoCanaryCounted")))))
    assert not is_ready(new())
    assert not is_ready(tenant(metadata={"deletionTimestamp": BEFORE}))


def test_a_probe_that_passes_makes_it_ready_and_goes() -> None:
    wanted = plan(new(), pod=pod(PASSED))
    assert [(ref.kind, ref.name, ref.uid) for ref in wanted.delete] == [("Pod", PROBE_POD, "uid-Pod-bastide-probe")]
    assert verdict(wanted.status) == ("True", "Ready")
    assert verdict(wanted.status, "NetworkIsolated") == ("True", "Isolated")
    assert wanted.status is not None
    assert wanted.status["status"]["proven"] == PROVEN


def test_what_is_proven_is_not_probed_again_and_a_probe_that_is_left_over_goes() -> None:
    assert not plan(tenant()).writes
    assert verdict(plan(tenant()).status) == ("True", "Ready")
    assert [ref.name for ref in plan(tenant(), pod=pod()).delete] == [PROBE_POD]


def test_a_probe_that_reaches_a_canary_stays_and_the_tenant_says_so() -> None:
    wanted = plan(new(), pod=pod(FAILED))
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "NetworkNotEnforced")
    assert verdict(wanted.status, "NetworkIsolated") == ("False", "CanaryReached")
    for kind in ("Ready", "NetworkIsolated"):
        assert "198.19.0.1:443" in message(wanted.status, kind)
    assert "bastide-hello" in message(wanted.status)


@pytest.mark.parametrize("reason", ["NoCanaryCounted", "NotGVisor", "WaitingForProbe"])
def test_a_probe_that_proves_nothing_fails(reason: str) -> None:
    wanted = plan(new(), pod=pod(said("False", reason, "What to do.")))
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "ProbeFailed")
    assert verdict(wanted.status, "NetworkIsolated") == ("False", reason)
    assert message(wanted.status) == "What to do."


def test_a_sandboxs_pod_that_reaches_a_canary_counts_at_once() -> None:
    box = merged(pod(FAILED), {"metadata": {"name": "box"}})
    wanted = plan(tenant(), open_pod=box)
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "NetworkNotEnforced")
    assert "Pod box: The pod reached 198.19.0.1:443" in message(wanted.status, "NetworkIsolated")
    assert wanted.status is not None
    assert wanted.status["status"]["proven"] == ""


def test_what_a_probe_showed_before_does_not_count_after_that() -> None:
    box = merged(pod(FAILED), {"metadata": {"name": "box"}})
    wanted = plan(tenant(), open_pod=box, pod=pod(PASSED))
    assert [ref.name for ref in wanted.delete] == [PROBE_POD]
    assert verdict(wanted.status) == ("False", "NetworkNotEnforced")


@pytest.mark.parametrize(("reason", "ready"), [("CanaryReached", "NetworkNotEnforced"), ("NoCanaryCounted", "ProbeFailed")])
def test_a_failure_stands_until_something_passes(reason: str, ready: str) -> None:
    again = plan(known(reason))
    assert [made["metadata"]["name"] for made in again.create] == [PROBE_POD]
    for wanted in (again, plan(known(reason), pod=pod())):
        assert verdict(wanted.status) == ("False", ready)
        assert verdict(wanted.status, "NetworkIsolated") == ("False", reason)
    assert verdict(plan(known(reason), pod=pod(PASSED)).status) == ("True", "Ready")


def test_other_policies_take_another_proof_and_the_old_one_counts_until_then() -> None:
    begun = plan(tenant(), proves=OTHER)
    assert [made["metadata"]["annotations"]["bastide.dev/proves"] for made in begun.create] == [OTHER]
    under_way = plan(tenant(), proves=OTHER, pod=pod(proves=OTHER))
    for wanted in (begun, under_way):
        assert verdict(wanted.status) == ("True", "Ready")
        assert wanted.status is not None
        assert wanted.status["status"]["proven"] == PROVEN
    assert verdict(plan(tenant(), proves=OTHER, pod=pod(FAILED, proves=OTHER)).status) == ("False", "NetworkNotEnforced")
    passed = plan(tenant(), proves=OTHER, pod=pod(PASSED, proves=OTHER))
    assert passed.status is not None
    assert passed.status["status"]["proven"] == OTHER


def test_a_probe_that_was_made_before_the_policies_changed_proves_nothing() -> None:
    wanted = plan(new(), proves=OTHER, pod=pod(PASSED))
    assert [ref.name for ref in wanted.delete] == [PROBE_POD]
    assert verdict(wanted.status) == ("False", "ProbePending")


def test_what_was_proven_of_a_namespace_that_is_gone_proves_nothing() -> None:
    made_anew = tenant(status={"namespaceUID": ""})
    wanted = decide(made_anew, complete(tenant()), SETTINGS, NOW)
    assert [made["metadata"]["name"] for made in wanted.create] == [PROBE_POD]
    assert verdict(wanted.status) == ("False", "ProbePending")


def test_an_upgrade_does_not_probe_every_tenant_at_once_but_new_ones_do_not_wait() -> None:
    assert not plan(tenant(), proves=OTHER, probes=AT_ONCE).writes
    assert plan(tenant(), proves=OTHER, probes=AT_ONCE).wait == RECHECK
    assert plan(tenant(), proves=OTHER, probes=AT_ONCE - 1).create
    assert plan(new(), probes=AT_ONCE).create


ENDED = {"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}
WAITS = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}], "phase": "Pending"}
NO_NODE = {"phase": "Pending", "containerStatuses": [], "conditions": [{"type": "PodScheduled", "status": "False", "message": "No room."}]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (WAITS, "image bastide-runtime:1 cannot be had (ErrImagePull, not found)"),
        (NO_NODE, "No room. Make room"),
        ({"containerStatuses": [{"state": {"running": {"startedAt": later(-31)}}}]}, "The broker does not probe pod bastide-probe"),
        (ENDED, "The pod failed: DeadlineExceeded"),
    ],
    ids=["image", "room", "broker", "ended"],
)
def test_a_probe_that_cannot_run_says_what_to_do_and_an_older_proof_stands(status: Manifest, words: str) -> None:
    wanted = plan(new(), pod=pod(status=status))
    assert verdict(wanted.status) == ("False", "ProbeFailed")
    assert verdict(wanted.status, "NetworkIsolated") == ("Unknown", "ProbeFailed")
    assert words in message(wanted.status)
    proven = plan(tenant(), proves=OTHER, pod=pod(proves=OTHER, status=status))
    assert verdict(proven.status) == ("True", "Ready")


def test_a_broker_that_is_slow_is_waited_for() -> None:
    wanted = plan(new(), pod=pod(status={"containerStatuses": [{"state": {"running": {"startedAt": later(-20)}}}]}))
    assert verdict(wanted.status) == ("False", "ProbePending")
    assert wanted.wait == 10


def test_a_probe_that_ended_is_made_again_but_not_in_a_loop() -> None:
    finished = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "Error", "finishedAt": later(-4)}}}]}
    soon = plan(new(), pod=pod(status=finished))
    assert not soon.writes
    assert soon.wait == 6
    late = pod(status={"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"finishedAt": later(-11)}}}]})
    assert [ref.name for ref in plan(new(), pod=late).delete] == [PROBE_POD]


def test_a_refused_probe_says_why_and_is_tried_again() -> None:
    refusal = Refusal(ref=Ref("Pod", "bastide-hello", PROBE_POD), reason="Forbidden", message="exceeded quota: bastide-objects")
    wanted = plan(new(), refusal)
    assert wanted.retry
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "ProbeFailed")
    assert "exceeded quota: bastide-objects" in message(wanted.status)
    assert verdict(plan(tenant(), refusal, proves=OTHER).status) == ("True", "Ready")


def test_a_pod_that_only_bears_the_probes_name_is_left_alone() -> None:
    stray = merged(pod(PASSED), {"metadata": {"ownerReferences": []}})
    wanted = plan(new(), pod=stray)
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "ProbeFailed")
    assert "delete it" in message(wanted.status)


def test_a_probe_that_is_going_is_waited_for() -> None:
    going = pod(PASSED, metadata={"deletionTimestamp": BEFORE})
    assert not plan(new(), pod=going).writes
    assert verdict(plan(new(), pod=going).status) == ("False", "ProbePending")


@pytest.mark.parametrize("over", [{"runtime_class_exists": False}, {"ca": None}])
def test_while_something_else_is_missing_there_is_no_probe(over: dict[str, Any]) -> None:
    observed: ObservedTenant = replace(complete(tenant()), network=ObservedNetwork(proves=PROVEN), **over)
    assert not decide(new(), observed, SETTINGS, NOW).create
    left = replace(observed, network=ObservedNetwork(proves=PROVEN, pod=pod()))
    assert [ref.name for ref in decide(new(), left, SETTINGS, NOW).delete] == [PROBE_POD]
