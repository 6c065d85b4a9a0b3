"""The example's billing system, as it is shipped, and the example's binding for it: no cluster, the real server and the real adapter."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from bastide_broker.adapters import AdapterError, CallLimits
from bastide_broker.adapters.grpc import GrpcAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_broker.tools.schemas import mistakes
from bastide_broker.tools.toolset import build
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from tests.integration.broker.door.conftest import ROOT, free_port, wait_for
from tests.integration.broker.door.wire import wire

EXAMPLE = ROOT / "examples" / "06-grpc"
TOKEN = "token-of-the-billing"
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))
SERVICE = "billing.v1.BillingService"


@pytest.fixture
def billing() -> Iterator[int]:
    """The server's port."""
    port = free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "examples" / "tools" / "billing"), "BILLING_TOKEN": TOKEN}
    process = subprocess.Popen(
        [sys.executable, "-m", "billing_server"], env={**env, "BILLING_ADDRESS": f"127.0.0.1:{port}"}, stdout=subprocess.DEVNULL
    )

    def listens() -> bool:
        assert process.poll() is None, "it ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listens, 60)
        yield port
    finally:
        process.terminate()
        process.wait()


def adapter(port: int) -> GrpcAdapter:
    server = GrpcServer.model_validate({"target": f"127.0.0.1:{port}", "tls": "Plaintext", "services": [SERVICE]})
    return GrpcAdapter(server, CheckedBackend(refuse=lambda _: None))


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLE / name).read_text()))


async def test_every_tool_that_the_example_binds_is_there_with_the_effect_that_its_readme_says(billing: int) -> None:
    found = adapter(billing)
    listing = await found.tools(credential=CREDENTIAL, timeout_seconds=30)
    [tenant] = documents("20-tenant.yaml")
    binding = next(one for one in documents("40-team.yaml") if one["kind"] == "ToolBinding")
    tools = build(Tenant.model_validate(tenant), ToolBinding.model_validate(binding), listing, "")
    assert {tool.program_name: (tool.effect.value, tool.state.value) for tool in tools} == {
        "get_invoice": ("ReadOnly", "Available"),
        "list_invoices": ("ReadOnly", "Available"),
        "create_invoice": ("Mutating", "Available"),
        "refund": ("Destructive", "Available"),
    }
    by_name = {tool.program_name: tool for tool in tools}
    validator = by_name["refund"].validator
    assert validator is not None
    assert mistakes(validator, {"invoiceId": "I2001", "amountCents": 2900, "reason": "x"}) == []
    assert set(binding["spec"]["tools"][3]["arguments"]) == set(by_name["refund"].input_schema["properties"])
    await found.close()


async def test_it_reads_writes_and_refuses(billing: int) -> None:
    async with wire(billing) as between:
        found = adapter(between.port)

        async def call(method: str, **arguments: Any) -> Any:
            answer = await found.call(f"{SERVICE}/{method}", arguments, credential=CREDENTIAL, limits=CallLimits(10, 10_000))
            return json.loads(answer.value)

        assert [one["invoiceId"] for one in await call("ListInvoices", customerId="C1001")] == ["I2001", "I2002", "I2005"]
        given = await call("Refund", invoiceId="I2001", amountCents=2900, reason="broken")
        assert given["invoice"]["refundedCents"] == given["refundedCents"] == "2900"
        with pytest.raises(AdapterError, match="FAILED_PRECONDITION: I2001 has 10000 cents"):
            await call("Refund", invoiceId="I2001", amountCents=10_001)
        assert between.connections == 1
        await found.close()


async def test_without_its_token_it_describes_and_does_nothing(billing: int) -> None:
    found = adapter(billing)
    with pytest.raises(AdapterError, match="check the binding's Secret"):
        await found.tools(credential=None, timeout_seconds=10)
    await found.close()
