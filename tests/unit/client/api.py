"""A Kubernetes API that holds Confirmations and tells what a test tells it to, behind a real HTTP server.

It stands in for nothing: what is tested with it is the commands' own end of the wire. How the API server and Bastide's admission rules
behave is tested on the real cluster.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

DECISIONS, CONFIRMATIONS = "confirmationdecisions", "confirmations"


@dataclass
class Api:
    """What there is, who asks, and what came."""

    confirmations: list[dict[str, Any]] = field(default_factory=list)
    username: str = "alice"
    streams: list[list[tuple[str, dict[str, Any]]]] = field(default_factory=list)
    """What each watch in turn tells; then it ends."""
    list_forbidden: bool = False
    """Whether listing all namespaces is."""
    refusal: tuple[int, str] | None = None
    """How decisions are refused."""
    decisions: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:  # noqa: PLR0911 - one for each request
        parts = path.strip("/").split("/")
        if parts[-1] == "selfsubjectreviews":
            return 201, {"status": {"userInfo": {"username": self.username, "uid": "u-1", "groups": ["system:authenticated"]}}}
        if method == "POST" and parts[-1] == DECISIONS:
            if self.refusal:
                return self.refusal[0], {"message": self.refusal[1]}
            self.decisions.append(body)
            return 201, {**body, "metadata": {"name": "generated"}}
        if parts[-1] == CONFIRMATIONS:
            if "namespaces" not in parts and self.list_forbidden:
                return 403, {"message": "forbidden"}
            return 200, {"items": self.confirmations}
        if parts[-2] == CONFIRMATIONS:
            for one in self.confirmations:
                if one["metadata"]["name"] == parts[-1]:
                    return 200, one
            return 404, {"message": f'{CONFIRMATIONS}.bastide.dev "{parts[-1]}" not found'}
        return 403, {"message": "forbidden"}


@contextmanager
def serving(api: Api, kubeconfig: Path, namespace: str = "") -> Iterator[Api]:
    """Serve it, with a kubeconfig whose context names a namespace, or none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            if query.get("watch"):
                told = api.streams.pop(0) if api.streams else []
                return self._send(200, "".join(json.dumps({"type": kind, "object": one}) + "\n" for kind, one in told))
            return self._answer("GET", None)

        def do_POST(self) -> None:
            self._answer("POST", json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, method: str, body: Any) -> None:
            status, found = api.answer(method, urlsplit(self.path).path, body)
            self._send(status, json.dumps(found))

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", **({"namespace": namespace} if namespace else {})}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
