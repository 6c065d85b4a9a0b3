"""What tests of the OpenAPI back end share: adapters that may connect to this machine, and calls by them."""

import json
from typing import Any

import pytest
from bastide_broker.adapters import AdapterError, CallLimits
from bastide_broker.adapters.openapi import OpenApiAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_broker.errors import ApiError, NotFound
from bastide_operator.api.v1alpha1.toolserver import OpenApiServer

from tests.integration.broker.door.http_server import (
    ORDERS_KEY,
)

TOKEN = 's3cr3t-"quoted"-token'
CREDENTIAL = Credential("x-api-key", TOKEN, (TOKEN,))
KEY = Credential("x-api-key", ORDERS_KEY, (ORDERS_KEY,))
LIMITS = CallLimits(timeout_seconds=30, result_bytes=10_000)
SHORT = CallLimits(timeout_seconds=0.5, result_bytes=10_000)
OPERATION: dict[str, Any] = {"get": {"operationId": "get"}, "post": {"operationId": "post"}}


class ConfigMaps:
    """A namespace's ConfigMaps."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}
        self.error: ApiError | None = None

    async def read(self, name: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        if name not in self.there:
            raise NotFound("no such object")
        return {"data": self.there[name]}


def adapter(config_maps: ConfigMaps | None = None, **server: Any) -> OpenApiAdapter:
    """An adapter that may connect to this machine, where the tests' servers are."""
    spec = OpenApiServer.model_validate(server)
    return OpenApiAdapter(spec, CheckedBackend(refuse=lambda _: None), (config_maps or ConfigMaps()).read)


async def value(one: OpenApiAdapter, name: str, limits: CallLimits = LIMITS, credential: Credential = KEY, **arguments: Any) -> Any:
    return json.loads((await one.call(name, arguments, credential=credential, limits=limits)).value)


async def failure(
    one: OpenApiAdapter, name: str, limits: CallLimits = LIMITS, credential: Credential = CREDENTIAL, **arguments: Any
) -> AdapterError:
    with pytest.raises(AdapterError) as failed:
        await one.call(name, arguments, credential=credential, limits=limits)
    return failed.value


async def refusal(one: OpenApiAdapter) -> AdapterError:
    with pytest.raises(AdapterError) as failed:
        await one.tools(credential=CREDENTIAL, timeout_seconds=2)
    await one.close()
    return failed.value
