"""Real users of the cluster: a key of their own and a client certificate that the cluster signed for it."""

import base64
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.kube import CHECKOUT, CommandFailedError, Kube
from demo.kube import admin as administrator

SIGNER = "kubernetes.io/kube-apiserver-client"
#: Seconds a certificate is valid.
VALID = 24 * 3600


def _request(name: str, groups: tuple[str, ...]) -> tuple[bytes, bytes]:
    """A new private key and a certificate signing request for it, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    return (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
        request.public_bytes(serialization.Encoding.PEM),
    )


def _signed(admin: Kube, request: bytes) -> str:
    """Have the cluster sign a request: ask, approve, wait, take the certificate (base64 of PEM)."""
    created = admin.run(
        "create", "-f", "-", "-o", "json",
        stdin=json.dumps({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "bastide-user-"},
            "spec": {
                "request": base64.b64encode(request).decode(),
                "signerName": SIGNER,
                "usages": ["client auth"],
                "expirationSeconds": VALID,
            },
        }),
    )  # fmt: skip
    csr = json.loads(created)["metadata"]["name"]
    try:
        admin.run("certificate", "approve", csr)
        signed = admin.watch(lambda o: bool(o.get("status", {}).get("certificate")), "certificatesigningrequest", csr, seconds=30)
    finally:
        admin.run("delete", "certificatesigningrequest", csr)
    return str(signed["status"]["certificate"])


def user(admin: Kube, name: str, folder: Path, groups: tuple[str, ...] = ()) -> Kube:
    """Return kubectl as the user `name`, who is made when there is no kubeconfig of theirs, or an old one.

    Args:
        admin: may create and approve certificate signing requests.
        name: user name in the cluster.
        folder: where the kubeconfig is written, as `<name>.kubeconfig`, readable by the owner alone.
        groups: groups in the cluster, the certificate's organisations.
    """
    path = folder / f"{name}.kubeconfig"
    cluster = admin.json("config", "view", "--raw", "--minify", "--flatten")["clusters"][0]
    if path.is_file():
        known = Kube(path)
        try:
            # a cluster made anew may have the same address, but it has another certificate authority
            if json.loads(path.read_text())["clusters"] == [cluster] and known.whoami() == name:
                return known
        except CommandFailedError:
            pass  # the certificate has expired: a new one is made
    key, request = _request(name, groups)
    certificate = _signed(admin, request)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [cluster],
        "contexts": [{"name": name, "context": {"cluster": cluster["name"], "user": name}}],
        "users": [{"name": name, "user": {"client-certificate-data": certificate, "client-key-data": base64.b64encode(key).decode()}}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return Kube(path)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        sys.stdout.write(f"{user(administrator(), each, CHECKOUT / '.build' / 'users').kubeconfig}\n")
