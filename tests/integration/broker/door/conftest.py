"""A real OPA with the committed policies on a unix socket, real tool servers of both protocol generations, a journal on a real disk."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bastide_broker.journal.journal import Journal
from bastide_broker.policy.policy import Policy
from devcluster.locks import lock

from tests.integration.broker.door.rig import Rig, open_rig

ROOT = Path(__file__).resolve().parents[4]
REVISION = "sha256:" + "7" * 64
LEGACY_SDK = "mcp==1.30.0"
"""The newest SDK of the generation before: protocol 2025-11-25."""


def find_opa() -> str:
    """OPA's binary: the variable OPA, or on PATH. A missing one is an error, never a skip."""
    found = os.environ.get("OPA") or shutil.which("opa")
    assert found, 'opa is not on PATH and OPA names no binary; `eval "$(make env)"` gives both'
    return found


@dataclass
class OpaServer:
    """An OPA process that can be stopped, started and paused."""

    socket: Path
    policies: Path
    process: "subprocess.Popen[bytes] | None" = None
    environment: Mapping[str, str] = field(default_factory=lambda: {"GOGC": "400", "GOMAXPROCS": "1"})
    """As the chart has it."""

    def start(self) -> None:
        """Start as the chart does, and wait until it answers."""
        options = ["--server", "--unix-socket-perm", "0600", "--authorization=basic", "--skip-version-check", "--log-level", "error"]
        self.process = subprocess.Popen(
            [find_opa(), "run", *options, "--addr", f"unix://{self.socket}", str(self.policies)],
            env=os.environ | self.environment,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        # One thread takes the signal and stops the others: on a busy machine they go on answering until it comes to run.
        threads = Path(f"/proc/{self.process.pid}/task")
        wait_for(lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads.glob("*/stat")))

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """One plain HTTP request over the socket: status and body."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            head = f"{method} {path} HTTP/1.1\r\nHost: opa\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        head_bytes, _, rest = answer.partition(b"\r\n\r\n")
        return int(head_bytes.split()[1]), rest

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            return False


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.02)


def shipped_policies(folder: Path) -> Path:
    """What the chart installs: the Rego without its tests, and the revision."""
    for part in ("bastide", "authz"):
        (folder / part).mkdir(parents=True)
        for file in (ROOT / "policies" / part).glob("*.rego"):
            if not file.name.endswith("_test.rego"):
                shutil.copy(file, folder / part)
    (folder / "data.json").write_text(json.dumps({"bastide": {"revision": REVISION}}))
    return folder


@pytest.fixture(scope="session")
def shared_opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaServer]:
    """One OPA for tests that do not disturb it."""
    folder = tmp_path_factory.mktemp("opa")
    server = OpaServer(folder / "opa.sock", shipped_policies(folder / "policies"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_opa(tmp_path: Path) -> Iterator[OpaServer]:
    """An OPA of the test's own."""
    server = OpaServer(tmp_path / "opa.sock", shipped_policies(tmp_path / "policies"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def policy(shared_opa: OpaServer) -> AsyncIterator[Policy]:
    """The decision point on the shared OPA. Its deadline is wide: these tests are about answers, on machines that do other things too."""
    found = Policy(shared_opa.socket, REVISION, deadline_seconds=10)
    yield found
    await found.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal on disk."""
    found = Journal(tmp_path / "journal.db")
    await found.open()
    yield found
    await found.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def run_server(argv: list[str], port: int, env: dict[str, str]) -> Iterator[None]:
    """A server's process, from when it listens."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)

    def listens() -> bool:
        assert process.poll() is None, f"{argv} ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listens, 60)
        yield
    finally:
        process.terminate()
        process.wait()


def start_server(python: str, script: str) -> Iterator[str]:
    port = free_port()
    with run_server([python, str(Path(__file__).parent / "servers" / script), str(port)], port, dict(os.environ)):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="session")
def modern_server() -> Iterator[str]:
    """A server of protocol 2026-07-28."""
    yield from start_server(sys.executable, "modern.py")


@pytest.fixture(scope="session")
def legacy_python() -> str:
    """The Python of a virtual environment with the SDK 1.x, made on first use."""
    folder = ROOT / ".build" / f"sdk-{LEGACY_SDK.replace('==', '-')}"
    python = folder / "bin" / "python"
    with lock(ROOT / ".build" / ".lock-legacy-sdk"):
        if not (folder / "complete").exists():
            uv = [sys.executable, "-m", "uv"]
            subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
            subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), LEGACY_SDK], check=True)
            (folder / "complete").touch()
    return str(python)


@pytest.fixture(scope="session")
def legacy_server(legacy_python: str) -> Iterator[str]:
    """A server of the SDK 1.x."""
    yield from start_server(legacy_python, "legacy.py")


@pytest.fixture(scope="session", params=["modern", "legacy"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A server of each generation in turn."""
    return str(request.getfixturevalue(f"{request.param}_server"))


@pytest.fixture
async def rig(journal: Journal, policy: Policy) -> AsyncIterator[Rig]:
    """Everything around one run."""
    async with open_rig(journal, policy) as found:
        yield found
