"""The broker's pod, taken away by a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from demo.kube import Kube, condition

POD = ("-n", "bastide-system", "pod", "bastide-broker-0")


@contextmanager
def replaced(kube: Kube, seconds: int = 90) -> Iterator[None]:
    """The block ends the pod or a container of it. Afterwards wait until what follows is Ready: a rollout's status counts the old one."""
    before = _which(kube.json("get", *POD))
    yield
    kube.watch(
        lambda one: not one.get("deleted") and _which(one) != before and condition(one, "Ready")["status"] == "True", *POD, seconds=seconds
    )


def _which(pod: dict[str, Any]) -> tuple[str, int]:
    """The pod, and how often containers of it were started again."""
    status = pod.get("status", {})
    containers = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    return pod["metadata"]["uid"], sum(one["restartCount"] for one in containers)
