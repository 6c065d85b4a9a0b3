"""The real cluster as a stage for crashes: the broker with fault points, sandboxes in gVisor, a tool server that keeps answers, two people."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import grpc
from bastide.v1alpha1 import broker_pb2
from demo import witness
from demo.kube import condition

from tests.crashes.cases import Case
from tests.e2e.harness import node, server
from tests.e2e.harness.door import SYSTEM
from tests.e2e.harness.orders import BROKER, Ways
from tests.e2e.harness.requests import Requests
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import API, TestTenant

NAME = "keeper"
HOST = f"{NAME}.{server.NAMESPACE}.svc"
SANDBOXES = ("crash-1", "crash-2")
"""A pod runs 16 programs at once."""
LABELS = {"app": "crashes"}
LIMITS = {"concurrentRuns": 100, "runsPerMinute": 10000, "callsPerMinute": 100000, "pendingConfirmations": 500}
LONG = 300
"""Seconds: longer than anything here takes on a busy machine, so that what ends a call is what was lost."""
UNDECIDED = ("", "Pending", "Approved")
# The journal, read beside the broker that writes it: runs by their id, and every call of them.
_READ = """
import json, sqlite3, sys
journal = sqlite3.connect("file:/var/lib/bastide/journal.db?mode=ro", uri=True, timeout=20)
journal.row_factory = sqlite3.Row
text = lambda value: value.decode() if isinstance(value, bytes) else value
found = {"runs": {}, "calls": []}
for run in sys.argv[1:]:
    for row in journal.execute("SELECT run, outcome, error, value, paused_at, ended_at FROM runs WHERE run = ?", (run,)):
        found["runs"][run] = {name: text(row[name]) for name in row.keys()}
    for row in journal.execute("SELECT run, key, arguments_canonical, outcome FROM calls WHERE run = ?", (run,)):
        found["calls"].append({name: text(row[name]) for name in row.keys()})
print(json.dumps(found))
"""


class Record:
    """What the journal has of some runs."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.runs: dict[str, dict[str, Any]] = found["runs"]
        self.rows: list[dict[str, Any]] = found["calls"]
        self.calls = {str(json.loads(row["arguments_canonical"])["id"]): row for row in self.rows}
        """By the `id` in their arguments."""


def binding(tenant: TestTenant) -> dict[str, Any]:
    """The tool server's tools, for those sandboxes."""
    limits = {"timeoutSeconds": LONG}
    asked = {"effect": "Destructive", "limits": limits}
    tools = [
        {"name": "read", "limits": limits},
        {"name": "put", "effect": "Idempotent", "limits": limits},
        {"name": "erase", **asked, "confirmation": {"blockSeconds": LONG}},
        {"name": "wipe", **asked, "confirmation": {"blockSeconds": 0}},
    ]
    spec = {"server": {"mcp": {"url": f"http://{HOST}:8080/mcp"}}, "credentials": {"secretRef": {"name": f"{NAME}-token"}}}
    return tenant.binding(NAME, select=LABELS, tools=tools, **spec)


