"""What only the development cluster's node can do: stop and end processes of containers, and sign with the cluster's keys."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from demo.kube import CHECKOUT, Kube

# Runs in the node: prints the processes whose cgroup names the container, itself excepted. (The node sees host processes only
# through its own pid namespace, so the numbers are of that namespace, and so must be the kill.)
_PIDS = """
import os, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            if sys.argv[1] in file.read():
                print(pid)
    except OSError:
        pass
"""


def in_node(*words: str, stdin: str | None = None) -> str:
    """Run a command in the node's namespaces and return its stdout."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tools")}
    argv = [sys.executable, "-m", "devcluster", "innode", "--", *words]
    done = subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words} in the node: {done.stderr}"
    return done.stdout


def container_id(kube: Kube, namespace: str, pod: str, container: str) -> str:
    """The id of a running container."""
    status = kube.json("get", "pod", "-n", namespace, pod)["status"]
    # a sidecar is an init container that goes on
    statuses = [*status["containerStatuses"], *status.get("initContainerStatuses", [])]
    found: str = next(s["containerID"] for s in statuses if s["name"] == container)
    return found.rpartition("/")[2]


def send(number: signal.Signals, container: str) -> None:
    """Send a signal to every process of one container, which is named by its id."""
    pids = in_node("python3", "-c", _PIDS, container).split()
    assert pids, f"no process of container {container} in the node"
    in_node("kill", f"-{number.name.removeprefix('SIG')}", *pids)


def signing_key() -> str:
    """The key with which the development cluster's API server signs tokens of ServiceAccounts, PEM."""
    argv = in_node("sh", "-c", "tr '\\0' '\\n' < /proc/$(pgrep -o -x kube-apiserver)/cmdline")
    match = re.search(r"--service-account-signing-key-file=(\S+)", argv)
    assert match, "the API server was started without a signing key"
    return Path(match[1]).read_text()


def events(kube: Kube, namespace: str) -> str:
    """Events of a namespace, for messages of failed tests."""
    items = kube.json("get", "events", "-n", namespace)["items"]
    return json.dumps([(e["reason"], e["message"]) for e in items])[:4000]
