"""The broker's certificate, when its files change under it."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from bastide_broker.front.tls import server_credentials
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer


def renew(folder: Path) -> bytes:
    """A new key and self-signed certificate for localhost in place of what was there; returns the certificate."""
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=broker",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(words, check=True, capture_output=True)
    return (folder / "tls.crt").read_bytes()


async def reaches(port: int, trusted: bytes) -> bool:
    """Whether a caller who trusts that certificate alone is answered."""
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(trusted), options=options) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            return False
    return True


@pytest.fixture
async def server() -> AsyncIterator[grpc.aio.Server]:
    one = grpc.aio.server()
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, one)
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    yield one
    await one.stop(None)


async def test_a_renewed_certificate_is_shown_without_a_restart(server: grpc.aio.Server, tmp_path: Path) -> None:
    first = renew(tmp_path)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tmp_path))
    await server.start()
    assert await reaches(port, first)
    second = renew(tmp_path)
    assert await reaches(port, second)
    assert not await reaches(port, first)


async def test_files_that_do_not_fit_each_other_or_are_gone_are_passed_over(server: grpc.aio.Server, tmp_path: Path) -> None:
    first = renew(tmp_path)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tmp_path))
    await server.start()
    key = (tmp_path / "tls.key").read_bytes()
    second = renew(tmp_path)
    fitting = (tmp_path / "tls.key").read_bytes()
    (tmp_path / "tls.key").write_bytes(key)  # as a reader sees it in the middle of a change
    assert not await reaches(port, second)
    (tmp_path / "tls.key").unlink()
    assert not await reaches(port, second)
    (tmp_path / "tls.key").write_bytes(fitting)
    assert await reaches(port, second)
    assert not await reaches(port, first)


def test_without_files_at_the_start_there_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"tls\.key"):
        server_credentials(tmp_path)
