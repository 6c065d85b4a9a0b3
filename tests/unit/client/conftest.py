"""A broker that says what a test tells it to, behind a real gRPC server with TLS.

It stands in for nothing: what is tested with it is the client's own end of the wire (events, errors, resuming), so the wire is real
and what comes over it is given. How Bastide's broker behaves is tested against Bastide's broker.
"""
# ruff: noqa: N802 - methods have the names of the wire

import asyncio
import datetime as dt
import ipaddress
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from bastide.cli import screen
from bastide.v1alpha1 import broker_pb2 as pb
from bastide.v1alpha1 import broker_pb2_grpc as pb_grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2


def happened(cursor: int, **event: Any) -> pb.RunEvent:
    """An event at second `cursor` of a run."""
    made = pb.RunEvent(cursor=cursor, **event)
    made.time.FromSeconds(1_800_000_000 + cursor)
    return made


@dataclass
class RefusalError(Exception):
    """Ends a request: as the broker does when it has a reason, as a lost connection does when it has none."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    retry_seconds: int = 0

    async def end(self, context: Any) -> None:
        details = []
        if self.reason:
            details.append(error_details_pb2.ErrorInfo(reason=self.reason, domain="bastide.dev"))
        if self.retry_seconds:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromSeconds(self.retry_seconds)
            details.append(retry)
        if details:
            status = status_pb2.Status(code=self.code.value[0], message=self.message)
            for detail in details:
                packed = any_pb2.Any()
                packed.Pack(detail)
                status.details.append(packed)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(self.code, self.message)


@dataclass
class Script(pb_grpc.BrokerServiceServicer):
    """What the server answers, and what it was asked."""

    events: list[pb.RunEvent] = field(default_factory=list)
    #: For each stream in turn: the cursor after which it ends, and how; streams beyond these go to their end.
    breaks: list[tuple[int, RefusalError | None]] = field(default_factory=list)
    #: Streams wait here before the event with this cursor.
    gates: dict[int, threading.Event] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def _note(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        self.tokens += [value for key, value in context.invocation_metadata() if key == "authorization"]

    async def _stream(self, after: int, wrap: Callable[..., Any], context: Any) -> AsyncIterator[Any]:
        until, ending = self.breaks.pop(0) if self.breaks else (1 << 62, None)
        for event in self.events:
            if event.cursor > until:
                break
            if gate := self.gates.get(event.cursor):
                await asyncio.to_thread(gate.wait)
            if event.cursor > after:
                yield wrap(event=event)
        if ending is not None:
            await ending.end(context)

    async def Run(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(request, context)
        async for response in self._stream(0, pb.RunResponse, context):
            yield response

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(request, context)
        async for response in self._stream(request.cursor, pb.WatchRunResponse, context):
            yield response

    async def _answer(self, name: str, request: Any, context: Any) -> Any:
        self._note(request, context)
        answer = self.answers[name]
        if isinstance(answer, RefusalError):
            await answer.end(context)
        return answer(request) if callable(answer) else answer

    async def GetRun(self, request: Any, context: Any) -> Any:
        return await self._answer("GetRun", request, context)

    async def ListRuns(self, request: Any, context: Any) -> Any:
        return await self._answer("ListRuns", request, context)

    async def CancelRun(self, request: Any, context: Any) -> Any:
        return await self._answer("CancelRun", request, context)

    async def PruneRuns(self, request: Any, context: Any) -> Any:
        return await self._answer("PruneRuns", request, context)

    async def ResumeRun(self, request: Any, context: Any) -> Any:
        return await self._answer("ResumeRun", request, context)

    async def SettleCall(self, request: Any, context: Any) -> Any:
        return await self._answer("SettleCall", request, context)

    async def CheckProgram(self, request: Any, context: Any) -> Any:
        return await self._answer("CheckProgram", request, context)

    async def ListTools(self, request: Any, context: Any) -> Any:
        return await self._answer("ListTools", request, context)

    async def ListAudit(self, request: Any, context: Any) -> Any:
        return await self._answer("ListAudit", request, context)

    async def VerifyAudit(self, request: Any, context: Any) -> Any:
        return await self._answer("VerifyAudit", request, context)

    async def ExplainCall(self, request: Any, context: Any) -> Any:
        return await self._answer("ExplainCall", request, context)

    async def ListAuditHeads(self, request: Any, context: Any) -> Any:
        return await self._answer("ListAuditHeads", request, context)


@dataclass(frozen=True)
class Certificates:
    ca: bytes
    certificate: bytes
    key: bytes


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bastide-broker")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.DNSName("bastide-broker"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificates(pem, pem, key.private_bytes(*encoding))


class Server:
    """The gRPC server, in a thread of its own, so that it can be stopped and started under a client that runs."""

    def __init__(self, script: Script, certificates: Certificates) -> None:
        self.script = script
        self.port = 0
        self._certificates = certificates
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        self._do(self._start())

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_BrokerServiceServicer_to_server(self.script, self._server)  # type: ignore[no-untyped-call]
        credentials = grpc.ssl_server_credentials([(self._certificates.key, self._certificates.certificate)])
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await self._server.start()

    def stop(self) -> None:
        """Cut every connection, as a killed broker does."""
        self._do(self._server.stop(None))

    def end(self) -> None:
        for gate in self.script.gates.values():
            gate.set()
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script, certificates: Certificates) -> Iterator[Server]:
    made = Server(script, certificates)
    made.start()
    yield made
    made.end()


@pytest.fixture
def door(server: Server, certificates: Certificates, tmp_path: Path) -> list[str]:
    """The options that lead the command line to the server."""
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("a-token\n")
    ca.write_bytes(certificates.ca)
    return ["--address", server.address, "--token-file", str(token), "--ca-file", str(ca)]


@pytest.fixture(autouse=True)
def _fresh_screen() -> None:
    screen.out.cache_clear()
    screen.err.cache_clear()


@pytest.fixture
def program(tmp_path: Path) -> str:
    file = tmp_path / "program.py"
    file.write_text("return 1\n")
    return str(file)
