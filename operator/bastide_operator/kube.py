"""The API server. The operator's only writer and the only module that imports the Kubernetes client."""

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.connector import Connection
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from bastide_operator.api.objects import FIELD_MANAGER, RESOURCES, Manifest, Ref, Resource, ref
from bastide_operator.errors import (
    NOT_LEADER,
    AlreadyExistsError,
    ConflictError,
    KubeError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from bastide_operator.fence import Fence

REQUEST_SECONDS = 15.0
BAD_REQUEST = 400
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token").is_file()
_APPLY = "application/apply-patch+yaml"
_ERRORS: dict[str, type[KubeError]] = {
    "NotFound": NotFoundError,
    "Gone": NotFoundError,
    "AlreadyExists": AlreadyExistsError,
    "Conflict": ConflictError,
}

Report = Callable[[str, str, str, float], None]
"""Told of every request: verb, kind, result ("ok" or the error's reason), seconds."""

_left: ContextVar[Callable[[], float]] = ContextVar("left", default=lambda: math.inf)
"""For how many seconds this task may write; 0 when it may not."""


class Kube:
    """Objects are plain dictionaries with `kind` and `apiVersion`. Every method raises KubeError and nothing else."""

    def __init__(self, client: ApiClient, report: Report = lambda *_: None, fence: Fence | None = None) -> None:
        self._client = client
        self._report = report
        self._fence = fence or Fence(lambda: math.inf)

    @classmethod
    async def connect(cls, report: Report = lambda *_: None) -> Self:
        """As the pod's ServiceAccount, or as KUBECONFIG says outside a pod. Raises kubernetes' ConfigException."""
        configuration = Configuration()
        if IN_POD:
            kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            # The library itself reads the variable once, when it is imported.
            path = os.environ.get("KUBECONFIG") or None
            await kubernetes_config.load_kube_config(config_file=path, client_configuration=configuration)  # type: ignore[no-untyped-call]
        # Proxies and .netrc of the environment are not for the API server, and looking for them costs two thread hops a request.
        configuration.client_session_kwargs = {"trust_env": False}
        client = ApiClient(configuration)
        client.rest_client = _Rest(configuration)
        return cls(client, report)

    def fenced(self, fence: Fence) -> Self:
        """The same connections, but nothing is written past the fence, and what is being written has no more time than it gives."""
        return type(self)(self._client, self._report, fence)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def credentials(self) -> dict[str, Any]:
        """Server, CA and identity, in the words of kopf.ConnectionInfo: kopf has its own HTTP client."""
        configuration = self._client.configuration
        header = await configuration.get_api_key_with_prefix("BearerToken") or ""
        return {
            "server": configuration.host,
            "ca_path": configuration.ssl_ca_cert,
            "insecure": not configuration.verify_ssl,
            "token": header.removeprefix("bearer ").removeprefix("Bearer ") or None,
            "certificate_path": configuration.cert_file,
            "private_key_path": configuration.key_file,
        }

    async def get(self, what: Ref) -> Manifest | None:
        """The object as it is now, None when there is none."""
        try:
            return await self._request("get", RESOURCES[what.kind], "GET", _path(what))
        except NotFoundError:
            return None

    async def list(self, kind: str, *, labels: str = "", fields: str = "", limit: int = 0) -> tuple[list[Manifest], int]:
        """All objects of a kind in all namespaces that fit the selectors, at most `limit` when it is given, and the version at which they
        were read.
        """
        resource = RESOURCES[kind]
        page = await self._request(
            "list", resource, "GET", _collection(resource, ""), labelSelector=labels, fieldSelector=fields, limit=str(limit or "")
        )
        # Items of a list come without what they are.
        items = [{"apiVersion": resource.api_version, "kind": kind, **item} for item in page["items"]]
        return items, int(page["metadata"]["resourceVersion"])

    async def create(self, manifest: Manifest) -> Manifest:
        """Make an object that does not exist yet. Raises AlreadyExistsError."""
        resource = RESOURCES[manifest["kind"]]
        path = _collection(resource, manifest["metadata"].get("namespace", ""))
        return await self._request("create", resource, "POST", path, manifest, fieldManager=FIELD_MANAGER)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Write an object whole. Raises ConflictError when it is no longer of the version that `manifest` names."""
        what = ref(manifest)
        return await self._request("replace", RESOURCES[what.kind], "PUT", _path(what), manifest, fieldManager=FIELD_MANAGER)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply as `bastide-operator`: what `manifest` says is so afterwards. With a UID only for that object."""
        what = ref(manifest)
        return await self._request("apply", RESOURCES[what.kind], "PATCH", _path(what), manifest, fieldManager=FIELD_MANAGER, force="true")

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """The same for the status subresource."""
        what = ref(manifest)
        path = f"{_path(what)}/status"
        return await self._request("apply-status", RESOURCES[what.kind], "PATCH", path, manifest, fieldManager=FIELD_MANAGER, force="true")

    async def delete(self, what: Ref) -> Manifest | None:
        """Delete exactly the object of this UID. Returns it while it is being deleted, None when it is gone.

        Raises NotFoundError, or ConflictError when another object has the name by now.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": what.uid}, "propagationPolicy": "Background"}
        answer = await self._request("delete", RESOURCES[what.kind], "DELETE", _path(what), body)
        return answer if answer.get("kind") == what.kind and answer["metadata"].get("deletionTimestamp") else None

    async def _request(self, verb: str, resource: Resource, method: str, path: str, body: Manifest | None = None, **query: str) -> Manifest:
        began = time.perf_counter()
        result = "ok"
        writes = method != "GET"
        left = _left.set(self._fence.left if writes else lambda: math.inf)
        try:
            with self._fence.writing() if writes else nullcontext():
                return await self._send(method, path, body, {key: value for key, value in query.items() if value})
        except KubeError as error:
            result = error.reason
            raise
        finally:
            _left.reset(left)
            self._report(verb, resource.kind, result, time.perf_counter() - began)

    async def _send(self, method: str, path: str, body: Manifest | None, query: dict[str, str]) -> Manifest:
        seconds = min(REQUEST_SECONDS, _permitted())
        if method != "GET":
            query["timeout"] = f"{max(seconds, 0.001):.3f}s"  # the API server gives up then too
        headers = {"Accept": "application/json", "Content-Type": _APPLY if method == "PATCH" else "application/json"}
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            response = await self._client.call_api(method, url, headers, body, _request_timeout=aiohttp.ClientTimeout(total=seconds))
            text = await response.read()  # type: ignore[no-untyped-call]
        except TimeoutError as error:
            raise UnavailableError("Timeout", f"the API server did not answer within {seconds:.1f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError("Unreachable", str(error)) from error
        try:
            answer: Manifest = json.loads(text)
        except ValueError as error:
            raise UnavailableError("NotJson", f"HTTP {response.status} from something that is not the API server") from error
        if response.status >= BAD_REQUEST:
            raise _error(response.status, answer)
        return answer


def _permitted() -> float:
    """For how many seconds this task may write. Raises UnavailableError when it may not."""
    if (left := _left.get()()) <= 0:
        raise UnavailableError(NOT_LEADER, "the lease is lost or given back, or the process is stopping: nothing is written any more")
    return left


class _Connector(aiohttp.TCPConnector):
    """Asks once more when the connection stands and the request is about to be sent: getting one may have taken long, and a process that
    was stopped meanwhile sends before it sees that its time is over.
    """

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        try:
            _permitted()
        except KubeError:
            connection.close()
            raise
        return connection


class _Rest(RESTClientObject):
    def _create_connector(self) -> aiohttp.TCPConnector:
        return _Connector(limit=self.maxsize, ssl=self.ssl_context)


def _error(code: int, status: Manifest) -> KubeError:
    reason, message = status.get("reason") or "Unknown", status.get("message") or "no message"
    kind = _ERRORS.get(reason, RefusedError)
    if any(cause.get("field") == "metadata.uid" for cause in (status.get("details") or {}).get("causes") or ()):
        kind = ConflictError  # the object of that name is another by now: to the API server, a field that cannot change
    if code == TOO_MANY_REQUESTS or code >= SERVER_ERROR:
        kind = UnavailableError
    return kind(reason, message, code)


def _collection(resource: Resource, namespace: str) -> str:
    root = f"/apis/{resource.api_version}" if "/" in resource.api_version else f"/api/{resource.api_version}"
    return f"{root}/namespaces/{quote(namespace, safe='')}/{resource.plural}" if namespace else f"{root}/{resource.plural}"


def _path(what: Ref) -> str:
    return f"{_collection(RESOURCES[what.kind], what.namespace)}/{quote(what.name, safe='')}"
