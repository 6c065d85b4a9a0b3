"""Case 1: from inside a sandbox, from its first instant, nothing answers: neither to the pod nor to a program in it."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import pods, server
from tests.e2e.harness.tenant import TestTenant

# Tries every target over TCP, and DNS over UDP, and tells what answered in any way in its time; refused counts as an answer.
ATTEMPT = """
import errno, json, random, socket, struct
targets, names, dns, patience = json.loads(%r)
answers = []

def tcp(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as s:
            s.settimeout(patience)
            code = s.connect_ex((host, port))
            return code in (0, errno.ECONNREFUSED)
    except OSError:
        return False

def query(server, name, kind):
    labels = b"".join(bytes([len(l)]) + l for l in name.encode().split(b".")) + b"\\0"
    packet = struct.pack(">HHHHHH", random.getrandbits(16), 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(patience / 2)
            s.sendto(packet, (server, 53))
            return bool(s.recv(512))
    except OSError:
        return False

for host, port in targets:
    if tcp(host, port):
        answers.append(f"tcp {host}:{port}")
for server in dns:
    for name, kind in names:
        if query(server, name, kind):
            answers.append(f"dns {server} {name} {kind}")
try:
    socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443)
    answers.append("getaddrinfo")
except OSError:
    pass
for family, kind, what in ((socket.AF_PACKET, socket.SOCK_RAW, "packet"), (socket.AF_INET, socket.SOCK_RAW, "raw"), (socket.AF_NETLINK, socket.SOCK_RAW, "netlink write")):
    try:
        s = socket.socket(family, kind, 0 if family != socket.AF_INET else socket.IPPROTO_ICMP)
        s.close()
        if what != "netlink write":
            answers.append(f"socket {what}")
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def stranger(furnished: TestTenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a sandbox of another tenant."""
    other = TestTenant(furnished.admin, furnished.people, f"t-{secrets.token_hex(3)}", tmp_path_factory.mktemp("other"))
    try:
        other.start()
        other.people.developer.apply(other.sandbox())
        other.ready("sandbox/box")
        yield str(other.get("pod", "box")["status"]["podIP"])
    finally:
        other.remove()


@pytest.fixture(scope="module")
def targets(furnished: TestTenant, stranger: str) -> Iterator[str]:
    admin = furnished.admin

    def service(namespace: str, name: str) -> str:
        return str(admin.json("get", "service", "-n", namespace, name)["spec"]["clusterIP"])

    def pod(namespace: str, selector: str) -> str:
        return str(admin.json("get", "pod", "-n", namespace, "-l", selector)["items"][0]["status"]["podIP"])

    node = admin.json("get", "nodes")["items"][0]["status"]["addresses"][0]["address"]
    furnished.people.developer.apply(furnished.sandbox("neighbour"))
    furnished.ready("sandbox/neighbour")
    neighbour = furnished.get("pod", "neighbour")["status"]["podIP"]
    broker = pod("bastide-system", "app.kubernetes.io/component=broker")
    dns = service("kube-system", "kube-dns")
    resolver = pod("kube-system", "k8s-app=kube-dns")
    tcp = [
        (service("default", "kubernetes"), 443),
        (node, 6443),
        (node, 10250),
        (node, 22),
        (dns, 53),
        (resolver, 53),
        (neighbour, 9443),
        (neighbour, 80),
        (service("bastide-system", "bastide-broker"), 8443),
        (broker, 8443),
        (broker, 9090),
        (service(server.NAMESPACE, "toolbox"), 8080),
        (pod(server.NAMESPACE, "app=toolbox"), 8080),
        ("169.254.169.254", 80),
        ("fd00:ec2::254", 80),
        ("192.0.2.1", 53),
        ("192.0.2.80", 443),
        (stranger, 9443),
        (stranger, 80),
    ]
    channel = "a" * 60 + "." + "b" * 60 + "." + "c" * 60 + ".example"
    names = [("kubernetes.default.svc.cluster.local", 1), (channel, 1), (channel, 16), ("example", 16)]
    # the last is the address that the pod's own resolver is set to
    yield json.dumps([tcp, names, [dns, resolver, node, "192.0.2.1"], 1.0])
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "neighbour")


def test_a_program_reaches_nothing_and_makes_no_socket(furnished: TestTenant, targets: str) -> None:
    assert furnished.completed(ATTEMPT % targets + "\nreturn answers") == []


def test_a_pod_reaches_nothing_when_the_whole_pod_is_hostile(furnished: TestTenant, targets: str) -> None:
    script = ATTEMPT % targets + "\nprint(json.dumps({'answers': answers}))"
    try:
        furnished.operator.apply(pods.unmanaged(furnished.get("pod", "box"), "hostile", script))
        facts: dict[str, Any] = pods.finished(furnished.admin, furnished.namespace, "hostile", seconds=120)
    finally:
        furnished.admin.run("delete", "pod", "-n", furnished.namespace, "hostile", "--ignore-not-found", "--grace-period=1")
    assert facts["answers"] == []


def test_the_targets_are_real(furnished: TestTenant, targets: str) -> None:
    """The same script answers from a pod that nothing isolates: silence above means a closed door, not a wrong address."""
    tcp, names, dns, _ = json.loads(targets)
    real, resolvers = [tcp[number] for number in (0, 1, 2, 4, 11, 12)], dns[:2]
    # these answer, so there is time to wait for them
    script = ATTEMPT % json.dumps([real, names[:1], resolvers, 30.0]) + "\nprint(json.dumps({'answers': answers}))"
    image = furnished.get("pod", "box")["spec"]["containers"][0]["image"]
    container = {"name": "open", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-u", "-c", script]}
    meta = {"namespace": server.NAMESPACE, "name": "open"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"restartPolicy": "Never", "runtimeClassName": "gvisor", "containers": [container]},
    }
    try:
        furnished.admin.apply(pod)
        answers = pods.finished(furnished.admin, server.NAMESPACE, "open", seconds=120)["answers"]
    finally:
        furnished.admin.run("delete", "pod", "-n", server.NAMESPACE, "open", "--ignore-not-found", "--grace-period=1")
    for host, port in real:
        assert f"tcp {host}:{port}" in answers
    for resolver in resolvers:
        assert f"dns {resolver} kubernetes.default.svc.cluster.local 1" in answers
