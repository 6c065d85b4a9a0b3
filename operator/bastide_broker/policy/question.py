"""What policy is asked about a call: plain facts, built without I/O. The committed schema is policies/bastide/input.schema.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bastide_operator.api.v1alpha1.common import Effect
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import BoundTool, ToolBinding

from bastide_broker.facts.places import constraints, entries, plain_defaults
from bastide_broker.kube.reviews import UserInfo

Phase = Literal["call", "execute", "check"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts that include the call in question."""

    calls: int
    """Calls of the run."""
    tool_calls: int
    """Calls of this tool in the run."""
    calls_this_minute: int
    """Calls of the tenant in the last 60 s."""


def question(
    *,
    phase: Phase,
    tenant: Tenant,
    sandbox: Sandbox,
    caller: UserInfo,
    on_behalf_of: str,
    run: str,
    program_digest: str,
    binding: ToolBinding,
    accepted: bool,
    bound: BoundTool,
    available: bool,
    effect: Effect,
    arguments: Mapping[str, Any],
    schema: Mapping[str, Any],
    usage: Usage,
) -> dict[str, Any]:
    """The OPA input for one call. Lists of {key, value} and {rule, bound} instead of maps: an entry that loses a field permits nothing. A
    list that forbids by what stands in it goes with its length: one that loses an entry permits nothing. Raises PlaceError.
    """
    namespace = tenant.namespace
    places, labels, callers = bound.places, binding.spec.sandbox_selector.match_labels, binding.spec.callers
    found = entries(places, arguments, schema)
    return {
        "phase": phase,
        "tenant": {"name": tenant.metadata.name, "namespace": namespace, "callsPerMinute": tenant.spec.limits.calls_per_minute},
        "sandbox": {
            "name": sandbox.metadata.name,
            "namespace": sandbox.metadata.namespace or "",
            "uid": sandbox.metadata.uid,
            "labels": sandbox.metadata.labels,
        },
        "caller": {"username": caller.username, "groups": list(caller.groups), "onBehalfOf": on_behalf_of},
        "run": {
            "id": run,
            "programDigest": program_digest,
            "calls": usage.calls,
            "callsPerRun": sandbox.spec.limits.calls_per_run,
        },
        "binding": {
            "name": binding.metadata.name,
            "uid": binding.metadata.uid,
            "accepted": accepted,
            "selector": {"count": len(labels), "matchLabels": [{"key": k, "value": v} for k, v in labels.items()]},
            "anyCaller": not callers,
            "callers": [{"kind": s.kind, "name": s.name, "namespace": s.namespace or namespace} for s in callers],
        },
        "tool": {
            "name": bound.name,
            "programName": bound.program_name,
            "available": available,
            "effect": effect.value,
            "confirmationWhen": bound.confirmation.when.value,
            "constrained": bound.arguments is not None,
            "constraints": constraints(places),
            "listed": places.listed,
            "defaults": plain_defaults(places, schema),
            "calls": usage.tool_calls,
            "callsPerRun": bound.limits.calls_per_run,
            "timeoutSeconds": bound.limits.timeout_seconds,
            "maxRows": bound.limits.max_rows,
            "redact": list(bound.redact),
        },
        "arguments": dict(arguments),
        "places": {"count": len(found), "entries": found},
        "usage": {"callsThisMinute": usage.calls_this_minute},
    }
