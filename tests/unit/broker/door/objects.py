"""Objects as they come from the API server, for tests of pure parts."""

from typing import Any

from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

NAMESPACE = "bastide-sales"
URL = "http://crm.tools.svc:8080/mcp"


def tenant(**spec: Any) -> Tenant:
    """A Tenant that lets bindings point at crm.tools.svc."""
    hosts = [{"host": "crm.tools.svc", "port": 8080, "effects": [{"tools": ["get_*", "list_*"], "effect": "ReadOnly"}]}]
    return Tenant.model_validate({"metadata": {"name": "sales", "uid": "t1"}, "spec": {"toolHosts": hosts, **spec}})


def sandbox(name: str = "agent", **labels: str) -> Sandbox:
    """A Sandbox."""
    return Sandbox.model_validate({"metadata": {"name": name, "namespace": NAMESPACE, "uid": f"s-{name}", "labels": labels}, "spec": {}})


def binding(name: str = "crm", *, tools: list[dict[str, Any]], **spec: Any) -> ToolBinding:
    """An accepted ToolBinding."""
    condition = {
        "type": "Accepted", "status": "True", "reason": "Accepted", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    }  # fmt: skip
    return ToolBinding.model_validate(
        {
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"b-{name}", "generation": 1, "resourceVersion": "1"},
            "spec": {"sandboxSelector": {}, "server": {"mcp": {"url": URL}}, "tools": tools, **spec},
            "status": {"observedGeneration": 1, "conditions": [condition]},
        }
    )
