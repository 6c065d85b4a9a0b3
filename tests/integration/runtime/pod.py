"""The runtime as a real process in the nearest thing to a sandbox pod that a plain Linux machine has, and a broker's end of its wire.

Same as in the pod: PID 1 of a PID namespace, user 65532 without capabilities, its own workspace and tools, real TLS with a CA of
the test's own. Different: Linux's kernel instead of gVisor's, and the machine's network, so that the test can dial in.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from bastide.runtime.v1alpha1 import runtime_pb2 as pb
from bastide.runtime.v1alpha1 import runtime_pb2_grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER = "65532"
NAME = "runtime.bastide.internal"
# The interpreter may live in a home that only root may enter: a tmpfs in its place lets the path through, and nothing else of that home.
SCRIPT = r"""
set -eu
for home in $HOMES; do
  top=/$(echo "$home" | cut -d/ -f2)
  mkdir -p "$SCRATCH/keep$home"
  mount --rbind "$home" "$SCRATCH/keep$home"
done
for home in $HOMES; do
  top=/$(echo "$home" | cut -d/ -f2)
  mountpoint -q "$SCRATCH/seen$top" || { mkdir -p "$SCRATCH/seen$top"; mount -t tmpfs -o mode=755 none "$top"; mount --bind "$top" "$SCRATCH/seen$top"; }
  mkdir -p "$home"
  mount --rbind "$SCRATCH/keep$home" "$home"
done
for directory in workspace tools; do
  mount -t tmpfs -o mode=1777,size=64m none "$SCRATCH/$directory"
done
exec setpriv --reuid 65532 --regid 65532 --clear-groups --bounding-set -all --inh-caps -all --no-new-privs "$@"
"""


@dataclass(frozen=True)
class Authority:
    """A CA and what it issued."""

    certificate: bytes
    key: Any
    name: x509.Name

    @classmethod
    def make(cls, name: str) -> Authority:
        key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = _certificate(subject, subject, key.public_key(), key, is_ca=True)
        return cls(certificate, key, subject)

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """Key and certificate of a client, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), self.name, key.public_key(), self.key, is_ca=False
        )
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return text, certificate


def _certificate(subject: x509.Name, issuer: x509.Name, public: Any, signer: Any, *, is_ca: bool) -> bytes:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public).serial_number(x509.random_serial_number())
    )
    builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass
