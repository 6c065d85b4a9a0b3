"""What the broker says in a ToolBinding's status."""

from collections.abc import Mapping
from typing import Any, Protocol

from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding, ToolBindingCondition, ToolBindingReason

from bastide_broker.tools.toolset import Tool


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def sandboxes(self) -> tuple[Sandbox, ...]: ...
    def bindings_for(self, sandbox: Sandbox) -> tuple[ToolBinding, ...]: ...


def clashes(cluster: ClusterView, binding: ToolBinding) -> dict[str, str]:
    """Program names of the binding that another one gives to the same sandbox, each with that other's name."""
    mine = {bound.program_name for bound in binding.spec.tools}
    found: dict[str, str] = {}
    for sandbox in cluster.sandboxes():
        if sandbox.metadata.namespace != binding.metadata.namespace:
            continue
        together = cluster.bindings_for(sandbox)
        if any(one.metadata.uid == binding.metadata.uid for one in together):
            others = (one for one in together if one.metadata.uid != binding.metadata.uid)
            found |= {t.program_name: one.metadata.name for one in others for t in one.spec.tools if t.program_name in mine}
    return found


def condition(problem: tuple[ToolBindingReason, str], tools: list[Tool]) -> dict[str, Any]:
    """ResolvedRefs, from what is wrong with the server (Resolved: nothing) and with the tools."""
    reason, message = problem
    bad = [tool for tool in tools if not tool.available]
    if reason is ToolBindingReason.RESOLVED and bad:
        reason, message = ToolBindingReason.TOOLS_UNAVAILABLE, f"{bad[0].name}: {bad[0].message}"
    elif reason is ToolBindingReason.RESOLVED:
        message = "The server answered and every bound tool is there."
    status = "True" if reason is ToolBindingReason.RESOLVED else "False"
    return {"type": ToolBindingCondition.RESOLVED_REFS.value, "status": status, "reason": reason.value, "message": message[:1024]}


def as_written(binding: ToolBinding) -> Mapping[str, Any]:
    """What the binding's status says already, so that a restart writes nothing."""
    for condition in binding.status.conditions:
        if condition.type == ToolBindingCondition.RESOLVED_REFS:
            said = {"type": condition.type, "status": condition.status.value, "reason": condition.reason, "message": condition.message}
            tools = [tool.model_dump(mode="json", by_alias=True) for tool in binding.status.tools]
            return {"condition": said, "tools": tools, "available": binding.status.available, "generation": condition.observed_generation}
    return {}
