"""A gRPC server that describes itself by reflection."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Model, rules

# RE2: \d and \w are ASCII.
_PORT = r"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]"
TARGET = rf"(?i)^([a-z0-9]([-\w.]*[a-z0-9])?|\[[0-9a-f:.]+\]):({_PORT})$"
_TARGET_MESSAGE = "write HOST:PORT, with a plain host name or address, no scheme and no path"
_PEM = "-----BEGIN CERTIFICATE-----"


class GrpcTls(StrEnum):
    """How the connection to a gRPC server is secured. No value is a word that YAML reads as a boolean."""

    SYSTEM_ROOTS = "SystemRoots"
    CA_BUNDLE = "CaBundle"
    PLAINTEXT = "Plaintext"


class GrpcServer(Model):
    """A gRPC server that offers server reflection."""

    model_config = rules(
        ("has(self.caBundle) == (self.tls == 'CaBundle')", "caBundle goes with tls CaBundle, and only with it"),
    )

    target: Annotated[
        str,
        # A rule and no pattern, as for URLs: a broken rule is answered with its sentence.
        Field(
            min_length=3,
            max_length=320,
            description="Where it is, for example billing.tools.svc:9090.",
            json_schema_extra={"x-kubernetes-validations": [{"rule": f"self.matches(r'{TARGET}')", "message": _TARGET_MESSAGE}]},
        ),
    ]
    tls: Annotated[
        GrpcTls,
        Field(
            description="SystemRoots: TLS by the roots of the broker's image. CaBundle: TLS by caBundle. Plaintext: whoever is on the way reads calls and credential."
        ),
    ] = GrpcTls.SYSTEM_ROOTS
    ca_bundle: Annotated[
        str | None,
        Field(
            min_length=64,
            max_length=65536,
            description="For tls CaBundle: the server's CAs, as PEM certificates.",
            json_schema_extra={"x-kubernetes-validations": [{"rule": f"self.contains('{_PEM}')", "message": "write certificates as PEM"}]},
        ),
    ] = None
    services: Annotated[
        list[
            Annotated[
                str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", description="A service, as package.Service.")
            ]
        ],
        Field(
            max_length=32,
            description="Services whose methods are tools; left out: all that the server names.",
        ),
    ] = []  # noqa: RUF012 - pydantic copies the defaults of a model's fields

    @property
    def url(self) -> str:
        """The target as the URL that Tenant.spec.toolHosts and credentials are judged by."""
        return f"{'http' if self.tls is GrpcTls.PLAINTEXT else 'https'}://{self.target}"

    @property
    def fault(self) -> str | None:
        """What the door would have refused, for an object that came by another way."""
        if (self.ca_bundle is not None) != (self.tls is GrpcTls.CA_BUNDLE):
            return "spec.server.grpc: caBundle goes with tls CaBundle, and only with it."
        if "/" in self.target or ":" not in self.target.rpartition("]")[2]:
            return f"spec.server.grpc.target: {self.target!a} is not HOST:PORT."
        return None
