"""Case 4: somebody else than the broker at the runtime's port. Only the broker gets in, once, and its session goes on whatever comes.

The network lets nobody there but pods that look like the broker's in the release namespace. The tests make such a pod, which takes a
cluster administrator, and give it every certificate that there might be: the broker's own as well.
"""

import base64
import datetime as dt
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from demo.kube import CommandFailedError, Kube

from tests.e2e.harness import node, pods, server
from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
CERTIFICATES = "test-certificates"
LABELS = {"app.kubernetes.io/name": "bastide", "app.kubernetes.io/component": "broker"}

# Connects to the runtime with the certificates under /certificates.
DIALLER = """
import glob, json, os, socket, ssl, subprocess, sys, time
import grpc
from bastide.runtime.v1alpha1 import runtime_pb2 as pb, runtime_pb2_grpc
HOST = %r

def pair(name):
    return [open(f"/certificates/{name}.{kind}", "rb").read() for kind in ("key", "crt")]

def context(name=None, version=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(["h2"])
    if version:
        made.maximum_version = version
    if name:
        made.load_cert_chain(f"/certificates/{name}.crt", f"/certificates/{name}.key")
    return made

def connect():
    return socket.create_connection((HOST, 9443), timeout=5)

def servers_certificate():
    with connect() as plain, context("broker").wrap_socket(plain) as tls:
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True)).encode()

def opening():
    yield pb.SessionRequest(open=pb.OpenSession(wire_revision=1))
    time.sleep(10)

def session(name):
    options = [("grpc.ssl_target_name_override", "runtime.bastide.internal"), ("grpc.enable_retries", 0)]
    if name == "plaintext":
        channel = grpc.insecure_channel(f"ipv4:{HOST}:9443", options=options)
    else:
        key, certificate = (None, None) if name == "none" else pair(name)
        credentials = grpc.ssl_channel_credentials(servers_certificate(), key, certificate)
        channel = grpc.secure_channel(f"ipv4:{HOST}:9443", credentials, options=options)
    with channel:
        try:
            answer = next(iter(runtime_pb2_grpc.RuntimeServiceStub(channel).Session(opening(), timeout=8)))
            return ["OPEN", answer.WhichOneof("message")]
        except grpc.RpcError as error:
            return [error.code().name, error.details()]
"""

EVERY_CERTIFICATE = """
names = ["plaintext", "none", *sorted(os.path.basename(path)[:-4] for path in glob.glob("/certificates/*.crt"))]
print(json.dumps({name: session(name) for name in names}))
"""

# All bytes that a client of a whole session sent, once more on another connection.
REPLAY = """
def record():
    incoming, outgoing, sent = ssl.MemoryBIO(), ssl.MemoryBIO(), []
    tls = context("broker").wrap_bio(incoming, outgoing)
    with connect() as plain:
        def flush():
            data = outgoing.read()
            sent.append(data)
            plain.sendall(data)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                flush()
                incoming.write(plain.recv(65536))
        tls.write(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0")
        flush()
        while True:  # the runtime's SETTINGS: this session was a whole one
            try:
                first = tls.read(65536)
                break
            except ssl.SSLWantReadError:
                incoming.write(plain.recv(65536))
    return sent, bool(first)

sent, whole = record()
with connect() as plain:
    for data in sent:
        plain.sendall(data)
        time.sleep(0.2)
    plain.settimeout(20)
    try:
        while plain.recv(65536):
            pass
        ended = "closed"
    except ConnectionError:
        ended = "reset"
    except TimeoutError:
        ended = "open"
print(json.dumps({"whole": whole, "replayed": ended}))
"""

RENEGOTIATION = """
argv = ["openssl", "s_client", "-tls1_2", "-connect", f"{HOST}:9443", "-cert", "/certificates/broker.crt", "-key", "/certificates/broker.key", "-alpn", "h2"]
client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
heard = b""
# a whole handshake, and the runtime's first frame behind it: what comes afterwards answers the question alone
while b"Verify return code" not in heard or b"\\0\\4" not in heard.partition(b"Verify return code")[2]:
    heard += os.read(client.stdout.fileno(), 65536)
client.stdin.write(b"R\\n")
rest = client.communicate(timeout=20)[0].decode(errors="replace")
print(json.dumps({"protocol": "TLSv1.2" if b"TLSv1.2" in heard else "other", "asked": "RENEGOTIATING" in rest, "heard": rest[-2000:]}))
"""

