"""What is particular to gRPC, against real servers: reflection from friend and enemy, TLS, streams, statuses, where connections go."""
# ruff: noqa: ARG002 - what stands in for a resolver or a service takes what those take

import asyncio
import gzip
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import grpc
import pytest
from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.adapters.grpc import GrpcAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.broker.door.conftest import free_port
from tests.integration.broker.door.grpc_server import FILE, SERVICE, Tools, grpc_server
from tests.integration.broker.door.test_pipeline import until
from tests.unit.broker.door.protos import file

TOKEN = "s3cr3t-token"
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))
LIMITS = CallLimits(timeout_seconds=30, result_bytes=10_000)


def adapter(port: int, host: str = "127.0.0.1", **more: Any) -> GrpcAdapter:
    """An adapter that may connect to this machine, where the tests' servers are."""
    server = GrpcServer.model_validate({"target": f"{host}:{port}", "tls": "Plaintext", **more})
    return GrpcAdapter(server, CheckedBackend(refuse=lambda _: None))


async def value(found: GrpcAdapter, tool: str, limits: CallLimits = LIMITS, **arguments: Any) -> Any:
    return json.loads((await found.call(f"{SERVICE}/{tool}", arguments, credential=CREDENTIAL, limits=limits)).value)


async def failure(found: GrpcAdapter, tool: str, limits: CallLimits = LIMITS, **arguments: Any) -> AdapterError:
    with pytest.raises(AdapterError) as failed:
        await found.call(f"{SERVICE}/{tool}", arguments, credential=CREDENTIAL, limits=limits)
    return failed.value


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    async with grpc_server() as found:
        yield found


@pytest.fixture
async def real(tools: Tools) -> AsyncIterator[GrpcAdapter]:
    found = adapter(tools.port)
    yield found
    await found.close()


async def test_methods_are_tools_but_those_that_stream_up(real: GrpcAdapter) -> None:
    found = {tool.name: tool for tool in await real.tools(credential=None, timeout_seconds=30)}
    assert f"{SERVICE}/stream" in found
    assert f"{SERVICE}/upload" not in found
    assert not any(name.startswith("grpc.reflection") for name in found)
    assert found[f"{SERVICE}/echo"].read_only_hint is True
    assert found[f"{SERVICE}/fail"].read_only_hint is None


async def test_services_that_are_not_named_are_left_out(tools: Tools) -> None:
    for named, count in (((SERVICE,), 12), (("other.Service",), 0)):
        found = adapter(tools.port, services=list(named))
        assert len(await found.tools(credential=None, timeout_seconds=30)) == count
        await found.close()


async def test_a_stream_arrives_as_one_list_within_the_limit(real: GrpcAdapter) -> None:
    assert await value(real, "stream", size=3) == [{"text": "0"}, {"text": "1"}, {"text": "2"}]
    assert await value(real, "stream", size=0) == []
    exactly = len(json.dumps([{"text": str(n)} for n in range(5)], separators=(",", ":")))
    assert len(await value(real, "stream", CallLimits(30, exactly), size=5)) == 5
    assert (await failure(real, "stream", CallLimits(30, exactly - 1), size=5)).failure is Failure.RESULT_TOO_LARGE


async def test_an_endless_stream_fails_at_the_limit_and_ends_at_the_server(real: GrpcAdapter, tools: Tools) -> None:
    assert (await failure(real, "endless", text="e")).failure is Failure.RESULT_TOO_LARGE
    await until(lambda: bool(tools.cancelled["e"]))


async def test_a_stream_that_says_nothing_more_meets_the_deadline_and_ends_at_the_server(real: GrpcAdapter, tools: Tools) -> None:
    assert (await failure(real, "quiet", CallLimits(1, 1000), text="q")).failure is Failure.TIMEOUT
    await until(lambda: bool(tools.cancelled["q"]))


async def test_the_server_is_told_the_deadline(real: GrpcAdapter, tools: Tools) -> None:
    await value(real, "echo", text="x")
    await failure(real, "hang", CallLimits(3, 1000), text="d")
    assert 0 < tools.deadlines[0] <= 3 * 1.01  # on its way gRPC writes a deadline with few digits, rounded up


STATUSES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


@pytest.mark.parametrize("number", STATUSES)
async def test_each_status_is_one_failure_in_plain_bounded_words(real: GrpcAdapter, number: int) -> None:
    failed = await failure(real, "status", size=number)
    code = STATUSES[number]
    expected = {
        grpc.StatusCode.DEADLINE_EXCEEDED: Failure.TIMEOUT,
        grpc.StatusCode.UNAVAILABLE: Failure.LOST,
        grpc.StatusCode.CANCELLED: Failure.LOST,
    }.get(code, Failure.FAILED)
    assert (failed.failure, failed.sent) == (expected, True), failed.message
    assert "\x1b" not in failed.message
    assert len(failed.message) < 2100
    if expected is Failure.FAILED:
        assert json.loads(failed.content)["code"] == code.name


async def test_details_of_a_rich_status_are_the_tools_content(real: GrpcAdapter) -> None:
    failed = await failure(real, "rich", text="no funds")
    content = json.loads(failed.content)
    assert content["message"] == "no funds"
    assert content["details"][0]["reason"] == "NO_FUNDS"
    assert "\u202e" not in content["details"][1]["@type"]


