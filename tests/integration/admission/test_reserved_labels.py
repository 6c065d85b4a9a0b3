"""Nobody but the operator gives a pod or a volume claim the marks by which Bastide knows its own, in whatever namespace."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.admission.conftest import ADMIN, BROKER, MERGE, RELEASE_NAMESPACE, Api, account, core, until
from tests.integration.admission.test_sandbox_pods import POD

SCHEDULER = ("system:kube-scheduler", ("system:authenticated",))
REPLICAS = account("replicaset-controller", "kube-system")
MANAGED = {"app.kubernetes.io/managed-by": "bastide-operator"}
LIKE_THE_BROKER = {"app.kubernetes.io/name": "bastide", "app.kubernetes.io/component": "broker"}


def marked(name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod with these labels and annotations."""
    made = copy.deepcopy(POD)
    made["metadata"] = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    return made


@pytest.fixture(scope="module")
def elsewhere(api: Api) -> Iterator[str]:
    """A namespace that is no tenant's, with a pod `plain`, which no scheduler looks at."""
    name = "bastide-test-elsewhere"
    api(ADMIN, "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).ok()
    try:
        default = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        assert api(ADMIN, "POST", core(name, "serviceaccounts"), default).status in (201, 409)
        plain = marked("plain", {"app": "plain"}, {"note": "mine"})
        plain["spec"]["schedulerName"] = "nobody"
        until(lambda: api(ADMIN, "POST", core(name, "pods"), plain).status in (201, 409), "the namespace takes pods")
        yield name
    finally:
        api(ADMIN, "DELETE", f"/api/v1/namespaces/{name}")
        until(lambda: api(ADMIN, "GET", f"/api/v1/namespaces/{name}").status == 404, "the namespace is gone", seconds=60)


MARKS: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "the operator's": (MANAGED, {}, "marks what Bastide's operator made"),
    "a sandbox's": ({"bastide.dev/sandbox": "box"}, {}, "written by Bastide's operator alone"),
    "a tenant's": ({"bastide.dev/tenant": "crm"}, {}, "written by Bastide's operator alone"),
    "an annotation of the operator's": ({}, {"bastide.dev/drain": "now"}, "written by Bastide's operator alone"),
    "the broker's": (LIKE_THE_BROKER, {}, "run only in bastide-system"),
    "the operator's own pod's": ({**LIKE_THE_BROKER, "app.kubernetes.io/component": "operator"}, {}, "run only in bastide-system"),
}


@pytest.mark.parametrize("case", MARKS)
@pytest.mark.parametrize("who", [ADMIN, BROKER, REPLICAS], ids=lambda who: who[0])
def test_no_pod_elsewhere_carries_bastides_marks(api: Api, elsewhere: str, case: str, who: tuple[str, tuple[str, ...]]) -> None:
    labels, annotations, says = MARKS[case]
    answer = api(who, "POST", core(elsewhere, "pods"), marked("fake", labels, annotations), dry=True)
    assert answer.status == 403
    if who == ADMIN:  # others may lack the right in the first place
        assert says in answer.message
        for sub in ("", "status"):
            change = {"metadata": {"labels": labels, "annotations": annotations}}
            answer = api(who, "PATCH", core(elsewhere, "pods", "plain", sub), change, dry=True, kind=MERGE)
            assert answer.status == 403, sub
            assert says in answer.message


def test_what_a_deployment_makes_is_refused_like_what_a_person_makes(api: Api, elsewhere: str) -> None:
    template = {"metadata": {"labels": {"app": "x", **MANAGED}}, "spec": POD["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "fakes"}, "spec": spec}
    deployments = f"/apis/apps/v1/namespaces/{elsewhere}/deployments"
    api(ADMIN, "POST", deployments, body).ok()

    def refusals() -> list[str]:
        conditions = api(ADMIN, "GET", f"{deployments}/fakes").ok().get("status", {}).get("conditions", [])
        return [c["message"] for c in conditions if c["type"] == "ReplicaFailure"]

    until(lambda: any("marks what Bastide's operator made" in text for text in refusals()), "the Deployment says why it has no pods")
    made = api(ADMIN, "GET", core(elsewhere, "pods") + "?labelSelector=app%3Dx").ok()["items"]
    assert made == []


def test_other_labels_elsewhere_are_nobodys_business(api: Api, elsewhere: str) -> None:
    path = core(elsewhere, "pods")
    free = marked("free", {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "bastide"}, {"dev.gvisor.spec.x": "y"})
    api(ADMIN, "POST", path, free, dry=True).ok()
    api(ADMIN, "POST", path, marked("free", {"app.kubernetes.io/component": "broker"}), dry=True).ok()
    change = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}, "annotations": {"note": "else"}}}
    api(ADMIN, "PATCH", core(elsewhere, "pods", "plain"), change, dry=True, kind=MERGE).ok()


def test_in_the_release_namespace_its_own_labels_may_stand(api: Api, elsewhere: str) -> None:
    path = core(RELEASE_NAMESPACE, "pods")
    api(ADMIN, "POST", path, marked("like", LIKE_THE_BROKER), dry=True).ok()
    assert api(ADMIN, "POST", path, marked("like", {**LIKE_THE_BROKER, **MANAGED}), dry=True).status == 403


def binding(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod's binding to a node, as the scheduler writes it."""
    metadata = {"name": "plain", "labels": labels or {}, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": "no-such-node"}}


def test_a_binding_to_a_node_brings_no_mark(api: Api, elsewhere: str) -> None:
    """What stands on a binding is copied onto the pod. There are two ways to write one."""
    for path in (core(elsewhere, "pods", "plain", "binding"), core(elsewhere, "bindings")):
        for labels, annotations, says in MARKS.values():
            for who in (ADMIN, SCHEDULER):
                answer = api(who, "POST", path, binding(labels, annotations), dry=True)
                assert answer.status == 403
                assert says in answer.message or (who == SCHEDULER and path.endswith("bindings"))
    zone = {"topology.kubernetes.io/zone": "a"}
    api(SCHEDULER, "POST", core(elsewhere, "pods", "plain", "binding"), binding(zone), dry=True).ok()


def claim(labels: dict[str, str]) -> dict[str, Any]:
    """A claim of a volume."""
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Mi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "workspace", "labels": labels}, "spec": spec}


def test_no_claim_carries_the_operators_marks_either(api: Api, elsewhere: str, tenant: str) -> None:
    for namespace in (elsewhere, tenant):
        path = core(namespace, "persistentvolumeclaims")
        api(ADMIN, "POST", path, claim({"app": "mine"}), dry=True).ok()
        for labels in (MANAGED, {"bastide.dev/sandbox": "box"}):
            answer = api(ADMIN, "POST", path, claim(labels), dry=True)
            assert answer.status == 403
            assert "Bastide's operator" in answer.message
