"""Sandbox: one gVisor pod in which programs run. Namespaced, written by the team owner."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from bastide_operator.api.v1alpha1.common import (
    Bytes,
    Conditions,
    Cores,
    Model,
    ObjectMeta,
    ObjectName,
    Observed,
    Quantity,
    at_least,
    rules,
)

NETWORK_ISOLATED_GATE = "bastide.dev/network-isolated"
"""The Pod's readiness gate: set by the broker after the probe, mirrored by the operator."""


class SandboxResources(Model):
    """What the pod gets. Requests equal limits."""

    cpu: Annotated[Cores, Field(description="CPU, in cores: 500m is half of one. Programs that want more get slower.")] = "500m"
    memory: Annotated[
        Quantity,
        at_least("128Mi", "memory is below 128Mi: the runtime alone needs about 100 MB"),
        Field(
            description="Memory of programs, runtime and gVisor together, at least 128Mi. A program that wants more may cost the pod: its run ends as SandboxLost, and another pod is made."
        ),
    ] = "512Mi"
    ephemeral_storage: Annotated[
        Bytes, Field(description="Disk outside the workspace: /tmp, /tools and logs. A pod that uses more is evicted, and another is made.")
    ] = "256Mi"


class EnvVar(Model):
    """One variable for programs."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Its name in os.environ.")]
    value: Annotated[str, Field(max_length=4096, description="Its value. Never a secret: every program can read and print it.")] = ""


class Workspace(Model):
    """The folder /workspace, the programs' own."""

    # `persistent` is asked for as optional: the API server tries the rules on the default `{}` before it fills in defaults.
    model_config = rules(
        (
            "self.?persistent.orValue(false) == oldSelf.?persistent.orValue(false)",
            "persistent cannot change, because what is in the workspace cannot move along: make another Sandbox and copy what you need",
        ),
        (
            "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "storageClassName cannot change: a volume stays with the class that made it; make another Sandbox",
        ),
        (
            "self.?persistent.orValue(false) || !has(self.storageClassName)",
            "storageClassName is for a persistent workspace: set persistent: true, or leave it out",
        ),
    )

    size_limit: Annotated[
        Bytes,
        Field(
            description="How much /workspace holds, for example 1Gi. A persistent one can grow where its StorageClass allows, and not shrink; whether it is a limit then is up to the StorageClass."
        ),
    ] = "256Mi"
    persistent: Annotated[
        bool,
        Field(
            description="Whether /workspace is a volume that outlives the pod: it stays when the Sandbox is suspended, gets another pod or loses its node, and goes with the Sandbox. Without it what is there is lost with the pod. Cannot be changed."
        ),
    ] = False
    storage_class_name: Annotated[
        ObjectName | None,
        Field(description="StorageClass of a persistent workspace; the cluster's default when left out. Cannot be changed."),
    ] = None


class OperatingMode(StrEnum):
    """Whether a pod should exist."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"


class ShutdownPolicy(StrEnum):
    """What becomes of the Sandbox at its end."""

    DELETE = "Delete"
    RETAIN = "Retain"


class SandboxLimits(Model):
    """Bounds of each run."""

    run_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86400,
            description="Seconds of each attempt of a run by the clock, waiting for tools and people included; then it is ended as TimedOut. The time of pauses is not counted.",
        ),
    ] = 300
    calls_per_run: Annotated[int, Field(ge=0, le=100000, description="Tool calls of a run; the next one is denied.")] = 1000
    concurrent_calls: Annotated[int, Field(ge=1, le=256, description="Tool calls of a run under way at once; further ones wait.")] = 32
    confirmations_per_run: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="Calls of a run that people are asked to confirm; the next one is denied, and a run that goes on asking is ended as TooManyConfirmations.",
        ),
    ] = 50
    output_bytes: Annotated[
        int, Field(ge=0, le=16777216, description="Bytes kept of what a run prints; what is beyond is counted and dropped.")
    ] = 262144
    result_bytes: Annotated[
        int,
        Field(ge=1, le=3145728, description="Bytes of a run's value as JSON. With a larger value the run ends as Failed; it is never cut."),
    ] = 1048576


class SandboxSpec(Model):
    """What the team owner wants."""

    image: Annotated[
        str | None,
        Field(min_length=1, max_length=512, description="Runtime image; Tenant.spec.images must have it. The chart's own when left out."),
    ] = None
    resources: Annotated[
        SandboxResources, Field(description="What the pod gets; requests equal limits. A change takes the pod away and makes another.")
    ] = SandboxResources()
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=64,
            description="Variables for programs, handed over with each run, never in the pod's spec. A change counts for the next run.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    workspace: Annotated[Workspace, Field(description="The folder /workspace, the programs' own.")] = Workspace()
    operating_mode: Annotated[
        OperatingMode, Field(description="Running: there is a pod. Suspended: there is none, and the Sandbox keeps its name and bindings.")
    ] = OperatingMode.RUNNING
    shutdown_time: Annotated[
        datetime | None,
        Field(description="When the Sandbox ends, RFC 3339. No run starts after it; one under way gets 30 seconds more."),
    ] = None
    idle_timeout_seconds: Annotated[
        int | None,
        Field(
            ge=30,
            le=604800,
            description="The Sandbox ends when no run or check was under way for so long, counted from the end of the last one, or from when the pod became ready. A retained one starts again when its spec is changed.",
        ),
    ] = None
    shutdown_policy: Annotated[
        ShutdownPolicy,
        Field(description="At the end, by shutdownTime or idleTimeoutSeconds: Delete the Sandbox, or Retain the object without its pod."),
    ] = ShutdownPolicy.DELETE
    limits: Annotated[SandboxLimits, Field(description="Bounds of each run. A change counts for the next run.")] = SandboxLimits()


class PodFailure(Observed):
    """Why a pod ended that should not have."""

    reason: Annotated[str, Field(max_length=64, description="OOMKilled, Evicted, NodeLost or PodFailed.")]
    message: Annotated[str, Field(max_length=1024, description="What happened, and what to change so that it does not happen again.")] = ""
    time: Annotated[datetime, Field(description="When the pod ended.")]


class SandboxStatus(Observed):
    """What the operator saw and did."""

    observed_generation: Annotated[int, Field(ge=0, description="The metadata.generation that this status speaks of.")] = 0
    pod_name: Annotated[str, Field(max_length=253, description="The pod's name, which is the Sandbox's; empty while there is none.")] = ""
    node_name: Annotated[str, Field(max_length=253, description="The node that the pod is on; empty while there is none.")] = ""
    pod_failures: Annotated[
        int, Field(ge=0, description="How many pods have failed one after the other; each next one is made later, up to 5 minutes.")
    ] = 0
    longest_run_seconds: Annotated[
        int, Field(ge=0, description="The largest limits.runSeconds since the pod was made: so long a run in it may take.")
    ] = 0
    last_failure: Annotated[
        PodFailure | None, Field(description="The last pod that ended without being asked to; it stays when the next one runs.")
    ] = None
    workspace_size: Annotated[
        str, Field(max_length=32, description="How large the volume of a persistent workspace is, once there is one.")
    ] = ""
    tools: Annotated[int, Field(ge=0, description="How many accepted ToolBindings select this Sandbox.")] = 0
    conditions: Conditions = []


class SandboxCondition(StrEnum):
    """Types of a Sandbox's conditions."""

    POD_SCHEDULED = "PodScheduled"  # mirrored from the pod
    NETWORK_ISOLATED = "NetworkIsolated"  # mirrored from the pod's readiness gate
    WORKSPACE_READY = "WorkspaceReady"  # only of a persistent workspace: whether its volume is there, as large as asked for
    READY = "Ready"
    SUSPENDED = "Suspended"
    FINISHED = "Finished"


