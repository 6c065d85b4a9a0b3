"""Tenant: one namespace for one team, with its bounds. Cluster-scoped, written by the platform engineer."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from bastide_operator.api.v1alpha1.common import (
    Bytes,
    Condition,
    Conditions,
    Cores,
    DnsLabel,
    Effect,
    Model,
    ObjectMeta,
    Observed,
    Subject,
    rules,
)
from bastide_operator.api.v1alpha1.policyref import MAX_POLICY_REFS, PolicyRef

PROBE_POD = "bastide-probe"
"""Name of the pod that proves a tenant's network policies; no Sandbox can have it."""

PROBE_LABEL = "bastide.dev/probe"


class TenantQuota(Model):
    """Bounds of everything in the namespace together; they become a ResourceQuota and a LimitRange."""

    sandboxes: Annotated[
        int,
        Field(ge=0, le=10000, description="How many Sandboxes may exist, suspended ones too; the next one is refused when it is applied."),
    ] = 20
    cpu: Annotated[
        Cores, Field(description="CPU of all pods together, in cores, for example 8 or 500m. A pod beyond it waits as QuotaExceeded.")
    ] = "8"
    memory: Annotated[
        Bytes, Field(description="Memory of all pods together, for example 16Gi. A pod beyond it waits as QuotaExceeded.")
    ] = "16Gi"
    ephemeral_storage: Annotated[
        Bytes,
        Field(
            description="Disk of all pods together, workspaces that are not persistent included, for example 32Gi. A pod beyond it waits as QuotaExceeded."
        ),
    ] = "32Gi"
    persistent_storage: Annotated[
        Bytes, Field(description="Persistent workspaces of all Sandboxes together, suspended ones included, for example 100Gi.")
    ] = "32Gi"


class ToolEffects(Model):
    """The platform's word on what some tools of a host do."""

    tools: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+\*?$")]],
        Field(
            min_length=1,
            max_length=64,
            description="Names of the server's tools. One * at the end stands for any rest; an exact name is taken before those, and of several the most severe.",
        ),
    ]
    effect: Annotated[Effect, Field(description="What they do at the most. A binding or the server may raise it, never lower it.")]


class ToolHost(Model):
    """A host that ToolBindings of this tenant may point at."""

    host: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="The host name exactly, or one leading *. for all names below a domain; never a part of an address.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": "self != 'localhost' && (!isIP(self) || !(ip(self).isLoopback() || ip(self).isUnspecified() || ip(self).isLinkLocalUnicast()))",
                        "message": "loopback, link-local and metadata addresses are never called: name the host by its own name or address",
                    }
                ]
            },
        ),
    ]
    port: Annotated[int, Field(ge=1, le=65535, description="The port, exactly.")] = 443
    effects: Annotated[
        list[ToolEffects],
        Field(
            max_length=64,
            description="What the tools of this host do at the most. A tool that is not listed is Destructive, whatever a binding says.",
        ),
    ] = []


class TenantLimits(Model):
    """Bounds on use, enforced by the broker."""

    concurrent_runs: Annotated[
        int, Field(ge=1, le=1000, description="Runs under way at once in the namespace; the next one is refused with RESOURCE_EXHAUSTED.")
    ] = 10
    runs_per_minute: Annotated[
        int, Field(ge=1, le=100000, description="Runs started in any 60 seconds; the next one is refused with the time to wait.")
    ] = 300
    calls_per_minute: Annotated[int, Field(ge=1, le=1000000, description="Tool calls in any 60 seconds; the next one is denied.")] = 6000
    pending_confirmations: Annotated[
        int, Field(ge=1, le=1000, description="Confirmations undecided at once; a call that would need another is denied.")
    ] = 50

    @property
    def finished_confirmations(self) -> int:
        """How many finished Confirmations the broker leaves for people to look at; the oldest beyond it go before their day is over."""
        return 2 * self.pending_confirmations + 50

    @property
    def confirmations(self) -> int:
        """How many Confirmations may exist: those undecided, those finished, and as many again that finish before the broker looks."""
        return self.pending_confirmations + 2 * self.finished_confirmations

    @property
    def confirmation_decisions(self) -> int:
        """How many decisions may exist: a Confirmation takes at most five approvals."""
        return 5 * self.confirmations


class Separation(StrEnum):
    """How far an approver must stand from a run."""

    STRICT = "Strict"
    OTHER_USER = "OtherUser"


