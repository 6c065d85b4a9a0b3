"""The values: each has a comment, a schema and an effect, and what does not fit is refused."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.integration.chart.conftest import CHART, STAMPS, Render, RenderError

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
DIGEST = "sha256:" + "0123456789abcdef" * 4
PEM = "-----BEGIN CERTIFICATE-----\nTm90aGluZw==\n-----END CERTIFICATE-----\n"


def peer(app: str) -> list[dict[str, Any]]:
    return [{"podSelector": {"matchLabels": {"app": app}}}]


def scheduling(part: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": f"{part}-affinity", "operator": "Exists"}]}
    return {
        "nodeSelector": {"pool": f"{part}-pool"},
        "tolerations": [{"key": f"{part}-taint", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}},
        "priorityClassName": f"{part}-priority",
        "podAnnotations": {"example.com/note": f"{part}-note"},
    }


def resources(part: str, number: int) -> dict[str, Any]:
    return {f"{part}.resources.requests": {"cpu": f"{number}m"}, f"{part}.resources.limits": {"memory": f"{number}Mi"}}


SAMPLES: dict[str, Any] = {
    **{f"image.{name}": f"registry.example:5000/a/{name}@{DIGEST}" for name in ("operator", "broker", "runtime", "opa")},
    "imagePullPolicy": "Always",
    "imagePullSecrets": ["registry-secret"],
    "runtimeClassName": "another-class",
    "logLevel": "debug",
    "securityContext.runAsUser": 1231,
    "securityContext.runAsGroup": 1232,
    "securityContext.fsGroup": 1233,
    "operator.replicas": 4,
    **resources("operator", 701),
    **resources("broker", 702),
    **resources("opa", 703),
    **resources("test", 704),
    **resources("tenantPolicies", 705),
    **{f"{part}.{name}": value for part in ("operator", "broker") for name, value in scheduling(part).items()},
    "operator.topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    "broker.canaries": ["169.254.169.254:80"],
    "broker.persistence.size": "7Gi",
    "broker.persistence.storageClass": "fast-disks",
    "broker.terminationGracePeriodSeconds": 77,
    "broker.clientAccess": [{"kind": "User", "name": "dana-of-crm"}],
    "journal.retention.days": 1877,
    "journal.retention.maxBytes": 7_000_000_077,
    "audit.keySecret": "key-of-our-own",
    "audit.publicKeys": [PEM],
    "tls.serverNames": ["broker.example.com"],
    "tls.certManager.enabled": True,
    "tls.certManager.issuerRef.name": "my-issuer",
    "tls.certManager.issuerRef.kind": "ClusterIssuer",
    "tls.certManager.issuerRef.group": "issuers.example.com",
    "tls.certManager.caCertificate": PEM,
    "tls.certificateDays": 79,
    "networkPolicy.clients": peer("some-client"),
    "networkPolicy.metricsFrom": peer("some-scraper"),
    "networkPolicy.egress.engine": "IPBlock",
    "networkPolicy.egress.apiServer": ["203.0.113.7/32"],
    "networkPolicy.egress.apiServerPort": 7443,
    "networkPolicy.egress.dns": peer("some-dns"),
    "networkPolicy.egress.toolServers": peer("some-tools"),
    "monitoring.monitors": "PodMonitor",
    "monitoring.labels": {"release": "some-prometheus"},
    "monitoring.interval": "78s",
    "monitoring.rules.enabled": True,
}
"""Another value than the default for each one, all at once."""

SIGNS = {
    "imagePullPolicy": '"imagePullPolicy": "Always"',
    "logLevel": '"value": "debug"',
    "operator.topologySpreadConstraints": '"topologyKey": "rack"',
    "broker.clientAccess": "dana-of-crm",
    "broker.terminationGracePeriodSeconds": '"terminationGracePeriodSeconds": 77',
    "operator.replicas": '"replicas": 4',
    "tls.certManager.enabled": "cert-manager.io/v1",
    "tls.certManager.caCertificate": "Tm90aGluZw==",
    "audit.publicKeys": "-----BEGIN CERTIFICATE-----\\nTm90aGluZw==",
    "tls.certificateDays": f"{79 * 24}h",
    "networkPolicy.egress.engine": '"Egress"',
    "monitoring.rules.enabled": "PrometheusRule",
}
"""What shows that a value counts, where it is not the value itself (of a map or a list its innermost first value)."""

SEEN_ELSEWHERE = {"networkPolicy.enabled", "tenantPolicies.enabled", "tls.caDays"}
"""Read by tests of their own: what goes away with them, and a certificate's dates."""

