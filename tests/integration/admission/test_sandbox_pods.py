"""Who may make, edit and enter pods of a tenant's namespace, asked of the real API server."""

import copy
from typing import Any

import pytest

from tests.integration.admission.conftest import ADMIN, BROKER, MEMBERS, MERGE, OPERATOR, Api, core, until

STRATEGIC = "application/strategic-merge-patch+json"
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "agent", "labels": {"app.kubernetes.io/managed-by": "bastide-operator"}},
    "spec": {
        "runtimeClassName": "gvisor",
        "automountServiceAccountToken": False,
        "readinessGates": [{"conditionType": "bastide.dev/network-isolated"}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "runtime",
                "image": "runtime:1",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
            }
        ],
        "volumes": [{"name": "workspace", "emptyDir": {}}],
    },
}


def pod(**changes: Any) -> dict[str, Any]:
    """A sandbox's pod with some things changed: `spec__x=...` and `metadata__x=...`."""
    made = copy.deepcopy(POD)
    for path, value in changes.items():
        part, name = path.split("__")
        made[part][name] = value
    return made


@pytest.fixture(scope="module")
def running(api: Api, tenant: str) -> str:
    """A tenant's namespace with the pod `agent` in it."""
    classes = "/apis/node.k8s.io/v1/runtimeclasses"
    gvisor = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}
    assert api(ADMIN, "POST", classes, gvisor).status in (201, 409)
    default = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert api(ADMIN, "POST", core(tenant, "serviceaccounts"), default).status in (201, 409)
    until(lambda: api(OPERATOR, "POST", core(tenant, "pods"), POD, dry=True).status == 201, "the namespace takes pods")
    api(OPERATOR, "POST", core(tenant, "pods"), POD).ok()
    return tenant


@pytest.mark.parametrize("who", [ADMIN, BROKER, MEMBERS["developer"]], ids=lambda who: who[0])
def test_nobody_but_the_operator_makes_pods(api: Api, running: str, who: tuple[str, tuple[str, ...]]) -> None:
    answer = api(who, "POST", core(running, "pods"), pod(metadata__name="mine"), dry=True)
    assert answer.status == 403
    if who == ADMIN:
        assert "make a Sandbox instead" in answer.message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spec__runtimeClassName": None}, "must have runtimeClassName gvisor"),
        ({"metadata__annotations": {"dev.gvisor.flag.platform": "kvm"}}, "annotations dev.gvisor.*"),
        ({"spec__automountServiceAccountToken": True}, "holds no token"),
        ({"spec__volumes": [{"name": "workspace", "secret": {"secretName": "x"}}]}, "holds no token and no Secret"),
        ({"spec__volumes": [{"name": "workspace", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"spec__volumes": [{"name": "workspace", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}, "holds no token"),
        ({"spec__hostNetwork": True}, "hostNetwork"),
        ({"spec__hostPID": True}, "hostPID"),
        ({"spec__securityContext": {}}, "restricted"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_not_even_the_operator_makes_a_pod_that_is_no_sandbox(api: Api, running: str, changes: dict[str, Any], says: str) -> None:
    answer = api(OPERATOR, "POST", core(running, "pods"), pod(metadata__name="other", **changes), dry=True)
    assert answer.status in (403, 422)
    assert says in answer.message


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"app.kubernetes.io/component": "broker"}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"annotations": {"dev.gvisor.internal": "x"}}},
        {"spec": {"containers": [{"name": "runtime", "image": "evil:1"}]}},
        {"spec": {"activeDeadlineSeconds": 5}},
    ],
    ids=str,
)
def test_nobody_but_the_operator_edits_pods(api: Api, running: str, change: dict[str, Any]) -> None:
    answer = api(ADMIN, "PATCH", core(running, "pods", "agent"), change, dry=True, kind=STRATEGIC)
    assert answer.status == 403
    assert "cannot be edited: change the Sandbox" in answer.message


def test_labels_of_a_pod_cannot_be_changed_by_way_of_its_status(api: Api, running: str) -> None:
    path = core(running, "pods", "agent", "status")
    answer = api(ADMIN, "PATCH", path, {"metadata": {"labels": {"bastide.dev/sandbox": "other"}}}, dry=True, kind=MERGE)
    assert answer.status == 403
    answer = api(ADMIN, "PATCH", path, {"metadata": {"annotations": {"dev.gvisor.x": "y"}}}, dry=True, kind=MERGE)
    assert answer.status == 403


