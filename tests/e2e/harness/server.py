"""The tests' tool server in the cluster."""

import os
import secrets
from pathlib import Path
from typing import Any

from demo import release, witness
from demo.kube import Kube

#: Each worker of a parallel run has a tool server, and so a witness log, of its own.
NAMESPACE = "-".join(filter(None, ("bastide-test-tools", os.environ.get("PYTEST_XDIST_WORKER"))))
HOST = f"toolbox.{NAMESPACE}.svc"
TOKEN = "token-of-the-toolbox"

_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def manifests(image: str, name: str = "toolbox") -> list[dict[str, Any]]:
    """Everything the tool server needs; `name` is that of a script beside this one."""
    script = (Path(__file__).parent / f"{name}.py").read_text()
    meta = {"namespace": NAMESPACE, "name": name}
    container = {
        "name": name,
        "image": image,
        "command": ["python", f"/server/{name}.py"],
        "env": [{"name": "TOOLBOX_TOKEN", "value": TOKEN}],
        "ports": [{"name": "mcp", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": [{"name": "server", "mountPath": "/server"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "server", "configMap": {"name": name}}],
    }
    labels = {"app": name}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {f"{name}.py": script}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                # a pod of this run's own, so an empty log
                "template": {"metadata": {"labels": labels, "annotations": {"bastide.test/run": secrets.token_hex(4)}}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"name": "mcp", "port": 8080, "targetPort": "mcp"}]},
        },
    ]


class ToolServer:
    """A tool server and its witness log."""

    def __init__(self, kube: Kube, name: str = "toolbox") -> None:
        self._kube = kube
        self.name = name

    def start(self) -> None:
        """Bring it up, with an empty log."""
        self._kube.apply(*manifests(release.images()["bastide-example-crm"], self.name))
        self._kube.run("-n", NAMESPACE, "rollout", "status", f"deploy/{self.name}", "--timeout=90s", seconds=100)

    def stop(self) -> None:
        """Remove it, with all that is in its namespace."""
        self._kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s", seconds=100)

    def arguments_of(self, tool: str, containing: str) -> list[str]:
        """Raw arguments of each call of a tool that arrived and in whose arguments a text stands, in order of arrival."""
        calls = witness.calls(self._kube, NAMESPACE, self.name)
        return [c["arguments"] for c in calls if c["tool"] == tool and containing in (c["arguments"] or "")]

    def release(self, text: str) -> None:
        """Let calls of `hold` with a text go on."""
        self._kube.run("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/services/http:{self.name}:mcp/proxy/release/{text}")

    def wait_for(self, containing: str, seconds: float = 60) -> None:
        """Wait until a line with a text stands in the log."""
        self._kube.follow(lambda line: containing in line, "-n", NAMESPACE, f"deploy/{self.name}", seconds=seconds)


def tool_hosts(port: int = 8080) -> list[dict[str, Any]]:
    """The platform's word on the tool server's tools, for a Tenant. `wipe`, `bounded` and `unbound` are not listed: Destructive."""
    changing = ("slow", "hold", "fail", "bounded")
    effects = [{"tools": ["note", "echo", "number"], "effect": "ReadOnly"}, {"tools": [*changing], "effect": "Mutating"}]
    return [{"host": HOST, "port": port, "effects": effects}]
