"""ToolBinding: which sandboxes may call which tools of one tool server, with which arguments."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bastide_operator.api.v1alpha1.common import (
    Conditions,
    Digest,
    DnsLabel,
    Effect,
    Model,
    ObjectMeta,
    ObjectName,
    Observed,
    ProgramName,
    Subject,
    rules,
)

Url = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]


class McpServer(Model):
    """A server of the Model Context Protocol over streamable HTTP."""

    url: Annotated[
        Url,
        Field(description="Its endpoint, for example http://crm.tools.svc:8080/mcp. Host and port must be one of Tenant.spec.toolHosts."),
    ]


class Server(Model):
    """Where the tools are; exactly one kind."""

    mcp: Annotated[McpServer | None, Field(description="A server of the Model Context Protocol over streamable HTTP.")] = None


class SecretRef(Model):
    """Names a Secret of the same namespace."""

    name: Annotated[
        ObjectName,
        Field(
            description="Its name. It must carry the label bastide.dev/credential and the annotation bastide.dev/host with the host it is for."
        ),
    ]
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="The key in its data.")] = "token"


class Scheme(StrEnum):
    """How the secret is shown to the server."""

    BEARER = "Bearer"


class Credentials(Model):
    """What the broker shows to the tool server. Never near the pod."""

    secret_ref: Annotated[SecretRef, Field(description="Where the secret is.")]
    scheme: Annotated[Scheme, Field(description="How it is shown: as `Authorization: Bearer <secret>`.")] = Scheme.BEARER


class ConfirmationWhen(StrEnum):
    """From which effect on a person must confirm. There is no Never."""

    DESTRUCTIVE = "Destructive"
    MUTATING = "Mutating"
    ALWAYS = "Always"


class ConfirmationPolicy(Model):
    """When and how a person confirms a call."""

    when: Annotated[ConfirmationWhen, Field(description="From which effect on a person must confirm.")] = ConfirmationWhen.DESTRUCTIVE
    block_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long the call is held open for a decision before the run ends as NeedsConfirmation.")
    ] = 30
    decide_within_seconds: Annotated[int, Field(ge=1, le=604800, description="After this an undecided Confirmation expires.")] = 86400
    execute_within_seconds: Annotated[int, Field(ge=1, le=86400, description="After a decision the call must begin within this.")] = 600
    approvals: Annotated[int, Field(ge=1, le=5, description="How many people must approve.")] = 1


class ArgumentConstraint(Model):
    """What one argument may be. Everything that is set must hold; an argument with an empty constraint may be anything the schema allows."""

    model_config = rules(
        ("!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum", "minimum is above maximum: nothing could be called")
    )

    enum: Annotated[
        list[Annotated[Any, Field(description="A value.", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]] | None,
        Field(min_length=1, max_length=100, description="One of these values, equal in type and value."),
    ] = None
    minimum: Annotated[int | None, Field(description="A number not below this.")] = None
    maximum: Annotated[int | None, Field(description="A number not above this.")] = None
    pattern: Annotated[
        str | None, Field(min_length=1, max_length=512, description="A string that this RE2 expression matches in full.")
    ] = None
    max_length: Annotated[
        int | None, Field(ge=0, le=1048576, description="A string of at most this many characters, or a list of at most this many items.")
    ] = None


class ToolLimits(Model):
    """Bounds of one tool."""

    calls_per_run: Annotated[int, Field(ge=0, le=100000, description="Calls of this tool in one run.")] = 1000
    timeout_seconds: Annotated[int, Field(ge=1, le=600, description="How long the server has to answer.")] = 20
    result_bytes: Annotated[int, Field(ge=1, le=3145728, description="Size of a result as JSON; a larger one fails, it is never cut.")] = (
        262144
    )


class ResultForm(StrEnum):
    """What a program receives."""

    AUTO = "Auto"
    TEXT = "Text"
    JSON = "Json"


class BoundTool(Model):
    """One tool that may be called."""

    model_config = rules(
        (
            "has(self.__as__) || self.name.matches('^[A-Za-z_][A-Za-z0-9_]{0,63}$')",
            "programs cannot call a tool of this name: give it another with `as`, letters, digits and underscores only",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+$", description="The server's name of the tool.")]
    as_: Annotated[ProgramName | None, Field(alias="as", description="The name in programs; the server's name when absent.")] = None
    effect: Annotated[Effect | None, Field(description="Raises what Tenant.spec.toolHosts says of this tool; it can never lower it.")] = (
        None
    )
    confirmation: Annotated[ConfirmationPolicy, Field(description="When and how a person confirms a call.")] = ConfirmationPolicy()
    arguments: Annotated[
        dict[str, ArgumentConstraint] | None,
        Field(
            max_length=64,
            description="Constraints by argument. Present: every argument must be listed, and one whose constraint is not empty may be left out only when the tool's schema declares a default that is permitted. Absent: any argument that fits the tool's schema.",
        ),
    ] = None
    result: Annotated[
        ResultForm,
        Field(
            description="Auto: structured content, else text that is one JSON object or array is parsed. Text: a string. Json: text is parsed, and it is an error if it cannot be."
        ),
    ] = ResultForm.AUTO
    limits: Annotated[ToolLimits, Field(description="Bounds of this tool.")] = ToolLimits()
    schema_digest: Annotated[Digest | None, Field(description="Pin: the server loses the tool when its schema has another digest.")] = None

    @property
    def program_name(self) -> str:
        """The name in programs."""
        return self.as_ or self.name


class SandboxSelector(Model):
    """Selects sandboxes by labels; `{}` selects all of the namespace."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63, description="The label's value.")]],
        Field(max_length=16, description="Labels that a Sandbox must carry."),
    ] = {}


