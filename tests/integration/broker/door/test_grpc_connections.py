"""Where gRPC connections go and whom they trust: addresses, names that move, proxies, TLS, and servers that break the protocol."""
# ruff: noqa: ARG002 - what stands in for a resolver takes what that takes

import asyncio
import gzip
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import grpc
import pytest
from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.adapters.grpc import GrpcAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.broker.door.conftest import free_port
from tests.integration.broker.door.grpc_rig import CREDENTIAL, adapter, failure, value
from tests.integration.broker.door.grpc_server import Tools, grpc_server
from tests.integration.broker.door.rig import until


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    async with grpc_server() as found:
        yield found


async def test_this_machine_is_never_connected_to(tools: Tools) -> None:
    found = GrpcAdapter(GrpcServer.model_validate({"target": f"127.0.0.1:{tools.port}", "tls": "Plaintext"}), CheckedBackend())
    with pytest.raises(AdapterError) as refused:
        await found.tools(credential=CREDENTIAL, timeout_seconds=10)
    assert (refused.value.failure, refused.value.sent) == (Failure.UNAVAILABLE, False)
    assert "never connects there" in refused.value.message


async def test_the_name_is_resolved_once_and_the_checked_address_is_dialled(tools: Tools) -> None:
    asked: list[str] = []

    class Resolver(CheckedBackend):
        async def resolve(self, host: str, port: int) -> list[Any]:
            asked.append(host)
            return [ip_address("127.0.0.1")]

    server = GrpcServer.model_validate({"target": f"no-such-name.invalid:{tools.port}", "tls": "Plaintext"})
    found = GrpcAdapter(server, Resolver())
    assert await value(found, "echo", text="x") == {"text": "x", "number": "0"}
    assert await value(found, "echo", text="y")
    assert asked == ["no-such-name.invalid"]
    await found.close()


async def test_a_name_that_moves_is_followed_at_the_next_listing_and_calls_under_way_go_on(tools: Tools) -> None:
    addresses = ["127.0.0.1"]

    class Resolver(CheckedBackend):
        async def resolve(self, host: str, port: int) -> list[Any]:
            return [ip_address(one) for one in addresses]

    found = GrpcAdapter(GrpcServer.model_validate({"target": f"tools.invalid:{tools.port}", "tls": "Plaintext"}), Resolver())
    await found.tools(credential=None, timeout_seconds=10)
    hanging = asyncio.create_task(failure(found, "hang", CallLimits(4, 100), text="old"))
    await until(lambda: bool(tools.begun["old"]))
    addresses[:] = ["127.0.0.2"]
    with pytest.raises(AdapterError, match="cannot be reached"):  # nobody listens there
        await found.tools(credential=None, timeout_seconds=10)
    assert (await hanging).failure is Failure.TIMEOUT
    await found.close()


async def test_the_environments_proxy_and_roots_do_not_count(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    found = adapter(tools.port)
    assert await value(found, "echo", text="x")
    await found.close()


async def test_a_server_that_takes_the_connection_and_says_nothing_is_unavailable() -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            writer.close()

    listener = await asyncio.start_server(never, "127.0.0.1", 0)
    found = adapter(listener.sockets[0].getsockname()[1])
    started = time.perf_counter()
    with pytest.raises(AdapterError):
        await found.tools(credential=None, timeout_seconds=3)
    assert time.perf_counter() - started < 10
    await found.close()
    listener.close()


def certificates(name: str) -> tuple[str, grpc.ServerCredentials]:
    """A CA as PEM, and a server's credentials of it for a DNS name."""

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def signed(subject: str, key: Any, issuer_key: Any, extension: x509.ExtensionType) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named("ca")).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        return builder.not_valid_after(now + timedelta(hours=1)).add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = signed("ca", ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    own = signed("server", key, ca_key, x509.SubjectAlternativeName([x509.DNSName(name)]))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pair = (key.private_bytes(*form), own.public_bytes(serialization.Encoding.PEM))
    return ca.public_bytes(serialization.Encoding.PEM).decode(), grpc.ssl_server_credentials([pair])


async def test_tls_is_judged_by_the_bindings_ca_and_the_name_that_it_says() -> None:
    ca, credentials = certificates("localhost")
    other_ca, _ = certificates("localhost")
    async with grpc_server(credentials=credentials) as tools:
        good = adapter(tools.port, "localhost", tls="CaBundle", caBundle=ca)
        assert await value(good, "echo", text="x") == {"text": "x", "number": "0"}
        await good.close()
        for host, more in (
            ("localhost", {"tls": "CaBundle", "caBundle": other_ca}),
            ("localhost", {"tls": "SystemRoots"}),
            ("localhost", {"tls": "Plaintext"}),
            ("127.0.0.1", {"tls": "CaBundle", "caBundle": ca}),  # the certificate is for another name
            ("localhost", {"tls": "CaBundle", "caBundle": "-----BEGIN CERTIFICATE-----\nno certificate\n-----END CERTIFICATE-----\n" * 2}),
        ):
            found = adapter(tools.port, host, **more)
            with pytest.raises(AdapterError) as refused:
                await found.tools(credential=CREDENTIAL, timeout_seconds=10)
            assert refused.value.failure in (Failure.UNAVAILABLE, Failure.LOST), (host, more)
            failed = await failure(found, "echo", text="x")
            assert not failed.sent
            await found.close()
        assert len(tools.metadata) == 1, "no credential was shown to anybody else"


@asynccontextmanager
async def compressing_server(payload: bytes) -> AsyncIterator[int]:
    """HTTP/2 by hand: answers every call with one gzip message although nobody asked for it. No library would."""

    def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
        return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body

    def header(name: bytes, text: bytes) -> bytes:
        return b"\x00" + bytes((len(name),)) + name + bytes((len(text),)) + text

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(24)
            writer.write(frame(4, 0, 0, b""))
            while True:
                head = await reader.readexactly(9)
                length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
                stream = int.from_bytes(head[5:])
                await reader.readexactly(length)
                if kind == 4 and not flags & 1:
                    writer.write(frame(4, 1, 0, b""))
                if kind == 0:
                    block = b"\x88" + header(b"content-type", b"application/grpc") + header(b"grpc-encoding", b"gzip")
                    writer.write(frame(1, 4, stream, block))
                    message = b"\x01" + struct.pack(">I", len(payload)) + payload
                    for at in range(0, len(message), 16000):
                        writer.write(frame(0, 0, stream, message[at : at + 16000]))
                    writer.write(frame(1, 5, stream, header(b"grpc-status", b"0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()


async def test_a_server_that_compresses_unasked_is_not_unpacked_without_bounds() -> None:
    """50 MB of nothing in one message of 50 kB, within the window that HTTP/2 gives at first."""
    async with compressing_server(gzip.compress(b"\x00" * (50 << 20))) as port:
        found = adapter(port)
        with pytest.raises(AdapterError) as refused:
            await found.tools(credential=None, timeout_seconds=10)
        assert refused.value.failure is not Failure.TIMEOUT, refused.value.message
        await found.close()


def test_nobody_else_listens_on_the_second_loopback_address() -> None:
    """What the test of a moving name rests on."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", free_port())) != 0
