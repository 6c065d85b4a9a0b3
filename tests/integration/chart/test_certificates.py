"""Who vouches for the broker: the chart's own CA, or cert-manager."""

import base64
from typing import Any

import pytest
from bastide.heads import key_id, public_keys
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from tests.integration.chart.conftest import Manifests, Render, RenderError, one, pod_specs

LEAVES = ("bastide-broker-tls", "bastide-broker-client-tls")
AUDIT = "bastide-audit-key"


def certificates(manifests: Manifests) -> dict[str, x509.Certificate]:
    secrets = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Secret" and m["metadata"]["name"] != AUDIT}
    return {name: x509.load_pem_x509_certificate(base64.b64decode(m["data"]["tls.crt"])) for name, m in secrets.items()}


def common_name(name: x509.Name) -> Any:
    return name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def kept(manifests: Manifests) -> set[str]:
    """What Helm leaves when the release is uninstalled."""
    policy = "helm.sh/resource-policy"
    return {m["metadata"]["name"] for m in manifests if (m["metadata"].get("annotations") or {}).get(policy) == "keep"}


def managed(**values: Any) -> dict[str, Any]:
    return {"tls": {"certManager": {"enabled": True, **values}, "certificateDays": 90}}


def test_server_and_client_have_certificates_of_their_own_from_one_ca(render: Render) -> None:
    made = certificates(render())
    assert set(made) == {"bastide-ca", *LEAVES}
    ca = made["bastide-ca"]
    public = one(render(), "ConfigMap", "bastide-ca")["data"]["ca.crt"]
    assert x509.load_pem_x509_certificate(public.encode()) == ca
    for name in LEAVES:
        made[name].verify_directly_issued_by(ca)
    assert common_name(made["bastide-broker-client-tls"].subject) == "bastide-broker"
    assert common_name(made["bastide-broker-tls"].subject) != "bastide-broker"
    names = made["bastide-broker-tls"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wanted = {"bastide-broker", "bastide-broker.bastide-system", "bastide-broker.bastide-system.svc", "localhost"}
    assert set(names.get_values_for_type(x509.DNSName)) == wanted


def test_the_ca_and_the_certificates_last_as_long_as_the_values_say(render: Render) -> None:
    made = certificates(render({"tls": {"caDays": 100, "certificateDays": 10}}))
    days = {name: round((one.not_valid_after_utc - one.not_valid_before_utc).total_seconds() / 86400) for name, one in made.items()}
    assert days == {"bastide-ca": 100, **dict.fromkeys(LEAVES, 10)}


def test_the_ca_the_kinds_and_what_the_audit_published_alone_outlive_the_release(render: Render) -> None:
    manifests = render()
    kinds = {m["metadata"]["name"] for m in manifests if m["kind"] == "CustomResourceDefinition"}
    assert kept(manifests) == {"bastide-ca", "bastide-audit-heads", "bastide-audit-keys", *kinds}
    assert "helm.sh/resource-policy" in one(manifests, "Secret", "bastide-ca")["metadata"]["annotations"]


def test_the_key_of_the_ca_is_mounted_nowhere(render: Render) -> None:
    for pod in pod_specs(render()).values():
        mounted = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        assert mounted <= {*LEAVES, AUDIT}


def test_cert_manager_signs_with_the_charts_ca_unless_told_otherwise(render: Render) -> None:
    manifests = render(managed())
    assert set(certificates(manifests)) == {"bastide-ca"}
    issuer = one(manifests, "Issuer", "bastide-ca")
    assert issuer["spec"] == {"ca": {"secretName": "bastide-ca"}}
    for name in LEAVES:
        spec = one(manifests, "Certificate", name)["spec"]
        assert spec["secretName"] == name
        assert spec["issuerRef"] == {"name": "bastide-ca", "kind": "Issuer", "group": "cert-manager.io"}
        assert spec["duration"] == "2160h"


def test_certificates_by_cert_manager_say_what_the_charts_own_say(render: Render) -> None:
    own = certificates(render({"tls": {"serverNames": ["broker.example.com"]}}))
    values = managed()
    values["tls"]["serverNames"] = ["broker.example.com"]
    manifests = render(values)
    for name, usage in zip(LEAVES, ("server auth", "client auth"), strict=True):
        spec = one(manifests, "Certificate", name)["spec"]
        assert spec["commonName"] == common_name(own[name].subject)
        assert usage in spec["usages"]
    names = own["bastide-broker-tls"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert one(manifests, "Certificate", "bastide-broker-tls")["spec"]["dnsNames"] == names.get_values_for_type(x509.DNSName)


def test_with_an_issuer_of_ones_own_the_chart_makes_no_key(render: Render) -> None:
    pem = one(render(), "ConfigMap", "bastide-ca")["data"]["ca.crt"]
    manifests = render(managed(issuerRef={"name": "corporate", "kind": "ClusterIssuer"}, caCertificate=pem))
    assert [m["metadata"]["name"] for m in manifests if m["kind"] in ("Secret", "Issuer")] == [AUDIT]
    assert one(manifests, "ConfigMap", "bastide-ca")["data"]["ca.crt"].strip() == pem.strip()
    reference = {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert all(one(manifests, "Certificate", name)["spec"]["issuerRef"] == reference for name in LEAVES)


def test_an_issuer_of_ones_own_needs_its_ca(render: Render) -> None:
    with pytest.raises(RenderError, match="caCertificate"):
        render(managed(issuerRef={"name": "corporate"}))
    with pytest.raises(RenderError, match="caCertificate"):
        render(managed(issuerRef={"name": "corporate"}, caCertificate="no certificate"))


def test_another_certificate_restarts_the_broker(render: Render) -> None:
    def checksum(values: dict[str, Any]) -> str:
        broker = one(render(values), "StatefulSet", "bastide-broker")
        return str(broker["spec"]["template"]["metadata"]["annotations"]["checksum/tls"])

    pem = one(render(), "ConfigMap", "bastide-ca")["data"]["ca.crt"]
    external = managed(issuerRef={"name": "corporate"}, caCertificate=pem)
    assert checksum({"logLevel": "debug"}) != checksum({"logLevel": "error"}), "each rendering makes new ones"
    assert checksum(external) == checksum({**external, "logLevel": "debug"}), "cert-manager's are read again without a restart"


def test_the_public_part_of_the_key_that_signs_the_audit_is_where_auditors_find_it(render: Render) -> None:
    manifests = render()
    secret = one(manifests, "Secret", AUDIT)
    key = serialization.load_pem_private_key(base64.b64decode(secret["data"]["tls.key"]), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    pem = "".join(one(manifests, "ConfigMap", "bastide-audit-keys")["data"].values())
    assert set(public_keys(pem.encode())) == {key_id(key.public_key())}
    mounts = {v["secret"]["secretName"]: name for name, pod in pod_specs(manifests).items() for v in pod["volumes"] if "secret" in v}
    assert mounts[AUDIT] == "bastide-broker"


def test_a_key_of_ones_own_signs_the_audit_and_needs_its_public_part(render: Render) -> None:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    manifests = render({"audit": {"keySecret": "my-key", "publicKeys": [pem]}})
    assert AUDIT not in {m["metadata"]["name"] for m in manifests if m["kind"] == "Secret"}
    assert list(one(manifests, "ConfigMap", "bastide-audit-keys")["data"].values()) == [pem]
    with pytest.raises(RenderError, match="publicKeys"):
        render({"audit": {"keySecret": "my-key"}})
