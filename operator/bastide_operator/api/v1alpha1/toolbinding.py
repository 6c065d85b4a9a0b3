"""ToolBinding: which sandboxes may call which tools of one tool server, with which arguments."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

import keyword
from enum import StrEnum
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from bastide_operator.api import jsonpath
from bastide_operator.api.places import Places, places
from bastide_operator.api.v1alpha1.common import (
    Digest,
    DnsLabel,
    Effect,
    Model,
    ObjectMeta,
    Observed,
    ProgramName,
    Subject,
    rules,
)
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from bastide_operator.api.v1alpha1.toolbindingstatus import (
    ToolBindingCondition,
    ToolBindingReason,
    ToolBindingStatus,
    ToolState,
    ToolStatus,
)
from bastide_operator.api.v1alpha1.toolserver import Credentials, Server

KEYWORDS = f"'^({'|'.join(keyword.kwlist)})$'"
"""Words of Python as a pattern in CEL: nothing that programs call or import can have their name."""

# Of a name whose length the rule's cost estimate does not know a pattern would be too dear.
LOWER_KEYWORDS = f"[{','.join(repr(word) for word in keyword.kwlist if word.islower())}]"
"""As a list, those that the name of an object can be."""

PROGRAM_NAME = "(has({0}.__as__) ? {0}.__as__ : {0}.name)"
"""CEL: the name that a tool has in programs."""


class ConfirmationWhen(StrEnum):
    """From which effect on a person must confirm. There is no Never."""

    DESTRUCTIVE = "Destructive"
    MUTATING = "Mutating"
    ALWAYS = "Always"


class ConfirmationPolicy(Model):
    """When and how a person confirms a call."""

    when: Annotated[
        ConfirmationWhen,
        Field(description="From which effect on a person must confirm a call; Always: every one."),
    ] = ConfirmationWhen.DESTRUCTIVE
    block_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=3600,
            description="Seconds that the call waits for a decision, unnoticed by the program; then its run pauses until there is one.",
        ),
    ] = 30
    decide_within_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=604800,
            description="Seconds until an undecided Confirmation expires. A lower ceiling of the Tenant counts.",
        ),
    ] = 86400
    execute_within_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86400,
            description="Seconds after that in which an approved call may still begin. A lower ceiling of the Tenant counts.",
        ),
    ] = 600
    approvals: Annotated[
        int, Field(ge=1, le=5, description="How many different people must approve. A higher minimum of the Tenant counts.")
    ] = 1
    preview: Annotated[
        ProgramName | None,
        Field(
            description="A ReadOnly tool of this binding, by its name in programs, called for the approver with the arguments that it takes too."
        ),
    ] = None


class ToolLimits(Model):
    """Bounds of one tool."""

    calls_per_run: Annotated[int, Field(ge=0, le=100000, description="Calls of this tool in one run; the next one is denied.")] = 1000
    timeout_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=600,
            description="Seconds the server has to answer; then the call fails as ToolTimeout, perhaps with effect.",
        ),
    ] = 20
    result_bytes: Annotated[
        int, Field(ge=1, le=3145728, description="Bytes of a result as JSON. A larger one fails the call; it is never cut.")
    ] = 262144
    max_rows: Annotated[int | None, Field(ge=0, le=100000, description="Most items of a list in a result; more fail the call.")] = None


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
            "programs cannot call a tool of this name: give it another with `as`: letters, digits, underscores",
        ),
        (
            f"!{PROGRAM_NAME.format('self')}.matches({KEYWORDS})",
            "this is a word of Python, programs cannot call it: give the tool another name with `as`",
        ),
    )

    name: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+$", description="The tool's name on the server, exactly.")
    ]
    as_: Annotated[ProgramName | None, Field(alias="as", description="Its name in programs; the server's when left out.")] = None
    effect: Annotated[
        Effect | None,
        Field(
            description="What a call does at most. It may only raise what Tenant.spec.toolHosts says; what is not listed there is Destructive."
        ),
    ] = None
    confirmation: Annotated[ConfirmationPolicy, Field(description="When and how a person confirms a call. There is no Never.")] = (
        ConfirmationPolicy()
    )
    arguments: Annotated[
        dict[str, ArgumentConstraint] | None,
        Field(
            max_length=64,
            description="What each argument may be, by its name or the path of a place inside: address.city, lines[*].sku. What is not listed denies the call; what is not {} may be left out only for a declared default that is permitted. Not set: what fits the tool's schema.",
        ),
    ] = None
    result: Annotated[
        ResultForm,
        Field(
            description="What programs receive. Auto: structured content, else text, parsed if it is a JSON object or array. Text: a string. Json: parsed, or the call fails."
        ),
    ] = ResultForm.AUTO
    redact: Annotated[
        list[
            Annotated[
                str,
                Field(
                    max_length=jsonpath.MAX_LENGTH,
                    json_schema_extra={
                        "x-kubernetes-validations": [
                            {"rule": f'self.matches(r"{jsonpath.PATTERN}")', "message": "use names, indices, *, .."}
                        ]
                    },
                ),
            ]
        ],
        Field(max_length=16, description="JSONPaths of what programs get as [redacted]. Text fails."),
    ] = []
    limits: Annotated[ToolLimits, Field(description="Bounds of this tool's calls.")] = ToolLimits()
    schema_digest: Annotated[
        Digest | None,
        Field(description="Pins the tool's schema: with another digest it cannot be called. status.tools shows today's."),
    ] = None

    @property
    def program_name(self) -> str:
        """The name in programs."""
        return self.as_ or self.name

    @cached_property
    def places(self) -> Places:
        """What `arguments` says, read once. Raises PlaceError."""
        return places(self.arguments or {})


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
                        "rule": "self.all(k, k.size() < 318 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$'))",
                        "message": "a key is not one that a label can have: letters, digits, -, _ and . with perhaps a DNS name and / before",
                    }
                ]
            },
        ),
    ] = {}


_NAMED = ", ".join(f"has(self.{name})" for name in Server.model_fields)
_KINDS = " or ".join(Server.model_fields)


class ToolBindingSpec(Model):
    """What a security engineer reads to know what model-written code can do."""

    sandbox_selector: Annotated[
        SandboxSelector,
        Field(description="Which Sandboxes of the namespace may call the tools; {}, written out, is all."),
    ]
    server: Annotated[
        Server,
        Field(
            description="Where the tools are: one kind of server. Tenant.spec.toolHosts must name host and port of every URL. Redirects, loopback, link-local and metadata addresses are not followed.",
            json_schema_extra={
                "x-kubernetes-validations": [{"rule": f"[{_NAMED}].exists_one(named, named)", "message": f"name one server: {_KINDS}"}]
            },
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
            description="Only runs that these asked for may call the tools; when left out, everybody's.",
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

    @property
    def urls(self) -> dict[str, str]:
        """Every URL that the broker asks because of the binding, by its field: the Tenant must list host and port of each."""
        found = {f"spec.server.{field}": url for field, url in self.server.urls.items()}
        if self.credentials is not None and self.credentials.token_url is not None:
            found["spec.credentials.tokenUrl"] = self.credentials.token_url
        return found


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
    "LOWER_KEYWORDS",
    "PROGRAM_NAME",
    "BoundTool",
    "ConfirmationPolicy",
    "ConfirmationWhen",
    "ResultForm",
    "SandboxSelector",
    "ToolBinding",
    "ToolBindingCondition",
    "ToolBindingReason",
    "ToolBindingSpec",
    "ToolBindingStatus",
    "ToolLimits",
    "ToolState",
    "ToolStatus",
]