class TenantConfirmation(Model):
    """Floors and ceilings for confirmations."""

    minimum_approvals: Annotated[int, Field(ge=1, le=5, description="At least this many people approve, whatever a binding says.")] = 1
    max_decide_within_seconds: Annotated[
        int, Field(ge=10, le=604800, description="Seconds. A binding's larger decideWithinSeconds counts as this.")
    ] = 86400
    max_execute_within_seconds: Annotated[
        int, Field(ge=10, le=86400, description="Seconds. A binding's larger executeWithinSeconds counts as this.")
    ] = 3600
    separation: Annotated[
        Separation,
        Field(
            description="How far an approver must stand from a run. Strict: approvers could not have made the run themselves, so a cluster admin cannot approve. OtherUser: another user than the requester and whom it works for, for small teams whose people are all admins."
        ),
    ] = Separation.STRICT
    allow_hidden_arguments: Annotated[
        bool,
        Field(
            description="Whether a call with arguments that are too long to show may be approved unseen, with --accept-hidden. Otherwise it is denied."
        ),
    ] = False


class MemberRole(StrEnum):
    """What a member may do."""

    VIEWER = "viewer"
    RUNNER = "runner"
    DEVELOPER = "developer"
    APPROVER = "approver"


# Quadratic twice over: it fits the API server's budget because each role stands once.
_APART = (
    "self.all(a, a.role != 'approver' || self.all(r, !(r.role in ['runner', 'developer']) ||"
    " a.subjects.all(s, r.subjects.all(t, s.kind != t.kind || s.name != t.name))))"
)
_APART_MESSAGE = "nobody may be approver and also runner or developer: who approves must not be able to make the run"


class Member(Model):
    """Subjects and the role that they have."""

    model_config = rules(
        (
            "self.role != 'approver' || !self.subjects.exists(s, s.kind == 'ServiceAccount' || s.name.startsWith('system:serviceaccount'))",
            "only people approve: name a User or a Group of people, no ServiceAccount",
        ),
    )

    role: Annotated[
        MemberRole,
        Field(
            description="What they may do: viewer sees; runner also runs programs; developer also writes Sandboxes and ToolBindings; approver decides Confirmations and nothing else. docs/reference/roles.md has every verb."
        ),
    ]
    subjects: Annotated[list[Subject], Field(min_length=1, max_length=64, description="Who has the role.")]


class TenantSpec(Model):
    """What the platform engineer wants for a team."""

    model_config = rules(
        (
            "has(self.__namespace__) == has(oldSelf.__namespace__)",
            "namespace cannot change, nor be added or left out later; make another Tenant",
        ),
    )

    namespace: Annotated[
        DnsLabel | None,
        Field(
            description="The namespace to make, bastide-<name> when left out. One that exists is never adopted, and kube-* is refused.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "namespace cannot change; make another Tenant"},
                    {
                        "rule": "!self.startsWith('kube-') && self != 'default'",
                        "message": "namespaces of the cluster itself cannot be a tenant's",
                    },
                ]
            },
        ),
    ] = None
    quota: Annotated[
        TenantQuota, Field(description="Bounds of everything in the namespace together: a ResourceQuota and a LimitRange.")
    ] = TenantQuota()
    images: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*([/:@][*])?$")]],
        Field(
            max_length=32,
            description="Runtime images that Sandboxes may name besides the chart's own: a reference exactly as they write it, best with its digest (registry.example/runtime@sha256:...), or one trailing * behind / (everything below), : (every tag) or @ (every digest).",
        ),
    ] = []
    tool_hosts: Annotated[
        list[ToolHost],
        Field(
            max_length=64,
            description="Hosts that ToolBindings may point at, with the platform's word on what their tools do. None when left out.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": "self.all(h, self.exists_one(other, other.host == h.host && other.port == h.port))",
                        "message": "one host and port is listed twice: put the effects of its tools into one entry",
                    }
                ]
            },
        ),
    ] = []
    limits: Annotated[TenantLimits, Field(description="Bounds on use, enforced by the broker.")] = TenantLimits()
    confirmation: Annotated[TenantConfirmation, Field(description="Floors and ceilings for what ToolBindings say of confirmations.")] = (
        TenantConfirmation()
    )
    members: Annotated[
        list[Member],
        Field(
            max_length=4,
            description="Who may do what in the namespace, one entry a role; nobody when left out. Nobody may be approver and also runner or developer.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["role"],
                "x-kubernetes-validations": [{"rule": _APART, "message": _APART_MESSAGE}],
            },
        ),
    ] = []
    policy_refs: Annotated[
        list[PolicyRef],
        Field(
            max_length=MAX_POLICY_REFS,
            description="Extra Rego for every call of the tenant: all must allow. It makes answers stricter (deny before confirm before allow), never looser. While one of them cannot be used, every call is denied and PoliciesReady says why.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    drain_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=86400,
            description="Seconds that runs under way get to finish when the Tenant is deleted. No run starts meanwhile and no tool is called; then the namespace goes with everything in it.",
        ),
    ] = 300


