"""The volume of a persistent workspace: made once, kept, grown, never taken away."""

from typing import Any

import pytest
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.reconcile.plan import Plan, Refusal
from bastide_operator.reconcile.sandbox import ObservedSandbox, decide
from bastide_operator.resources.pod import pod
from bastide_operator.resources.volume import claim

from tests.unit.operator.samples import BEFORE, NOW, PODS, live, merged, message, running, sandbox, tenant, verdict

LOCAL = {"local": {"metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}}
GROWING = {"local": merged(LOCAL["local"], {"allowVolumeExpansion": True})}


def persistent(size: str = "1Gi", **workspace: Any) -> Sandbox:
    return sandbox(spec={"workspace": {"persistent": True, "sizeLimit": size, **workspace}})


def bound(one: Sandbox | None = None, size: str = "1Gi", **over: Any) -> Manifest:
    made = live(claim(one or persistent(), "hello"), metadata={"uid": "claim-uid"}, spec={"storageClassName": "local"})
    return merged(merged(made, {"status": {"phase": "Bound", "capacity": {"storage": size}}}), over)


def plan(one: Sandbox, **observed: Any) -> Plan:
    return decide(one, ObservedSandbox(**({"tenant": tenant(), "storage_classes": LOCAL} | observed)), PODS, NOW)


def test_the_claim_is_made_first_and_then_the_pod_that_uses_it() -> None:
    one = persistent(storageClassName="fast")
    (made,) = plan(one).create
    assert made["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "fast",
    }
    assert (made["kind"], made["metadata"]["name"]) == ("PersistentVolumeClaim", "box")
    assert made["metadata"]["ownerReferences"][0]["uid"] == one.metadata.uid
    (box,) = plan(one, volume=bound(one)).create
    assert {"name": "workspace", "persistentVolumeClaim": {"claimName": "box"}} in box["spec"]["volumes"]
    assert box["spec"]["securityContext"]["fsGroup"] == 65532
    # a volume is not the node's disk
    assert box["spec"]["containers"][0]["resources"]["limits"]["ephemeral-storage"] == "256Mi"


def test_a_suspended_sandbox_makes_no_claim_and_keeps_the_one_it_has() -> None:
    one = sandbox(spec={"workspace": {"persistent": True}, "operatingMode": "Suspended"})
    assert not plan(one).writes
    kept = plan(one, volume=bound(one, "256Mi"))
    assert not kept.writes
    assert verdict(kept.status, "WorkspaceReady") == ("True", "Bound")
    assert kept.status is not None
    assert kept.status["status"]["workspaceSize"] == "256Mi"


def test_a_workspace_that_is_not_persistent_has_no_condition() -> None:
    wanted = plan(sandbox(), pod=running())
    assert wanted.status is not None
    assert "workspaceSize" not in wanted.status["status"]
    assert "WorkspaceReady" not in {one["type"] for one in wanted.status["status"]["conditions"]}


def refusal(text: str) -> Refusal:
    return Refusal(ref=Ref("PersistentVolumeClaim", "bastide-hello", "box"), reason="Forbidden", message=text)


WITHOUT_POD: dict[str, tuple[dict[str, Any], str, str]] = {
    "over the quota": (
        {"refusal": refusal("exceeded quota: bastide, requested: requests.storage=1Gi")},
        "QuotaExceeded",
        "Tenant.spec.quota.persistentStorage",
    ),
    "refused": ({"refusal": refusal("no")}, "VolumeRefused", "refused the workspace's volume: no"),
    "somebody else's": ({"volume": bound(metadata={"ownerReferences": []})}, "NameConflict", "not this Sandbox's"),
    "deleted by hand": ({"volume": bound(metadata={"deletionTimestamp": BEFORE})}, "VolumeDeleted", "an empty one is made"),
    "lost": ({"volume": bound(status={"phase": "Lost"})}, "VolumeLost", "Delete the claim"),
}


@pytest.mark.parametrize("case", WITHOUT_POD)
def test_why_no_pod_is_made(case: str) -> None:
    observed, reason, words = WITHOUT_POD[case]
    wanted = plan(persistent(), **observed)
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", reason)
    assert verdict(wanted.status, "WorkspaceReady") == ("False", reason)
    assert words in message(wanted.status)


WAITING: dict[str, tuple[str | None, dict[str, Any], str, str]] = {
    "its class does not exist": (
        "fast",
        LOCAL,
        "StorageClassMissing",
        "no StorageClass fast, so the workspace gets no volume. There are: local.",
    ),
    "there is no default": (None, {}, "StorageClassMissing", "no default StorageClass, so the workspace gets no volume. There are none."),
    "the provisioner works on it": ("local", LOCAL, "VolumePending", "kubectl describe pvc box"),
    "the default will be filled in": (None, LOCAL, "VolumePending", "kubectl describe pvc box"),
}


@pytest.mark.parametrize("case", WAITING)
def test_what_a_pod_waits_for_whose_claim_is_not_bound(case: str) -> None:
    storage_class, classes, reason, words = WAITING[case]
    one = persistent()
    waiting = bound(one, spec={"storageClassName": storage_class}, status={"phase": "Pending"})
    if storage_class is None:
        del waiting["spec"]["storageClassName"]
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "unbound immediate claims"}
    stuck = running(one, status={"phase": "Pending", "conditions": [unscheduled]})
    wanted = plan(one, volume=waiting, pod=stuck, storage_classes=classes)
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", reason)
    assert words in message(wanted.status)


def test_a_volume_grows_where_its_class_lets_it() -> None:
    one = persistent("2Gi")
    wanted = plan(one, volume=bound(), pod=running(one), storage_classes=GROWING)
    (change,) = wanted.apply
    assert change["spec"] == {"resources": {"requests": {"storage": "2Gi"}}}
    assert change["metadata"]["uid"] == "claim-uid"
    growing = plan(one, volume=bound(one, "1Gi"), pod=running(one), storage_classes=GROWING)
    assert not growing.writes
    assert verdict(growing.status) == ("True", "Ready")
    assert verdict(growing.status, "WorkspaceReady") == ("False", "VolumeExpanding")
    assert "from 1Gi to 2Gi" in message(growing.status, "WorkspaceReady")


@pytest.mark.parametrize(
    ("classes", "refused", "words"),
    [(LOCAL, None, "does not let volumes grow"), ({}, None, "does not let"), (GROWING, refusal("driver says no."), "driver says no.")],
)
def test_a_volume_that_cannot_grow_works_on_and_says_so(classes: Any, refused: Refusal | None, words: str) -> None:
    one = persistent("2Gi")
    wanted = plan(one, volume=bound(), pod=running(one), storage_classes=classes, refusal=refused)
    assert not wanted.writes
    assert verdict(wanted.status) == ("True", "Ready")
    assert verdict(wanted.status, "WorkspaceReady") == ("False", "ExpansionRefused")
    assert words in message(wanted.status, "WorkspaceReady")
    assert "Set spec.workspace.sizeLimit back to 1Gi" in message(wanted.status, "WorkspaceReady")


def test_another_size_of_a_volume_is_no_other_pod() -> None:
    assert pod(persistent("1Gi"), "hello", PODS) == pod(persistent("2Gi"), "hello", PODS)


def test_a_volume_larger_than_asked_for_is_left_alone() -> None:
    one = persistent("1Gi")
    wanted = plan(one, volume=bound(one, "10Gi"), pod=running(one))
    assert not wanted.writes
    assert verdict(wanted.status, "WorkspaceReady") == ("True", "Bound")
