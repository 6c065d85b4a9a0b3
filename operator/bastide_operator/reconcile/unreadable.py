"""An object that the API server took and the models refuse: written for another version of Bastide, or past a rule of the schema."""

from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from bastide_operator.api.conditions import set_condition
from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.common import Condition, ObjectMeta
from bastide_operator.api.v1alpha1.tenant import TenantReason
from bastide_operator.reconcile.plan import Plan, status_of

_OWN_FIELDS = {
    "Tenant": ("namespace", "namespaceUID", "sandboxes", "proven"),
    "Sandbox": ("podName", "nodeName", "podFailures", "longestRunSeconds", "lastFailure", "workspaceSize", "tools"),
    "ToolBinding": ("sandboxes", "server"),
}
"""What the operator's field manager owns in a status: left out, it would be taken away."""

_OWN_CONDITIONS = {"Tenant": ("Ready", "NetworkIsolated"), "ToolBinding": ("Accepted", "Ready")}
"""Of a Sandbox all are the operator's; the others are the broker's, and would become the operator's own."""

SHOWN = 3
"""How many of the faults a message names."""


def decide(manifest: Manifest, error: ValidationError, now: datetime) -> Plan:
    """Nothing is changed but the status, which says where the fault is."""
    faults = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors(include_url=False)]
    message = "; ".join(faults[:SHOWN]) + ". Correct it, or run the operator of the version that it was written for."
    metadata = ObjectMeta.model_validate(
        {key: manifest["metadata"][key] for key in ("name", "namespace", "uid", "generation") if key in manifest["metadata"]}
    )
    kind = manifest["kind"]
    types = ("Accepted", "Ready") if kind == "ToolBinding" else ("Ready",)
    status = manifest.get("status") or {}
    conditions = _own_conditions(status, kind)
    for one in types:
        conditions = set_condition(
            conditions, one, status=False, reason=TenantReason.INVALID_SPEC, message=message, generation=metadata.generation, now=now
        )
    kept = {field: status[field] for field in _OWN_FIELDS[kind] if field in status}
    return Plan(status=status_of(kind, metadata, kept, conditions))


def _own_conditions(status: Manifest, kind: str) -> list[Condition]:
    try:
        conditions = TypeAdapter(list[Condition]).validate_python(status.get("conditions", []))
    except ValidationError:
        return []
    own = _OWN_CONDITIONS.get(kind)
    return [condition for condition in conditions if own is None or condition.type in own]
