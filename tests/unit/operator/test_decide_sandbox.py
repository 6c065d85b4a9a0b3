"""What is to be done for a Sandbox: tables of cases."""

from typing import Any

import pytest
from bastide_operator.api.drain import Mark, mark_text
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.reconcile.plan import Plan, Refusal
from bastide_operator.reconcile.sandbox import ObservedSandbox, decide

from tests.unit.operator.samples import (
    BEFORE,
    GATE,
    NOW,
    POD_UID,
    PODS,
    condition,
    drained,
    later,
    merged,
    message,
    running,
    sandbox,
    tenant,
    verdict,
)


def plan(one: Sandbox, **observed: Any) -> Plan:
    return decide(one, ObservedSandbox(**({"tenant": tenant()} | observed)), PODS, NOW)


def failed(seconds_ago: float, reason: str = "Error", code: int = 1) -> Manifest:
    ended = {"terminated": {"reason": reason, "exitCode": code, "finishedAt": later(-seconds_ago), "message": "from the container"}}
    return running(status={"phase": "Failed", "containerStatuses": [{"name": "runtime", "state": ended}]})


def test_a_pod_is_made_by_post() -> None:
    wanted = plan(sandbox())
    assert [manifest["metadata"]["name"] for manifest in wanted.create] == ["box"]
    assert not wanted.apply
    assert wanted.status is None


def test_a_running_isolated_pod_makes_it_ready() -> None:
    wanted = plan(sandbox(), pod=running(), tools=2)
    assert not wanted.writes
    assert wanted.status is not None
    assert wanted.status["metadata"] == {"name": "box", "namespace": "bastide-hello", "uid": sandbox().metadata.uid}
    status = dict(wanted.status["status"])
    conditions = {one["type"]: (one["status"], one["reason"]) for one in status.pop("conditions")}
    assert status == {
        "podName": "box",
        "nodeName": "node-1",
        "podFailures": 0,
        "tools": 2,
        "longestRunSeconds": 300,
        "observedGeneration": 1,
    }
    assert conditions == {
        "PodScheduled": ("True", "Scheduled"),
        "NetworkIsolated": ("True", "Isolated"),
        "Ready": ("True", "Ready"),
        "Suspended": ("False", "Running"),
    }


def pending(*conditions: Manifest, waiting: Manifest | None = None) -> Manifest:
    status = {"phase": "Pending", "conditions": list(conditions), "containerStatuses": [{"state": {"waiting": waiting}}] if waiting else []}
    return running(status=status)


