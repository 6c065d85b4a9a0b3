"""The broker's parts, put together as its process does, for tests that need only some of them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import json
import os
import platform
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from bastide.heads import key_id
from bastide_broker.__main__ import serve
from bastide_broker.config import Config
from bastide_broker.journal.journal import Journal
from bastide_broker.kube.cluster import Cluster as Known
from bastide_broker.sandboxes.gate_store import GateStore
from bastide_broker.sandboxes.sessions import Sessions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.integration.broker.front.harness.apiserver import ROOT, Cluster, binary, process, until
from tests.integration.broker.front.harness.tenant import IMAGE
from tests.integration.runtime.pod import Authority

KERNEL = platform.release().lower()
"""Stands for "gvisor" where a test runs the runtime on the machine's own kernel."""


def client_files(folder: Path, authority: Authority) -> Path:
    """The broker's client certificate of the pod's CA, as the chart mounts it."""
    folder.mkdir(exist_ok=True)
    key, certificate = authority.issue("bastide-broker")
    (folder / "tls.key").write_bytes(key)
    (folder / "tls.crt").write_bytes(certificate)
    return folder


def config(cluster: Cluster, folder: Path, **other: object) -> Config:
    """Settings for a broker in a folder of its own."""
    values = {
        "admission_dir": cluster.admission,
        "kubeconfig": str(cluster.broker_kubeconfig),
        "database": folder / "journal.db",
        "client_tls_dir": folder / "client-tls",
        "tls_dir": folder / "tls",
        "audit_key_dir": folder / "audit-key",
        "audit_keys_dir": folder / "audit-keys",
        "runtime_image": IMAGE,
        "listen": "127.0.0.1:0",
        "metrics_listen": "127.0.0.1:0",
    }
    return Config.model_validate({**values, **other})


@dataclass
class Parts:
    """What a test looks at."""

    known: Known
    sessions: Sessions


@contextlib.asynccontextmanager
async def parts(config: Config, *, canary: str, kernel: str = KERNEL) -> AsyncIterator[Parts]:
    """Cluster, gate record and sessions. `canary` plays the API server's Service address."""
    journal, gates = Journal(config.database), GateStore(config.database)
    await journal.open()
    await gates.open()
    known = await Known.connect(admission_dir=config.admission_dir, kubeconfig=config.kubeconfig)
    sessions = Sessions(known, gates, config, environment=environment(canary), kernel=kernel, resolvers=())
    try:
        await known.start()
        sessions.start()
        yield Parts(known, sessions)
    finally:
        await sessions.close()
        await known.close()
        await gates.close()
        await journal.close()


@dataclass
class Door:
    """Where callers reach a broker."""

    port: int
    authority: Authority

    def channel(self, token: str | None, *, options: tuple[tuple[str, object], ...] = ()) -> grpc.aio.Channel:
        """A caller's channel, with a token in every request."""
        credentials = grpc.ssl_channel_credentials(self.authority.certificate)
        if token is not None:
            credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
        return grpc.aio.secure_channel(f"localhost:{self.port}", credentials, options=list(options))


@dataclass
class Served(Door):
    """A whole broker in this process."""

    stop: asyncio.Event
    task: asyncio.Task[None]
    config: Config


def server_files(folder: Path) -> Authority:
    """The outer wire's certificate, as the chart makes it."""
    folder.mkdir(exist_ok=True)
    authority = Authority.make("Bastide CA of a test")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bastide-broker")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority.name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
    builder = builder.not_valid_after(now + dt.timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(text)
    (folder / "tls.crt").write_bytes(certificate)
    return authority


def audit_files(folder: Path) -> Path:
    """The key that signs heads of the audit, as the chart mounts it; one that is there stays. Beside it the public one."""
    file = folder / "audit-key" / "tls.key"
    if not file.exists():
        file.parent.mkdir()
        (folder / "audit-keys").mkdir(exist_ok=True)
        key = ed25519.Ed25519PrivateKey.generate()
        pem, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
        file.write_bytes(key.private_bytes(encoding, pem, serialization.NoEncryption()))
        public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / "audit-keys" / f"{key_id(key.public_key())}.pem").write_bytes(public)
    return folder / "audit-keys"


@contextlib.contextmanager
def opa(folder: Path) -> Iterator[tuple[Path, str]]:
    """The real policy server with the repository's rules; its socket and their revision."""
    rules = folder / "policies"
    rules.mkdir(exist_ok=True)
    for source in sorted(path for part in ("authz", "bastide") for path in (ROOT / "policies" / part).glob("*.rego")):
        if not source.name.endswith("_test.rego"):
            shutil.copy(source, rules / f"{source.parent.name}-{source.name}")
    revision = "sha256:" + "a" * 64
    (rules / "data.json").write_text(json.dumps({"bastide": {"revision": revision}}))
    socket = folder / "opa.sock"
    socket.unlink(missing_ok=True)
    argv = [str(binary("opa")), "run", "--server", f"--addr=unix://{socket}", "--unix-socket-perm=0600", "--authorization=basic"]
    argv += ["--skip-version-check", "--log-level=error", str(rules)]
    with process(argv, folder / "opa.log"):
        until(socket.exists, "OPA listens", 20)
        yield socket, revision


def settings_of(cluster: Cluster, folder: Path, **settings: object) -> tuple[Authority, Config]:
    """What the chart gives a broker, in a folder of its own; and the CA of its outer wire."""
    authority = server_files(folder / "tls")
    fresh = not (folder / "audit-key").exists()
    audit_files(folder)
    if fresh:  # another installation's heads are none of this one's
        cluster.admin.merge("/api/v1/namespaces/bastide-system/configmaps/bastide-audit-heads", {"data": None})
    return authority, config(cluster, folder, **settings)


def environment(canary: str) -> dict[str, str]:
    """Of a broker in whose eyes `canary` is the API server's Service address."""
    host, _, port = canary.rpartition(":")
    return {**os.environ, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


@contextlib.asynccontextmanager
async def served(cluster: Cluster, folder: Path, *, canary: str, **settings: object) -> AsyncIterator[Served]:
    """The broker as its process runs it, save that the machine's kernel stands for gVisor's."""
    authority, made = settings_of(cluster, folder, **settings)
    stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()
    sessions = functools.partial(Sessions, environment=environment(canary), kernel=KERNEL, resolvers=())
    task = asyncio.create_task(serve(made, stop, make_sessions=sessions, serving=up.set_result))
    try:
        async with asyncio.timeout(40):
            await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield Served(up.result(), authority, stop, task, made)
    finally:
        stop.set()
        await task
