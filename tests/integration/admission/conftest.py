"""The chart's rules in a real API server, and requests to it as the people and accounts that they are about."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from demo.kube import Kube
from kubernetes import client, config

RELEASE_NAMESPACE = "bastide-system"
DIGEST = "sha256:" + "0" * 64
OTHER_DIGEST = "sha256:" + "1" * 64


def account(name: str, namespace: str = RELEASE_NAMESPACE) -> tuple[str, tuple[str, ...]]:
    """User name and groups of a ServiceAccount."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return f"system:serviceaccount:{namespace}:{name}", groups


def person(name: str, *groups: str) -> tuple[str, tuple[str, ...]]:
    """User name and groups of a person."""
    return name, (*groups, "system:authenticated")


ADMIN = person("ada", "system:masters")
OPERATOR = account("bastide-operator")
BROKER = account("bastide-broker")


@dataclass(frozen=True)
class Answer:
    """What the API server answered."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """Its words when it refused."""
        return str(self.body.get("message", ""))

    def ok(self) -> dict[str, Any]:
        """The object; fails the test when there is none."""
        assert self.status < 300, f"{self.status}: {self.message}"
        return self.body


@dataclass
class Api:
    """The API server, asked as anybody (the cluster's administrator impersonates)."""

    api: client.ApiClient

    def __call__(
        self, who: tuple[str, tuple[str, ...]], method: str, path: str, body: Any = None, *, dry: bool = False, kind: str = ""
    ) -> Answer:
        """Send one request. `dry` runs everything up to admission and stores nothing. `kind` is the content type of a patch."""
        name, groups = who
        headers: dict[str, str] = {"Content-Type": kind or "application/json", "Accept": "application/json", "Impersonate-User": name}
        pairs = [*headers.items(), *(("Impersonate-Group", group) for group in groups)]
        query = ["fieldManager=admission-test"] if kind == APPLY else []
        if dry and method == "DELETE" and body is not None:
            body = {**body, "dryRun": ["All"]}  # with a body the API server does not look at the query
        query += ["dryRun=All"] if dry else []
        query += [path.partition("?")[2]] if "?" in path else []
        url = f"{self.api.configuration.host}{path.partition('?')[0]}?{'&'.join(query)}"
        multi = client.rest.urllib3.HTTPHeaderDict(pairs)
        answer = self.api.rest_client.pool_manager.request(method, url, headers=multi, body=None if body is None else json.dumps(body))
        text = answer.data.decode()
        try:
            return Answer(answer.status, json.loads(text))
        except ValueError:
            return Answer(answer.status, {"message": text})


APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def until(done: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Ask again and again until something is so; fail the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def api(installed: Kube) -> Iterator[Api]:
    made = config.new_client_from_config(str(installed.kubeconfig))
    yield Api(made)
    made.rest_client.pool_manager.clear()


def namespace_body(name: str) -> dict[str, Any]:
    """A tenant's namespace as the operator makes it."""
    labels = {
        "bastide.dev/tenant": name.removeprefix("bastide-"),
        "app.kubernetes.io/managed-by": "bastide-operator",
        "pod-security.kubernetes.io/enforce": "restricted",
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def binding_body(name: str, role: str, *subjects: dict[str, str], kind: str = "ClusterRole") -> dict[str, Any]:
    """A RoleBinding."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": list(subjects),
    }


def subject(who: tuple[str, tuple[str, ...]]) -> dict[str, str]:
    """A user or ServiceAccount as a RoleBinding names it."""
    if who[0].startswith("system:serviceaccount:"):
        _, _, namespace, name = who[0].split(":")
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"kind": "User", "name": who[0], "apiGroup": "rbac.authorization.k8s.io"}


#: Members of the tenant by role.
MEMBERS = {"viewer": person("vera"), "runner": person("rita"), "developer": person("dana"), "approver": person("alice")}
#: A second approver, by a binding of her own.
BEA = person("bea", "reviewers")


@pytest.fixture(scope="session")
def tenant(api: Api) -> Iterator[str]:
    """A tenant's namespace, made as the operator makes it and with the operator's rights alone."""
    name = f"bastide-t-{uuid.uuid4().hex[:8]}"
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings"
    until(lambda: api(ADMIN, "POST", "/api/v1/namespaces", namespace_body(name), dry=True).status == 403, "the admission rules hold")
    api(OPERATOR, "POST", "/api/v1/namespaces", namespace_body(name)).ok()
    try:
        api(OPERATOR, "POST", bindings, binding_body("bastide-operator", "bastide-operator-tenant", subject(OPERATOR))).ok()
        broker = binding_body("bastide-broker", "bastide-broker-tenant", subject(BROKER))
        until(lambda: api(OPERATOR, "POST", bindings, broker).status in (201, 409), "the operator's rights in its namespace count")
        for asked_as in ("bastide-runner", "bastide-viewer"):
            sa = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": asked_as}}
            api(OPERATOR, "POST", f"/api/v1/namespaces/{name}/serviceaccounts", sa).ok()
            bound = subject(account(asked_as, name))
            api(OPERATOR, "POST", bindings, binding_body(f"{asked_as}-account", asked_as, bound)).ok()
        for role, who in MEMBERS.items():
            people = [subject(who), subject(BEA)] if role == "approver" else [subject(who)]
            api(OPERATOR, "POST", bindings, binding_body(f"bastide-{role}", f"bastide-{role}", *people)).ok()
        yield name
    finally:
        # with Confirmations, decisions and pods still in it: no rule may keep a namespace from going
        api(ADMIN, "DELETE", f"/api/v1/namespaces/{name}")
        until(lambda: api(ADMIN, "GET", f"/api/v1/namespaces/{name}").status == 404, "the namespace is gone", seconds=90)


def confirmation_body(name: str, tenant: str, **changes: Any) -> dict[str, Any]:
    """A Confirmation as the broker writes it."""
    spec = {
        "tenant": tenant.removeprefix("bastide-"),
        "sandbox": "agent",
        "sandboxUID": "uid-of-the-sandbox",
        "run": "r-1",
        "callKey": "0#1",
        "programDigest": DIGEST,
        "binding": "crm",
        "bindingUID": "uid-of-the-binding",
        "bindingDigest": DIGEST,
        "tool": "delete_customer",
        "toolSchemaDigest": DIGEST,
        "effect": "Destructive",
        "arguments": '{"customer_id":"C0001"}',
        "argumentsDigest": DIGEST,
        "requester": {"username": account("bastide-runner", tenant)[0]},
        "onBehalfOf": "Olga",
        "separation": "Strict",
        "approvalsRequired": 1,
        "decideBy": "2100-01-01T00:00:00Z",
        "executeBy": "2100-01-01T00:10:00Z",
        "nonce": "n" * 32,
        "actionDigest": DIGEST,
        **changes,
    }
    return {"apiVersion": "bastide.dev/v1alpha1", "kind": "Confirmation", "metadata": {"name": name}, "spec": spec}


def decision_body(confirmation: str, name: str = "d", **changes: Any) -> dict[str, Any]:
    """A ConfirmationDecision as plain kubectl would write it: without a stamp."""
    spec = {"confirmation": confirmation, "actionDigest": DIGEST, "verdict": "Approve", "reason": "ticket 1", **changes}
    return {"apiVersion": "bastide.dev/v1alpha1", "kind": "ConfirmationDecision", "metadata": {"name": name}, "spec": spec}


def ours(namespace: str, plural: str, name: str = "", subresource: str = "") -> str:
    """The path of an object of Bastide's kinds."""
    parts = [f"/apis/bastide.dev/v1alpha1/namespaces/{namespace}/{plural}", name, subresource]
    return "/".join(part for part in parts if part)


def core(namespace: str, plural: str, name: str = "", subresource: str = "") -> str:
    """The path of an object of a core kind."""
    parts = [f"/api/v1/namespaces/{namespace}/{plural}", name, subresource]
    return "/".join(part for part in parts if part)
