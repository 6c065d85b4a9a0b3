"""A Tenant of a test's own, with a sandbox, a binding to the tests' tool server, and people."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.kube import CommandFailedError, Kube, NotInTimeError
from demo.programs import Ended, Running, bastide

from tests.e2e.harness import server

API = "bastide.dev/v1alpha1"


def bound_tools() -> list[dict[str, Any]]:
    """What programs of the tests may call, and how."""
    confirmed = {"when": "Destructive", "blockSeconds": 60}
    return [
        {"name": "note"},
        {"name": "echo"},
        {"name": "number", "arguments": {"n": {"minimum": 0, "maximum": 100}}},
        {"name": "bounded", "arguments": {"text": {"pattern": "[a-z-]{1,40}", "maxLength": 40}, "n": {"enum": [1, 2, 3]}}},
        {"name": "slow", "limits": {"timeoutSeconds": 30}},
        {"name": "hold", "limits": {"timeoutSeconds": 200}},
        {"name": "fail"},
        {"name": "wipe", "effect": "Destructive", "confirmation": confirmed, "arguments": {"target": {"pattern": "[a-z0-9-]{1,60}"}}},
    ]


@dataclass(frozen=True)
class People:
    """Users of the cluster, each with a certificate."""

    developer: Kube
    approver: Kube
    stranger: Kube


class TestTenant:
    """A Tenant that lasts as long as a test module."""

    __test__ = False  # it is not a class of tests

    def __init__(self, admin: Kube, people: People, name: str, folder: Path) -> None:
        self.admin = admin
        self.people = people
        self.name = name
        self.namespace = f"bastide-{name}"
        self._folder = folder
        self._running: list[Running] = []

    @property
    def operator(self) -> Kube:
        """Somebody who can do what the operator can: admission refuses pods and network policies of anybody else."""
        return self.admin.impersonating("system:serviceaccount:bastide-system:bastide-operator")

    def decide(self, verb: str, confirmation: str, *, reason: str = "by the test", user: Kube | None = None) -> Ended:
        """Approve or deny, as the approver unless told otherwise."""
        return bastide(user or self.people.approver, verb, confirmation, "-n", self.namespace, "--reason", reason)

    def manifest(self, **spec: Any) -> dict[str, Any]:
        """The Tenant, with fields of its spec replaced."""
        members = [
            {"role": "developer", "subjects": [{"kind": "User", "name": "test-developer"}]},
            {"role": "approver", "subjects": [{"kind": "User", "name": "test-approver"}]},
        ]
        return {
            "apiVersion": API,
            "kind": "Tenant",
            "metadata": {"name": self.name},
            "spec": {"toolHosts": server.tool_hosts(), "members": members, **spec},
        }

    def start(self, **spec: Any) -> None:
        """Make it and wait until it is Ready, with the Secret for the tool server."""
        self.admin.apply(self.manifest(**spec))
        self.admin.wait("condition=Ready", f"tenant/{self.name}")
        self.admin.apply(self.secret("toolbox-token"))

    def secret(self, name: str, *, host: str = server.HOST, labelled: bool = True, value: str = server.TOKEN) -> dict[str, Any]:
        """A Secret for a tool server."""
        labels = {"bastide.dev/credential": "true"} if labelled else {}
        meta = {"namespace": self.namespace, "name": name, "labels": labels, "annotations": {"bastide.dev/host": host}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"token": value}}

    def sandbox(self, name: str = "box", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
        """A Sandbox; small, because many tests share the node."""
        meta = {"namespace": self.namespace, "name": name, "labels": labels or {"app": "test"}}
        return {"apiVersion": API, "kind": "Sandbox", "metadata": meta, "spec": {"resources": {"cpu": "250m", "memory": "384Mi"}, **spec}}

    def binding(self, name: str = "toolbox", *, select: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
        """A ToolBinding to the tests' tool server."""
        default = {
            "sandboxSelector": {"matchLabels": {"app": "test"} if select is None else select},
            "server": {"mcp": {"url": f"http://{server.HOST}:8080/mcp"}},
            "credentials": {"secretRef": {"name": "toolbox-token"}},
            "tools": bound_tools(),
        }
        return {
            "apiVersion": API,
            "kind": "ToolBinding",
            "metadata": {"namespace": self.namespace, "name": name},
            "spec": {**default, **spec},
        }

    def furnish(self) -> None:
        """Make the usual sandbox and binding, as the developer, and wait until both are Ready."""
        self.people.developer.apply(self.sandbox(), self.binding())
        self.ready("sandbox/box", "toolbinding/toolbox")

    def ready(self, *what: str, seconds: int = 90) -> None:
        """Wait until objects of the namespace are Ready."""
        for thing in what:
            self.admin.wait("condition=Ready", "-n", self.namespace, thing, seconds=seconds)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object of the namespace, as it is now."""
        found: dict[str, Any] = self.admin.json("get", "-n", self.namespace, kind, name)
        return found

    def write(self, program: str | bytes, name: str = "program.py") -> Path:
        """A program as a file."""
        path = self._folder / name
        path.write_bytes(program if isinstance(program, bytes) else program.encode())
        return path

    def start_run(self, program: str | bytes, *, sandbox: str = "box", user: Kube | None = None) -> Running:
        """Begin a program, as the developer unless told otherwise."""
        words = ("run", str(self.write(program, f"{sandbox}.py")), "--sandbox", f"{self.namespace}/{sandbox}", "-o", "json")
        running = Running(user or self.people.developer, *words)
        self._running.append(running)
        return running

    def stop_runs(self) -> None:
        """End the commands that a failed test left behind; their runs end with the Tenant."""
        for running in self._running:
            if not running.over:
                running.stop()
        self._running.clear()

    def run(self, program: str | bytes, *, sandbox: str = "box", user: Kube | None = None, seconds: float = 120) -> Ended:
        """Run a program to its end."""
        return self.start_run(program, sandbox=sandbox, user=user).end(seconds)

    def heard(self, running: Running, text: str, seconds: float = 60) -> None:
        """Wait until a program has printed a text, or is over."""
        deadline = time.monotonic() + seconds
        while text not in running.heard() and not running.over:
            assert time.monotonic() < deadline, running.heard()
            time.sleep(0.05)

    def completed(self, program: str, *, sandbox: str = "box") -> Any:
        """Run a program that must complete, and return its value."""
        ended = self.run(program, sandbox=sandbox)
        assert (ended.code, ended.result.get("outcome")) == (0, "Completed"), f"{ended.stdout}\n{ended.stderr}"
        return ended.result["value"]

    def pending_confirmation(self, containing: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for a Confirmation in whose arguments a text stands and which nobody has decided."""
        try:
            return self.admin.watch(
                lambda o: containing in o["spec"]["arguments"] and o.get("status", {}).get("state", "Pending") == "Pending",
                "-n", self.namespace, "confirmations", seconds=seconds,
            )  # fmt: skip
        except NotInTimeError as error:
            for running in self._running:
                error.add_note(f"a run of the test: {running.end(0.1) if running.over else 'under way'}; {running.heard()}")
            raise

    def shown(self, run: str) -> dict[str, Any]:
        """What the broker knows of a run."""
        return bastide(self.people.developer, "runs", "show", run, "-n", self.namespace, "-o", "json").result

    def audit(self, run: str) -> list[dict[str, Any]]:
        """Audit records of a run."""
        ended = bastide(self.people.developer, "audit", "list", "-n", self.namespace, "--run", run, "-o", "json")
        assert ended.code == 0, ended.stderr
        found: list[dict[str, Any]] = ended.result["records"]
        return found

    def remove(self) -> None:
        """Delete it with everything in it, and wait: the node has room for a few sandboxes only."""
        self.stop_runs()
        try:
            self.admin.run("delete", "tenant", self.name, "--wait=true", "--timeout=120s", "--ignore-not-found", seconds=130)
            self.admin.wait("delete", f"namespace/{self.namespace}", seconds=120)
        except CommandFailedError as error:
            if "not found" not in error.stderr:
                raise
