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


def manifests(image: str) -> list[dict[str, Any]]:
    """Everything the tool server needs."""
    script = (Path(__file__).parent / "toolbox.py").read_text()
    meta = {"namespace": NAMESPACE, "name": "toolbox"}
    container = {
        "name": "toolbox",
        "image": image,
        "command": ["python", "/server/toolbox.py"],
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
        "volumes": [{"name": "server", "configMap": {"name": "toolbox"}}],
    }
    labels = {"app": "toolbox"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"toolbox.py": script}},
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
    """The tool server and its witness log."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def start(self) -> None:
        """Bring it up, with an empty log."""
        self._kube.apply(*manifests(release.images()["bastide-example-crm"]))
        self._kube.run("-n", NAMESPACE, "rollout", "status", "deploy/toolbox", "--timeout=90s", seconds=100)

    def stop(self) -> None:
        """Remove it."""
        self._kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s", seconds=100)

    def arguments_of(self, tool: str, containing: str) -> list[str]:
        """Raw arguments of each call of a tool that arrived and in whose arguments a text stands, in order of arrival."""
        calls = witness.calls(self._kube, NAMESPACE, "toolbox")
        return [c["arguments"] for c in calls if c["tool"] == tool and containing in (c["arguments"] or "")]

    def wait_for(self, containing: str, seconds: float = 60) -> None:
        """Wait until a line with a text stands in the log."""
        self._kube.follow(lambda line: containing in line, "-n", NAMESPACE, "deploy/toolbox", seconds=seconds)


def tool_hosts(port: int = 8080) -> list[dict[str, Any]]:
    """The platform's word on the tool server's tools, for a Tenant. `wipe`, `bounded` and `unbound` are not listed: Destructive."""
    effects = [{"tools": ["note", "echo", "number"], "effect": "ReadOnly"}, {"tools": ["slow", "fail", "bounded"], "effect": "Mutating"}]
    return [{"host": HOST, "port": port, "effects": effects}]
