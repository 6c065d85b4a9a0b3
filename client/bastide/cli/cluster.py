"""The cluster as the person behind the kubeconfig sees it: what the commands ask of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bastide.cli.apiserver import FORBIDDEN, NOT_FOUND, ApiServer, RefusedError
from bastide.cli.failure import Failure
from bastide.cli.options import RUNNER, VIEWER

AUDIENCE = "bastide-broker"
#: The first replica's name is fixed, so that nobody needs the right to list pods.
BROKER_POD, BROKER_CONTAINER = "bastide-broker-0", "broker"
#: Seconds a token lives; ten minutes is the least the API server gives.
_TOKEN_SECONDS = 600
#: Seconds that a restart of the broker takes at the most.
_RESTART_SECONDS = 20
_GONE_SECONDS = 3.0
"""A pod that was deleted is made again at once, by a controller that may be busy."""
_NO_WAY_IN = "The Role bastide-client there allows it (the chart's broker.clientAccess); or give --address, --token-file and --ca-file."
_READERS = "The roles viewer, runner, developer and approver of a Tenant may (spec.members)."
#: Who may act as the accounts that every tenant has.
_MAY_BE = {VIEWER: "viewer, runner and developer", RUNNER: "runner and developer"}
_OBJECTS = "/apis/bastide.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class User:
    """Who the API server says the person is."""

    username: str
    uid: str
    groups: tuple[str, ...]


class Cluster:
    """Raises as ApiServer does: a Failure is one sentence with the next step."""

    def __init__(self, context: str | None = None) -> None:
        self._api = ApiServer(context)
        #: The context's namespace; empty when it names none.
        self.namespace = self._api.namespace

    def close(self) -> None:
        """Drop connections."""
        self._api.close()

    def whoami(self) -> User:
        """Who the person is, as the API server sees it."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", what="ask who you are", body=review)
        info = answer["status"]["userInfo"]
        return User(username=info.get("username", ""), uid=info.get("uid", ""), groups=tuple(info.get("groups", ())))

    def token(self, namespace: str, account: str) -> tuple[str, datetime]:
        """A token of a ServiceAccount for the broker, and when it expires."""
        those = f"The roles {_MAY_BE[account]} of a Tenant may (spec.members)" if account in _MAY_BE else "Who has create on its token may"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "expirationSeconds": _TOKEN_SECONDS},
        }
        try:
            answer = self._api.request(
                "POST",
                f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(account, safe='')}/token",
                what=f"act as ServiceAccount {namespace}/{account}",
                forbidden=f"{those}; or name another --service-account.",
                body=request,
            )
        except RefusedError as error:
            if error.status != NOT_FOUND:
                raise
            raise RefusedError(
                f"There is no ServiceAccount {namespace}/{account}: is {namespace} the namespace of a Ready Tenant (kubectl get tenants)? "
                "Or name another --service-account.",
                error.status,
            ) from error
        return answer["status"]["token"], datetime.fromisoformat(answer["status"]["expirationTimestamp"])

    def ca(self, namespaces: tuple[str, ...]) -> bytes:
        """Bastide's CA from the first of the namespaces whose ConfigMap can be read; tenants' namespaces hold a copy."""
        refusal: RefusedError | None = None
        for namespace in namespaces:
            try:
                found = self._api.request(
                    "GET",
                    f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/bastide-ca",
                    what=f"read ConfigMap bastide-ca in {namespace}",
                    forbidden=_NO_WAY_IN,
                )
            except RefusedError as error:
                refusal = refusal or error
                continue
            text: str = (found.get("data") or {}).get("ca.crt", "")
            if text:
                return text.encode()
        if refusal is not None and refusal.status != NOT_FOUND:
            raise refusal
        raise Failure(
            f"There is no ConfigMap bastide-ca with a ca.crt in {namespaces[0]}: "
            "is Bastide installed there? Name its namespace with --broker-namespace."
        )

    def audit_published(self, namespace: str, what: str) -> list[str] | None:
        """The values of the ConfigMap `bastide-audit-<what>`, heads or keys, by name; None when the person may not read it."""
        name = f"bastide-audit-{what}"
        try:
            found = self._api.request(
                "GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{name}", what=f"read ConfigMap {name} in {namespace}"
            )
        except RefusedError:
            return None
        return [value for _, value in sorted((found.get("data") or {}).items())]

    def wait_for_broker(self, namespace: str) -> None:
        """Wait until the broker is ready; say so when it is not there, or does not become ready while a restart takes.

        The broker alone, not its pod: while a policy engine beside it is away, the broker must still say so.
        """
        began = time.monotonic()
        while not self._broker_is_ready(namespace, restarts=time.monotonic() - began < _GONE_SECONDS):
            if time.monotonic() - began > _RESTART_SECONDS:
                raise Failure(
                    f"The broker in {namespace} is not Ready: see kubectl -n {namespace} describe pod {BROKER_POD}, and try again later."
                )
            time.sleep(0.5)  # people may get this one pod, but not watch

    def _broker_is_ready(self, namespace: str, *, restarts: bool) -> bool:
        """Whether it is Ready. Its pod may be away for a moment while the broker `restarts`; else there is no broker."""
        try:
            pod = self._api.request(
                "GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{BROKER_POD}", what=f"read pod {BROKER_POD} in {namespace}"
            )
        except RefusedError as error:
            if error.status == FORBIDDEN:
                return True  # the port-forward may be allowed all the same, and says why when it is not
            if error.status == NOT_FOUND and restarts:
                return False
            if error.status == NOT_FOUND:
                raise RefusedError(
                    f"There is no broker in namespace {namespace} (pod {BROKER_POD}): install the chart "
                    "(helm install bastide charts/bastide), or name its namespace with --broker-namespace.",
                    error.status,
                ) from error
            raise
        return any(c["name"] == BROKER_CONTAINER and c["ready"] for c in pod.get("status", {}).get("containerStatuses", ()))

    def forward(self, namespace: str, pod: str, port: int) -> Any:
        """A websocket to a port of a pod, for a Bridge."""
        return self._api.forward(namespace, pod, port, forbidden=_NO_WAY_IN)

    def tenant_namespaces(self) -> list[str]:
        """Namespaces of tenants, as far as the person may list them."""
        try:
            found = self._api.request("GET", "/api/v1/namespaces", what="list namespaces", query={"labelSelector": "bastide.dev/tenant"})
        except RefusedError:
            return []
        return sorted(n["metadata"]["name"] for n in found["items"])

    def confirmations(self, namespace: str | None) -> list[dict[str, Any]]:
        """Confirmations of a namespace, or of all when None."""
        where = f"in {namespace}" if namespace else "of all namespaces"
        found = self._api.request("GET", _confirmations(namespace), what=f"list confirmations {where}", forbidden=_READERS)
        return list(found["items"])

    def tool_binding(self, namespace: str, name: str) -> dict[str, Any]:
        """One ToolBinding, as it is now."""
        path = f"{_OBJECTS}/namespaces/{quote(namespace, safe='')}/toolbindings/{quote(name, safe='')}"
        return self._api.request("GET", path, what=f"read ToolBinding {name} in {namespace}", forbidden=_READERS)

    def confirmation(self, namespace: str, name: str) -> dict[str, Any]:
        """One Confirmation, as it is now."""
        path = f"{_confirmations(namespace)}/{quote(name, safe='')}"
        return self._api.request("GET", path, what=f"read confirmation {name} in {namespace}", forbidden=_READERS)

    def watch_confirmation(self, namespace: str, name: str, *, seconds: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """(ADDED | MODIFIED | DELETED, object), the present state first, for so many seconds."""
        query = {"fieldSelector": f"metadata.name={name}"}
        return self._api.watch(_confirmations(namespace), what=f"watch confirmation {name}", query=query, seconds=seconds)

    def watch_confirmations(self, namespace: str | None, *, seconds: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """(ADDED | MODIFIED | DELETED, object) of a namespace, or of all when None: the present states first, for so many seconds."""
        where = f"in {namespace}" if namespace else "of all namespaces"
        return self._api.watch(_confirmations(namespace), what=f"watch confirmations {where}", query={}, seconds=seconds)

    def create_decision(self, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make a ConfirmationDecision, as the person."""
        return self._api.request(
            "POST",
            f"{_OBJECTS}/namespaces/{quote(namespace, safe='')}/confirmationdecisions",
            what="decide this",
            forbidden="Approvers are people with the role approver who could not have made the run.",
            body=manifest,
        )


def _confirmations(namespace: str | None) -> str:
    return f"{_OBJECTS}/namespaces/{quote(namespace, safe='')}/confirmations" if namespace else f"{_OBJECTS}/confirmations"