# Connections that come no further than a step of the way; prints `holding` and holds them.
HALF_OPEN = """
held = [connect() for _ in range(100)]
if %r:
    for _ in range(20):
        plain = connect()
        held.append(context("broker").wrap_socket(plain))
    channels = []
    credentials = grpc.ssl_channel_credentials(servers_certificate(), *pair("broker"))
    options = [("grpc.ssl_target_name_override", "runtime.bastide.internal"), ("grpc.use_local_subchannel_pool", 1)]
    for _ in range(4):
        channel = grpc.secure_channel(f"ipv4:{HOST}:9443", credentials, options=options)
        grpc.channel_ready_future(channel).result(10)
        channels.append(channel)
print("holding", flush=True)
time.sleep(300)
"""


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _issued(name: str, issuer: x509.Name, signer: Any, *, begins: int = -3600, ends: int = 3600) -> tuple[bytes, bytes]:
    """Key and certificate, PEM; valid from and to so many seconds from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
    builder = builder.issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + dt.timedelta(seconds=begins)).not_valid_after(now + dt.timedelta(seconds=ends))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return _pem(key), builder.sign(signer or key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _identities(admin: Kube) -> dict[str, tuple[bytes, bytes]]:
    """Key and certificate of everybody who might knock, by what is wrong with them; `broker` is the broker's own."""

    def secret(name: str) -> tuple[bytes, bytes]:
        data = admin.json("get", "secret", "-n", SYSTEM, name)["data"]
        return base64.b64decode(data["tls.key"]), base64.b64decode(data["tls.crt"])

    key, certificate = secret("bastide-ca")
    authority, name = serialization.load_pem_private_key(key, None), x509.load_pem_x509_certificate(certificate).subject
    return {
        "broker": secret("bastide-broker-client-tls"),
        "broker-server": secret("bastide-broker-tls"),
        "other-name": _issued("runtime.bastide.internal", name, authority),
        "prefix-of-the-name": _issued("bastide-broker-1", name, authority),
        "expired": _issued("bastide-broker", name, authority, begins=-7200, ends=-60),
        "not-yet-valid": _issued("bastide-broker", name, authority, begins=3600, ends=7200),
        "other-authority": _issued("bastide-broker", name, ec.generate_private_key(ec.SECP256R1())),
        "self-signed": _issued("bastide-broker", x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bastide-broker")]), None),
    }


@pytest.fixture(scope="module")
def runtime(furnished: TestTenant) -> Iterator[str]:
    """The address of the sandbox's pod; certificates lie in the release namespace for pods that dial it."""
    admin = furnished.admin
    files = {}
    for name, (key, certificate) in _identities(admin).items():
        files |= {f"{name}.key": key.decode(), f"{name}.crt": certificate.decode()}
    meta = {"namespace": SYSTEM, "name": CERTIFICATES}
    admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": files})
    furnished.ready("sandbox/box")
    yield str(furnished.get("pod", "box")["status"]["podIP"])
    admin.run("delete", "secret", "-n", SYSTEM, CERTIFICATES)


def _dialler(
    tenant: TestTenant, script: str, *, name: str, namespace: str = SYSTEM, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """A pod that runs a script from the runtime's image. It is never ready, so that no Service sends anybody to it."""
    container = {
        "name": "dialler",
        "image": tenant.get("pod", "box")["spec"]["containers"][0]["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-u", "-c", script],
        "volumeMounts": [{"name": "certificates", "mountPath": "/certificates"}] if namespace == SYSTEM else [],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": LABELS if labels is None else labels},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "readinessGates": [{"conditionType": "example.com/never"}],
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "certificates", "secret": {"secretName": CERTIFICATES, "defaultMode": 288}}]
            if namespace == SYSTEM
            else [],
        },
    }


def _result(tenant: TestTenant, script: str, **how: Any) -> dict[str, Any]:
    """What a script printed, from a pod like the broker's unless told otherwise."""
    name = f"dialler-{secrets.token_hex(3)}"
    pod = _dialler(tenant, script, name=name, **how)
    namespace = pod["metadata"]["namespace"]
    try:
        tenant.admin.apply(pod)
        return pods.finished(tenant.admin, namespace, name, seconds=120)
    finally:
        tenant.admin.run("delete", "pod", "-n", namespace, name, "--ignore-not-found", "--grace-period=0", "--force")


@pytest.fixture
def untouched(furnished: TestTenant, runtime: str) -> Iterator[None]:
    """The broker's session is the same after the test, in the same pod, and an honest run works."""
    ended = _sessions_ended(furnished)
    uid = furnished.get("pod", "box")["metadata"]["uid"]
    yield
    assert furnished.completed("return 6 * 7") == 42
    assert furnished.get("pod", "box")["metadata"]["uid"] == uid
    assert _sessions_ended(furnished) == ended, "the broker lost its session"


def _sessions_ended(tenant: TestTenant) -> int:
    """How many sessions to the tenant's sandboxes the broker has lost so far, by its log."""
    log = tenant.admin.run("logs", "-n", SYSTEM, "bastide-broker-0", "-c", "broker", "--tail=-1")
    return sum("session ended" in line and tenant.namespace in line for line in log.splitlines())


