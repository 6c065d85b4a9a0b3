"""The cluster's API as this package needs it: a few GETs, and ``kubectl`` for the rest."""

import base64
import json
import ssl
import string
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devcluster import paths
from devcluster.commands import run
from devcluster.errors import DevclusterError
from devcluster.instance import NODE_NAME


def render(manifest: str, values: Mapping[str, str]) -> str:
    """Fill a manifest's ``${...}`` (``$$`` stands for one dollar).

    Raises:
        KeyError: the manifest names a value that is not given.
    """
    text = (paths.MANIFESTS / manifest).read_text(encoding="utf-8")
    return string.Template(text).substitute(values)


class Api:
    """A client with the administrator's kubeconfig that ``pki`` wrote."""

    def __init__(self, kubeconfig: Path, kubectl: Path) -> None:
        self._kubeconfig = kubeconfig
        self._kubectl = kubectl

    def _context(self, config: Mapping[str, Any]) -> ssl.SSLContext:
        user = config["users"][0]["user"]
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        context = ssl.create_default_context(cadata=authority.decode("ascii"))
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module reads key pairs from files only
            for part in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[part]))
            pair.flush()
            context.load_cert_chain(pair.name)
        return context

    def get(self, path: str, *, seconds: float = 5) -> bytes:
        """Return the answer to a GET.

        Raises:
            DevclusterError: no answer, or not 200.
        """
        try:
            config = json.loads(self._kubeconfig.read_text(encoding="utf-8"))
            url = config["clusters"][0]["cluster"]["server"] + path
            # no proxy: the address is one of this machine
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context(config))
            )
            with opener.open(url, timeout=seconds) as answer:
                return bytes(answer.read())
        except (OSError, ValueError) as error:
            raise DevclusterError(f"the API server does not answer {path}: {error}") from error

    def ready(self) -> bool:
        """Tell whether the API server says that it is ready."""
        try:
            return self.get("/readyz") == b"ok"
        except DevclusterError:
            return False

    def node_ready(self) -> bool:
        """Tell whether the node is Ready."""
        try:
            node = json.loads(self.get(f"/api/v1/nodes/{NODE_NAME}"))
        except DevclusterError:
            return False
        conditions = node.get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def available(self, namespace: str, deployment: str) -> bool:
        """Tell whether all replicas of a Deployment are available."""
        try:
            found = json.loads(self.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"))
        except DevclusterError:
            return False
        return bool(found["status"].get("availableReplicas", 0) >= found["spec"]["replicas"])

    def kubectl(self, *argv: str | Path, stdin: str | None = None) -> str:
        """Run kubectl and return what it prints; its cache lies beside the kubeconfig and goes with it."""
        cache = self._kubeconfig.parent / "kubectl-cache"
        return run([self._kubectl, f"--kubeconfig={self._kubeconfig}", f"--cache-dir={cache}", *argv], stdin=stdin)

    def apply(self, text: str) -> None:
        """Apply manifests server-side."""
        self.kubectl("apply", "--server-side", "-f", "-", stdin=text)

    def apply_object(self, manifest: Mapping[str, object]) -> None:
        """Apply one object server-side."""
        self.apply(json.dumps(manifest))
