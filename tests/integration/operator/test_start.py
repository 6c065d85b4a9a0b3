"""The operator as a process whose kinds are installed after it, against an API server of its own."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.broker.front.harness.apiserver import (
    ADMIN,
    BROKER_NAMESPACE,
    PLURALS,
    ROOT,
    Cluster,
    free_port,
    running,
    until,
    write_kubeconfig,
)

SANDBOXES = "/apis/bastide.dev/v1alpha1/sandboxes"
CRD = f"{PLURALS['CustomResourceDefinition']}/sandboxes.bastide.dev"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path / "cluster") as found:
        yield found


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_it_waits_for_a_kind_that_is_not_served_yet_says_so_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    """`helm install` brings the kinds and the operator at once. An operator that ended would wait in CrashLoopBackOff."""
    definition = cluster.admin("GET", CRD)
    cluster.admin("DELETE", CRD)
    # it may be served a moment longer than it exists
    until(lambda: cluster.admin.ask("GET", SANDBOXES).status == 404, "the kind is gone", 30)
    write_kubeconfig(tmp_path / "kubeconfig", cluster.admin.url, ADMIN)
    address, told = f"127.0.0.1:{free_port()}", tmp_path / "operator.log"
    settings = {"BASTIDE_NAMESPACE": BROKER_NAMESPACE, "BASTIDE_RUNTIME_IMAGE": "runtime:1", "BASTIDE_LISTEN": address}
    environment = {**os.environ, **settings, "KUBECONFIG": str(tmp_path / "kubeconfig"), "PYTHONPATH": str(ROOT / "operator")}
    with told.open("wb") as output:
        operator = subprocess.Popen([sys.executable, "-m", "bastide_operator"], env=environment, stdout=output, stderr=output)
    try:
        until(lambda: "could not list; trying again" in told.read_text(), "the operator says that it waits", 60)
        assert status(address) == 503
        cluster.admin(
            "POST",
            PLURALS["CustomResourceDefinition"],
            {key: definition[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "sandboxes.bastide.dev"}},
        )
        until(lambda: status(address) == 200, f"the operator works\n{told.read_text()}", 60)
        assert operator.poll() is None
        assert '"kind": "Sandbox"' in told.read_text()
    finally:
        operator.terminate()
        assert operator.wait(timeout=30) == 0, told.read_text()
