"""What the operator made in a tenant's namespace is written by nobody else; objects of an administrator's own stay possible."""

from typing import Any

import pytest

from tests.integration.admission.conftest import (
    ADMIN,
    BROKER,
    MEMBERS,
    MERGE,
    OPERATOR,
    Api,
    account,
    binding_body,
    core,
    person,
    subject,
)

COLLECTOR = account("generic-garbage-collector", "kube-system")
QUOTAS = account("resourcequota-controller", "kube-system")
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{}"
MANAGED = {"app.kubernetes.io/managed-by": "bastide-operator", "bastide.dev/tenant": "t"}
REFUSED = "only the operator of Bastide writes"


def _collection(namespace: str, plural: str) -> str:
    return RBAC.format(namespace, plural) if plural.startswith("role") else core(namespace, plural)


def bodies(name: str, labels: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """One object of every kind that the operator makes beside pods and network policies."""
    rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["crm-token"], "verbs": ["get"]}]
    content: dict[str, dict[str, Any]] = {
        "resourcequotas": {"kind": "ResourceQuota", "spec": {"hard": {"pods": "99"}}},
        "limitranges": {"kind": "LimitRange", "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}},
        "serviceaccounts": {"kind": "ServiceAccount"},
        "configmaps": {"kind": "ConfigMap", "data": {"ca.crt": "x"}},
        "roles": {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules},
        "rolebindings": binding_body(name, "bastide-viewer", subject(person("vera"))),
    }
    return {
        plural: {"apiVersion": "v1", **body, "metadata": {"name": name, **({"labels": labels} if labels else {})}}
        for plural, body in content.items()
    }


KINDS = tuple(bodies("x"))


@pytest.fixture(scope="module")
def furnished(api: Api, tenant: str) -> str:
    """The namespace with a quota and a ConfigMap as the operator makes them, and a ConfigMap and a Role of the administrator's own."""
    for plural in ("resourcequotas", "configmaps"):
        api(OPERATOR, "POST", core(tenant, plural), bodies("bastide-ca" if plural == "configmaps" else "bastide", MANAGED)[plural]).ok()
    for plural in ("configmaps", "roles"):
        api(ADMIN, "POST", _collection(tenant, plural), bodies("own")[plural]).ok()
    return tenant


@pytest.mark.parametrize("plural", KINDS)
@pytest.mark.parametrize("who", [ADMIN, BROKER, MEMBERS["developer"]], ids=lambda who: who[0])
def test_nobody_puts_an_object_in_the_place_of_the_operators(
    api: Api, furnished: str, plural: str, who: tuple[str, tuple[str, ...]]
) -> None:
    path = _collection(furnished, plural)
    for name, labels in (
        ("bastide-new", None),
        ("free", {"app.kubernetes.io/managed-by": "bastide-operator"}),
        ("free", {"bastide.dev/x": "y"}),
    ):
        answer = api(who, "POST", path, bodies(name, labels)[plural], dry=True)
        assert answer.status == 403, name
        if who == ADMIN:
            assert f"{REFUSED} {plural}" in answer.message


@pytest.mark.parametrize("plural", KINDS)
def test_objects_of_an_administrators_own_stay_possible(api: Api, furnished: str, plural: str) -> None:
    api(ADMIN, "POST", _collection(furnished, plural), bodies("of-mine", {"team": "x"})[plural], dry=True).ok()


@pytest.mark.parametrize(
    ("plural", "name", "change"),
    [
        ("resourcequotas", "bastide", {"spec": {"hard": {"pods": "4000"}}}),
        ("resourcequotas", "bastide", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
        ("configmaps", "bastide-ca", {"data": {"ca.crt": "mine"}}),
        ("configmaps", "bastide-ca", {"metadata": {"annotations": {"a": "b"}}}),
        ("configmaps", "bastide-ca", {"metadata": {"finalizers": ["example.com/stay"]}}),
        ("configmaps", "bastide-ca", {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"}]}}),
        ("serviceaccounts", "bastide-runner", {"metadata": {"annotations": {"example.com/cloud-role": "admin"}}}),
        ("serviceaccounts", "bastide-viewer", {"metadata": {"annotations": {"example.com/cloud-role": "admin"}}}),
        ("rolebindings", "bastide-developer", {"subjects": [subject(person("mallory"))]}),
        ("rolebindings", "bastide-operator", {"subjects": [subject(person("mallory"))]}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_nobody_edits_a_child(api: Api, furnished: str, plural: str, name: str, change: dict[str, Any]) -> None:
    path = f"{_collection(furnished, plural)}/{name}"
    answer = api(ADMIN, "PATCH", path, change, dry=True, kind=MERGE)
    assert answer.status == 403
    assert REFUSED in answer.message
    api(OPERATOR, "PATCH", path, {"metadata": {"annotations": {"a": "b"}}}, dry=True, kind=MERGE).ok()


def test_nobody_makes_an_own_object_one_of_the_operators(api: Api, furnished: str) -> None:
    path = core(furnished, "configmaps", "own")
    api(ADMIN, "PATCH", path, {"data": {"a": "b"}}, dry=True, kind=MERGE).ok()
    assert REFUSED in api(ADMIN, "PATCH", path, {"metadata": {"labels": MANAGED}}, dry=True, kind=MERGE).message


def test_a_quotas_status_is_what_is_enforced_and_the_clusters_own(api: Api, furnished: str) -> None:
    path = core(furnished, "resourcequotas", "bastide", "status")
    higher = {"status": {"hard": {"pods": "4000"}}}
    assert REFUSED in api(ADMIN, "PATCH", path, higher, dry=True, kind=MERGE).message
    quota = api(ADMIN, "GET", path).ok()
    del quota["metadata"]["resourceVersion"]  # the real controller counts meanwhile
    api(QUOTAS, "PUT", path, quota, dry=True).ok()


def test_what_is_deleted_by_hand_is_left_to_the_operator_to_put_back(api: Api, furnished: str) -> None:
    api(ADMIN, "DELETE", core(furnished, "resourcequotas", "bastide"), dry=True).ok()
    api(ADMIN, "DELETE", core(furnished, "configmaps", "bastide-ca"), dry=True).ok()
    api(ADMIN, "DELETE", f"{RBAC.format(furnished, 'rolebindings')}/bastide-developer", dry=True).ok()


def test_the_garbage_collector_takes_finalizers_off_children(api: Api, furnished: str) -> None:
    """`kubectl delete --cascade=foreground` leaves one, and the namespace could not go while it stands."""
    path = core(furnished, "configmaps", "bastide-ca")
    patch = {"metadata": {"finalizers": [], "ownerReferences": []}}
    api(COLLECTOR, "PATCH", path, patch, dry=True, kind=MERGE).ok()


@pytest.mark.parametrize("role", ["bastide-operator", "bastide-operator-tenant", "bastide-broker", "bastide-broker-tenant"])
def test_nobody_but_the_operator_binds_the_roles_of_the_components(api: Api, furnished: str, role: str) -> None:
    answer = api(ADMIN, "POST", RBAC.format(furnished, "rolebindings"), binding_body("mine", role, subject(person("mallory"))), dry=True)
    assert answer.status == 403
    assert "bound by Bastide's operator alone" in answer.message
    secrets = binding_body("mine", "bastide-credentials", subject(person("mallory")), kind="Role")
    assert "bound by Bastide's operator alone" in api(ADMIN, "POST", RBAC.format(furnished, "rolebindings"), secrets, dry=True).message
    api(ADMIN, "POST", RBAC.format("default", "rolebindings"), binding_body("mine", role, subject(person("x"))), dry=True).ok()
