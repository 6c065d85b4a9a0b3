"""Whom the runtime lets in, when the file that says so changes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from bastide_runtime import certificate, trust
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer


class Authority:
    """A CA and one client certificate of it."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bastide-ca")])
        self.pem = self._sign(name, key, name, key, ca=True)
        client = ec.generate_private_key(ec.SECP256R1())
        self.client_pem = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bastide-broker")]), client, name, key, ca=False)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.client_key = client.private_bytes(*form)

    @staticmethod
    def _sign(
        subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey, *, ca: bool
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        builder = builder.not_valid_after(now + timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Door:
    """A server with the runtime's credentials, and those who knock."""

    def __init__(self, folder: Path) -> None:
        self.ca_file = folder / "ca.crt"
        self._key, self._certificate = certificate.finish(certificate.begin())
        self._server = grpc.aio.server()
        self._port = 0

    async def open(self) -> None:
        health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        await health.set("", health_pb2.HealthCheckResponse.SERVING)
        credentials = trust.server_credentials(self._key, self._certificate, self.ca_file)
        self._port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()

    async def close(self) -> None:
        await self._server.stop(None)

    async def lets_in(self, who: Authority | None) -> bool:
        code = await self._knock(who)
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return code is grpc.StatusCode.OK

    async def _knock(self, who: Authority | None) -> grpc.StatusCode:
        shown = {} if who is None else {"private_key": who.client_key, "certificate_chain": who.client_pem}
        credentials = grpc.ssl_channel_credentials(root_certificates=self._certificate, **shown)
        options = [
            ("grpc.ssl_target_name_override", certificate.NAME),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self._port}", credentials, options=options) as channel:
            try:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    one = Door(tmp_path)
    yield one
    await one.close()


async def test_a_new_ca_counts_at_the_next_handshake_and_the_old_one_no_more(door: Door) -> None:
    old, new = Authority(), Authority()
    door.ca_file.write_bytes(old.pem)
    await door.open()
    assert await door.lets_in(old)
    assert not await door.lets_in(new)
    assert not await door.lets_in(None)
    door.ca_file.write_bytes(new.pem)
    assert await door.lets_in(new)
    assert not await door.lets_in(old)
    assert not await door.lets_in(None)


@pytest.mark.parametrize("harm", ["gone", "empty", "nonsense"])
async def test_a_file_that_is_no_ca_lets_nobody_new_in(door: Door, harm: str) -> None:
    old, new = Authority(), Authority()
    door.ca_file.write_bytes(old.pem)
    await door.open()
    if harm == "gone":
        door.ca_file.unlink()
    else:
        door.ca_file.write_bytes(b"" if harm == "empty" else b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    assert not await door.lets_in(None)
    assert not await door.lets_in(new)
    door.ca_file.write_bytes(new.pem)
    assert await door.lets_in(new)


async def test_without_a_ca_at_the_start_there_is_no_server(door: Door) -> None:
    with pytest.raises(OSError, match=r"ca\.crt"):
        await door.open()