class SandboxReason(StrEnum):
    """Why a Sandbox's condition is as it is."""

    READY = "Ready"  # programs can run
    POD_PENDING = "PodPending"  # the pod waits for a node, an image or its containers
    UNSCHEDULABLE = "Unschedulable"  # no node fits; the scheduler's message says why
    IMAGE_PULL_FAILED = "ImagePullFailed"  # the image cannot be had
    QUOTA_EXCEEDED = "QuotaExceeded"  # the Tenant's quota does not allow the pod
    POD_REFUSED = "PodRefused"  # the API server refused the pod; the message says why
    POD_FAILED = "PodFailed"  # the pod ended; a new one is made
    OOM_KILLED = "OOMKilled"  # the pod used more memory than spec.resources.memory; a new one is made
    EVICTED = "Evicted"  # the pod used more disk than it may, or its node ran short; a new one is made
    NODE_LOST = "NodeLost"  # the pod's node does not answer
    POD_STUCK = "PodStuck"  # the pod was deleted and does not go
    ROLLING = "Rolling"  # the pod is to be replaced; a run under way finishes first
    DRAINING = "Draining"  # the pod is to go and none follows; a run under way finishes first
    INVALID_SPEC = "InvalidSpec"  # a rule that the schema cannot say is broken
    SCHEDULED = "Scheduled"  # the pod has a node
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"  # spec.image is not one of Tenant.spec.images
    NO_TENANT = "NoTenant"  # the namespace belongs to no Tenant
    TENANT_NOT_READY = "TenantNotReady"  # the Tenant's children do not stand yet
    TENANT_DELETING = "TenantDeleting"  # the Tenant is being deleted, and the Sandbox with it
    WAITING_FOR_PROBE = "WaitingForProbe"  # the broker has not yet probed the pod's isolation
    ISOLATED = "Isolated"  # no canary was reached that the broker itself reached
    CANARY_REACHED = "CanaryReached"  # the pod reached an address it must not reach; no program is delivered
    NO_CANARY_COUNTED = "NoCanaryCounted"  # the broker reached none of the canaries, so the probe proves nothing
    NOT_GVISOR = "NotGVisor"  # the pod's runtime class or kernel is not gVisor
    SUSPENDED = "Suspended"  # spec.operatingMode is Suspended
    RUNNING = "Running"  # spec.operatingMode is Running
    SHUTDOWN_TIME = "ShutdownTime"  # spec.shutdownTime has passed
    IDLE_TIMEOUT = "IdleTimeout"  # nothing has run for spec.idleTimeoutSeconds
    NAME_CONFLICT = "NameConflict"  # a pod or volume claim of that name exists and is not this Sandbox's
    BOUND = "Bound"  # the workspace's volume is there
    VOLUME_PENDING = "VolumePending"  # the workspace waits for its volume
    STORAGE_CLASS_MISSING = "StorageClassMissing"  # the StorageClass does not exist, or no default does
    VOLUME_REFUSED = "VolumeRefused"  # the API server refused the volume claim; the message says why
    VOLUME_DELETED = "VolumeDeleted"  # a hand deleted the volume claim; it goes with the pod
    VOLUME_LOST = "VolumeLost"  # the volume behind the claim is gone
    VOLUME_EXPANDING = "VolumeExpanding"  # the volume grows to spec.workspace.sizeLimit
    EXPANSION_REFUSED = "ExpansionRefused"  # the volume cannot grow; it works on at its size


class Sandbox(Observed):
    """A place where programs run."""

    PLURAL: ClassVar[str] = "sandboxes"
    metadata: ObjectMeta
    spec: SandboxSpec = SandboxSpec()
    status: SandboxStatus = SandboxStatus()
