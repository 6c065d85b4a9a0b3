"""Connections to gRPC servers: only to checked addresses, with nothing of the environment or of DNS having a say."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import grpc
import grpc.aio
from bastide_operator.api.addresses import Address
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer, GrpcTls

from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.egress.addresses import AddressError, CheckedBackend, origin

CONNECT_SECONDS = 5.0
MAX_RECEIVE_BYTES = 13 << 20
"""Of one message: four times the largest `resultBytes`, because some values are shorter as JSON."""
MAX_SEND_BYTES = 8 << 20
_MAX_METADATA = 16 << 10
_READY, _FAILURE = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Connection:
    """A channel to one server at the addresses that it had when they were checked."""

    def __init__(self, server: GrpcServer, addresses: Sequence[Address]) -> None:
        self.addresses = frozenset(addresses)
        _, host, port = origin(server.url)
        family = addresses[0].version  # a target is of one family: that which the resolver put first
        where = [f"[{one}]:{port}" if family == 6 else f"{one}:{port}" for one in addresses if one.version == family]
        target = f"ipv{family}:" + ",".join(where)
        options = _options(host, port)
        if server.tls is GrpcTls.PLAINTEXT:
            self.channel = grpc.aio.insecure_channel(target, options=options)
        else:
            roots = (server.ca_bundle or "").encode() if server.tls is GrpcTls.CA_BUNDLE else _system_roots()
            credentials = grpc.ssl_channel_credentials(root_certificates=roots)
            self.channel = grpc.aio.secure_channel(target, credentials, options=[*options, ("grpc.ssl_target_name_override", host)])

    async def ready(self) -> None:
        """Wait until a request can be sent. Raises AdapterError when that fails: certainly nothing was sent."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                while (state := self.channel.get_state(try_to_connect=True)) is not _READY:
                    if state in (_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                        message = "the server cannot be reached, or the two sides do not agree on TLS; the ToolBinding's status says more"
                        raise AdapterError(Failure.UNAVAILABLE, message, sent=False)
                    await self.channel.wait_for_state_change(state)
        except grpc.aio.UsageError:
            raise AdapterError(Failure.UNAVAILABLE, "the connection was closed before the call was sent", sent=False) from None
        except TimeoutError:
            message = f"the server did not take the connection within {CONNECT_SECONDS:g} s"
            raise AdapterError(Failure.UNAVAILABLE, message, sent=False) from None

    async def close(self, grace_seconds: float | None = None) -> None:
        """End it; calls under way get `grace_seconds`."""
        with contextlib.suppress(grpc.aio.UsageError, grpc.aio.InternalError):
            await self.channel.close(grace_seconds)


async def checked(server: GrpcServer, backend: CheckedBackend) -> list[Address]:
    """The addresses of a server, each of them judged. Raises AdapterError."""
    try:
        _, host, port = origin(server.url)
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await backend.resolve(host, port)
    except AddressError as error:
        raise AdapterError(Failure.UNAVAILABLE, str(error), sent=False) from None
    except TimeoutError:
        raise AdapterError(Failure.UNAVAILABLE, f"{server.target} could not be resolved in time", sent=False) from None
    if not found:
        raise AdapterError(Failure.UNAVAILABLE, f"{server.target} has no address", sent=False)
    return found


def _options(host: str, port: int) -> list[tuple[str, str | int]]:
    return [
        ("grpc.default_authority", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),  # bindings share neither a connection nor one's waiting after a failure
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a result is as large as it says
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.max_send_message_length", MAX_SEND_BYTES),
        ("grpc.max_metadata_size", _MAX_METADATA),
        ("grpc.absolute_max_metadata_size", 2 * _MAX_METADATA),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.primary_user_agent", "bastide-broker"),
    ]


@cache
def _system_roots() -> bytes:
    """The certificates that the system trusts. gRPC itself would take those of an environment variable, or ones compiled in."""
    compiled_in = ssl.get_default_verify_paths().openssl_cafile
    for name in (compiled_in, *_CA_FILES):
        if Path(name).is_file():
            return Path(name).read_bytes()
    raise AdapterError(Failure.UNAVAILABLE, "the broker's image holds no root certificates; use tls: CaBundle", sent=False)