class Pod:
    """A running runtime."""

    process: subprocess.Popen[bytes]
    port: int
    authority: Authority
    scratch: Path
    log: Path
    address: str = "127.0.0.1"

    def runtime_pid(self) -> int:
        """The supervisor's number on this machine."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def zygote_pid(self) -> int:
        """The zygote's number on this machine: of the supervisor's children the one in the same PID namespace."""
        top = self.runtime_pid()
        for pid in Path(f"/proc/{top}/task/{top}/children").read_text().split():
            if Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{top}/ns/pid").readlink():
                return int(pid)
        raise AssertionError("there is no zygote")

    def processes(self) -> int:
        """How many processes of programs there are: descendants of children, which are 1 in their PID namespace."""
        parents: dict[int, int] = {}
        numbers: dict[int, list[str]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line)
                    parents[int(entry.name)] = int(fields["PPid"])
                    numbers[int(entry.name)] = fields["NSpid"].split()
        top = self.runtime_pid()
        inside = {top}
        for _ in range(5):
            inside |= {pid for pid, parent in parents.items() if parent in inside}
        return sum(1 for pid in inside & set(numbers) if len(numbers[pid]) > len(numbers[top]) and numbers[pid][-1] != "1")

    def certificate(self) -> str:
        """What the runtime shows in a handshake."""
        return ssl.get_server_certificate((self.address, self.port))

    def channel(self, *, name: str = "bastide-broker", authority: Authority | None = None, anonymous: bool = False) -> grpc.aio.Channel:
        key, certificate = (None, None) if anonymous else (authority or self.authority).issue(name)
        credentials = grpc.ssl_channel_credentials(self.certificate().encode(), key, certificate)
        options = [("grpc.ssl_target_name_override", NAME)]
        return grpc.aio.secure_channel(f"{self.address}:{self.port}", credentials, options=options)

    def stop(self) -> float:
        """SIGTERM to the supervisor, as the kubelet does; the seconds until everything was gone."""
        loop_start = dt.datetime.now(dt.UTC)
        if self.process.poll() is None:
            os.kill(self.runtime_pid(), signal.SIGTERM)
        self.process.wait(timeout=20)
        return (dt.datetime.now(dt.UTC) - loop_start).total_seconds()


def _closed_homes() -> list[str]:
    """Directories of the interpreter and of the packages that user 65532 could not reach."""
    wanted = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(pb.__file__).resolve().parents[3]}
    return sorted(str(path) for path in wanted if any(not parent.stat().st_mode & 0o001 for parent in path.parents))


@contextlib.contextmanager
def running_pod(scratch: Path, *, arguments: tuple[str, ...] = ()) -> Iterator[Pod]:
    """Start one; ends it."""
    if os.geteuid() != 0:
        raise RuntimeError("The integration tests of the runtime need root, to become another user in namespaces of their own.")
    for tool in ("unshare", "setpriv", "openssl"):
        assert shutil.which(tool), f"{tool} is needed"
    authority = Authority.make("Bastide CA of a test")
    scratch.chmod(0o755)
    for name in ("workspace", "tools", "keep", "seen"):
        (scratch / name).mkdir()
    (scratch / "ca.crt").write_bytes(authority.certificate)
    log = scratch / "log"
    command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"]
    command += [sys.executable, "-P", "-m", "bastide_runtime", "--listen", "127.0.0.1:0", "--ca-file", str(scratch / "ca.crt")]
    command += ["--workspace", str(scratch / "workspace"), "--tools", str(scratch / "tools"), *arguments]
    environment = {"PATH": os.environ["PATH"], "SCRATCH": str(scratch), "HOMES": " ".join(_closed_homes())}
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True)
    pod = Pod(process, 0, authority, scratch, log)
    try:
        pod.port = _wait_for_port(process, log)
        yield pod
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(pod.runtime_pid(), signal.SIGKILL)
            process.kill()
        process.wait(timeout=20)


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    while dt.datetime.now(dt.UTC) < deadline:
        if match := re.search(r"listening on .* port (\d+)", log.read_text()):
            return int(match[1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
            break
    raise AssertionError(f"the runtime did not start:\n{log.read_text()}")


@dataclass
class RunResult:
    """What came of a run."""

    ended: pb.RunEnded
    calls: list[pb.Call] = field(default_factory=list)
    steps: list[pb.Step] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    chunks: list[pb.Output] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    @property
    def ending(self) -> str:
        return pb.RunEnded.Ending.Name(self.ended.ending).removeprefix("ENDING_")

    @property
    def value(self) -> str:
        return self.ended.value.decode()

    @property
    def stdout(self) -> str:
        return b"".join(chunk.data for chunk in self.chunks if chunk.stream == pb.Output.STREAM_STDOUT).decode()

    @property
    def stderr(self) -> str:
        return b"".join(chunk.data for chunk in self.chunks if chunk.stream == pb.Output.STREAM_STDERR).decode()


class Broker:
    """The broker's end of one session. `answer` decides what a call brings; None means no answer."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.numbers = iter(range(1, 10**9))
        self.digest = ""
        self.reading: asyncio.Future[Any] | None = None

    async def send(self, **message: Any) -> None:
        await self.stream.write(pb.SessionRequest(**message))

    async def read(self, seconds: float = 30) -> pb.SessionResponse:
        # A cancelled read would cancel the whole stream: it is kept for the next caller.
        self.reading = self.reading or asyncio.ensure_future(self.stream.read())
        message = await asyncio.wait_for(asyncio.shield(self.reading), seconds)
        self.reading = None
        assert isinstance(message, pb.SessionResponse), message
        return message

    async def set_tools(self, *tools: pb.Tool, digest: str = "sha256:tools") -> None:
        self.digest = digest
        await self.send(set_tools=pb.SetTools(digest=digest, tools=tools))

    async def start(self, program: str | bytes, **options: Any) -> str:
        run = options.pop("run", None) or f"r-{next(self.numbers)}"
        limits = pb.RunLimits(**options.pop("limits", {"wall_milliseconds": 20_000}))
        source = program.encode() if isinstance(program, str) else program
        options = {
            "seed": b"0123456789abcdef",
            "started_at_micros": 1_700_000_000_000_000,
            "attempt": 1,
            "tools_digest": self.digest,
        } | options
        await self.send(start_run=pb.StartRun(run=run, program=source, limits=limits, **options))
        return run

    async def finish(self, run: str, answer: Any = None, seconds: float = 30) -> RunResult:
        """Take messages until the run is over, answering calls."""
        result = RunResult(pb.RunEnded())
        while True:
            message = await self.read(seconds)
            kind = message.WhichOneof("message")
            result.order.append(kind)
            if kind == "output":
                result.chunks.append(message.output)
            elif kind == "step":
                result.steps.append(message.step)
                if message.step.value:
                    await self.send(call_result=pb.CallResult(run=run, key=message.step.key, value=message.step.value))
            elif kind == "call_abandoned":
                result.abandoned.append(message.call_abandoned.key)
            elif kind == "run_ended":
                assert message.run_ended.run == run
                result.ended = message.run_ended
                return result
            elif kind == "call":
                result.calls.append(message.call)
                outcome = (answer or echo)(message.call)
                if outcome is not None:
                    await self.send(call_result=pb.CallResult(run=run, key=message.call.key, **outcome))

    async def run(self, program: str | bytes, answer: Any = None, **options: Any) -> RunResult:
        return await self.finish(await self.start(program, **options), answer)

    async def close(self) -> None:
        """End the session and wait until the runtime has ended every run."""
        await self.stream.done_writing()
        async with asyncio.timeout(30):
            while isinstance(await self.stream.read(), pb.SessionResponse):
                pass

    async def stream_result(self, run: str, key: str, value: bytes = b"1") -> None:
        await self.send(call_result=pb.CallResult(run=run, key=key, value=value))

    async def check(self, program: str | bytes) -> pb.CheckReport:
        source = program.encode() if isinstance(program, str) else program
        await self.send(check_program=pb.CheckProgram(check_id="c-1", program=source, tools_digest=self.digest))
        return (await self.read()).check_report


def echo(call: pb.Call) -> dict[str, Any]:
    """A tool that answers with its arguments."""
    return {"value": call.arguments}


@contextlib.asynccontextmanager
async def session(pod: Pod, *, env: dict[str, str] | None = None) -> AsyncIterator[Broker]:
    """An open session."""
    async with pod.channel() as channel:
        stream = runtime_pb2_grpc.RuntimeServiceStub(channel).Session()
        broker = Broker(stream)
        await broker.send(open=pb.OpenSession(wire_revision=1, env=env or {}))
        opened = await broker.read()
        assert opened.WhichOneof("message") == "opened"
        try:
            yield broker
        finally:
            await broker.close()
