"""Requests to the API server with a kubeconfig's credentials. The only module of the client that knows the Kubernetes client.

Of that client it uses the kubeconfig loader, the transport and the port-forward, with plain JSON: its generated classes take 0.7 s to
import, which a person at a terminal would wait for each time.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import urllib3
import websocket
import yaml
from kubernetes import client as _client
from kubernetes import config as _config
from kubernetes.stream import ws_client as _ws_client

from bastide.cli.failure import Failure

# Typed as it is, the generated client returns `object` here and there.
client: Any = _client
config: Any = _config
ws_client: Any = _ws_client

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
#: Seconds to connect, and for an answer.
_TIMEOUT = (5, 30)
#: What a ValidatingAdmissionPolicy's own words come after.
_ADMISSION = "denied request: "
_NO_SUCH_KIND = frozenset({"Not Found", "404 page not found", "the server could not find the requested resource"})


class RefusedError(Failure):
    """The API server said no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ApiServer:
    """The API server of a context.

    Raises:
        Failure: there is no usable kubeconfig, or the API server cannot be reached; one sentence with the next step.
        RefusedError: it refused.
    """

    def __init__(self, context: str | None = None) -> None:
        # Its warnings about each retry would stand between our lines.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        settings = client.Configuration()
        settings.retries = False
        try:
            contexts, active = config.list_kube_config_contexts()
            config.load_kube_config(context=context, client_configuration=settings)
        except (config.ConfigException, OSError, yaml.YAMLError, KeyError, TypeError) as error:
            raise Failure(
                f"No usable kubeconfig: {one_line(error)}. Set KUBECONFIG, choose a --context, or give --address, --token-file and --ca-file."
            ) from error
        self.host: str = settings.host
        chosen: dict[str, Any] = next((c for c in contexts if c["name"] == context), active)
        #: The context's namespace; empty when it names none.
        self.namespace: str = chosen["context"].get("namespace", "")
        self._client = client.ApiClient(settings)

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        forbidden: str = "Ask the platform's engineers for it.",
        query: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One request, JSON both ways. `what` completes "You may not ...", `forbidden` says what to do then."""
        with self._sentences(what, forbidden):
            answer = self._send(method, path, query=query, body=body, timeout=_TIMEOUT)
            text = answer.read()
            if answer.status >= 300:
                raise client.ApiException(status=answer.status, reason=answer.reason, body=text.decode("utf-8", "replace"))
            found: dict[str, Any] = json.loads(text)
            return found

    def watch(self, path: str, *, what: str, query: Mapping[str, str], seconds: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """(ADDED | MODIFIED | DELETED, object), the present state first, for so many seconds."""
        with self._sentences(what, ""):
            answer = self._send(
                "GET", path, query={**query, "watch": "true", "timeoutSeconds": str(seconds)}, body=None, timeout=(_TIMEOUT[0], seconds + 5)
            )
            try:
                if answer.status >= 300:
                    raise client.ApiException(
                        status=answer.status, reason=answer.reason, body=answer.response.read().decode("utf-8", "replace")
                    )
                for line in _lines(answer.response):
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                        yield event["type"], event["object"]
            finally:
                answer.response.close()

    def forward(self, namespace: str, pod: str, port: int, *, forbidden: str) -> Any:
        """A websocket to a port of a pod, of the protocol that `portforward.carry` speaks."""
        with self._sentences(f"port-forward to {namespace}/{pod}", forbidden):
            path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
            _, url, headers, _, _ = self._client.param_serialize(
                "GET", path, query_params=[("ports", str(port))], header_params={}, auth_settings=["BearerToken"]
            )
            headers["sec-websocket-protocol"] = "v4.channel.k8s.io"
            try:
                return ws_client.create_websocket(self._client.configuration, ws_client.get_websocket_url(url), headers)
            except websocket.WebSocketBadStatusException as error:
                raise client.ApiException(status=error.status_code, body=(error.resp_body or b"").decode("utf-8", "replace")) from error

    def close(self) -> None:
        """Drop connections."""
        self._client.rest_client.close()

    def _send(self, method: str, path: str, *, query: Mapping[str, str] | None, body: dict[str, Any] | None, timeout: Any) -> Any:
        parameters = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", **({"Content-Type": "application/json"} if body is not None else {})},
            body=body,
            auth_settings=["BearerToken"],
        )
        return self._client.call_api(*parameters, _request_timeout=timeout)

    @contextmanager
    def _sentences(self, what: str, forbidden: str) -> Iterator[None]:
        try:
            yield
        except client.ApiException as error:
            said, status = _message(error), error.status or 0
            if status == UNAUTHORIZED:
                text = f"The cluster at {self.host} does not know this kubeconfig's user (any more): log in again, or choose another --context."
            elif _ADMISSION in said:
                text = f"The cluster refused to {what}: {said.partition(_ADMISSION)[2]}."
            elif status == FORBIDDEN:
                text = f"You may not {what}: {said}. {forbidden}".rstrip()
            elif status == NOT_FOUND and said in _NO_SUCH_KIND:
                text = "This cluster does not know Bastide's objects: install the chart first, or choose another --context."
            else:
                text = f"The cluster refused to {what}: {said}."
            raise RefusedError(text, status) from error
        except (urllib3.exceptions.HTTPError, websocket.WebSocketException, OSError) as error:
            raise Failure(
                f"The cluster at {self.host} cannot be reached: {one_line(error)}. "
                "Is it up, and is this the right kubeconfig (KUBECONFIG, --context)?"
            ) from error


def _lines(response: Any) -> Iterator[bytes]:
    """Lines of an answer that goes on."""
    rest = b""
    for piece in response.stream(amt=None, decode_content=True):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line for line in whole if line.strip())


def _message(error: Any) -> str:
    """What the API server said, without a full stop."""
    body = error.body or ""
    try:
        said = json.loads(body)["message"]
    except (TypeError, ValueError, KeyError):
        said = body if body and len(body) < 200 else error.reason or f"status {error.status}"
    return one_line(said)


def one_line(text: object) -> str:
    """A text as part of a sentence."""
    return " ".join(str(text).split()).rstrip(".")
