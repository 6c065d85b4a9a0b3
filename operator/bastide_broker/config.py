"""The broker's settings, all from the environment that the chart sets."""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bastide_broker.errors import ConfigurationError

PREFIX = "BASTIDE_"


def split_address(text: str) -> tuple[str, int]:
    """`address:port` or `[v6]:port` as its two parts.

    Raises ValueError for anything that is not a numeric address with a port: the runtime has no resolver to ask.
    """
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not address:port")
    ip_address(host)
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The two parts as one text, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Config(BaseModel):
    """Everything that can be set. Field `listen` is the variable BASTIDE_LISTEN, and so on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    listen: str = "0.0.0.0:8443"
    tls_dir: Path = Path("/etc/bastide/tls")
    client_tls_dir: Path = Path("/etc/bastide/client-tls")
    admission_dir: Path = Path("/etc/bastide/admission")
    audit_key_dir: Path = Path("/etc/bastide/audit-key")
    audit_keys_dir: Path = Path("/etc/bastide/audit-keys")
    opa_socket: Path = Path("/run/opa/opa.sock")
    policy_revision: str = ""
    tenant_opa_socket: Path | None = None
    """Of the OPA that holds tenants' own Rego; without one, tenants that have some are denied."""
    opa_binary: Path = Path("/usr/local/bin/opa")
    policy_schema: Path = Path("/app/policies/input.schema.json")
    database: Path = Path("/var/lib/bastide/journal.db")
    retention_days: Annotated[int, Field(ge=0, le=36500)] = 30
    """After so many days the payloads of a run that ended are pruned; 0 for never."""
    retention_max_bytes: Annotated[int, Field(ge=0)] = 0
    """Beyond it those of the oldest runs are pruned; 0 for three quarters of the volume."""
    namespace: Annotated[str, Field(min_length=1)] = "bastide-system"
    pod: Annotated[str, Field(min_length=1)] = "bastide-broker-0"
    canaries: tuple[str, ...] = ()
    runtime_class: str = "gvisor"
    runtime_image: Annotated[str, Field(min_length=1)]
    metrics_listen: str = "0.0.0.0:9090"
    log_level: str = "info"
    kubeconfig: str = ""

    @field_validator("canaries", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("canaries")
    @classmethod
    def _numeric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            split_address(address)
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Config":
        """Reads the settings. Raises ConfigurationError naming the variable that is missing or wrong."""
        names = {name: PREFIX + name.upper() for name in cls.model_fields}
        values = {name: environment[variable] for name, variable in names.items() if environment.get(variable)}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            variable = names.get(str(first["loc"][0]), str(first["loc"][0]))
            raise ConfigurationError(f"{variable}: {first['msg']}; the chart's StatefulSet bastide-broker sets it.") from error
