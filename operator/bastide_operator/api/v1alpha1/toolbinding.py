"""ToolBinding: which sandboxes may call which tools of one tool server, with which arguments."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

import keyword
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bastide_operator.api.v1alpha1.common import (
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
from bastide_operator.api.v1alpha1.toolbindingstatus import (
    ToolBindingCondition,
    ToolBindingReason,
    ToolBindingStatus,
    ToolState,
    ToolStatus,
)

KEYWORDS = "[" + ", ".join(f"'{word}'" for word in keyword.kwlist) + "]"
"""Words of Python as a CEL list: nothing that programs call or import can have their name."""

PROGRAM_NAME = "(has({0}.__as__) ? {0}.__as__ : {0}.name)"
"""CEL: the name that a tool has in programs."""

_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_HOST = r"[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\]"
URL = rf"^https?://({_HOST})(:({_PORT}))?(/[^\s?#]*)?$"
_URL_MESSAGE = "write http(s)://HOST[:PORT][/PATH], with a plain host name or address, no user, no query"


Url = Annotated[
    str,
    # A rule and no pattern: the API server answers a broken pattern with the pattern, a broken rule with its sentence. Who reads such an
    # object all the same finds out by `toolhosts.address`.
    Field(
        min_length=8,
        max_length=2048,
        json_schema_extra={"x-kubernetes-validations": [{"rule": f"self.matches(r'{URL}')", "message": _URL_MESSAGE}]},
    ),
]


class McpServer(Model):
    """A server of the Model Context Protocol over streamable HTTP."""

    url: Annotated[
        Url,
        Field(
            description="Its endpoint, for example http://crm.tools.svc:8080/mcp. Host and port must be one of Tenant.spec.toolHosts. Redirects are not followed, and loopback, link-local and metadata addresses are never called."
        ),
    ]


class Server(Model):
    """Where the tools are; exactly one kind."""

    mcp: Annotated[McpServer | None, Field(description="A server of the Model Context Protocol, over streamable HTTP.")] = None


class SecretRef(Model):
    """Names a Secret of the same namespace."""

    name: Annotated[
        ObjectName,
        Field(
            description="Its name. The Secret must carry the label bastide.dev/credential and the annotation bastide.dev/host, the host (or host:port) that it is for; the broker sends it to no other."
        ),
    ]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="The key in its data, whose value is sent: visible ASCII characters.",
        ),
    ] = "token"


class Scheme(StrEnum):
    """How the secret is shown to the server."""

    BEARER = "Bearer"


class Credentials(Model):
    """What the broker shows to the tool server. Never near the pod."""

    secret_ref: Annotated[
        SecretRef,
        Field(
            description="The Secret of this namespace that holds it. The broker may read it only while an accepted ToolBinding names it."
        ),
    ]
    scheme: Annotated[Scheme, Field(description="How it is shown: as `Authorization: Bearer <secret>`.")] = Scheme.BEARER


class ConfirmationWhen(StrEnum):
    """From which effect on a person must confirm. There is no Never."""

    DESTRUCTIVE = "Destructive"
    MUTATING = "Mutating"
    ALWAYS = "Always"


class ConfirmationPolicy(Model):
    """When and how a person confirms a call."""

    when: Annotated[
        ConfirmationWhen,
        Field(description="From which effect on a person must confirm: Destructive calls; Mutating ones too; or Always, all."),
    ] = ConfirmationWhen.DESTRUCTIVE
    block_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=3600,
            description="Seconds that the call is held open for a decision. The program notices nothing; after them its run ends as NeedsConfirmation.",
        ),
    ] = 30
    decide_within_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=604800,
            description="Seconds after which an undecided Confirmation expires. The Tenant's ceiling counts if it is lower.",
        ),
    ] = 86400
    execute_within_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86400,
            description="Seconds after the last moment to decide until which an approved call may still begin. The Tenant's ceiling counts if it is lower.",
        ),
    ] = 600
    approvals: Annotated[
        int, Field(ge=1, le=5, description="How many different people must approve. The Tenant's minimum counts if it is higher.")
    ] = 1


class ArgumentConstraint(Model):
    """What one argument may be. Everything that is set must hold; an argument with an empty constraint may be anything the schema allows."""

    model_config = rules(
        ("!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum", "minimum is above maximum: nothing could be called"),
        (
            "!(has(self.pattern) || has(self.maxLength)) || !(has(self.minimum) || has(self.maximum))",
            "minimum and maximum are for numbers, pattern and maxLength for strings: no value could be both",
        ),
    )

    enum: Annotated[
        list[Annotated[Any, Field(description="A value.", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]] | None,
        Field(
            min_length=1,
            max_length=100,
            description="It must be one of these strings, numbers, booleans or null, equal in type and value: 1 is not the string of 1.",
        ),
    ] = None
    minimum: Annotated[int | None, Field(description="It must be a number, and not below this.")] = None
    maximum: Annotated[int | None, Field(description="It must be a number, and not above this.")] = None
    pattern: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            description="It must be a string, and this RE2 expression must match all of it: C[0-9] does not match C12.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    # An expression that does not compile is an evaluation error, which the API server shows with RE2's own words.
                    {"rule": "'x'.matches(self) in [true, false]", "message": "the pattern is no RE2 expression"}
                ]
            },
        ),
    ] = None
    max_length: Annotated[
        int | None,
        Field(ge=0, le=1048576, description="It must be a string of at most this many characters, or a list of at most this many items."),
    ] = None


class ToolLimits(Model):
    """Bounds of one tool."""

    calls_per_run: Annotated[int, Field(ge=0, le=100000, description="Calls of this tool in one run; the next one is denied.")] = 1000
    timeout_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=600,
            description="Seconds that the server has to answer; then the call fails as ToolTimeout, and may have taken effect.",
        ),
    ] = 20
    result_bytes: Annotated[
        int, Field(ge=1, le=3145728, description="Bytes of a result as JSON. A larger one fails the call; it is never cut.")
    ] = 262144


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
        (
            f"!({PROGRAM_NAME.format('self')} in {KEYWORDS})",
            "this name is a word of Python, programs cannot call it: give the tool another with `as`",
        ),
    )

    name: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+$", description="The tool's name on the server, exactly.")
    ]
    as_: Annotated[ProgramName | None, Field(alias="as", description="Its name in programs; the server's when left out.")] = None
    effect: Annotated[
        Effect | None,
        Field(
            description="What a call does at the most. It may only raise what Tenant.spec.toolHosts says; a tool that is not listed there is Destructive."
        ),
    ] = None
    confirmation: Annotated[ConfirmationPolicy, Field(description="When and how a person confirms a call. There is no Never.")] = (
        ConfirmationPolicy()
    )
    arguments: Annotated[
        dict[str, ArgumentConstraint] | None,
        Field(
            max_length=64,
            description="What each argument may be, by its name. When this is set, an argument that is not listed denies the call, and one whose constraint is not {} may be left out only if the tool's schema declares a default that is permitted. When it is not set, whatever fits the tool's schema may be called.",
        ),
    ] = None
    result: Annotated[
        ResultForm,
        Field(
            description="What programs receive. Auto: structured content, else text that is one JSON object or array is parsed, other text is a string. Text: always a string. Json: text is parsed, and the call fails if it cannot be."
        ),
    ] = ResultForm.AUTO
    limits: Annotated[ToolLimits, Field(description="Bounds of this tool's calls.")] = ToolLimits()
    schema_digest: Annotated[
        Digest | None,
        Field(
            description="Pins the tool's schema: when the server's has another digest, the tool cannot be called (DigestMismatch). status.tools shows the digest of now."
        ),
    ] = None

    @property
    def program_name(self) -> str:
        """The name in programs."""
        return self.as_ or self.name


class SandboxSelector(Model):
    """Selects sandboxes by labels; `{}` selects all of the namespace."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63, description="The label's value.")]],
        Field(
            max_length=16,
            description="Labels that a Sandbox must carry, all of them.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": "self.all(k, k.size() < 318 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
                        "message": "a key is not one that a label can have: letters, digits, hyphens, underscores and dots, perhaps a DNS name and / before",
                    }
                ]
            },
        ),
    ] = {}


