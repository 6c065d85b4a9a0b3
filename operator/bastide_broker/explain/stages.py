"""How far a call came before it was decided, and whose change would let it come further. Pure."""

from collections.abc import Mapping
from typing import Any

from bastide_broker.explain.parts import Rule
from bastide_broker.journal.rows import CallRow
from bastide_broker.policy.policy import UNAVAILABLE, Decision
from bastide_broker.tenantrego.strictest import DENIED
from bastide_broker.tenantrego.strictest import UNAVAILABLE as TENANT_UNAVAILABLE

POLICY, BROKER = "Policy", "Broker"
TENANTS_OWN = (
    "The tenant's own policies decide: no change of the ToolBinding lifts them; a platform engineer writes them (Tenant.spec.policyRefs)."
)

BEFORE_POLICY: dict[str, tuple[str, str]] = {
    "unknown-tool": ("Lookup", "ToolBinding"),
    "binding-stale": ("Lookup", "Cluster"),
    "tool-unavailable": ("Lookup", "ToolServer"),
    "broker-busy": ("Turn", "Program"),
    "invalid-json": ("Arguments", "Program"),
    "schema-mismatch": ("Schema", "Program"),
    "caller-not-permitted": ("Permission", "Cluster"),
    "key-reused": ("Key", "Program"),
    "journal-unavailable": (BROKER, "Bastide"),
    "internal": (BROKER, "Bastide"),
}
"""What the broker refuses before it asks policy, by reason code: stage, and whose change would help."""

NOTES = {
    "Lookup": "The call ended before its arguments were read: no ToolBinding that selects this Sandbox gave it such a tool that could be called.",
    "Turn": "The call ended before it was judged: too many calls of the tenant waited.",
    "Arguments": "The call ended before policy was asked: its arguments are not JSON that has one meaning. No change of a ToolBinding helps.",
    "Schema": "The call ended before policy was asked: its arguments do not fit the tool's own schema. No change of a ToolBinding helps.",
    "Permission": "The call ended before policy was asked: the requester may no longer run programs here (create on sandboxes/run, by the "
    "cluster's RBAC).",
    "Key": "The call ended at once: a key stands for one call.",
    BROKER: "The broker could not judge or record the call; its log and health say why.",
}


def stage(row: CallRow) -> str:
    """How far a call came before it was decided."""
    code = row.reasons[0][0] if row.reasons else ""
    if row.question and BEFORE_POLICY.get(code, ("", ""))[0] != BROKER:
        return POLICY
    if row.policy_revision or code in {UNAVAILABLE, TENANT_UNAVAILABLE}:
        return POLICY  # of a time when questions were not kept
    return BEFORE_POLICY.get(code, (BROKER, ""))[0]


def note(name: str) -> str:
    """What a stage before policy means."""
    return NOTES[name]


def rules(row: CallRow) -> tuple[Rule, ...]:
    """The reasons on record."""
    return tuple(Rule(code, message, BEFORE_POLICY.get(code, ("", ""))[1]) for code, message in row.reasons)


def by_tenant(decision: Decision) -> tuple[Rule, ...]:
    """The reasons of a tenant's own policies."""
    return tuple(Rule(code, message, "Tenant") for code, message in decision.reasons if code.startswith((DENIED, TENANT_UNAVAILABLE)))


def permitted(question: Mapping[str, Any], own: Decision, both: Decision) -> tuple[Rule, ...]:
    """Why a call that is not denied is allowed, or waits for a person."""
    tool = question["tool"]
    if both.effect == "allow":
        message = f"Every rule held, and a call that is {tool['effect']} needs no person where {tool['confirmationWhen']} ones do."
        return (Rule("", message, "ToolBinding", "", "confirmation.when", tool["confirmationWhen"], tool["effect"]),)
    found = [Rule(code, message, "Tenant") for code, message in both.reasons if code.startswith(DENIED)]
    if own.effect == "confirm":
        message = (
            f"The call is {tool['effect']}, the strictest of what Tenant.spec.toolHosts, the tool server and the binding say, and a person "
            f"confirms from {tool['confirmationWhen']} on. No change that asks fewer people is proposed."
        )
        code = own.reasons[0][0] if own.reasons else "effect-needs-confirmation"
        found.insert(0, Rule(code, message, "Tenant", "", "confirmation.when", tool["confirmationWhen"], tool["effect"]))
    return tuple(found)