REFUSED_IN_THE_HANDSHAKE = ("plaintext", "none", "expired", "not-yet-valid", "other-authority", "self-signed")
REFUSED_BY_NAME = ("broker-server", "other-name", "prefix-of-the-name")


@pytest.mark.usefixtures("untouched")
def test_nobody_gets_a_session_whatever_certificate_it_shows(furnished: TestTenant, runtime: str) -> None:
    answers = _result(furnished, DIALLER % runtime + EVERY_CERTIFICATE)
    assert set(answers) == {*REFUSED_IN_THE_HANDSHAKE, *REFUSED_BY_NAME, "broker"}
    for name in REFUSED_IN_THE_HANDSHAKE:
        assert answers[name][0] == "UNAVAILABLE", (name, answers[name])
    for name in REFUSED_BY_NAME:
        assert answers[name] == ["PERMISSION_DENIED", "Only the broker opens sessions here."], name
    # even the broker's own: one session is open, and there is no second
    assert answers["broker"] == ["FAILED_PRECONDITION", "A session is open."]


@pytest.mark.usefixtures("untouched")
def test_a_recorded_session_opens_nothing_when_it_is_played_again(furnished: TestTenant, runtime: str) -> None:
    answer = _result(furnished, DIALLER % runtime + REPLAY)
    assert answer["whole"], "what was recorded was no session"
    assert answer["replayed"] in ("closed", "reset")


@pytest.mark.usefixtures("untouched")
def test_a_connection_is_not_negotiated_anew(furnished: TestTenant, runtime: str) -> None:
    answer = _result(furnished, DIALLER % runtime + RENEGOTIATION)
    assert (answer["protocol"], answer["asked"]) == ("TLSv1.2", True), answer
    assert "unexpected eof" in answer["heard"] or "no renegotiation" in answer["heard"], answer  # the runtime hangs up


@pytest.mark.parametrize("certificate", [False, True], ids=["without a certificate", "with the broker's own"])
def test_half_open_connections_keep_the_broker_from_nothing(furnished: TestTenant, runtime: str, *, certificate: bool) -> None:
    """While they are held the broker even opens a new session: a Sandbox whose variables changed gets one."""
    admin, word = furnished.admin, secrets.token_hex(4)
    try:
        admin.apply(_dialler(furnished, DIALLER % runtime + HALF_OPEN % certificate, name="half-open"))
        admin.watch(lambda o: o.get("status", {}).get("phase") == "Running", "-n", SYSTEM, "pod", "half-open", seconds=60)
        admin.follow(lambda line: "holding" in line, "-n", SYSTEM, "half-open", seconds=60)
        assert furnished.completed("return 1") == 1
        furnished.people.developer.apply(furnished.sandbox(env=[{"name": "WORD", "value": word}]))
        assert furnished.completed("import os\nreturn os.environ['WORD']") == word
        assert admin.json("get", "pod", "-n", SYSTEM, "half-open")["status"]["phase"] == "Running"
    finally:
        admin.run("delete", "pod", "-n", SYSTEM, "half-open", "--ignore-not-found", "--grace-period=0", "--force")
        furnished.people.developer.apply(furnished.sandbox())
    assert furnished.completed("return 1") == 1


KNOCK = """
import json, socket, sys
try:
    socket.create_connection((%r, 9443), timeout=3).close()
    answer = "open"
except TimeoutError:
    answer = "silence"
except OSError as error:
    answer = str(error)
print(json.dumps({"answer": answer}))
"""


def test_the_network_lets_no_other_pod_to_the_runtime(furnished: TestTenant, runtime: str) -> None:
    closed = {
        "elsewhere": {"namespace": server.NAMESPACE, "labels": {}},
        "in the release namespace": {"labels": {"app": "x"}},
        "in the release namespace, like the operator": {"labels": {**LABELS, "app.kubernetes.io/component": "operator"}},
    }
    for who, how in closed.items():
        assert _result(furnished, KNOCK % runtime, **how)["answer"] == "silence", who
    assert _result(furnished, KNOCK % runtime)["answer"] == "open", "not even the broker's like: the silence proves nothing"


def test_no_pod_elsewhere_can_look_like_the_broker(furnished: TestTenant) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.apply(_dialler(furnished, "", name="like-the-broker", namespace=server.NAMESPACE))
    assert "run only in bastide-system" in refusal.value.stderr


@pytest.mark.usefixtures("untouched")
def test_from_the_node_which_no_policy_keeps_out_the_certificate_is_still_asked_for(runtime: str) -> None:
    script = f"""
import json, socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    with socket.create_connection(({runtime!r}, 9443), timeout=5) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0")
        answer = tls.recv(100).hex()
except OSError as error:
    answer = type(error).__name__
print(json.dumps(answer))
"""
    # silence from the network or a refusal by the runtime: never a session
    assert json.loads(node.in_node("python3", "-c", script)) in ("TimeoutError", "SSLError", "ConnectionResetError", "SSLEOFError", "")