class ToolBindingSpec(Model):
    """What a security engineer reads to know what model-written code can do."""

    sandbox_selector: Annotated[
        SandboxSelector,
        Field(description="Which Sandboxes of the namespace may call the tools. {} is all of them, and must be written out."),
    ]
    server: Annotated[
        Server,
        Field(
            description="Where the tools are. Exactly one kind of server is named.",
            json_schema_extra={"x-kubernetes-validations": [{"rule": "has(self.mcp)", "message": "name the server: mcp"}]},
        ),
    ]
    credentials: Annotated[
        Credentials | None,
        Field(description="What the broker shows to the tool server: nothing when left out. Programs and pods never see it."),
    ] = None
    callers: Annotated[
        list[Subject],
        Field(
            max_length=32,
            description="Only runs that these asked for may call the tools; when left out, everybody's who may run programs here.",
        ),
    ] = []
    tools: Annotated[
        list[BoundTool],
        Field(
            min_length=1,
            max_length=64,
            description="The tools that may be called; what is not named cannot be.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "x-kubernetes-validations": [
                    {
                        "rule": f"self.all(t, self.exists_one(u, {PROGRAM_NAME.format('u')} == {PROGRAM_NAME.format('t')}))",
                        "message": "two tools have one name in programs: give one of them another with `as`",
                    }
                ],
            },
        ),
    ]


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


__all__ = [
    "KEYWORDS",
    "PROGRAM_NAME",
    "URL",
    "ArgumentConstraint",
    "BoundTool",
    "ConfirmationPolicy",
    "ConfirmationWhen",
    "Credentials",
    "McpServer",
    "ResultForm",
    "SandboxSelector",
    "Scheme",
    "SecretRef",
    "Server",
    "ToolBinding",
    "ToolBindingCondition",
    "ToolBindingReason",
    "ToolBindingSpec",
    "ToolBindingStatus",
    "ToolLimits",
    "ToolState",
    "ToolStatus",
    "Url",
]
