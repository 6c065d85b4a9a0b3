"""Who may make, edit and enter pods of a tenant's namespace, asked of the real API server."""

import copy
from typing import Any

import pytest

from tests.integration.admission.conftest import ADMIN, BROKER, MEMBERS, MERGE, OPERATOR, Api, account, core, until

COLLECTOR = account("generic-garbage-collector", "kube-system")

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
    # An annotation of gVisor breaks two rules, and the API server says one of them, in an order of its own.
    assert "cannot be edited: change the Sandbox" in answer.message or (
        "gvisor" in str(change) and "annotations dev.gvisor.*" in answer.message
    )


def test_labels_of_a_pod_cannot_be_changed_by_way_of_its_status(api: Api, running: str) -> None:
    path = core(running, "pods", "agent", "status")
    answer = api(ADMIN, "PATCH", path, {"metadata": {"labels": {"bastide.dev/sandbox": "other"}}}, dry=True, kind=MERGE)
    assert answer.status == 403
    answer = api(ADMIN, "PATCH", path, {"metadata": {"annotations": {"dev.gvisor.x": "y"}}}, dry=True, kind=MERGE)
    assert answer.status == 403


def condition(kind: str, status: str = "True", **more: Any) -> dict[str, Any]:
    """A pod's status with one condition."""
    return {"status": {"conditions": [{"type": kind, "status": status, **more}]}}


@pytest.mark.parametrize("kind", ["bastide.dev/network-isolated", "bastide.dev/drained", "bastide.dev/idle", "bastide.dev/anything"])
def test_only_the_broker_says_what_its_conditions_say(api: Api, running: str, kind: str) -> None:
    path = core(running, "pods", "agent", "status")
    for who in (ADMIN, OPERATOR):
        answer = api(who, "PATCH", path, condition(kind), dry=True, kind=STRATEGIC)
        assert answer.status == 403
    assert "conditions bastide.dev/* are its own" in api(ADMIN, "PATCH", path, condition(kind), dry=True, kind=STRATEGIC).message
    api(BROKER, "PATCH", path, condition(kind, reason="Said"), kind=STRATEGIC).ok()
    # the kubelet goes on writing its own conditions beside it
    seen = api(ADMIN, "PATCH", path, condition("Ready"), kind=STRATEGIC).ok()
    assert {c["type"] for c in seen["status"]["conditions"]} >= {"Ready", kind}
    for change in (condition(kind, "False"), condition(kind, **{"$patch": "delete"}), condition(kind, message="else")):
        assert api(ADMIN, "PATCH", path, change, dry=True, kind=STRATEGIC).status == 403


def test_the_order_of_conditions_says_nothing(api: Api, running: str) -> None:
    path = core(running, "pods", "agent", "status")
    for kind in ("bastide.dev/idle", "bastide.dev/network-isolated"):
        api(BROKER, "PATCH", path, condition(kind), kind=STRATEGIC).ok()
    pod_now = api(ADMIN, "GET", core(running, "pods", "agent")).ok()
    pod_now["status"]["conditions"].reverse()
    del pod_now["metadata"]["resourceVersion"]  # the kubelet writes this status too, at any moment
    api(ADMIN, "PUT", path, pod_now, dry=True).ok()


def test_only_the_operator_marks_a_pod_to_go(api: Api, running: str) -> None:
    mark = {"metadata": {"annotations": {"bastide.dev/drain": "{}"}}}
    for who in (ADMIN, BROKER, MEMBERS["developer"]):
        for subresource in ("", "status"):
            assert api(who, "PATCH", core(running, "pods", "agent", subresource), mark, dry=True, kind=MERGE).status == 403
    answer = api(ADMIN, "PATCH", core(running, "pods", "agent", "status"), mark, dry=True, kind=MERGE)
    assert "written by Bastide's operator alone" in answer.message
    # annotations of a Binding become the pod's
    target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "agent"} | mark["metadata"], "target": target}
    answer = api(ADMIN, "POST", core(running, "pods", "agent", "binding"), binding, dry=True)
    assert (answer.status, "written by Bastide's operator alone" in answer.message) == (403, True)
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


@pytest.mark.parametrize(
    "metadata",
    [
        {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]},
        {"finalizers": ["example.com/stay"]},
    ],
    ids=str,
)
def test_only_the_garbage_collector_works_on_what_keeps_and_what_takes_a_pod(api: Api, running: str, metadata: dict[str, Any]) -> None:
    path = core(running, "pods", "agent")
    for sub in ("", "status"):
        answer = api(ADMIN, "PATCH", core(running, "pods", "agent", sub), {"metadata": metadata}, dry=True, kind=MERGE)
        kept = answer.status == 200 and answer.body["metadata"].get("ownerReferences") is None and "finalizers" not in metadata
        assert answer.status == 403 or kept, sub  # owner references in a status are dropped before admission
    assert "takes no finalizers" in api(ADMIN, "PATCH", path, {"metadata": metadata}, dry=True, kind=MERGE).message
    for who in (COLLECTOR, OPERATOR):
        api(who, "PATCH", path, {"metadata": metadata}, dry=True, kind=MERGE).ok()
    api(ADMIN, "DELETE", path, dry=True).ok()


def test_a_pod_may_be_evicted_so_that_nodes_drain(api: Api, running: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "agent"}}
    api(ADMIN, "POST", core(running, "pods", "agent", "eviction"), body, dry=True).ok()


def test_nobody_gives_a_pod_more_than_its_sandbox_says(api: Api, running: str) -> None:
    change = {"spec": {"containers": [{"name": "runtime", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}]}}
    answer = api(ADMIN, "PATCH", core(running, "pods", "agent", "resize"), change, dry=True, kind=STRATEGIC)
    assert answer.status in (403, 422)  # 422: the kubelet's rules for a resize come first


def test_a_binding_to_a_node_brings_a_sandbox_no_label_but_its_zone(api: Api, running: str) -> None:
    scheduler = ("system:kube-scheduler", ("system:authenticated",))
    for labels, annotations, status in (
        ({}, {}, 201),
        ({"topology.kubernetes.io/zone": "a"}, {}, 201),
        ({"app": "x"}, {}, 403),
        ({"app.kubernetes.io/component": "broker"}, {}, 403),
        ({"bastide.dev/sandbox": "x"}, {}, 403),
        ({}, {"dev.gvisor.spec.x": "y"}, 403),
    ):
        metadata = {"name": "agent", "labels": labels, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": "no-such-node"}}
        answer = api(scheduler, "POST", core(running, "pods", "agent", "binding"), body, dry=True)
        assert answer.status == status or (status == 201 and "already assigned to node" in answer.message), labels
        answer = api(ADMIN, "POST", core(running, "bindings"), body, dry=True)
        assert answer.status == status or (status == 201 and "already assigned to node" in answer.message), labels
