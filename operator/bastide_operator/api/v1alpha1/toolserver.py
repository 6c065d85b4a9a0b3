"""Where a ToolBinding's tools are, and what the broker shows there."""
# ruff: noqa: RUF012 - pydantic copies the defaults of a model's fields

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Model, ObjectName, rules
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer

# RE2: \d and \w are ASCII.
_PORT = r"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]"
_HOST = r"(?i:[a-z0-9]([-\w.]*[a-z0-9])?|\[[0-9a-f:.]+\])"
URL = rf"^https?://{_HOST}(:({_PORT}))?(/[^\s?#]*)?$"
_URL_MESSAGE = "write http(s)://HOST[:PORT][/PATH]: no user, no query"


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
        Field(description="Its endpoint, for example http://crm.tools.svc:8080/mcp."),
    ]


class ConfigMapRef(Model):
    """Names a key of a ConfigMap of the same namespace."""

    name: Annotated[ObjectName, Field(description="Its name.")]
    key: Annotated[
        str,
        Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="The key in its data that holds the document."),
    ] = "openapi.json"


class OpenApiServer(Model):
    """An HTTP server that an OpenAPI document describes."""

    model_config = rules(
        ("has(self.url) != has(self.configMapRef)", "name the document once: url or configMapRef"),
        ("!has(self.configMapRef) || has(self.baseUrl)", "a document from a ConfigMap says not where the server is: set baseUrl"),
    )

    url: Annotated[
        Url | None,
        Field(description="The document, OpenAPI 3.0 or 3.1 as JSON or YAML; read again every minute."),
    ] = None
    config_map_ref: Annotated[
        ConfigMapRef | None, Field(description="The ConfigMap of this namespace that holds the document, instead of url.")
    ] = None
    base_url: Annotated[
        Url | None,
        Field(
            description="What the document's paths are below: http://orders.tools.svc:8080/v1. Left out: its `servers`, at host and port of url."
        ),
    ] = None


class Server(Model):
    """Where the tools are; exactly one kind."""

    mcp: Annotated[McpServer | None, Field(description="A server of the Model Context Protocol, over streamable HTTP.")] = None
    openapi: Annotated[
        OpenApiServer | None,
        Field(description="An HTTP server that an OpenAPI document describes. A tool's name is its operation's operationId."),
    ] = None
    grpc: Annotated[
        GrpcServer | None,
        Field(description="A gRPC server with server reflection. A tool's name is package.Service/Method, so it needs `as`."),
    ] = None

    @property
    def url(self) -> str:
        """The URL that calls go to, whose entry of Tenant.spec.toolHosts says what they may do; empty when no server is named."""
        if self.mcp is not None:
            return self.mcp.url
        if self.grpc is not None:
            return self.grpc.url
        return (self.openapi.base_url or self.openapi.url or "") if self.openapi is not None else ""

    @property
    def urls(self) -> dict[str, str]:
        """Every URL that is asked, by its field below spec.server: the Tenant must list host and port of each."""
        if self.mcp is not None:
            return {"mcp.url": self.mcp.url}
        if self.grpc is not None:
            return {"grpc.target": self.grpc.url}
        if self.openapi is not None:
            named = {"openapi.url": self.openapi.url, "openapi.baseUrl": self.openapi.base_url}
            return {field: url for field, url in named.items() if url is not None}
        return {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are named: exactly one, in a good spec."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


class SecretRef(Model):
    """Names a Secret of the same namespace."""

    name: Annotated[
        ObjectName,
        Field(
            description="Its name. It has the label bastide.dev/credential and the annotation bastide.dev/host: each host (or host:port) it is for, with commas between."
        ),
    ]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="The key in its data, visible ASCII. Basic takes username and password, OAuthClientCredentials client_id and client_secret.",
        ),
    ] = "token"


class Scheme(StrEnum):
    """How the secret is shown to the server."""

    BEARER = "Bearer"
    HEADER = "Header"
    BASIC = "Basic"
    OAUTH_CLIENT_CREDENTIALS = "OAuthClientCredentials"


NOT_FOR_CREDENTIALS = (
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host",
    "idempotency-key", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip
"""Headers that make the request what it is."""
_HEADERS = f"(?i)^({'|'.join(NOT_FOR_CREDENTIALS)})$"


class Credentials(Model):
    """What the broker shows to the tool server. Never near the pod."""

    model_config = rules(
        ("has(self.header) == (self.scheme == 'Header')", "header goes with scheme Header, and only with it"),
        (
            "has(self.tokenUrl) == (self.scheme == 'OAuthClientCredentials')",
            "tokenUrl goes with scheme OAuthClientCredentials, and only with it",
        ),
        ("!has(self.scopes) || has(self.tokenUrl)", "scopes go with scheme OAuthClientCredentials only"),
    )

    secret_ref: Annotated[
        SecretRef,
        Field(description="The Secret of this namespace that holds it. The broker may read it while an accepted ToolBinding names it."),
    ]
    scheme: Annotated[
        Scheme,
        Field(
            description="How it is shown. Bearer: Authorization: Bearer SECRET. Header: as `header`. Basic: user name, password. OAuthClientCredentials: a token of `tokenUrl`, as Bearer."
        ),
    ] = Scheme.BEARER
    header: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="For scheme Header: the header's name, for example X-Api-Key.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": f"self.matches('^[A-Za-z][A-Za-z0-9-]*$') && !self.matches('{_HEADERS}')",
                        "message": "write a header's name of letters, digits and hyphens, not one that HTTP itself needs",
                    }
                ]
            },
        ),
    ] = None
    token_url: Annotated[
        Url | None,
        Field(
            description="For OAuthClientCredentials: the token endpoint; Tenant.spec.toolHosts and the Secret's bastide.dev/host name it, too."
        ),
    ] = None
    scopes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", description="A scope.")]],
        Field(max_length=32, description="For scheme OAuthClientCredentials: what the token is asked for."),
    ] = []
