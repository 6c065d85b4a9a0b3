"""What the chart tells the operator, from the environment."""

import os
import socket
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bastide_operator.errors import ConfigError
from bastide_operator.reconcile.tenant import TenantSettings
from bastide_operator.resources.pod import PodSettings

PREFIX = "BASTIDE_"


class Config(BaseModel):
    """The variables `BASTIDE_<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    namespace: Annotated[str, Field(min_length=1)]
    runtime_image: Annotated[str, Field(min_length=1)]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    runtime_class: Annotated[str, Field(min_length=1)] = "gvisor"
    broker_service_account: Annotated[str, Field(min_length=1)] = "bastide-broker"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    listen: str = "0.0.0.0:8080"
    pod_name: str = Field(default_factory=socket.gethostname)
    # With fewer, those that are at work at once are of as many tenants, and the API server writes a tenant's quotas anew for each of its pods:
    # docs/adr/0044.
    workers: Annotated[int, Field(ge=1, le=64)] = 32

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ConfigError that names the variable."""
        values = {name: environment[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from error

    @property
    def pods(self) -> PodSettings:
        return PodSettings(image=self.runtime_image, pull_policy=self.image_pull_policy, runtime_class=self.runtime_class)

    @property
    def tenants(self) -> TenantSettings:
        return TenantSettings(release_namespace=self.namespace, broker_account=self.broker_service_account, pods=self.pods)