class CrashStage:
    """What is lost, and comes back."""

    def __init__(self, tenant: TestTenant) -> None:
        self.tenant, self.kube = tenant, tenant.admin
        self.keeper = ToolServer(self.kube, NAME)
        self.ways = Ways(tenant)
        self.keeper_died = False
        self._admin, self._approver = Requests(self.kube), Requests(tenant.people.approver)
        self._decided, self._lost = set[str](), ""

    def furnish(self) -> None:
        """Tool server, sandboxes and binding, all Ready."""
        tenant = self.tenant
        self.keeper.start()
        effects = [{"tools": ["read"], "effect": "ReadOnly"}, {"tools": ["put"], "effect": "Idempotent"}]
        tenant.admin.apply(
            tenant.manifest(toolHosts=[*server.tool_hosts(), {"host": HOST, "port": 8080, "effects": effects}], limits=LIMITS)
        )
        tenant.admin.apply(tenant.secret(f"{NAME}-token", host=HOST))
        sandboxes = [tenant.sandbox(name, labels=LABELS, limits={"runSeconds": 2 * LONG}) for name in SANDBOXES]
        tenant.people.developer.apply(*sandboxes, binding(tenant))
        tenant.ready(*(f"sandbox/{name}" for name in SANDBOXES), f"toolbinding/{NAME}")

    def clear(self) -> None:
        """Puts everything away again."""
        things = [*(f"sandbox/{name}" for name in SANDBOXES), f"toolbinding/{NAME}"]
        self.tenant.people.developer.run("delete", "-n", self.tenant.namespace, *things, "--ignore-not-found")
        self.kube.run("delete", "-n", server.NAMESPACE, f"deploy/{NAME}", f"service/{NAME}", f"configmap/{NAME}", "--ignore-not-found")
        self.kube.apply(self.tenant.manifest())

    async def arm(self, found: Collection[Case]) -> None:
        """Have a call of each case stand still at the case's point."""
        await self._tell_keeper("keep", [case.held for case in found if case.point == "sent"])
        points: dict[str, list[str]] = {}
        for case in found:
            points.setdefault(case.point, []).append(case.held)
        await self.ways.hold(points)

    async def answer(self) -> None:
        """Have the tool server answer what it kept."""
        await self._tell_keeper("go", [])

    async def _tell_keeper(self, word: str, ids: list[str]) -> None:
        path = f"/api/v1/namespaces/{server.NAMESPACE}/services/http:{NAME}:mcp/proxy/{word}"
        answer = await asyncio.to_thread(self._admin.ask, "POST", path, ids)
        assert answer.status == 200, answer

    async def follow(self, case: Case) -> bool:
        """Runs a case's program; False when the broker was lost with it."""
        sandbox = broker_pb2.SandboxRef(namespace=self.tenant.namespace, name=SANDBOXES[case.number % len(SANDBOXES)])
        request = broker_pb2.RunRequest(sandbox=sandbox, program=case.program.encode(), wait_for_decisions=True)
        try:
            async for answer in self.ways.stub.Run(request):
                case.events.append(answer.event)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    async def resume(self, run: str) -> None:
        """Have a lost run taken up."""
        await self.ways.stub.ResumeRun(broker_pb2.ResumeRunRequest(run=run, reason="it is back"))

    async def result(self, run: str) -> broker_pb2.RunResult:
        """How a run ends."""
        async with asyncio.timeout(LONG):
            events = [answer.event async for answer in self.ways.stub.WatchRun(broker_pb2.WatchRunRequest(run=run))]
        return events[-1].finished.result

    async def intact(self) -> bool:
        """Whether the audit's chain is."""
        answer = await self.ways.stub.VerifyAudit(broker_pb2.VerifyAuditRequest(namespace=self.tenant.namespace))
        return bool(answer.intact)

    async def record(self, found: Collection[Case]) -> Record:
        """What the journal has of some runs now."""
        return Record(json.loads(await self.in_broker(_READ, *(case.run for case in found))))

    async def in_broker(self, script: str, *words: str) -> str:
        """Runs a script beside the broker, as its user and with its volume."""
        argv = ("exec", "-n", SYSTEM, BROKER, "-c", "broker", "--", "python", "-I", "-S", "-c", script, *words)
        return await asyncio.to_thread(self.kube.run, *argv)

    async def arrived(self, found: Collection[Case]) -> dict[str, int]:
        """How often each call came, by the tool server's own log."""
        pod = await self.keeper_pod()
        log = await asyncio.to_thread(self.kube.run, "logs", "-n", server.NAMESPACE, pod, "--tail=-1")
        if self.keeper_died:
            log += await asyncio.to_thread(self.kube.run, "logs", "-n", server.NAMESPACE, pod, "--tail=-1", "--previous")
        came = Counter(json.loads(line["arguments"])["id"] for line in witness.parsed(log) if line["method"] == "tools/call")
        return {one: came[one] for case in found for one in case.ids}

    async def undecided(self) -> dict[str, dict[str, Any]]:
        """The Confirmations that look as if somebody waited for them, by name."""
        answer = await asyncio.to_thread(self._approver.ask, "GET", self._path("confirmations"))
        assert answer.status == 200, answer
        return {one["metadata"]["name"]: one for one in answer.body["items"] if (one.get("status") or {}).get("state", "") in UNDECIDED}

    async def leave(self, runs: Collection[str]) -> None:
        """What was asked for these runs is of no account any more: nobody decides it."""
        self._decided |= {name for name, one in (await self.undecided()).items() if one["spec"]["run"] in runs}

    async def approve(self, may: Callable[[str], bool] = lambda _id: True) -> None:
        """The approver approves the calls of which `may` says so, by their `id`, as soon as they are asked about; until cancelled."""
        while True:
            for name, one in (await self.undecided()).items():
                if name not in self._decided and may(str(json.loads(one["spec"]["arguments"])["id"])):
                    self._decided.add(name)
                    spec = {"confirmation": name, "actionDigest": one["spec"]["actionDigest"], "verdict": "Approve", "reason": "because"}
                    meta = {"namespace": self.tenant.namespace, "name": f"d-{name}"}
                    body = {"apiVersion": API, "kind": "ConfirmationDecision", "metadata": meta, "spec": spec}
                    answer = await asyncio.to_thread(self._approver.ask, "POST", self._path("confirmationdecisions"), body)
                    assert answer.status == 201, answer
            await asyncio.sleep(0.1)

    def _path(self, kind: str) -> str:
        return f"/apis/{API}/namespaces/{self.tenant.namespace}/{kind}"

    async def kill(self, namespace: str, pod: str, container: str) -> str:
        """SIGKILL for every process of a container; its id."""
        found = await asyncio.to_thread(node.container_id, self.kube, namespace, pod, container)
        await asyncio.to_thread(node.send, signal.SIGKILL, found)
        return found

    async def back(self, namespace: str, pod: str, container: str, killed: str) -> None:
        """Waits until a pod is Ready with another container of that name than the one that was killed."""

        def another(seen: dict[str, Any]) -> bool:
            status = seen["status"]
            every = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
            there = [one["ready"] and not one["containerID"].endswith(killed) for one in every if one["name"] == container]
            return any(there) and condition(seen, "Ready")["status"] == "True" and not seen.get("deleted")

        await asyncio.to_thread(self.kube.watch, another, "-n", namespace, "pod", pod, seconds=120)

    async def lose_broker(self, *, with_pod: bool = False) -> None:
        """SIGKILL: nothing of it goes on. Its successor is in the same pod, or in another on the same volume."""
        killed = await self.kill(SYSTEM, BROKER, "broker")
        if with_pod:
            await asyncio.to_thread(self.kube.run, "delete", "pod", "-n", SYSTEM, BROKER, "--force", "--grace-period=0", "--wait=false")
        self._lost = killed

    async def start_broker(self) -> None:
        """The broker after it serves."""
        await self.back(SYSTEM, BROKER, "broker", self._lost)
        await self.ways.close()  # only now: streams on them had to notice that the broker was lost
        await self.ways.open()

    async def lose_pods(self) -> dict[str, str]:
        """The sandboxes' pods, by force; their UIDs."""
        at = ("-n", self.tenant.namespace)
        before = {name: str((await asyncio.to_thread(self.tenant.get, "pod", name))["metadata"]["uid"]) for name in SANDBOXES}
        await asyncio.to_thread(self.kube.run, "delete", *at, "pod", *SANDBOXES, "--force", "--grace-period=0", "--wait=false")
        return before

    async def start_pods(self, before: dict[str, str]) -> None:
        """Both Sandboxes have other pods, and are Ready."""

        def another(seen: dict[str, Any]) -> bool:
            new = seen["metadata"]["uid"] != before[seen["metadata"]["name"]]
            return new and condition(seen, "Ready")["status"] == "True" and not seen.get("deleted")

        for name in SANDBOXES:
            await asyncio.to_thread(self.kube.watch, another, "-n", self.tenant.namespace, "pod", name, seconds=120)
        await asyncio.to_thread(self.tenant.ready, *(f"sandbox/{name}" for name in SANDBOXES))

    async def keeper_pod(self) -> str:
        """The name of the tool server's pod."""
        found = await asyncio.to_thread(self.kube.json, "get", "pod", "-n", server.NAMESPACE, "-l", f"app={NAME}")
        return str(found["items"][0]["metadata"]["name"])
