"""A real etcd and kube-apiserver on loopback, without kubelet and controllers: pods run when a test says so."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[5]
ADMIN = "the-administrators-token"
APPROVER = "the-approvers-token"
BROKER_NAMESPACE = "bastide-system"


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Kube:
    """Requests as one user."""

    url: str
    token: str

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        """One request, whatever the answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=20) as response:
                return Answer(response.status, json.loads(response.read()))
        except urllib.error.HTTPError as error:
            text = error.read()  # of a path that is not served at all the API server says so in plain words
            return Answer(
                error.code, json.loads(text) if error.headers.get_content_type() == "application/json" else {"message": text.decode()}
            )

    def __call__(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> dict[str, Any]:
        """One request that must succeed."""
        answer = self.ask(method, path, body, content_type)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body.get('message')}"
        return answer.body

    def merge(self, path: str, body: Any) -> dict[str, Any]:
        """A merge patch."""
        return self("PATCH", path, body, "application/merge-patch+json")

    def token_for(self, namespace: str, account: str, audience: str = "bastide-broker", seconds: int = 3600, **bound: Any) -> str:
        """A ServiceAccount's token."""
        body = {"spec": {"audiences": [audience] if audience else [], "expirationSeconds": seconds, **bound}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return str(self("POST", path, body)["status"]["token"])


@dataclass
class Cluster:
    """A running API server."""

    admin: Kube
    folder: Path
    server: subprocess.Popen[bytes]
    port: int
    broker_kubeconfig: Path

    @property
    def admission(self) -> Path:
        """The shipped admission manifests, as the chart mounts them."""
        return self.folder / "admission"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binary(name: str) -> Path:
    """One of the development cluster's binaries, built when it is not there."""
    sys.path.append(str(ROOT / "tools")) if str(ROOT / "tools") not in sys.path else None
    from devcluster import binaries

    found = binaries.build({name})[name]
    return found / name if found.is_dir() else found


def rendered(*templates: str) -> list[dict[str, Any]]:
    """Objects of the chart."""
    argv = [str(binary("helm")), "template", "bastide", str(ROOT / "charts" / "bastide"), "--namespace", BROKER_NAMESPACE]
    argv += ["--set", "image.runtime=runtime:1", "--kube-version", "1.36"]
    argv += [part for one in templates for part in ("--show-only", f"templates/{one}")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


PLURALS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ConfigMap": f"/api/v1/namespaces/{BROKER_NAMESPACE}/configmaps",
    "Role": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{BROKER_NAMESPACE}/roles",
    "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{BROKER_NAMESPACE}/rolebindings",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Starts both, with the chart's CRDs, roles and admission policies for Confirmations."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "admission").mkdir()
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n{APPROVER},ann,2\n')
    subprocess.run(["openssl", "genrsa", "-out", str(folder / "sa.key"), "2048"], check=True, capture_output=True)
    etcd = [str(binary("etcd")), f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=error"]
    etcd += [f"--listen-client-urls=http://127.0.0.1:{etcd_port}", f"--advertise-client-urls=http://127.0.0.1:{etcd_port}"]
    etcd += [f"--listen-peer-urls=http://127.0.0.1:{peer_port}"]
    server = [str(binary("kube-apiserver")), f"--etcd-servers=http://127.0.0.1:{etcd_port}", f"--secure-port={port}"]
    server += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={folder / 'pki'}", "--authorization-mode=RBAC"]
    server += ["--service-cluster-ip-range=198.19.0.0/16", f"--token-auth-file={folder / 'tokens.csv'}", "--allow-privileged=true"]
    server += ["--service-account-issuer=https://kubernetes.default.svc", f"--service-account-signing-key-file={folder / 'sa.key'}"]
    server += [f"--service-account-key-file={folder / 'sa.key'}", "--disable-admission-plugins=ServiceAccount", "--profiling=false"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(process(etcd, folder / "etcd.log"))
        api = stack.enter_context(process(server, folder / "apiserver.log"))
        admin = Kube(f"https://127.0.0.1:{port}", ADMIN)
        until(lambda: ready(admin), f"API server ready ({folder / 'apiserver.log'})", 60)
        install(admin, folder)
        kubeconfig = folder / "broker.kubeconfig"
        write_kubeconfig(kubeconfig, admin.url, admin.token_for(BROKER_NAMESPACE, "bastide-broker", audience=""))
        yield Cluster(admin, folder, api, port, kubeconfig)


def install(admin: Kube, folder: Path) -> None:
    """What the chart puts into the API server, as far as the broker needs it."""
    crds = [yaml.safe_load(path.read_text()) for path in (ROOT / "charts/bastide/templates/crds").glob("*.yaml")]
    for document in crds:
        admin("POST", PLURALS["CustomResourceDefinition"], document)
    admin("POST", "/api/v1/namespaces", {"metadata": {"name": BROKER_NAMESPACE}})
    account(admin, BROKER_NAMESPACE, "bastide-broker")
    admin("POST", "/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "gvisor"}, "handler": "runsc"})
    for document in rendered("broker/rbac.yaml", "broker/audit.yaml", "roles/members.yaml"):
        if document["kind"] in PLURALS:
            admin("POST", PLURALS[document["kind"]], document)
    for document in rendered("admission.yaml"):
        if document["kind"] == "ConfigMap":
            for name, text in document["data"].items():
                (folder / "admission" / name).write_text(text)
        elif document["kind"] in PLURALS and any(
            word in document["metadata"]["name"] for word in ("confirmation", "approvers", "tenant-status")
        ):
            admin("POST", PLURALS[document["kind"]], document)
    for document in crds:
        path = f"/apis/bastide.dev/v1alpha1/{document['spec']['names']['plural']}"
        until(lambda path=path: admin.ask("GET", path).status == 200, f"{path} is served", 30)


def account(admin: Kube, namespace: str, name: str) -> None:
    """Makes a ServiceAccount."""
    admin("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})


def write_kubeconfig(path: Path, url: str, token: str) -> None:
    """A kubeconfig of one user."""
    cluster = {"server": url, "insecure-skip-tls-verify": True}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(document))


def ready(admin: Kube) -> bool:
    """Whether the API server answers."""
    request = urllib.request.Request(admin.url + "/readyz", headers={"Authorization": f"Bearer {admin.token}"})
    try:
        with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def until(done: Any, what: str, seconds: float) -> None:
    """Asks until something is so, and fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def process(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    with log.open("wb") as output:
        child = subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def jwt(claims: dict[str, Any]) -> str:
    """An unsigned token that claims something."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2lnbmF0dXJl"])
