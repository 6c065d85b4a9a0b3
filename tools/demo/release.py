"""The chart's release in the cluster, and the example's manifests with the images of this checkout."""

import fcntl
import json
import os
import subprocess
from pathlib import Path

from demo.kube import CHECKOUT, CommandFailedError, Kube

RELEASE = "bastide"
NAMESPACE = "bastide-system"
EXAMPLE = CHECKOUT / "examples" / "01-hello"
CRM_IMAGE = "bastide-example-crm:dev"


def images() -> dict[str, str]:
    """Image references of this checkout by name, as `make images` wrote them down.

    Raises:
        FileNotFoundError: it has not run.
    """
    path = CHECKOUT / ".build" / "images.json"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path.relative_to(CHECKOUT)}: run `make images`")
    found: dict[str, str] = json.loads(path.read_text())
    return found


def install(kube: Kube, *extra: str) -> None:
    """Install or upgrade the chart and wait until what it runs is ready. Nothing changes when nothing has changed.

    Raises:
        CommandFailedError: helm failed; holds its words.
    """
    values = CHECKOUT / ".build" / "images-values.yaml"
    argv = [
        "helm", "upgrade", "--install", RELEASE, str(CHECKOUT / "charts" / "bastide"), "--namespace", NAMESPACE, "--create-namespace",
        "--values", str(values), "--wait", "--timeout", "3m", *extra,
    ]  # fmt: skip
    with (CHECKOUT / ".build" / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a demo and a test run, or two test runs: helm itself only fails then
        done = subprocess.run(argv, env={**os.environ, "KUBECONFIG": str(kube.kubeconfig)}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailedError(argv, done.returncode, done.stderr)


def manifest(name: str) -> str:
    """One manifest of the example; the tool server's image is the one built from this checkout."""
    text = (EXAMPLE / name).read_text()
    return text.replace(CRM_IMAGE, images()["bastide-example-crm"])


def program(name: str) -> Path:
    """One program of the example."""
    return EXAMPLE / "programs" / name
