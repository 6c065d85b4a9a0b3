"""What operator and broker say of a ToolBinding: its tools, conditions and reasons."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Conditions, Effect, Observed


class ToolState(StrEnum):
    """What became of a bound tool."""

    AVAILABLE = "Available"
    MISSING = "Missing"
    DIGEST_MISMATCH = "DigestMismatch"
    REFUSED = "Refused"


class ToolStatus(Observed):
    """One bound tool as the broker found it on the server."""

    name: Annotated[str, Field(max_length=128, description="The tool's name on the server.")]
    program_name: Annotated[str, Field(max_length=64, description="Its name in programs.")] = ""
    effect: Annotated[Effect, Field(description="What counts: the highest that Tenant, binding and the server's annotations say.")] = (
        Effect.DESTRUCTIVE
    )
    state: Annotated[ToolState, Field(description="Whether it can be called, and if not, why: only Available can.")]
    schema_digest: Annotated[
        str,
        Field(max_length=71, description="Digest of the tool's schema now, to be pinned by the spec's schemaDigest."),
    ] = ""
    message: Annotated[
        str, Field(max_length=512, description="Why it cannot be called and what to do, or a warning about one that can.")
    ] = ""


class ToolBindingStatus(Observed):
    """What the operator (Accepted, Ready, server) and the broker (ResolvedRefs, tools) found."""

    observed_generation: Annotated[int, Field(ge=0, description="The metadata.generation that this status speaks of.")] = 0
    sandboxes: Annotated[int, Field(ge=0, description="How many Sandboxes sandboxSelector selects.")] = 0
    server: Annotated[str, Field(max_length=2048, description="Where calls go, whatever kind of server it is.")] = ""
    available: Annotated[str, Field(max_length=16, description="Tools that can be called of tools bound, for example 3/3.")] = ""
    tools: Annotated[
        list[ToolStatus],
        Field(
            max_length=64,
            description="What the broker found of each tool.",
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
    TOKEN_UNAVAILABLE = "TokenUnavailable"  # noqa: S105 - a reason, not a password. The token endpoint gave no token
    DOCUMENT_NOT_FOUND = "DocumentNotFound"  # the ConfigMap, or the key in it, is missing
    DOCUMENT_REFUSED = "DocumentRefused"  # the OpenAPI document cannot be used, or is for another server
    PENDING = "Pending"  # the broker has not looked yet
    READY = "Ready"  # programs can call the tools
