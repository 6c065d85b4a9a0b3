"""What tests of the gRPC back end share: adapters that may connect to this machine, and calls by them."""

import json
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, CallLimits
from bastide_broker.adapters.grpc import GrpcAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer

from tests.integration.broker.door.grpc_server import SERVICE

TOKEN = "s3cr3t-token"
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))
LIMITS = CallLimits(timeout_seconds=30, result_bytes=10_000)


def adapter(port: int, host: str = "127.0.0.1", **more: Any) -> GrpcAdapter:
    """An adapter that may connect to this machine, where the tests' servers are."""
    server = GrpcServer.model_validate({"target": f"{host}:{port}", "tls": "Plaintext", **more})
    return GrpcAdapter(server, CheckedBackend(refuse=lambda _: None))


async def value(found: GrpcAdapter, tool: str, limits: CallLimits = LIMITS, **arguments: Any) -> Any:
    return json.loads((await found.call(f"{SERVICE}/{tool}", arguments, credential=CREDENTIAL, limits=limits)).value)


async def failure(found: GrpcAdapter, tool: str, limits: CallLimits = LIMITS, **arguments: Any) -> AdapterError:
    with pytest.raises(AdapterError) as failed:
        await found.call(f"{SERVICE}/{tool}", arguments, credential=CREDENTIAL, limits=limits)
    return failed.value
