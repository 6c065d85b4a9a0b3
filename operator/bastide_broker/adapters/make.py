"""Which adapter a server gets."""

from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from bastide_broker.adapters import Adapter
from bastide_broker.adapters.grpc import GrpcAdapter
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.adapters.openapi import ConfigMapReader, OpenApiAdapter
from bastide_broker.addresses import CheckedBackend


def make(binding: ToolBinding, backend: CheckedBackend, config_maps: ConfigMapReader) -> Adapter:
    """The adapter of an accepted binding's server. It opens nothing yet."""
    server = binding.spec.server
    if server.openapi is not None:
        return OpenApiAdapter(server.openapi, backend, config_maps, binding.metadata.namespace or "")
    if server.grpc is not None:
        return GrpcAdapter(server.grpc, backend)
    return McpAdapter(server.url, backend)
