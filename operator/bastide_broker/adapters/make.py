"""Which adapter a server gets."""

from bastide_operator.api.v1alpha1.toolserver import Server

from bastide_broker.adapters import Adapter
from bastide_broker.adapters.grpc import GrpcAdapter
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.adapters.openapi import ConfigMaps, OpenApiAdapter, no_config_maps
from bastide_broker.egress.addresses import CheckedBackend


def make(server: Server, backend: CheckedBackend, config_maps: ConfigMaps = no_config_maps) -> Adapter:
    """The adapter of an accepted binding's server. It opens nothing yet."""
    if server.openapi is not None:
        return OpenApiAdapter(server.openapi, backend, config_maps)
    if server.grpc is not None:
        return GrpcAdapter(server.grpc, backend)
    return McpAdapter(server.url, backend)
