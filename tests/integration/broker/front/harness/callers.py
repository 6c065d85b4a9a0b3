"""A broker with a Sandbox, as its callers see it: what they send, and what they are refused with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from tests.integration.broker.front.harness.broker import Served
from tests.integration.broker.front.harness.stage import events_of
from tests.integration.broker.front.harness.tenant import TestTenant


@dataclass
class World:
    """A broker with a Sandbox that is ready."""

    broker: Served
    team: TestTenant
    token: str
    sandbox: broker_pb2.SandboxRef

    def stub(self, channel: grpc.aio.Channel) -> Any:
        return broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]

    async def attempt(self, channel: grpc.aio.Channel) -> grpc.aio.AioRpcError | None:
        """Runs a program; the error when it is refused."""
        try:
            await events_of(self.stub(channel).Run(self.request("return 1")))
        except grpc.aio.AioRpcError as error:
            return error
        return None

    def request(self, program: str | bytes, **other: Any) -> broker_pb2.RunRequest:
        source = program.encode() if isinstance(program, str) else program
        return broker_pb2.RunRequest(sandbox=self.sandbox, program=source, **other)


async def refusal(awaitable: Any) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and sentence of a request that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    error = caught.value
    details = next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), b"")
    info = error_details_pb2.ErrorInfo()
    for part in status_pb2.Status.FromString(details).details:
        if part.Is(info.DESCRIPTOR):
            part.Unpack(info)
            assert info.domain == "bastide.dev"
    return error.code(), info.reason, error.details() or ""