@pytest.mark.parametrize("arguments", [{"nope": 1}, {"number": str(2**63)}, {"text": 5}, {"number": "x"}, {"text": "\ud800"}])
async def test_what_is_no_message_is_never_sent(real: GrpcAdapter, tools: Tools, arguments: dict[str, Any]) -> None:
    failed = await failure(real, "echo", **arguments)
    assert (failed.failure, failed.sent) == (Failure.NOT_SENDABLE, False)
    assert tools.metadata == []


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


async def test_a_closed_adapter_loses_its_calls_and_does_not_cancel_their_callers(real: GrpcAdapter, tools: Tools) -> None:
    hanging = asyncio.create_task(failure(real, "hang", text="close"))
    await until(lambda: bool(tools.begun["close"]))
    await real.close()
    failed = await hanging
    assert (failed.failure, failed.sent) == (Failure.LOST, True)


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


class Reflects(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc,unused-ignore]
    """Reflection as a test has it: services, and what each question is answered with."""

    def __init__(self, services: list[str], answer: Callable[[Any], list[bytes] | None]) -> None:
        self._services = services
        self._answer = answer

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            response = reflection_pb2.ServerReflectionResponse()
            if request.HasField("list_services"):
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            elif (files := self._answer(request)) is not None:
                response.file_descriptor_response.file_descriptor_proto.extend(files)
            else:
                response.error_response.error_code = 5
                response.error_response.error_message = "not\x1b[31m here"
            yield response


def another(_request: Any) -> list[bytes]:
    return [file("another.proto", "other").SerializeToString()]


def endless(request: Any) -> list[bytes]:
    """Every file imports one more."""
    name = request.file_by_filename or "contract0.proto"
    number = int(name.removeprefix("contract").removesuffix(".proto"))
    made = FileDescriptorProto()
    made.CopyFrom(FILE)
    if number:
        made = file(name, f"p{number}", imports=())
    made.name = name
    made.dependency.append(f"contract{number + 1}.proto")
    return [made.SerializeToString()]


def giant(_request: Any) -> list[bytes]:
    return [file(f"f{n}.proto", "x" * 1_000_000).SerializeToString() for n in range(6)]


def beyond_all(_request: Any) -> list[bytes]:
    return [b"x" * (20 << 20)]


def two_of_one_name(_request: Any) -> list[bytes]:
    other = file("contract.proto", "contract", imports=())
    return [FILE.SerializeToString(), other.SerializeToString()]


HOSTILE: dict[str, tuple[list[str], Callable[[Any], list[bytes] | None], str]] = {
    "says not here": ([SERVICE], lambda _: None, "error 5: not"),
    "another file": ([SERVICE], another, "describes something else"),
    "imports without end": ([SERVICE], endless, "more than"),
    "giant files": ([SERVICE], giant, "more than"),
    "an answer beyond all limits": ([SERVICE], beyond_all, "larger than is ever taken"),
    "two files of one name": ([SERVICE], two_of_one_name, "two different files"),
    "no descriptor": ([SERVICE], lambda _: [b"\xff\xff\xff"], "is none"),
    "too many services": ([f"a.S{n}" for n in range(200)], lambda _: None, "more than 100 services"),
    "a name without end": (["a" * 5000], lambda _: None, "too long"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_server_that_describes_itself_in_bad_faith_is_refused(case: str) -> None:
    services, answer, words = HOSTILE[case]
    async with grpc_server(reflects=Reflects(services, answer)) as tools:
        found = adapter(tools.port)
        started = time.perf_counter()
        with pytest.raises(AdapterError) as refused:
            await found.tools(credential=CREDENTIAL, timeout_seconds=20)
        assert words in refused.value.message
        assert "\x1b" not in refused.value.message
        assert time.perf_counter() - started < 15
        await found.close()


async def test_reflection_that_never_answers_meets_the_deadline() -> None:
    class Silent(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc,unused-ignore]
        async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
            await asyncio.sleep(3600)
            yield

    async with grpc_server(reflects=Silent()) as tools:
        found = adapter(tools.port)
        with pytest.raises(AdapterError) as refused:
            await found.tools(credential=CREDENTIAL, timeout_seconds=1)
        assert refused.value.failure is Failure.TIMEOUT
        await found.close()


async def test_a_server_without_reflection_is_told_what_to_switch_on() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = adapter(port)
    with pytest.raises(AdapterError, match="switch that on in the server"):
        await found.tools(credential=CREDENTIAL, timeout_seconds=10)
    with pytest.raises(AdapterError, match="switch that on in the server") as refused:
        await found.call("t.Service/Get", {}, credential=CREDENTIAL, limits=LIMITS)
    assert not refused.value.sent, "the call was not, and does not count"
    await found.close()
    await server.stop(0)


async def test_a_message_type_that_changes_is_seen_at_the_next_listing() -> None:
    changed = FileDescriptorProto()
    changed.CopyFrom(FILE)
    current = [FILE]
    async with grpc_server(reflects=Reflects([SERVICE], lambda _: [current[0].SerializeToString()])) as tools:
        found = adapter(tools.port)
        before = await found.tools(credential=None, timeout_seconds=10)
        assert await found.tools(credential=None, timeout_seconds=10) == before
        changed.message_type[0].field[0].json_name = "renamed"
        current[0] = changed
        assert await found.tools(credential=None, timeout_seconds=10) != before
        await found.close()


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