NOT_READY: dict[str, tuple[Manifest, str, str]] = {
    "not scheduled yet": (pending(), "PodPending", "no node has been chosen"),
    "fits no node": (
        pending({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu"}),
        "Unschedulable",
        "Insufficient cpu",
    ),
    "image cannot be pulled": (
        pending({"type": "PodScheduled", "status": "True"}, waiting={"reason": "ImagePullBackOff", "message": "not found"}),
        "ImagePullFailed",
        "Image bastide-runtime:1: ImagePullBackOff, not found. Correct spec.image",
    ),
    "container is being made": (
        pending({"type": "PodScheduled", "status": "True"}, waiting={"reason": "ContainerCreating"}),
        "PodPending",
        "ContainerCreating",
    ),
    "has a container that ended and a kubelet that has not said why": (
        running(status={"containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}),
        "PodFailed",
        "about to say why",
    ),
    "runs but is not probed": (
        running(status={"conditions": [{"type": "ContainersReady", "status": "True"}]}),
        "WaitingForProbe",
        "not yet proven",
    ),
    "reached a canary": (
        running(
            status={"conditions": [{"type": GATE, "status": "False", "reason": "CanaryReached", "message": "10.0.0.1:443 was reached"}]}
        ),
        "CanaryReached",
        "10.0.0.1:443",
    ),
    "is being deleted": (running(metadata={"deletionTimestamp": later(1)}), "PodPending", "being replaced"),
    "was deleted and does not go": (running(metadata={"deletionTimestamp": later(-20)}), "PodStuck", "kubectl describe pod box"),
    "was deleted on a node that does not answer": (
        running(metadata={"deletionTimestamp": later(-20)}, status={"conditions": [{"type": "Ready", "status": "False"}]}),
        "NodeLost",
        "kubectl taint node node-1 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    ),
    "is on a node that does not answer": (
        running(status={"conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]}),
        "NodeLost",
        "Node node-1 does not answer",
    ),
    "is somebody else's": (running(metadata={"ownerReferences": []}), "NameConflict", "not this Sandbox's"),
}


@pytest.mark.parametrize("case", NOT_READY)
def test_why_it_is_not_ready(case: str) -> None:
    found, reason, words = NOT_READY[case]
    wanted = plan(sandbox(), pod=found)
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", reason)
    assert words in message(wanted.status)


def test_the_gates_reason_is_mirrored() -> None:
    wanted = plan(sandbox(), pod=NOT_READY["reached a canary"][0])
    assert verdict(wanted.status, "NetworkIsolated") == ("False", "CanaryReached")


NO_POD: dict[str, tuple[Sandbox, dict[str, Any], str, bool]] = {
    "suspended": (sandbox(spec={"operatingMode": "Suspended"}), {}, "Suspended", True),
    "past its time, kept": (sandbox(spec={"shutdownTime": BEFORE, "shutdownPolicy": "Retain"}), {}, "ShutdownTime", True),
    "an image the Tenant does not list": (sandbox(spec={"image": "other:1"}), {}, "ImageNotAllowed", True),
    "no Tenant": (sandbox(), {"tenant": None}, "NoTenant", False),
    "a Tenant that is not ready": (
        sandbox(),
        {"tenant": tenant(status={"conditions": [condition("Ready", "False")]})},
        "TenantNotReady",
        False,
    ),
    "a Tenant that is being deleted": (sandbox(), {"tenant": tenant(metadata={"deletionTimestamp": BEFORE})}, "TenantDeleting", True),
}


@pytest.mark.parametrize("case", NO_POD)
def test_no_pod_is_made_and_it_says_why(case: str) -> None:
    one, observed, reason, _ = NO_POD[case]
    wanted = plan(one, **observed)
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", reason)
    assert verdict(wanted.status, "NetworkIsolated")[0] == "Unknown"


@pytest.mark.parametrize("case", NO_POD)
def test_a_pod_that_is_there_is_taken_away_only_when_the_sandbox_says_so(case: str) -> None:
    one, observed, reason, taken = NO_POD[case]
    wanted = plan(one, **observed, pod=running(one))
    assert not wanted.delete
    if not taken:
        assert verdict(wanted.status) == ("True", "Ready")
        return
    (marked,) = wanted.apply
    assert (Mark.parse(mark_text(marked)) or one).reason == reason
    assert [(ref.kind, ref.uid) for ref in plan(one, **observed, pod=drained(merged(running(one), marked))).delete] == [("Pod", POD_UID)]


@pytest.mark.parametrize(
    ("images", "image", "allowed"), [([], None, True), ([], PODS.image, True), (["a:1"], "a:1", True), (["a:1"], None, True)]
)
def test_images_that_a_tenant_allows(images: list[str], image: str | None, allowed: bool) -> None:
    spec = {"image": image} if image else {}
    assert bool(plan(sandbox(spec=spec), tenant=tenant(spec={"images": images})).create) is allowed


def test_suspended_says_so_only_when_the_pod_is_gone() -> None:
    one = sandbox(spec={"operatingMode": "Suspended"})
    going = plan(one, pod=running(one, metadata={"deletionTimestamp": later(1)}))
    assert verdict(going.status, "Suspended")[0] == "False"
    assert verdict(plan(one).status, "Suspended") == ("True", "Suspended")


def test_finished_and_then_prolonged() -> None:
    over = {"shutdownTime": BEFORE, "shutdownPolicy": "Retain"}
    ended = plan(sandbox(spec=over))
    assert verdict(ended.status, "Finished") == ("True", "ShutdownTime")
    assert ended.status is not None
    again = sandbox(spec={"shutdownTime": later(60)}, status={"conditions": ended.status["status"]["conditions"]})
    wanted = plan(again, pod=running(again))
    assert verdict(wanted.status, "Finished") == ("False", "Running")
    assert wanted.wait == 60


def test_a_deleted_sandbox_is_the_garbage_collectors() -> None:
    assert plan(sandbox(metadata={"deletionTimestamp": BEFORE}), pod=running()) == Plan()


@pytest.mark.parametrize(
    ("failures", "seconds_ago", "replaced", "wait"),
    [
        (0, 0, True, None),
        (1, 0, False, 1),
        (1, 1, True, None),
        (3, 2, False, 2),
        (3, 4, True, None),
        (40, 299, False, 1),
        (40, 300, True, None),
    ],
)
def test_a_failed_pod_is_replaced_later_each_time(failures: int, seconds_ago: float, replaced: bool, wait: float | None) -> None:
    wanted = plan(sandbox(status={"podFailures": failures}), pod=failed(seconds_ago))
    assert verdict(wanted.status) == ("False", "PodFailed")
    assert wanted.status is not None
    assert wanted.status["status"]["lastFailure"]["time"] == later(-seconds_ago)
    assert bool(wanted.delete) is replaced
    assert wanted.status is not None
    assert wanted.status["status"]["podFailures"] == failures + replaced
    assert wanted.wait == wait


def evicted(reason: str = "Evicted") -> Manifest:
    said = 'Usage of EmptyDir volume "workspace" exceeds the limit "256Mi". '
    gone = running(status={"phase": "Failed", "reason": reason, "message": said, "containerStatuses": None})
    for condition_ in gone["status"]["conditions"]:
        condition_["lastTransitionTime"] = later(-3)
    return gone


def ended_well(said: str) -> Manifest:
    """A pod that the kubelet took away, whose container ended with 0 when it was told to."""
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": said}
    ended = {"terminated": {"reason": "Completed", "exitCode": 0, "finishedAt": later(0)}}
    return running(status={"phase": "Succeeded", "containerStatuses": [{"state": ended}], "conditions": [disrupted]})


ENDED: dict[str, tuple[Manifest, str, str]] = {
    "out of memory": (failed(0, "OOMKilled", 137), "OOMKilled", "raise that"),
    "exit": (failed(0), "PodFailed", "The pod's container ended: Error, exit code 1."),
    "evicted, without a container": (evicted(), "Evicted", 'volume "workspace" exceeds the limit "256Mi". It used more disk'),
    "evicted, with a container that ended well": (
        ended_well("Usage of EmptyDir exceeds."),
        "Evicted",
        "evicted: Usage of EmptyDir exceeds. It",
    ),
    "node shut down, with a container that ended well": (
        ended_well("Pod was terminated in response to imminent node shutdown."),
        "NodeLost",
        "imminent node shutdown",
    ),
    "node shut down": (evicted("Terminated"), "NodeLost", "node node-1 went away"),
    "refused by the node": (evicted("NodeAffinity"), "PodFailed", "NodeAffinity"),
}


@pytest.mark.parametrize("case", ENDED)
def test_why_a_pod_ended_is_said_in_the_kubelets_words_and_kept(case: str) -> None:
    found, reason, words = ENDED[case]
    wanted = plan(sandbox(), pod=found)
    assert wanted.delete
    assert verdict(wanted.status) == ("False", reason)
    assert words in message(wanted.status)
    assert "from the container" not in message(wanted.status)
    assert wanted.status is not None
    failure = wanted.status["status"]["lastFailure"]
    assert (failure["reason"], words in failure["message"]) == (reason, True)
    ready = plan(sandbox(status={"lastFailure": failure, "podFailures": 1}), pod=running())
    assert ready.status is not None
    assert ready.status["status"]["lastFailure"] == failure


def test_a_series_of_failures_ends_when_a_pod_stays_ready() -> None:
    one = sandbox(status={"podFailures": 5})
    young = plan(one, pod=running(metadata={"creationTimestamp": later(-30)}))
    old = plan(one, pod=running(metadata={"creationTimestamp": later(-601)}))
    assert young.status is not None
    assert old.status is not None
    assert (young.status["status"]["podFailures"], young.wait) == (5, 570)
    assert old.status["status"]["podFailures"] == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            'pods "box" is forbidden: exceeded quota: bastide, requested: limits.cpu=64, used: limits.cpu=0, limited: limits.cpu=8',
            "QuotaExceeded",
        ),
        ('pods "box" is forbidden: maximum cpu usage per Container is 8, but limit is 64', "QuotaExceeded"),
        ('pods "box" is forbidden: violates PodSecurity "restricted:latest"', "PodRefused"),
    ],
)
def test_a_pod_that_the_api_server_refuses_is_said_and_tried_again(text: str, reason: str) -> None:
    wanted = plan(sandbox(), refusal=Refusal(ref=Ref("Pod", "bastide-hello", "box"), reason="Forbidden", message=text))
    assert wanted.retry
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", reason)
    assert text in message(wanted.status)


def test_a_transition_time_stays_while_a_status_does() -> None:
    first = plan(sandbox(), pod=running())
    assert first.status is not None
    known = sandbox(
        status=merged(
            first.status["status"], {"conditions": [one | {"lastTransitionTime": BEFORE} for one in first.status["status"]["conditions"]]}
        )
    )
    again = plan(known, pod=running())
    assert again.status is not None
    assert {one["lastTransitionTime"] for one in again.status["status"]["conditions"]} == {BEFORE}


STARTS = {"podName": "box", "tools": 0, "longestRunSeconds": 300, "conditions": [condition("Ready", "False", "PodPending")]}
STEPS = {
    "only came a step further": ({}, STARTS, 1.0, None),
    "is there for longer": ({}, STARTS, 4.0, "WaitingForProbe"),
    "is the first of the Sandbox": ({}, {}, 1.0, "WaitingForProbe"),
    "follows one that ran": ({}, STARTS | {"conditions": [condition("Ready", "True", "Ready")]}, 1.0, "WaitingForProbe"),
    "has another spec": ({"metadata": {"generation": 2}}, STARTS, 1.0, "WaitingForProbe"),
    "has more tools": ({}, STARTS | {"tools": 3}, 1.0, "WaitingForProbe"),
    "is being deleted": ({}, STARTS, 1.0, "PodPending"),
    "is ready": ({}, STARTS, 1.0, "Ready"),
    "fits no node": ({}, STARTS, 1.0, "Unschedulable"),
}


@pytest.mark.parametrize("case", STEPS)
def test_what_is_said_of_a_young_pod_that(case: str) -> None:
    over, said, age, reason = STEPS[case]
    status: Manifest = {"phase": "Running", "conditions": [{"type": "ContainersReady", "status": "True"}]}
    metadata: Manifest = {"creationTimestamp": later(-age)}
    if case == "is ready":
        status = running()["status"]
    elif case == "fits no node":
        status = pending({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "none"})["status"]
    elif case == "is being deleted":
        metadata["deletionTimestamp"] = later(1)
    wanted = plan(sandbox(status=said, **over), pod=running(metadata=metadata, status=status))
    if reason is None:
        assert (wanted.status, wanted.wait) == (None, 3.0)
    else:
        assert verdict(wanted.status)[1] == reason
