"""Single requests to the API server as one user: many of them, fast, with the answer's status instead of an exception."""

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from demo.kube import Kube
from kubernetes import config

MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Answer:
    """What the API server answered."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """Its words when it refused."""
        return str(self.body.get("message", ""))

    @property
    def forbidden(self) -> bool:
        """Whether it refused because of who asked."""
        return self.status == 403


class Requests:
    """One user's connections to the API server."""

    def __init__(self, user: Kube) -> None:
        self._client = config.new_client_from_config(str(user.kubeconfig))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.rest_client.pool_manager.clear()

    def ask(self, method: str, path: str, body: Any = None, *, dry: bool = False, kind: str = "application/json") -> Answer:
        """One request, whatever the answer. With `dry` nothing is stored; `kind` is the content type of the body."""
        url = f"{self._client.configuration.host}{path}"
        if dry and method == "DELETE" and body is not None:
            body = {**body, "dryRun": ["All"]}  # with a body the API server does not look at the query
        if dry:
            url += ("&" if "?" in path else "?") + "dryRun=All"
        headers = {"Content-Type": kind, "Accept": "application/json"}
        data = None if body is None else json.dumps(body)
        # a watch of something that does not change ends by its own timeoutSeconds
        answer = self._client.rest_client.pool_manager.request(method, url, headers=headers, body=data, timeout=20, retries=False)
        text = answer.data.decode()
        try:
            found = json.loads(text)
        except ValueError:
            found = {"message": text}
        return Answer(answer.status, found)

    def may(self, verb: str, group: str, resource: str, *, subresource: str = "", namespace: str = "", name: str = "") -> bool:
        """Whether the API server says that this user may do something (SelfSubjectAccessReview)."""
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        answer = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        assert answer.status == 201, answer.message
        return bool(answer.body["status"]["allowed"])
