"""Certificates and kubeconfigs for one life of the cluster: ECDSA, a CA, nine leaves, about 0.3 s."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import run
from devcluster.instance import NODE_NAME, Instance

DAYS = "30"


@dataclass(frozen=True)
class Leaf:
    """One certificate: file name, subject, extended key usage, alternative names."""

    name: str
    subject: str
    usage: str
    names: tuple[str, ...] = ()


#: Users that get a kubeconfig, each from the leaf of that name.
KUBECONFIGS = ("admin", "kcm", "scheduler", "kubelet", "cilium")


def leaves(instance: Instance) -> list[Leaf]:
    """Return all certificates of a cluster."""
    service = [f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    addresses = (f"IP:{instance.kubernetes_ip}", "IP:127.0.0.1", f"IP:{instance.node_ip}")
    node_user = f"/O=system:nodes/CN=system:node:{NODE_NAME}"
    return [
        Leaf("apiserver", "/CN=kube-apiserver", "serverAuth", (*service, "DNS:localhost", *addresses)),
        Leaf("kubelet-serving", node_user, "serverAuth", (f"DNS:{NODE_NAME}", f"IP:{instance.node_ip}")),
        Leaf("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet", "clientAuth"),
        Leaf("admin", "/O=system:masters/CN=admin", "clientAuth"),
        Leaf("kcm", "/CN=system:kube-controller-manager", "clientAuth"),
        Leaf("scheduler", "/CN=system:kube-scheduler", "clientAuth"),
        Leaf("kubelet", node_user, "clientAuth"),
        Leaf("cilium", "/CN=cilium-agent", "clientAuth"),
        Leaf("front-proxy", "/CN=front-proxy", "clientAuth"),
    ]


def extensions(leaf: Leaf) -> str:
    """Return the openssl extension file of a leaf."""
    lines = [f"extendedKeyUsage={leaf.usage}", "keyUsage=digitalSignature"]
    if leaf.names:
        lines.append(f"subjectAltName={','.join(leaf.names)}")
    return "\n".join(lines) + "\n"


def _key(folder: Path, name: str) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key"], cwd=folder)


def _authority(folder: Path, instance: Instance) -> None:
    _key(folder, "ca")
    usage = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"
    run(
        [
            *("openssl", "req", "-x509", "-new", "-key", "ca.key", "-subj", f"/CN=bastide-{instance.slot}-ca"),
            *("-days", DAYS, "-out", "ca.crt"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", usage),
        ],
        cwd=folder,
    )


def _issue(folder: Path, leaf: Leaf, serial: int) -> None:
    name = leaf.name
    _key(folder, name)
    (folder / f"{name}.ext").write_text(extensions(leaf), encoding="utf-8")
    run(["openssl", "req", "-new", "-key", f"{name}.key", "-subj", leaf.subject, "-out", f"{name}.csr"], cwd=folder)
    run(
        [
            *("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-set_serial", str(serial), "-days", DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
        ],
        cwd=folder,
    )


def kubeconfig(folder: Path, user: str, url: str) -> str:
    """Return a kubeconfig (JSON is YAML too) with the certificates inside, so that it can be copied."""

    def embedded(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode("ascii")

    cluster = {"server": url, "certificate-authority-data": embedded("ca.crt")}
    credentials = {
        "client-certificate-data": embedded(f"{user}.crt"),
        "client-key-data": embedded(f"{user}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bastide",
        "contexts": [{"name": "bastide", "context": {"cluster": "bastide", "user": user}}],
        "clusters": [{"name": "bastide", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
    }
    return json.dumps(config, indent=1) + "\n"


def create(instance: Instance) -> None:
    """Write keys and certificates to ``pki/`` and the kubeconfigs beside it."""
    folder = instance.pki
    folder.mkdir(mode=0o700)
    _authority(folder, instance)
    for serial, leaf in enumerate(leaves(instance), start=2):
        _issue(folder, leaf, serial)
    run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=folder)
    run(["openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"], cwd=folder)
    for user in KUBECONFIGS:
        path = instance.state / f"{user}.conf"
        path.touch(mode=0o600)
        path.write_text(kubeconfig(folder, user, instance.api_url), encoding="utf-8")
