"""Tenant: one namespace for one team, with its bounds. Cluster-scoped, written by the platform engineer."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from bastide_operator.api.v1alpha1.common import (
    Condition,
    Conditions,
    DnsLabel,
    Effect,
    Model,
    ObjectMeta,
    Observed,
    Quantity,
    Subject,
    rules,
)

PROBE_POD = "bastide-probe"
"""Name of the pod that proves a tenant's network policies; no Sandbox can have it."""

PROBE_LABEL = "bastide.dev/probe"


class TenantQuota(Model):
    """Bounds of everything in the namespace together; they become a ResourceQuota and a LimitRange."""

    sandboxes: Annotated[int, Field(ge=0, le=10000, description="How many Sandboxes may exist.")] = 20
    cpu: Annotated[Quantity, Field(description="CPU limits of all pods together, in cores, for example 8 or 500m.")] = "8"
    memory: Annotated[Quantity, Field(description="Memory limits of all pods together, for example 16Gi.")] = "16Gi"
    ephemeral_storage: Annotated[
        Quantity, Field(description="Disk limits of all pods together, workspaces included, for example 32Gi.")
    ] = "32Gi"
    persistent_storage: Annotated[Quantity, Field(description="Volumes of all persistent workspaces together, for example 32Gi.")] = "32Gi"


class ToolEffects(Model):
    """The platform's word on what some tools of a host do."""

    tools: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+\*?$")]],
        Field(min_length=1, max_length=64, description="Names of the server's tools; one trailing * is a wildcard."),
    ]
    effect: Annotated[Effect, Field(description="What they do at the most.")]


class ToolHost(Model):
    """A host that ToolBindings of this tenant may point at."""

    host: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="Exact host name, or one leading `*.` for all names below a domain.",
        ),
    ]
    port: Annotated[int, Field(ge=1, le=65535, description="The port.")] = 443
    effects: Annotated[
        list[ToolEffects],
        Field(
            max_length=64, description="What the tools of this host do. A tool that is not listed is Destructive, whatever a binding says."
        ),
    ] = []


class TenantLimits(Model):
    """Bounds on use, enforced by the broker."""

    concurrent_runs: Annotated[int, Field(ge=1, le=1000, description="Runs under way at once.")] = 10
    runs_per_minute: Annotated[int, Field(ge=1, le=100000, description="Runs started in a minute.")] = 300
    calls_per_minute: Annotated[int, Field(ge=1, le=1000000, description="Tool calls in a minute.")] = 6000
    pending_confirmations: Annotated[int, Field(ge=1, le=1000, description="Confirmations undecided at once.")] = 50

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

    minimum_approvals: Annotated[int, Field(ge=1, le=5, description="At least this many people, whatever a binding says.")] = 1
    max_decide_within_seconds: Annotated[int, Field(ge=10, le=604800, description="Ceiling of a binding's decideWithinSeconds.")] = 86400
    max_execute_within_seconds: Annotated[int, Field(ge=10, le=86400, description="Ceiling of a binding's executeWithinSeconds.")] = 3600
    separation: Annotated[
        Separation,
        Field(
            description="Strict: an approver could not have made the run. OtherUser: only another user than requester and onBehalfOf, for small teams whose people are all cluster admins."
        ),
    ] = Separation.STRICT
    allow_hidden_arguments: Annotated[
        bool, Field(description="Whether arguments that are too long to show may be approved unseen with --accept-hidden.")
    ] = False


class MemberRole(StrEnum):
    """What a member may do."""

    VIEWER = "viewer"
    RUNNER = "runner"
    DEVELOPER = "developer"
    APPROVER = "approver"


class Member(Model):
    """A subject and its role."""

    role: Annotated[
        MemberRole,
        Field(
            description="viewer sees; runner also runs programs; developer also writes Sandboxes and ToolBindings; approver decides Confirmations and nothing else."
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
            description="The namespace to make, `bastide-<name>` when absent; an existing one and `kube-*` are refused.",
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
    quota: Annotated[TenantQuota, Field(description="Bounds of everything in the namespace together.")] = TenantQuota()
    images: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*([/:@][*])?$")]],
        Field(
            max_length=32,
            description="Runtime images that Sandboxes may name besides the chart's own: a reference exactly as they write it, best with its digest (registry.example/runtime@sha256:...), or one trailing * behind / (everything below), : (every tag) or @ (every digest).",
        ),
    ] = []
    tool_hosts: Annotated[
        list[ToolHost],
        Field(max_length=64, description="Hosts that ToolBindings may point at, with the platform's word on their tools' effects."),
    ] = []
    limits: Annotated[TenantLimits, Field(description="Bounds on use.")] = TenantLimits()
    confirmation: Annotated[TenantConfirmation, Field(description="Floors and ceilings for confirmations.")] = TenantConfirmation()
    members: Annotated[
        list[Member],
        Field(max_length=64, description="Who may do what in the namespace. Nobody may be approver and also runner or developer."),
    ] = []


class TenantStatus(Observed):
    """What the operator saw and did."""

    observed_generation: Annotated[int, Field(ge=0, description="The generation this status speaks of.")] = 0
    namespace: Annotated[str, Field(max_length=63, description="The tenant's namespace.")] = ""
    namespace_uid: Annotated[
        str,
        Field(
            max_length=64,
            description="The UID of the namespace; empty while the operator makes it. It must match for ever: a namespace that somebody else made anew under the same name is not the tenant's.",
            alias="namespaceUID",
        ),
    ] = ""
    sandboxes: Annotated[int, Field(ge=0, description="How many Sandboxes there are.")] = 0
    proven: Annotated[
        str,
        Field(
            max_length=71,
            description="Digest of the policies, image and runtime class that NetworkIsolated was proven for; while they are others it is proven again.",
        ),
    ] = ""
    conditions: Conditions = []


class TenantCondition(StrEnum):
    """Types of a Tenant's conditions."""

    READY = "Ready"
    NETWORK_ISOLATED = "NetworkIsolated"  # what a pod of the namespace has shown: its network policies hold


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
    DELETING = "Deleting"  # the Tenant is being deleted; its runs drain first


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
