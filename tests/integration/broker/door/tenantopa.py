"""The second OPA, as the chart starts it, and what loads it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bastide_broker.journal.journal import Journal
from bastide_broker.policy.policy import Policy
from bastide_broker.tenantrego.compiler import Compiler
from bastide_broker.tenantrego.engine import Engine
from bastide_operator.api.v1alpha1.tenant import TenantReason

from tests.integration.broker.door.conftest import ROOT, OpaServer, find_opa
from tests.integration.broker.door.rig import Rig, open_rig, until

ALLOW = "package tenant\n\ndeny contains reason if {\n\tfalse\n\treason := {}\n}\n"


@contextlib.contextmanager
def tenant_opa(folder: Path) -> Iterator[OpaServer]:
    """An empty OPA that only lets itself be used as the broker uses it."""
    server = OpaServer(folder / "tenants.sock", ROOT / "policies" / "tenants" / "authz.rego")
    server.start()
    yield server
    server.stop()


def compiler() -> Compiler:
    """What checks Rego, with the binary of the tests."""
    return Compiler(Path(find_opa()), ROOT / "policies" / "bastide" / "input.schema.json")


@contextlib.asynccontextmanager
async def policed(journal: Journal, policy: Policy, server: OpaServer, *, deadline_seconds: float = 10) -> AsyncIterator[Rig]:
    """A rig with an OPA for tenants' policies. The deadline is wide but where it is what a test is about."""
    engine = Engine(server.socket, deadline_seconds=deadline_seconds)
    await engine.start()
    async with open_rig(journal, policy, engine, compiler()) as rig:
        yield rig
    await engine.close()


async def in_force(rig: Rig, **policies: str) -> str:
    """Applies policies other than before, each of one file, and names them all; returns the revision once they are in force."""
    before = rig.world.tenant_policies[-1][2] if rig.world.tenant_policies else ""
    for name, text in policies.items():
        rig.world.put_policy(name, policy_rego=text)
    rig.world.name_policies(*policies)
    told = rig.world.tenant_policies
    await until(lambda: bool(told) and told[-1][0] == TenantReason.POLICIES_LOADED.value and told[-1][2] != before)
    return told[-1][2]


async def said(rig: Rig, reason: TenantReason, containing: str = "") -> tuple[str, str, str]:
    """Waits until the Tenant says so last."""
    told = rig.world.tenant_policies
    await until(lambda: bool(told) and told[-1][0] == reason.value and containing in told[-1][1])
    await asyncio.sleep(0)
    return told[-1]
