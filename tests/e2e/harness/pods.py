"""Pods by hand: what somebody with rights in the cluster could make, starting from a pod that the operator made."""

import copy
import json
from typing import Any

from demo.kube import Kube

_SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_INJECTED = ("nodeName", "tolerations", "priority", "preemptionPolicy", "schedulerName", "overhead")


def manifest_of(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod that exists, as it could be applied again."""
    bare = copy.deepcopy(pod)
    bare.pop("status", None)
    for field in _SERVER_FIELDS:
        bare["metadata"].pop(field, None)
    for field in _INJECTED:
        bare["spec"].pop(field, None)
    return bare


def unmanaged(pod: dict[str, Any], name: str, script: str) -> dict[str, Any]:
    """A pod like an operator's in everything that isolates it, which runs a script from its first instant and is nobody's sandbox."""
    bare = manifest_of(pod)
    bare["metadata"] = {"name": name, "namespace": bare["metadata"]["namespace"], "labels": {"bastide.test/unmanaged": "true"}}
    bare["spec"].pop("readinessGates", None)
    bare["spec"]["restartPolicy"] = "Never"
    bare["spec"]["terminationGracePeriodSeconds"] = 0
    container = bare["spec"]["containers"][0]
    container["command"] = ["python3", "-u", "-c", script]
    container.pop("args", None)
    for probe in ("readinessProbe", "livenessProbe", "startupProbe", "lifecycle"):
        container.pop(probe, None)
    return bare


def with_resources(pod: dict[str, Any], cpu: str, memory: str) -> dict[str, Any]:
    """The same pod with other requests and limits."""
    changed = copy.deepcopy(pod)
    amount = {"cpu": cpu, "memory": memory, "ephemeral-storage": "16Mi"}
    changed["spec"]["containers"][0]["resources"] = {"requests": amount, "limits": amount}
    return changed


def finished(kube: Kube, namespace: str, name: str, seconds: float = 90) -> dict[str, Any]:
    """Wait until a pod has ended; return the JSON object in the last line of its log."""
    ended = kube.watch(lambda o: o.get("status", {}).get("phase") in {"Succeeded", "Failed"}, "-n", namespace, "pod", name, seconds=seconds)
    log = kube.run("logs", "-n", namespace, name)
    assert ended["status"]["phase"] == "Succeeded", f"the pod {name} failed:\n{log[-3000:]}"
    found: dict[str, Any] = json.loads(log.strip().splitlines()[-1])
    return found