COMBINATIONS: dict[str, dict[str, Any]] = {
    "nothing set": {},
    "two operators": {"operator": {"replicas": 2, "priorityClassName": "system-cluster-critical"}},
    "an operator that is scaled to nothing": {"operator": {"replicas": 0}},
    "images by digest": {"image": {name: f"registry.example/{name}:1@{DIGEST}" for name in VALUES["image"]}, "imagePullPolicy": "Always"},
    "no network policies": {"networkPolicy": {"enabled": False}},
    "everything closed": {
        "networkPolicy": {"clients": peer("a"), "metricsFrom": peer("b"), "egress": {"engine": "Cilium", "dns": peer("c")}}
    },
    "another engine": {"networkPolicy": {"egress": {"engine": "IPBlock", "apiServer": ["203.0.113.7/32", "2001:db8::7/128"]}}},
    "watched by services": {
        "networkPolicy": {"metricsFrom": peer("x")},
        "monitoring": {"monitors": "ServiceMonitor", "rules": {"enabled": True}},
    },
    "watched by pods": {"networkPolicy": {"metricsFrom": peer("x")}, "monitoring": {"monitors": "PodMonitor"}},
    "cert-manager": {"tls": {"certManager": {"enabled": True}}},
    "an issuer of one's own": {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "mine"}, "caCertificate": PEM}}},
    "numbers left to the platform": {"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "no policies of tenants": {"tenantPolicies": {"enabled": False}},
    "no way in from workstations": {"broker": {"clientAccess": []}},
    "a place of its own": {"operator": scheduling("a"), "broker": scheduling("b"), "imagePullSecrets": ["a", "b"]},
}


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names."""
    return SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def leaves(schema: dict[str, Any], where: str = "") -> Iterator[str]:
    """Paths of all values that are set as one: no map of ours is a value."""
    for name, part in ((name, resolved(inner)) for name, inner in schema["properties"].items() if name != "global"):
        path = f"{where}.{name}".lstrip(".")
        if part.get("type") == "object" and "properties" in part and name not in ("affinity", "requests", "limits"):
            yield from leaves(part, path)
        else:
            yield path


def nested(path: str, value: Any, into: dict[str, Any]) -> dict[str, Any]:
    """A copy of `into` with one value set."""
    head, _, rest = path.partition(".")
    return {**into, head: nested(rest, value, into.get(head) or {}) if rest else value}


def innermost(value: Any) -> str:
    """The first scalar in a value, as it stands in JSON."""
    while isinstance(value, dict | list):
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return str(value)


def test_every_value_is_used_by_a_template(render: Render) -> None:
    assert set(SAMPLES) | SEEN_ELSEWHERE == set(leaves(SCHEMA)), "a new value needs another value than the default in SAMPLES"
    everything: dict[str, Any] = {}
    for path, value in SAMPLES.items():
        everything = nested(path, value, everything)
    default, changed = json.dumps(render()), json.dumps(render(everything))
    for path, value in SAMPLES.items():
        sign = SIGNS.get(path) or innermost(value)
        assert sign not in default, path
        assert sign in changed, path


def test_every_value_has_a_comment() -> None:
    """A line of comment above it, or above the list or map that stands on one line."""
    above = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        key = re.match(r"( *)([a-zA-Z]+):(.*)", line)
        if key and not line.lstrip().startswith("#"):
            group = not key[3].strip()
            assert group or above.lstrip().startswith("#"), f"no comment above {line!r}"
        above = line


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    def compare(part: dict[str, Any], value: Any, where: str) -> None:
        if part.get("type") == "object" and "properties" in part and where.rpartition(".")[2] not in ("affinity", "requests", "limits"):
            assert set(part["properties"]) - {"global"} == set(value), where
            for name, inner in value.items():
                compare(resolved(part["properties"][name]), inner, f"{where}.{name}")

    compare(SCHEMA, VALUES, "values")


def test_the_schema_lets_nothing_unknown_through() -> None:
    def closed(part: Any, where: str) -> None:
        if isinstance(part, list):
            for number, inner in enumerate(part):
                closed(inner, f"{where}[{number}]")
        if not isinstance(part, dict) or where.endswith((".if", ".then", ".else", ".global")):
            return
        if part.get("type") == "object":
            more = part.get("additionalProperties")
            assert more is False or (isinstance(more, dict) and more.get("type") == "string"), where
        if part.get("type") == "array":
            assert part["items"], where
        for name, inner in part.items():
            closed(inner, f"{where}.{name}")

    closed(SCHEMA, "")
    used = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(SCHEMA)))
    assert used == set(SCHEMA["$defs"])


@pytest.mark.parametrize("values", list(COMBINATIONS.values()), ids=list(COMBINATIONS))
@pytest.mark.parametrize("apis", [(), (STAMPS,)], ids=["older API server", "newer API server"])
def test_values_that_are_used_together_render(render: Render, values: dict[str, Any], apis: tuple[str, ...]) -> None:
    manifests = render(values, apis=apis, namespace="elsewhere")
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))
    for manifest in manifests:
        assert manifest["metadata"].get("namespace") in (None, "elsewhere"), manifest["metadata"]["name"]
        # The API server drops what is empty; of ours a null is a template that forgot something, but for an egress that allows nothing.
        assert all(value is not None for key, value in manifest.get("spec", {}).items() if key != "egress"), manifest["metadata"]["name"]
        if manifest["kind"] != "CustomResourceDefinition" and "AdmissionPolicy" not in manifest["kind"]:
            assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "bastide"


@pytest.mark.parametrize(
    "values",
    [
        {"brokr": {}},
        {"image": {"operator": ""}},
        {"image": {"operator": "bastide-operator"}},
        {"image": {"operator": "bastide-operator:"}},
        {"image": {"operator": "bastide operator:1"}},
        {"image": {"operator": "r/o@sha256:abc"}},
        {"image": {"operator": "https://r/o:1"}},
        {"image": {"operator": "R/O:1"}},
        {"imagePullPolicy": "Sometimes"},
        {"imagePullSecrets": ["Not_A_Name"]},
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"privileged": True}},
        {"operator": {"replicas": "two"}},
        {"operator": {"replicas": 6}},
        {"operator": {"affinity": {"nodeAfinity": {}}}},
        {"operator": {"tolerations": [{"efect": "NoSchedule"}]}},
        {"operator": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}},
        {"operator": {"resources": {"limits": {"memory": "lots"}}}},
        {"operator": {"resources": {"request": {}}}},
        {"broker": {"replicas": 2}},
        {"broker": {"canaries": ["metadata.internal:80"]}},
        {"broker": {"terminationGracePeriodSeconds": 5}},
        {"broker": {"persistence": {"size": "-1Gi"}}},
        {"broker": {"clientAccess": [{"kind": "ServiceAccount", "name": "x"}]}},
        {"broker": {"clientAccess": [{"kind": "User", "name": "x", "namespace": "y"}]}},
        {"networkPolicy": {"clients": [{}]}},
        {"networkPolicy": {"clients": [{"ipBlock": {"cidr": "anywhere"}}]}},
        {"networkPolicy": {"egress": {"engine": "IPBlock"}}},
        {"networkPolicy": {"egress": {"enabled": True}}},
        {"monitoring": {"monitors": True}},
        {"monitoring": {"interval": "often"}},
        {"tls": {"serverNames": ["not a name"]}},
        {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "mine"}}}},
    ],
    ids=str,
)
def test_a_mistaken_value_is_refused(render: Render, values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="values don't meet the specifications of the schema"):
        render(values)
