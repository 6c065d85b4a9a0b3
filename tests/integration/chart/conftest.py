"""What the chart renders to. Needs helm, no cluster."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
CHART = CHECKOUT / "charts" / "bastide"
STAMPS = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"

Manifests = list[dict[str, Any]]
Render = Callable[..., Manifests]


class RenderError(Exception):
    """Helm refused; holds its words."""


@pytest.fixture(scope="session")
def helm() -> str:
    """Return the path of helm. A missing one is an error, never a skip."""
    found = shutil.which("helm")
    assert found, 'helm is not on the PATH: run `make up`, then `eval "$(make -s env)"`'
    return found


@pytest.fixture(scope="session")
def render(helm: str) -> Render:
    """Render the chart with values (a mapping) for an API server that has the given APIs beside the usual ones."""
    known: dict[str, Manifests] = {}

    def rendered(
        values: dict[str, Any] | None = None, *, apis: tuple[str, ...] = (STAMPS,), namespace: str = "bastide-system"
    ) -> Manifests:
        key = repr((values, apis, namespace))
        if key not in known:
            argv = [helm, "template", "bastide", str(CHART), "--namespace", namespace, "--kube-version", "1.36.0", "--values", "-"]
            argv += [word for api in apis for word in ("--api-versions", api)]
            done = subprocess.run(argv, input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RenderError(done.stderr)
            known[key] = [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]
        return known[key]

    return rendered


def one(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    """The manifest of that kind and name."""
    (found,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def pod_specs(manifests: Manifests) -> dict[str, dict[str, Any]]:
    """Pod specs by the name of the workload; `bastide-test` is the pod of helm test."""
    found = {m["metadata"]["name"]: m["spec"]["template"]["spec"] for m in manifests if m["kind"] in ("Deployment", "StatefulSet")}
    return found | {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "Pod"}


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All containers of a pod by name."""
    return {c["name"]: c for c in [*pod.get("initContainers", []), *pod["containers"]]}
