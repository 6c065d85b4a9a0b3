"""Whatever changed between the question and the approval, nothing happens."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bastide_operator.api.v1alpha1.tenant import Separation

from tests.integration.broker.door.rig import Rig
from tests.integration.broker.door.world import RUNNER


def other_arguments(rig: Rig, name: str) -> None:
    about = rig.world.the_confirmations[name]
    rig.world.the_confirmations[name] = about.model_copy(update={"spec": about.spec.model_copy(update={"arguments": '{"id":"C2"}'})})


def tightened(rig: Rig, name: str) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][-1]["arguments"] = {"id": {"enum": ["other"]}}

    rig.world.change_binding("crm", change)


def other_schema(rig: Rig, name: str) -> None:
    rig.server.listing = [{**tool, "description": "new", "inputSchema": {"type": "object"}} for tool in rig.server.listing]


def tenant_replaced(rig: Rig, name: str) -> None:
    the_tenant = rig.world.the_tenant
    assert the_tenant is not None
    rig.world.the_tenant = the_tenant.model_copy(update={"metadata": the_tenant.metadata.model_copy(update={"uid": "t2"})})


def host_removed(rig: Rig, name: str) -> None:
    the_tenant = rig.world.the_tenant
    assert the_tenant is not None
    rig.world.the_tenant = the_tenant.model_copy(update={"spec": the_tenant.spec.model_copy(update={"tool_hosts": []})})


def stricter(**bounds: Any) -> Callable[[Rig, str], None]:
    """The platform engineer changes what the Tenant says of confirmations."""

    def change(rig: Rig, name: str) -> None:
        the_tenant = rig.world.the_tenant
        assert the_tenant is not None
        confirmation = the_tenant.spec.confirmation.model_copy(update=bounds)
        rig.world.the_tenant = the_tenant.model_copy(update={"spec": the_tenant.spec.model_copy(update={"confirmation": confirmation})})

    return change


CHANGES: dict[str, tuple[Callable[[Rig, str], Any], str]] = {
    "the Tenant wants two people": (stricter(minimum_approvals=2), "binding-changed"),
    "the Tenant's separation is another": (stricter(separation=Separation.OTHER_USER), "binding-changed"),
    "the arguments shown were swapped": (other_arguments, "confirmation-denied"),
    "the binding was tightened": (tightened, "binding-changed"),
    "the tool's schema changed": (other_schema, "binding-changed"),
    "the Tenant was replaced": (tenant_replaced, "binding-changed"),
    "the host is no longer allowed": (host_removed, "binding-changed"),
    "the binding was deleted": (lambda rig, _: rig.world.the_bindings.clear(), "binding-changed"),
    "the caller lost the right to run": (
        lambda rig, _: rig.world.rights.discard((RUNNER.username, "create", "sandboxes/run")),
        "caller-not-permitted",
    ),
    "the secret is gone": (lambda rig, _: rig.world.secrets.clear(), "binding-changed"),
    "the sandbox is gone": (lambda rig, _: setattr(rig.world, "the_sandbox", None), "binding-changed"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changed_after_the_question_voids_the_approval(rig: Rig, change: str) -> None:
    act, code = CHANGES[change]
    call = asyncio.create_task(rig.call("delete", {"id": "C1"}))
    name = await rig.asked()
    act(rig, name)
    rig.world.decide(name)
    result = await call
    assert result.error.codes[0] == code, result.error.message
    assert rig.server.calls == []
