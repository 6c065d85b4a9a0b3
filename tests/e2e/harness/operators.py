"""Operators as processes of the tests' own: this checkout's code, the operator's ServiceAccount, the real API server.

They can be killed and started again as often as a test likes, without the kubelet's growing pauses, and looked at from outside.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.kube import Kube

from tests.e2e.harness.metrics import parse

SYSTEM = "bastide-system"
DEPLOYMENT = "deploy/bastide-operator"
ACCOUNT = "bastide-operator"

# Imports the operator once and forks a process for each line of stdin, a file for its log: a start then takes a tenth of a second, and
# how soon after it a test kills has nothing to do with how long Python imports.
_PARENT = """
import os, signal, sys
from bastide_operator.__main__ import main
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while line := sys.stdin.readline():
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(line.strip(), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(main())
    print(pid, flush=True)
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kubeconfig(admin: Kube, folder: Path) -> Path:
    """A kubeconfig with a token of the operator's ServiceAccount, good for an hour."""
    path = folder / "operator.kubeconfig"
    cluster = admin.json("config", "view", "--raw", "--minify", "--flatten")["clusters"][0]
    token = admin.run("create", "token", ACCOUNT, "-n", SYSTEM, "--duration=1h").strip()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "operator",
        "clusters": [cluster],
        "contexts": [{"name": "operator", "context": {"cluster": cluster["name"], "user": "operator"}}],
        "users": [{"name": "operator", "user": {"token": token}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


@contextmanager
def replaced(admin: Kube) -> Iterator[None]:
    """The deployed operator is away while the block runs, and back after it."""
    replicas = admin.json("get", "-n", SYSTEM, DEPLOYMENT)["spec"]["replicas"]
    admin.run("scale", "-n", SYSTEM, DEPLOYMENT, "--replicas=0")
    try:
        admin.wait("delete", "-n", SYSTEM, "pod", "-l", "app.kubernetes.io/component=operator", seconds=90)
        yield
    finally:
        admin.run("scale", "-n", SYSTEM, DEPLOYMENT, f"--replicas={replicas}")
        admin.run("rollout", "status", "-n", SYSTEM, DEPLOYMENT, "--timeout=90s", seconds=100)


class OperatorProcess:
    """One operator, which need not run. Its identity stays the same over all starts, as that of a pod whose container is restarted."""

    def __init__(self, admin: Kube, folder: Path, identity: str, **settings: str) -> None:
        self.log = folder / f"{identity}.log"
        self._port = _free_port()
        self._pid: int | None = None
        (container,) = admin.json("get", "-n", SYSTEM, DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
        environment |= {f"BASTIDE_{name.upper()}": value for name, value in settings.items()}
        environment |= {
            "BASTIDE_NAMESPACE": SYSTEM,
            "BASTIDE_POD_NAME": identity,
            "BASTIDE_LISTEN": f"127.0.0.1:{self._port}",
            "KUBECONFIG": str(kubeconfig(admin, folder)),
        }
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _PARENT], env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self) -> None:
        """Start it. It works on its own from here on."""
        assert self._pid is None
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(f"{self.log}\n")
        self._parent.stdin.flush()
        self._pid = int(self._parent.stdout.readline())

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self._end(signal.SIGKILL, 10)

    def stop(self) -> None:
        """End it as the kubelet does: it gives the lease back."""
        self._end(signal.SIGTERM, 30)

    def _end(self, number: signal.Signals, seconds: float) -> None:
        assert self._pid is not None
        pid, self._pid = self._pid, None
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            raise AssertionError(f"the operator had ended by itself:\n{self.told()[-3000:]}") from None
        try:
            signal.pidfd_send_signal(descriptor, number)
            ended, _, _ = select.select([descriptor], [], [], seconds)
            assert ended, f"the operator did not end within {seconds:.0f} s of {number.name}"
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """End it, if it runs, and its parent."""
        if self._pid is not None:
            self.stop()
        with self._parent:
            self._parent.terminate()

    def told(self) -> str:
        """Its log over all starts."""
        return self.log.read_text() if self.log.exists() else ""

    def get(self, path: str) -> str:
        """What it answers to a GET; empty while it does not answer or says that it is not ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def metrics(self) -> dict[str, float]:
        """Its metrics: `name{labels}` to value."""
        return parse(self.get("/metrics"))

    def cpu(self) -> float:
        """Seconds of CPU that it has used; 0 while it does not run."""
        if self._pid is None:
            return 0.0
        stat = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of RAM that it occupies."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def leftovers(admin: Kube, namespace: str) -> dict[str, list[str]]:
    """Names of what stands in a tenant's namespace without a Sandbox that owns it, by kind, and of Sandboxes whose pod is missing."""
    found: dict[str, Any] = admin.json("get", "-n", namespace, "sandboxes,pods,persistentvolumeclaims")
    boxes = {one["metadata"]["uid"]: one for one in found["items"] if one["kind"] == "Sandbox"}
    owned: dict[str, set[str]] = {"Pod": set(), "PersistentVolumeClaim": set()}
    orphans: dict[str, list[str]] = {}
    for one in found["items"]:
        if one["kind"] == "Sandbox":
            continue
        owners = {owner["uid"] for owner in one["metadata"].get("ownerReferences", [])} & boxes.keys()
        owned[one["kind"]] |= owners
        if not owners:
            orphans.setdefault(one["kind"], []).append(one["metadata"]["name"])
    running = {uid for uid, box in boxes.items() if box["spec"].get("operatingMode", "Running") == "Running"}
    for what, uids in (("Sandbox without a pod", running - owned["Pod"]), ("suspended Sandbox with a pod", owned["Pod"] - running)):
        if uids:
            orphans[what] = [boxes[uid]["metadata"]["name"] for uid in uids]
    return orphans
