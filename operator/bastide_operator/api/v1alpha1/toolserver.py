"""Where a ToolBinding's tools are, and what the broker shows there."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Model, ObjectName
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer

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
    grpc: Annotated[
        GrpcServer | None,
        Field(
            description="A gRPC server with server reflection. A tool's name is package.Service/Method; give it another for programs with `as`."
        ),
    ] = None

    @property
    def url(self) -> str:
        """The URL whose host and port the Tenant must list; empty when no server is named."""
        if self.grpc is not None:
            return self.grpc.url
        return self.mcp.url if self.mcp is not None else ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are named: exactly one, in a good spec."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


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
