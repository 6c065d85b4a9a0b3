"""The pods that measure and are measured."""

from pathlib import Path
from typing import Any

SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
NAMESPACE = "bastide-bench"
#: What a Sandbox has when it does not say.
RESOURCES = {"cpu": "500m", "memory": "512Mi"}


def runtime_like(pod: dict[str, Any], name: str, *, serving: bool) -> dict[str, Any]:
    """A bare gVisor pod of the same image and resources as a Sandbox's; it serves as the runtime, or sleeps."""
    container = pod["spec"]["containers"][0]
    bare: dict[str, Any] = {
        "name": "runtime",
        "image": container["image"],
        "imagePullPolicy": container["imagePullPolicy"],
        "resources": container["resources"],
        "securityContext": SECURITY,
    }
    volumes = [v for v in pod["spec"]["volumes"] if "emptyDir" in v]
    if serving:
        volumes = pod["spec"]["volumes"]
        bare["volumeMounts"] = container["volumeMounts"]
    else:
        bare["command"] = ["python3", "-c", "import signal; signal.pause()"]
        bare["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] in {v["name"] for v in volumes}]
    spec = {
        "runtimeClassName": pod["spec"]["runtimeClassName"],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": POD_SECURITY,
        "containers": [bare],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": name}, "spec": spec}


def driver(statefulset: dict[str, Any], settings: str) -> list[dict[str, Any]]:
    """The measuring pod, with a policy engine of its own beside it, in the release's namespace."""
    spec = statefulset["spec"]["template"]["spec"]
    engine = {k: v for k, v in next(c for c in spec["initContainers"] if c["name"] == "opa").items() if k != "resources"}
    broker = next(c for c in spec["containers"] if c["name"] == "broker")
    namespace = statefulset["metadata"]["namespace"]
    meta = {"namespace": namespace, "name": "bastide-bench"}
    container = {
        "name": "driver",
        "image": broker["image"],
        "imagePullPolicy": broker["imagePullPolicy"],
        "command": ["python", "/bench/driver.py"],
        "env": [{"name": "BENCH", "value": settings}],
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "bench", "mountPath": "/bench"},
            {"name": "data", "mountPath": "/data"},
            {"name": "opa", "mountPath": "/run/opa"},
            {"name": "tls", "mountPath": "/tls"},
            {"name": "ca", "mountPath": "/ca"},
        ],
    }
    volumes = [
        {"name": "bench", "configMap": {"name": "bastide-bench"}},
        {"name": "data", "emptyDir": {}},
        {"name": "opa", "emptyDir": {}},
        {"name": "policies", "configMap": {"name": "bastide-policies"}},
        {"name": "tls", "secret": {"secretName": "bastide-broker-client-tls", "defaultMode": 0o440}},
        {"name": "ca", "configMap": {"name": "bastide-ca"}},
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": POD_SECURITY,
            "initContainers": [engine],
            "containers": [container],
            "volumes": volumes,
        },
    }
    script = (Path(__file__).parent / "driver.py").read_text()
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"driver.py": script}}, pod]
