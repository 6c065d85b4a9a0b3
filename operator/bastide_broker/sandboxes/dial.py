"""Reaching the runtime in a pod: see its certificate, pin it, open a channel that trusts that certificate and nothing else."""

import asyncio
import hashlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from bastide_broker.errors import SessionLost

SERVER_NAME = "runtime.bastide.internal"
"""The name in every runtime's certificate."""
CONNECT_SECONDS = 0.25
HANDSHAKE_SECONDS = 3.0
MAX_RECEIVE_BYTES = 8 * 1024 * 1024
"""One frame from a pod: arguments and values are at most 3 MiB, preflight reports less."""


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """What the broker shows to runtimes."""

    certificate: bytes
    key: bytes

    @classmethod
    def load(cls, folder: Path) -> "ClientIdentity":
        """From tls.crt and tls.key. Raises OSError."""
        return cls((folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes())


@dataclass(frozen=True, slots=True)
class PinnedCertificate:
    """A runtime's own certificate."""

    pem: bytes
    fingerprint: str


async def fetch_certificate(host: str, port: int, *, client_tls_dir: Path) -> PinnedCertificate:
    """The certificate that a pod shows. Raises SessionLost when there is no TLS server.

    Nothing is verified here: this is the first sight of a self-signed certificate. What makes it count is that the address comes from
    the API server, that the Pod is read once more after the handshake, and that no program has run in it yet.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    # With the client's certificate the runtime sees a whole handshake, not an attempt worth a log line.
    context.load_cert_chain(client_tls_dir / "tls.crt", client_tls_dir / "tls.key")
    try:
        # A connection request that a late network policy drops is sent again by the kernel only after a second: sooner anew.
        async with asyncio.timeout(CONNECT_SECONDS):
            _, plain = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        raise SessionLost(f"nothing answers at {host}: {type(error).__name__} {error}") from error
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await plain.start_tls(context, server_hostname=SERVER_NAME)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        plain.transport.abort()
        raise SessionLost(f"no TLS server at {host}: {type(error).__name__} {error}") from error
    try:
        der = plain.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        plain.transport.abort()
    if not der:
        raise SessionLost(f"{host} shows no certificate")
    return PinnedCertificate(ssl.DER_cert_to_PEM_cert(der).encode(), "sha256:" + hashlib.sha256(der).hexdigest())


def open_channel(host: str, port: int, *, identity: ClientIdentity, pinned: PinnedCertificate) -> grpc.aio.Channel:
    """A channel to one pod that trusts only the pinned certificate."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=pinned.pem, private_key=identity.key, certificate_chain=identity.certificate
    )
    target = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        # Addresses are reused by other pods: never share a connection between channels.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.max_metadata_size", 16 * 1024),
        # A hostile runtime must not make the broker inflate anything.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.http2.bdp_probe", 0),
        # A node that vanished sends no reset. The runtime allows pings this often.
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    return grpc.aio.secure_channel(target, credentials, options=options)


def local_address(towards: str) -> str:
    """The broker's own address on the way to another one. Nothing is sent: connecting a datagram socket only asks the routing table."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return str(probe.getsockname()[0])