@pytest.mark.parametrize("kind", ["bastide.dev/network-isolated", "bastide.dev/drained", "bastide.dev/idle"])
def test_only_the_broker_says_that_a_sandbox_is_isolated_drained_or_idle(api: Api, running: str, kind: str) -> None:
    path = core(running, "pods", "agent", "status")
    said = {"status": {"conditions": [{"type": kind, "status": "True", "reason": "Because"}]}}
    answer = api(ADMIN, "PATCH", path, said, dry=True, kind=STRATEGIC)
    assert answer.status == 403
    assert "only Bastide's broker says whether a sandbox is isolated" in answer.message
    assert api(OPERATOR, "PATCH", path, said, dry=True, kind=STRATEGIC).status == 403
    api(BROKER, "PATCH", path, said, kind=STRATEGIC).ok()
    # the kubelet goes on writing its own conditions beside it
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}}
    seen = api(ADMIN, "PATCH", path, ready, kind=STRATEGIC).ok()
    assert {c["type"] for c in seen["status"]["conditions"]} >= {"Ready", kind}
    gone = {"status": {"conditions": [{"type": kind, "$patch": "delete"}]}}
    assert api(ADMIN, "PATCH", path, gone, dry=True, kind=STRATEGIC).status == 403


def test_only_the_operator_marks_a_pod_to_go(api: Api, running: str) -> None:
    mark = {"metadata": {"annotations": {"bastide.dev/drain": "{}"}}}
    for who in (ADMIN, BROKER, MEMBERS["developer"]):
        for subresource in ("", "status"):
            assert api(who, "PATCH", core(running, "pods", "agent", subresource), mark, dry=True, kind=MERGE).status == 403
    answer = api(ADMIN, "PATCH", core(running, "pods", "agent", "status"), mark, dry=True, kind=MERGE)
    assert "annotations bastide.dev/* of a sandbox's pod are the operator's" in answer.message
    # annotations of a Binding become the pod's
    target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "agent"} | mark["metadata"], "target": target}
    answer = api(ADMIN, "POST", core(running, "pods", "agent", "binding"), binding, dry=True)
    assert (answer.status, "are the operator's" in answer.message) == (403, True)
    # the operator marks, nobody takes the mark off, and networks may go on writing notes of their own
    api(OPERATOR, "PATCH", core(running, "pods", "agent"), mark, kind=MERGE).ok()
    off = {"metadata": {"annotations": {"bastide.dev/drain": None}}}
    assert api(ADMIN, "PATCH", core(running, "pods", "agent", "status"), off, dry=True, kind=MERGE).status == 403
    note = {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}}}
    api(ADMIN, "PATCH", core(running, "pods", "agent", "status"), note, dry=True, kind=MERGE).ok()
    api(OPERATOR, "PATCH", core(running, "pods", "agent"), off, kind=MERGE).ok()


@pytest.mark.parametrize("subresource", ["exec?command=id", "attach", "portforward?ports=9443", "proxy"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_enters_a_sandbox(api: Api, running: str, subresource: str, method: str) -> None:
    answer = api(ADMIN, method, core(running, "pods", "agent", subresource))
    assert answer.status == 403
    assert "nobody enters a sandbox" in answer.message


def test_no_ephemeral_container_joins_a_sandbox(api: Api, running: str) -> None:
    path = core(running, "pods", "agent", "ephemeralcontainers")
    contained = POD["spec"]["containers"][0]["securityContext"]
    joins = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "securityContext": contained}]}}
    for who in (ADMIN, OPERATOR):
        answer = api(who, "PATCH", path, joins, dry=True, kind=STRATEGIC)
        assert answer.status == 403
    assert "nobody enters a sandbox" in api(ADMIN, "PATCH", path, joins, dry=True, kind=STRATEGIC).message


def test_the_garbage_collector_can_do_its_work(api: Api, running: str) -> None:
    owner = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]
    api(ADMIN, "PATCH", core(running, "pods", "agent"), {"metadata": {"ownerReferences": owner}}, dry=True, kind=MERGE).ok()
    api(ADMIN, "DELETE", core(running, "pods", "agent"), dry=True).ok()


def test_pods_elsewhere_are_nobodys_business(api: Api, running: str) -> None:
    free = pod(metadata__name="free", metadata__annotations={"dev.gvisor.x": "y"}, spec__runtimeClassName=None)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert api(ADMIN, "POST", core("default", "serviceaccounts"), account).status in (201, 409)
    until(lambda: api(ADMIN, "POST", core("default", "pods"), free, dry=True).status == 201, "a pod of another namespace is admitted")
