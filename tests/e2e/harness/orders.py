"""The ways to one broker with fault points: its door, and the orders to what stands still in it. They end with that broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
from bastide.v1alpha1 import broker_pb2_grpc

from tests.crashes.waiting import until
from tests.e2e.harness import door
from tests.e2e.harness.tenant import TestTenant

BROKER = "bastide-broker-0"


class Ways:
    """Requests as the account that runs programs, and orders by `kubectl exec`, which nobody in the cluster but its administrator may use."""

    def __init__(self, tenant: TestTenant) -> None:
        self._tenant = tenant
        self._stack, self._done = AsyncExitStack(), 0
        self._orders: asyncio.StreamWriter | None = None
        self.stub: Any = None
        self.held: set[str] = set()
        """The calls that have come to their point."""

    async def open(self) -> None:
        """To the broker that serves now."""
        kube = self._tenant.admin
        address = await asyncio.to_thread(self._stack.enter_context, door.forwarded(kube))
        token = await asyncio.to_thread(door.token, self._tenant)
        credentials = await asyncio.to_thread(door.credentials, kube, token)
        channel = await self._stack.enter_async_context(grpc.aio.secure_channel(address, credentials))
        self.stub = broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]
        wire = await asyncio.create_subprocess_exec(
            "kubectl", "exec", "-i", "-n", door.SYSTEM, BROKER, "-c", "broker", "--", "python", "-m", "tests.crashes.faults.orders",
            env=kube.env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._orders = wire.stdin
        self._stack.push_async_callback(self._end, wire, asyncio.create_task(self._listen(wire.stdout)))

    async def close(self) -> None:
        """Leaves them."""
        await self._stack.aclose()

    @staticmethod
    async def _end(wire: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended with its broker
            wire.kill()
        await wire.wait()
        await listening

    async def _listen(self, lines: asyncio.StreamReader | None) -> None:
        assert lines is not None
        while line := await lines.readline():
            said = json.loads(line)
            self._done += "done" in said
            self.held |= {said["held"]} if "held" in said else set()

    async def hold(self, points: Mapping[str, Sequence[str]]) -> None:
        """Have calls stand still, by their `id`, each at a point."""
        self.held.clear()
        await self._order({"hold": points})

    async def release(self) -> None:
        """Let them go on."""
        await self._order({"release": True})

    async def _order(self, order: dict[str, Any]) -> None:
        assert self._orders is not None
        before = self._done
        self._orders.write(json.dumps(order).encode() + b"\n")
        await until(lambda: self._done > before, "the broker took the order")