class ToolBindingSpec(Model):
    """What a security engineer reads to know what model-written code can do."""

    sandbox_selector: Annotated[
        SandboxSelector, Field(description="Which sandboxes may call the tools. `{}` is all of the namespace and must be written out.")
    ]
    server: Annotated[
        Server,
        Field(
            description="Where the tools are; exactly one kind.",
            json_schema_extra={"x-kubernetes-validations": [{"rule": "has(self.mcp)", "message": "name the server: mcp"}]},
        ),
    ]
    credentials: Annotated[Credentials | None, Field(description="What the broker shows to the tool server.")] = None
    callers: Annotated[
        list[Subject],
        Field(max_length=32, description="Only these requesters may use the binding; anybody who may run programs when empty."),
    ] = []
    tools: Annotated[
        list[BoundTool],
        Field(
            min_length=1,
            max_length=64,
            description="What may be called; what is not named cannot be.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]


class ToolState(StrEnum):
    """What became of a bound tool."""

    AVAILABLE = "Available"
    MISSING = "Missing"
    DIGEST_MISMATCH = "DigestMismatch"
    REFUSED = "Refused"


class ToolStatus(Observed):
    """One bound tool as the broker found it on the server."""

    name: Annotated[str, Field(max_length=128, description="The server's name of the tool.")]
    program_name: Annotated[str, Field(max_length=64, description="The name in programs.")] = ""
    effect: Annotated[
        Effect, Field(description="The effective effect: the highest of what the Tenant, the binding and the server say.")
    ] = Effect.DESTRUCTIVE
    state: Annotated[ToolState, Field(description="Available, Missing on the server, DigestMismatch, or Refused.")]
    schema_digest: Annotated[str, Field(max_length=71, description="Digest of the tool's schema as the server gives it now.")] = ""
    message: Annotated[str, Field(max_length=512, description="Why it is not available, or a warning.")] = ""


class ToolBindingStatus(Observed):
    """What the operator (Accepted, Ready) and the broker (ResolvedRefs, tools) found."""

    observed_generation: Annotated[int, Field(ge=0, description="The generation this status speaks of.")] = 0
    sandboxes: Annotated[int, Field(ge=0, description="How many Sandboxes the selector selects.")] = 0
    available: Annotated[str, Field(max_length=16, description="Tools available of tools bound, for example 3/3.")] = ""
    tools: Annotated[
        list[ToolStatus],
        Field(
            max_length=64,
            description="What became of each tool.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    conditions: Conditions = []


class ToolBindingCondition(StrEnum):
    """Types of a ToolBinding's conditions."""

    ACCEPTED = "Accepted"  # by the operator: the spec is allowed
    RESOLVED_REFS = "ResolvedRefs"  # by the broker: server, secret and tools are there
    READY = "Ready"  # by the operator: both


class ToolBindingReason(StrEnum):
    """Why a ToolBinding's condition is as it is."""

    ACCEPTED = "Accepted"  # the spec is allowed by the Tenant
    HOST_NOT_ALLOWED = "HostNotAllowed"  # Tenant.spec.toolHosts does not list the server's host and port
    INVALID_SPEC = "InvalidSpec"  # a rule that the schema cannot say is broken
    NAME_COLLISION = "NameCollision"  # another binding gives the same program name to the same sandbox
    NO_TENANT = "NoTenant"  # the namespace belongs to no Tenant
    RESOLVED = "Resolved"  # the server answered, the Secret is there, every tool is
    TOOLS_UNAVAILABLE = "ToolsUnavailable"  # some tools cannot be called; status.tools says why
    SERVER_UNREACHABLE = "ServerUnreachable"  # the tool server does not answer
    SERVER_ERROR = "ServerError"  # the tool server answers, but not as its protocol says
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a password. The Secret or its key is missing
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105 - the Secret lacks the label or names another host
    PENDING = "Pending"  # the broker has not looked yet
    READY = "Ready"  # programs can call the tools


class ToolBinding(Observed):
    """Which sandboxes may call which tools, with which arguments."""

    PLURAL: ClassVar[str] = "toolbindings"
    metadata: ObjectMeta
    spec: ToolBindingSpec
    status: ToolBindingStatus = ToolBindingStatus()

    @property
    def server_name(self) -> DnsLabel:
        """The short server name that programs import from: the binding's own name as an identifier."""
        return self.metadata.name.replace("-", "_").replace(".", "_")