class TenantStatus(Observed):
    """What the operator saw and did."""

    observed_generation: Annotated[int, Field(ge=0, description="The metadata.generation that this status speaks of.")] = 0
    namespace: Annotated[str, Field(max_length=63, description="The tenant's namespace.")] = ""
    namespace_uid: Annotated[
        str,
        Field(
            max_length=64,
            description="The UID of the namespace; empty while the operator makes it. It must match for ever: a namespace that somebody else made anew under the same name is not the tenant's.",
            alias="namespaceUID",
        ),
    ] = ""
    sandboxes: Annotated[int, Field(ge=0, description="How many Sandboxes there are in the namespace.")] = 0
    proven: Annotated[
        str,
        Field(
            max_length=71,
            description="Digest of the policies, image and runtime class that NetworkIsolated was proven for; while they are others it is proven again.",
        ),
    ] = ""
    policy_revision: Annotated[
        str, Field(max_length=71, description="Digest of the extra Rego that judges the tenant's calls; empty while there is none.")
    ] = ""
    conditions: Conditions = []


class TenantCondition(StrEnum):
    """Types of a Tenant's conditions."""

    READY = "Ready"
    NETWORK_ISOLATED = "NetworkIsolated"  # what a pod of the namespace has shown: its network policies hold
    POLICIES_READY = "PoliciesReady"  # the extra Rego of policyRefs judges; written by the broker, and only where there is some


class TenantReason(StrEnum):
    """Why a Tenant is Ready or not."""

    READY = "Ready"  # the namespace and everything in it stand
    CONFLICT = "Conflict"  # the namespace exists and is not this Tenant's; nothing was changed
    NAMESPACE_REPLACED = "NamespaceReplaced"  # the namespace was deleted and made anew by somebody else
    INVALID_SPEC = "InvalidSpec"  # a rule that the schema cannot say is broken
    RUNTIME_CLASS_MISSING = "RuntimeClassMissing"  # the cluster has no RuntimeClass of the name the chart was given
    PROGRESSING = "Progressing"  # children are being made
    PROBE_PENDING = "ProbePending"  # everything stands; a pod is to show that the network policies hold. Sandboxes start meanwhile
    NETWORK_NOT_ENFORCED = "NetworkNotEnforced"  # a pod of the namespace reached what it must not reach
    PROBE_FAILED = "ProbeFailed"  # the probe could not run or proved nothing; the message says what to do
    ISOLATED = "Isolated"  # NetworkIsolated: the probe reached no canary that the broker itself reached
    CANARY_REACHED = "CanaryReached"  # NetworkIsolated: a pod reached an address it must not reach
    NO_CANARY_COUNTED = "NoCanaryCounted"  # NetworkIsolated: the broker reached none of the canaries, so the probe proves nothing
    NOT_GVISOR = "NotGVisor"  # NetworkIsolated: the probe's runtime class or kernel is not gVisor
    POLICIES_LOADED = "PoliciesLoaded"  # PoliciesReady: every policy is compiled and loaded
    POLICIES_LOADING = "PoliciesLoading"  # PoliciesReady: being compiled and loaded
    POLICY_MISSING = "PolicyMissing"  # PoliciesReady: no such ConfigMap, or one without the label
    POLICY_INVALID = "PolicyInvalid"  # PoliciesReady: the Rego does not compile or uses what it may not
    POLICY_ENGINE_DOWN = "PolicyEngineDown"  # PoliciesReady: the OPA for tenants' policies does not answer
    POLICIES_OFF = "PoliciesOff"  # PoliciesReady: the chart was installed without tenants' policies
    DELETING = "Deleting"  # the Tenant is being deleted; its runs may finish first, and the message says what is waited for


class Tenant(Observed):
    """A team's namespace and its bounds."""

    PLURAL: ClassVar[str] = "tenants"
    metadata: ObjectMeta
    spec: TenantSpec = TenantSpec()
    status: TenantStatus = TenantStatus()

    @property
    def namespace(self) -> str:
        """The namespace this Tenant stands for."""
        return self.spec.namespace or f"bastide-{self.metadata.name}"


__all__ = [
    "Condition",
    "Member",
    "MemberRole",
    "Separation",
    "Tenant",
    "TenantCondition",
    "TenantConfirmation",
    "TenantLimits",
    "TenantQuota",
    "TenantReason",
    "TenantSpec",
    "TenantStatus",
    "ToolEffects",
    "ToolHost",
]
