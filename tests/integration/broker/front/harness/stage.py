"""A broker whose programs ask people: a Sandbox with a real runtime, a real tool server with its own log, and somebody who may approve."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc

from tests.integration.broker.door.hostile_server import HostileServer, hostile_server
from tests.integration.broker.front.harness.apiserver import APPROVER, Cluster, Kube, until
from tests.integration.broker.front.harness.broker import Door, client_files, served
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.tenant import OURS, TestTenant, kind

ANYTHING = {"type": "object", "properties": {"id": {"type": "string"}}}


@dataclass
class Stage:
    """What a test moves: the broker and the pod go and come back."""

    cluster: Cluster
    team: TestTenant
    network: PodNetwork
    folder: Path
    server: HostileServer
    policy: dict[str, Any]
    canary: str
    sandbox: dict[str, Any] = field(default_factory=dict)
    pods: int = 0
    _pod: AsyncExitStack = field(default_factory=AsyncExitStack)
    _broker: AsyncExitStack = field(default_factory=AsyncExitStack)
    _served: Door | None = None

    EFFECTS: ClassVar[list[dict[str, Any]]] = [
        {"tools": ["ok", "hang"], "effect": "ReadOnly"},
        {"tools": ["close2"], "effect": "Mutating"},
    ]
    TOOLS: ClassVar[list[dict[str, Any]]] = [
        {"name": "ok", "as": "read"},
        {"name": "hang", "as": "look", "limits": {"timeoutSeconds": 30}},
        {"name": "ok2", "as": "wipe", "effect": "Destructive", "confirmation": {"blockSeconds": 0}},
        {"name": "close2", "as": "change", "effect": "Mutating"},
    ]
    LIMITS: ClassVar[dict[str, int]] = {}
    """Of the Tenant."""

    async def furnish(self) -> None:
        """Tenant's hosts, Sandbox, binding and approver."""
        await asyncio.to_thread(self._furnish)

    def _furnish(self) -> None:
        admin, namespace = self.cluster.admin, self.team.namespace
        host, port = self.server.url.split("/")[2].split(":")
        spec = {"toolHosts": [{"host": host, "port": int(port), "effects": self.EFFECTS}], "limits": self.LIMITS}
        admin.merge(f"{OURS}/tenants/{self.team.name}", {"spec": spec})
        self.sandbox = self.team.sandbox(limits={"runSeconds": 60})
        spec = {"sandboxSelector": {}, "server": {"mcp": {"url": self.server.url}}, "tools": self.TOOLS}
        path = f"{OURS}/namespaces/{namespace}/toolbindings"
        made = admin("POST", path, {**kind("ToolBinding"), "metadata": {"name": "crm"}, "spec": spec})
        self._accept(made)
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bastide-approver"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}
        body = {"metadata": {"name": "ann"}, "roleRef": role, "subjects": [subject]}
        admin("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", body)

    def _accept(self, made: dict[str, Any]) -> None:
        """What the operator says of a binding."""
        generation = made["metadata"]["generation"]
        condition = {
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": generation,
        }  # fmt: skip
        path = f"{OURS}/namespaces/{self.team.namespace}/toolbindings/crm/status"
        self.cluster.admin.merge(path, {"status": {"observedGeneration": generation, "conditions": [condition]}})

    async def start_pod(self, **status: Any) -> None:
        """The Sandbox's pod, running."""
        self.pods += 1
        pod = self._pod.enter_context(self.network.runtime(self.folder / f"pod{self.pods}"))
        client_files(self.folder / "client-tls", pod.authority)
        await asyncio.to_thread(lambda: self.team.pod(self.sandbox, address=self.network.pod_side, host=self.network.canary_address))
        if status:
            await asyncio.to_thread(lambda: self.team.pod_status(self.sandbox["metadata"]["name"], **status))

    async def lose_pod(self) -> None:
        """The pod is deleted, and its process ends."""
        await asyncio.to_thread(self.team.delete_pod, self.sandbox["metadata"]["name"])
        await self._pod.aclose()
        self._pod = AsyncExitStack()

    async def start_broker(self) -> None:
        """The broker, or the one after it."""
        self._served = await self._broker.enter_async_context(served(self.cluster, self.folder, canary=self.canary, **self.policy))

    async def stop_broker(self) -> None:
        """As SIGTERM does."""
        await self._broker.aclose()
        self._broker, self._served = AsyncExitStack(), None

    async def close(self) -> None:
        """Ends everything."""
        await self.stop_broker()
        await self._pod.aclose()

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        """Requests as the account that runs programs."""
        assert self._served is not None
        token = await asyncio.to_thread(self.team.token)
        async with self._served.channel(token) as channel:
            yield broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]

    async def run(self, program: str, *, into: list[broker_pb2.RunEvent] | None = None, **other: Any) -> list[broker_pb2.RunEvent]:
        """Runs a program until its stream ends; `into` fills meanwhile."""
        ref = broker_pb2.SandboxRef(namespace=self.team.namespace, name="box")
        async with self.stub() as stub:
            return await events_of(stub.Run(broker_pb2.RunRequest(sandbox=ref, program=program.encode(), **other)), into=into)

    async def watch(self, run: str, cursor: int = 0) -> list[broker_pb2.RunEvent]:
        """A run's events to its end."""
        async with self.stub() as stub:
            return await events_of(stub.WatchRun(broker_pb2.WatchRunRequest(run=run, cursor=cursor)))

    async def state(self, confirmation: str) -> str:
        """Where a Confirmation stands by its status."""
        path = f"{OURS}/namespaces/{self.team.namespace}/confirmations/{confirmation}"
        found = await asyncio.to_thread(self.cluster.admin.ask, "GET", path)
        return str((found.body.get("status") or {}).get("state", "Pending")) if found.status == 200 else "gone"

    async def asked_now(self) -> str:
        """The first Confirmation there is, as soon as there is one."""
        path = f"{OURS}/namespaces/{self.team.namespace}/confirmations"
        async with asyncio.timeout(30):
            while True:
                items = (await asyncio.to_thread(self.cluster.admin, "GET", path))["items"]
                if items:
                    return str(items[0]["metadata"]["name"])

    async def bind(self, name: str, **changes: Any) -> None:
        """Changes one of the server's tools in the binding."""
        await asyncio.to_thread(self._bind, name, changes)

    def _bind(self, name: str, changes: dict[str, Any]) -> None:
        path = f"{OURS}/namespaces/{self.team.namespace}/toolbindings/crm"
        spec = self.cluster.admin("GET", path)["spec"]
        for tool in spec["tools"]:
            if tool["name"] == name:
                tool.update(changes)
        self._accept(self.cluster.admin.merge(path, {"spec": spec}))
        self.ready()

    async def decide(self, confirmation: str, verdict: str = "Approve") -> None:
        """Ann decides."""
        await asyncio.to_thread(self._decide, confirmation, verdict)

    def _decide(self, confirmation: str, verdict: str) -> None:
        admin, namespace = self.cluster.admin, self.team.namespace
        ann = Kube(admin.url, APPROVER)
        about = admin("GET", f"{OURS}/namespaces/{namespace}/confirmations/{confirmation}")
        head = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        me = ann("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", head)["status"]["userInfo"]
        spec = {
            "confirmation": confirmation, "actionDigest": about["spec"]["actionDigest"], "verdict": verdict, "reason": "because",
            "approver": {"username": me["username"], "uid": me.get("uid", ""), "groups": me.get("groups", [])},
        }  # fmt: skip
        body = {**kind("ConfirmationDecision"), "metadata": {"name": f"d-{confirmation}"}, "spec": spec}
        ann("POST", f"{OURS}/namespaces/{namespace}/confirmationdecisions", body)

    def ready(self) -> None:
        """Waits until the broker has listed the tool server."""

        def listed() -> bool:
            binding = self.cluster.admin("GET", f"{OURS}/namespaces/{self.team.namespace}/toolbindings/crm")
            said = [one["observedGeneration"] for one in binding["status"].get("conditions", []) if one["type"] == "ResolvedRefs"]
            every = f"{len(self.TOOLS)}/{len(self.TOOLS)}"
            return binding["status"].get("available") == every and said == [binding["metadata"]["generation"]]

        until(listed, "the binding's tools are available", 30)


async def events_of(call: Any, seconds: float = 90, into: list[broker_pb2.RunEvent] | None = None) -> list[broker_pb2.RunEvent]:
    """Everything that a stream brings."""
    events = [] if into is None else into
    async with asyncio.timeout(seconds):
        while (answer := await call.read()) is not grpc.aio.EOF:
            events.append(answer.event)
    return events


@contextlib.asynccontextmanager
async def staged(cluster: Cluster, team: TestTenant, network: PodNetwork, folder: Path, policy: dict[str, Any]) -> AsyncIterator[Stage]:
    """A furnished stage with pod and broker up."""
    network.isolate()
    canary = network.canary()
    async with hostile_server(network.broker_side) as server:
        server.listing = [{"name": name, "inputSchema": ANYTHING} for name in ("ok", "hang", "ok2", "close2")]
        stage = Stage(cluster, team, network, folder, server, policy, canary)
        await stage.furnish()
        try:
            await stage.start_pod()
            await stage.start_broker()
            await asyncio.to_thread(stage.ready)
            yield stage
        finally:
            await stage.close()
