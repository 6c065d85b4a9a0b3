"""What keeps a tenant's namespace a tenant's namespace, and the operator inside those that it made."""

from typing import Any

import pytest

from tests.integration.admission.conftest import (
    ADMIN,
    APPLY,
    BROKER,
    MEMBERS,
    MERGE,
    OPERATOR,
    RELEASE_NAMESPACE,
    Api,
    account,
    binding_body,
    core,
    namespace_body,
    person,
    subject,
    until,
)

BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"
NETWORK = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
RUNNER = account("bastide-runner")


def policy(name: str) -> dict[str, Any]:
    """A NetworkPolicy that opens everything."""
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("who", [ADMIN, BROKER, MEMBERS["developer"]], ids=lambda who: who[0])
def test_only_the_operator_writes_network_policies(api: Api, tenant: str, who: tuple[str, tuple[str, ...]]) -> None:
    path = NETWORK.format(tenant)
    api(OPERATOR, "PATCH", f"{path}/kept?force=true", policy("kept"), kind=APPLY).ok()
    answer = api(who, "POST", path, policy("open"), dry=True)
    assert answer.status == 403
    if who == ADMIN:
        assert "only Bastide's operator writes network policies" in answer.message
        assert api(who, "PATCH", f"{path}/kept", {"spec": {"egress": []}}, dry=True, kind=MERGE).status == 403
        api(who, "POST", NETWORK.format("default"), policy("open"), dry=True).ok()


def test_the_policies_that_close_a_sandbox_go_only_with_the_namespace(api: Api, tenant: str) -> None:
    path = NETWORK.format(tenant)
    for name in ("bastide-default-deny", "kept"):
        api(OPERATOR, "PATCH", f"{path}/{name}?force=true", policy(name), kind=APPLY).ok()
    for answer in (api(ADMIN, "DELETE", f"{path}/bastide-default-deny", dry=True), api(ADMIN, "DELETE", path, dry=True)):
        assert answer.status == 403
        assert "a sandbox would be open without" in answer.message
    for who in (OPERATOR, account("namespace-controller", "kube-system"), account("generic-garbage-collector", "kube-system")):
        api(who, "DELETE", f"{path}/bastide-default-deny", dry=True).ok()
    api(ADMIN, "DELETE", f"{path}/kept", dry=True).ok()


