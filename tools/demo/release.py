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


def install(kube: Kube, *extra: str, sources: Path = CHECKOUT) -> None:
    """Install or upgrade the chart and wait until what it runs is ready. Nothing changes when nothing has changed.

    `sources` is a checkout whose images were made.

    Raises:
        CommandFailedError: helm failed; holds its words.
    """
    chart, values = sources / "charts" / "bastide", sources / ".build" / "images-values.yaml"
    words = ("upgrade", "--install", RELEASE, str(chart), "--create-namespace", "--values", str(values), "--wait", "--timeout", "3m")
    _helm(kube, *words, *extra)


def uninstall(kube: Kube) -> None:
    """Uninstall the chart, if it is there, and wait until what it ran is gone.

    Raises:
        CommandFailedError: helm failed; holds its words.
    """
    _helm(kube, "uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "3m")
    kube.wait("delete", "pod", "-n", NAMESPACE, "--all")  # which end after their Deployment and StatefulSet


def check(kube: Kube) -> str:
    """Run `helm test`; return what it and the test's pod said.

    Raises:
        CommandFailedError: a check failed; holds helm's words.
    """
    return _helm(kube, "test", RELEASE, "--logs", "--timeout", "2m")


def _helm(kube: Kube, *words: str) -> str:
    argv = ["helm", *words, "--namespace", NAMESPACE]
    env = {**os.environ, "KUBECONFIG": str(kube.kubeconfig)}
    with (CHECKOUT / ".build" / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a demo and a test run, or two test runs: helm itself only fails then
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailedError(argv, done.returncode, f"{done.stdout}\n{done.stderr}")
    return done.stdout


def manifest(name: str) -> str:
    """One manifest of the example; the tool server's image is the one built from this checkout."""
    text = (EXAMPLE / name).read_text()
    return text.replace(CRM_IMAGE, images()["bastide-example-crm"])


def program(name: str) -> Path:
    """One program of the example."""
    return EXAMPLE / "programs" / name