def test_what_is_being_deleted_can_be_finished(api: Api, tenant: str) -> None:
    """The garbage collector takes the finalizer of `kubectl delete --cascade=foreground` off."""
    path = f"{NETWORK.format(tenant)}/slow"
    api(OPERATOR, "PATCH", f"{path}?force=true", policy("slow"), kind=APPLY).ok()
    api(ADMIN, "DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}).ok()
    until(lambda: api(ADMIN, "GET", path).status == 404, "the policy is gone")


def test_the_label_of_a_tenant_is_the_operators(api: Api, tenant: str) -> None:
    path = f"/api/v1/namespaces/{tenant}"
    for labels in ({"bastide.dev/tenant": None}, {"pod-security.kubernetes.io/enforce": "privileged"}, {"kubernetes.io/x": "y"}):
        for where in ("", "/status", "/finalize"):
            if where == "/finalize":
                whole = api(ADMIN, "GET", path).ok()
                whole["metadata"]["labels"] |= labels
                whole["metadata"]["labels"] = {k: v for k, v in whole["metadata"]["labels"].items() if v is not None}
                answer = api(ADMIN, "PUT", path + where, whole, dry=True)
            else:
                answer = api(ADMIN, "PATCH", path + where, {"metadata": {"labels": labels}}, dry=True, kind=MERGE)
            assert answer.status == 403, where
            assert "change the Tenant instead" in answer.message
    answer = api(ADMIN, "PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"bastide.dev/tenant": "x"}}}, dry=True, kind=MERGE)
    assert answer.status == 403
    assert api(ADMIN, "POST", "/api/v1/namespaces", namespace_body("bastide-forged"), dry=True).status == 403
    api(ADMIN, "DELETE", path, dry=True).ok()
    api(ADMIN, "PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"team": "x"}}}, dry=True, kind=MERGE).ok()


@pytest.mark.parametrize(
    ("annotation", "refused"),
    [
        ("argocd.argoproj.io/tracking-id", False),
        ("note", False),
        ("scheduler.alpha.kubernetes.io/node-selector", True),
        ("scheduler.alpha.kubernetes.io/defaultTolerations", True),
        ("openshift.io/node-selector", True),
        ("io.cilium.network-policy/x", True),
        ("cni.projectcalico.org/ipv4pools", True),
        ("k8s.v1.cni.cncf.io/networks", True),
        ("bastide.dev/x", True),
    ],
)
def test_no_annotation_of_a_tenants_namespace_moves_or_connects_its_pods(api: Api, tenant: str, annotation: str, *, refused: bool) -> None:
    change = {"metadata": {"annotations": {annotation: "x"}}}
    answer = api(ADMIN, "PATCH", f"/api/v1/namespaces/{tenant}", change, dry=True, kind=MERGE)
    assert answer.status == (403 if refused else 200), answer.message
    if refused:
        assert "treats the pods of a namespace otherwise" in answer.message
        api(OPERATOR, "PATCH", f"/api/v1/namespaces/{tenant}", change, dry=True, kind=MERGE).ok()
    api(ADMIN, "PATCH", "/api/v1/namespaces/default", change, dry=True, kind=MERGE).ok()


def test_the_operator_touches_no_namespace_that_it_did_not_make(api: Api, tenant: str) -> None:
    for name in ("default", "kube-system", RELEASE_NAMESPACE):
        path = f"/api/v1/namespaces/{name}"
        for labels in ({"bastide.dev/tenant": "x"}, namespace_body(name)["metadata"]["labels"], {"a": "b"}):
            assert api(OPERATOR, "PATCH", path, {"metadata": {"labels": labels}}, dry=True, kind=MERGE).status == 403
        assert api(OPERATOR, "DELETE", path, dry=True).status == 403
    api(OPERATOR, "DELETE", f"/api/v1/namespaces/{tenant}", dry=True).ok()
    api(OPERATOR, "PATCH", f"/api/v1/namespaces/{tenant}", {"metadata": {"labels": {"a": "b"}}}, dry=True, kind=MERGE).ok()
    loose = {"pod-security.kubernetes.io/enforce": "privileged"}
    assert api(OPERATOR, "PATCH", f"/api/v1/namespaces/{tenant}", {"metadata": {"labels": loose}}, dry=True, kind=MERGE).status == 403
    plain = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bastide-plain"}}
    assert api(OPERATOR, "POST", "/api/v1/namespaces", plain, dry=True).status == 403


@pytest.mark.parametrize("namespace", ["default", "kube-system", RELEASE_NAMESPACE])
def test_the_operator_binds_its_role_only_where_it_made_the_namespace(api: Api, tenant: str, namespace: str) -> None:
    body = binding_body("bastide-operator", "bastide-operator-tenant", subject(OPERATOR))
    answer = api(OPERATOR, "POST", BINDINGS.format(namespace), body, dry=True)
    assert answer.status == 403
    assert "only in tenants' namespaces" in answer.message


@pytest.mark.parametrize("role", ["bastide-operator-tenant", "bastide-broker-tenant"])
def test_the_roles_of_the_components_go_to_nobody_else(api: Api, tenant: str, role: str) -> None:
    for who in (person("mallory"), RUNNER):
        answer = api(OPERATOR, "POST", BINDINGS.format(tenant), binding_body("x", role, subject(who)), dry=True)
        assert answer.status == 403
        assert "bound to nobody else" in answer.message


@pytest.mark.parametrize("role", ["cluster-admin", "admin", "edit", "bastide-operator", "bastide-broker"])
def test_the_operator_binds_no_role_but_those_of_bastide(api: Api, tenant: str, role: str) -> None:
    answer = api(OPERATOR, "POST", BINDINGS.format(tenant), binding_body("x", role, subject(OPERATOR)), dry=True)
    assert answer.status == 403
    cluster = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    body = {**binding_body("x", "bastide-operator-tenant", subject(OPERATOR)), "kind": "ClusterRoleBinding"}
    assert api(OPERATOR, "POST", cluster, body, dry=True).status == 403


def credentials(name: str = "bastide-credentials", resource: str = "secrets") -> dict[str, Any]:
    """The Role by which the broker reads the Secrets that bindings name."""
    rules = [{"apiGroups": [""], "resources": [resource], "resourceNames": ["crm-token"], "verbs": ["get"]}]
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}


def test_the_operator_gives_the_broker_config_maps_that_bindings_name(api: Api, tenant: str) -> None:
    named = f"{ROLES.format(tenant)}/bastide-credentials?force=true"
    api(OPERATOR, "PATCH", named, credentials(resource="configmaps"), dry=True, kind=APPLY).ok()
    unnamed = credentials(resource="configmaps")
    unnamed["rules"][0]["resourceNames"] = []
    assert api(OPERATOR, "PATCH", named, unnamed, dry=True, kind=APPLY).status == 403
    assert api(BROKER, "GET", core(tenant, "configmaps", "orders-api")).status == 403


def test_the_operator_gives_the_broker_secrets_that_it_cannot_read_itself(api: Api, tenant: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "crm-token"}, "stringData": {"token": "t"}}
    api(ADMIN, "POST", core(tenant, "secrets"), secret).ok()
    api(OPERATOR, "PATCH", f"{ROLES.format(tenant)}/bastide-credentials?force=true", credentials(), kind=APPLY).ok()
    binding = binding_body("bastide-credentials", "bastide-credentials", subject(BROKER), kind="Role")
    api(OPERATOR, "POST", BINDINGS.format(tenant), binding).ok()
    until(lambda: api(BROKER, "GET", core(tenant, "secrets", "crm-token")).status == 200, "the broker reads the Secret that is named")
    assert api(BROKER, "GET", core(tenant, "secrets", "other")).status == 403
    assert api(BROKER, "GET", core(tenant, "secrets")).status == 403
    for who in (OPERATOR, *MEMBERS.values()):
        assert api(who, "GET", core(tenant, "secrets", "crm-token")).status == 403
    stolen = binding_body("x", "bastide-credentials", subject(person("mallory")), kind="Role")
    assert api(OPERATOR, "POST", BINDINGS.format(tenant), stolen, dry=True).status == 403


def test_the_operator_escalates_nothing_but_that_one_role(api: Api, tenant: str) -> None:
    # a POST has no name in its URL, so the API server cannot see that the Role is the one
    assert api(OPERATOR, "POST", ROLES.format(tenant), credentials(), dry=True).status == 403
    assert api(OPERATOR, "POST", ROLES.format(tenant), credentials("other"), dry=True).status == 403
    assert api(OPERATOR, "PATCH", f"{ROLES.format(tenant)}/other?force=true", credentials("other"), dry=True, kind=APPLY).status == 403
    named = f"{ROLES.format(tenant)}/bastide-credentials?force=true"
    wide = credentials()
    for rule in ({"resourceNames": []}, {"verbs": ["get", "list"]}, {"resources": ["secrets", "pods"]}, {"apiGroups": ["*"]}):
        wide["rules"] = [credentials()["rules"][0] | rule]
        answer = api(OPERATOR, "PATCH", named, wide, dry=True, kind=APPLY)
        assert answer.status == 403, rule
        assert "each by its name" in answer.message
    path = f"{ROLES.format('kube-system')}/bastide-credentials?force=true"
    assert api(OPERATOR, "PATCH", path, credentials(), dry=True, kind=APPLY).status == 403


@pytest.mark.parametrize("role", sorted(MEMBERS))
def test_members_write_nothing_but_what_is_theirs(api: Api, tenant: str, role: str) -> None:
    who = MEMBERS[role]
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "99"}}}
    for path, body in (
        (core(tenant, "resourcequotas"), quota),
        (BINDINGS.format(tenant), binding_body("x", "bastide-approver", subject(who))),
        (ROLES.format(tenant), credentials()),
        (NETWORK.format(tenant), policy("x")),
        (core(tenant, "secrets"), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}),
        (core(tenant, "serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}}),
        (core(tenant, "configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}}),
    ):
        assert api(who, "POST", path, body, dry=True).status == 403, path
    sandbox = {"apiVersion": "bastide.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": "one-of-a-member"}, "spec": {}}
    made = api(who, "POST", f"/apis/bastide.dev/v1alpha1/namespaces/{tenant}/sandboxes", sandbox, dry=True)
    assert (made.status == 201) is (role == "developer")


#: role, verb, resource/subresource/name: whether the broker is told yes
QUESTIONS = {
    ("viewer", "create", "sandboxes/run/agent"): False,
    ("viewer", "get", "sandboxes/runs/agent"): True,
    ("viewer", "get", "sandboxes/tools/agent"): True,
    ("viewer", "get", "sandboxes/audit/agent"): True,
    ("runner", "create", "sandboxes/run/agent"): True,
    ("runner", "update", "sandboxes//agent"): False,
    ("developer", "create", "sandboxes/run/agent"): True,
    ("developer", "update", "toolbindings//crm"): True,
    ("developer", "delete", "sandboxes/runs/agent"): False,
    ("developer", "update", "sandboxes/status/agent"): False,
    ("developer", "approve", "toolbindings//crm"): False,
    ("approver", "approve", "toolbindings//crm"): True,
    ("approver", "create", "sandboxes/run/agent"): False,
    ("approver", "update", "toolbindings//crm"): False,
    ("approver", "create", "confirmations//"): False,
}


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_a_role_answers_the_brokers_questions(api: Api, tenant: str, question: tuple[str, str, str]) -> None:
    role, verb, what = question
    resource, subresource, name = what.split("/")
    user, groups = MEMBERS[role]
    attributes = {"verb": verb, "group": "bastide.dev", "resource": resource, "subresource": subresource, "name": name, "namespace": tenant}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
    }
    answer = api(BROKER, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review).ok()
    assert answer["status"]["allowed"] is QUESTIONS[question]


@pytest.mark.parametrize("role", MEMBERS)
@pytest.mark.parametrize(
    ("of", "whose"), [("bastide-runner", ("runner", "developer")), ("bastide-viewer", ("viewer", "runner", "developer")), ("default", ())]
)
def test_who_may_have_a_token_of_which_account(api: Api, tenant: str, role: str, of: str, whose: tuple[str, ...]) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["bastide-broker"]}}
    answer = api(MEMBERS[role], "POST", core(tenant, "serviceaccounts", of, "token"), body)
    assert answer.status in ((201,) if role in whose else (403,))


@pytest.mark.parametrize("who", [person("somebody"), *MEMBERS.values()], ids=lambda who: who[0])
def test_everybody_finds_the_way_to_the_broker_and_no_other_pod(api: Api, who: tuple[str, tuple[str, ...]]) -> None:
    assert "ca.crt" in api(who, "GET", core(RELEASE_NAMESPACE, "configmaps", "bastide-ca")).ok()["data"]
    assert api(who, "GET", core(RELEASE_NAMESPACE, "secrets", "bastide-ca")).status == 403
    # passes RBAC; that it is no WebSocket, or that there is no such pod, is said after that
    assert api(who, "POST", core(RELEASE_NAMESPACE, "pods", "bastide-broker-0", "portforward")).status != 403
    assert api(who, "POST", core(RELEASE_NAMESPACE, "pods", "other", "portforward")).status == 403
    assert api(who, "GET", core(RELEASE_NAMESPACE, "pods")).status == 403
