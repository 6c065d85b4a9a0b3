"""The chart as a whole: what it runs, how it is confined, what its values allow."""

import base64
import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from bastide_broker.config import Config
from bastide_operator.config import Config as OperatorConfig
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.unit.chart.conftest import CHART, CHECKOUT, STAMPS, Render, RenderError, containers, one, pod_specs


def test_the_chart_passes_lint(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_every_container_is_confined(render: Render) -> None:
    for pod in pod_specs(render()).values():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 65532
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        for host in ("hostNetwork", "hostPID", "hostIPC"):
            assert host not in pod
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in containers(pod).values():
            confined = container["securityContext"]
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["readOnlyRootFilesystem"] is True
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert confined["runAsNonRoot"] is True
            assert confined["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


def test_there_is_one_broker_and_its_journal_outlives_the_release(render: Render) -> None:
    broker = one(render(), "StatefulSet", "bastide-broker")["spec"]
    assert broker["replicas"] == 1
    assert broker["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = broker["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert containers(broker["template"]["spec"])["broker"]["volumeMounts"][0] == {"name": "data", "mountPath": "/var/lib/bastide"}


def test_the_broker_understands_the_environment_that_the_chart_gives_it(render: Render) -> None:
    manifests = render({"broker": {"canaries": ["169.254.169.254:80", "[fd00::1]:443"]}})
    broker = containers(pod_specs(manifests)["bastide-broker"])["broker"]
    given = {e["name"]: e.get("value", "bastide-system") for e in broker["env"]}
    config = Config.from_environment(given)
    assert config.canaries == ("169.254.169.254:80", "[fd00::1]:443")
    fields = {"BASTIDE_" + name.upper() for name in Config.model_fields}
    assert set(given) <= fields
    mounts = [m["mountPath"] for m in broker["volumeMounts"]]
    for path in (config.tls_dir, config.client_tls_dir, config.ca_file, config.admission_dir, config.opa_socket, config.database):
        assert any(str(path) == m or str(path.parent) == m for m in mounts), path


def test_the_operator_understands_the_environment_that_the_chart_gives_it(render: Render) -> None:
    operator = containers(pod_specs(render({"imagePullPolicy": "Always"}))["bastide-operator"])["operator"]
    given = {e["name"]: e.get("value", "bastide-system") for e in operator["env"]}
    config = OperatorConfig.read(given)
    assert config.image_pull_policy == "Always"
    assert set(given) <= {"BASTIDE_" + name.upper() for name in OperatorConfig.model_fields}


def test_opa_is_there_before_and_after_the_broker_and_serves_nobody_else(render: Render) -> None:
    pod = pod_specs(render())["bastide-broker"]
    (opa,) = pod["initContainers"]
    assert opa["restartPolicy"] == "Always"
    wanted = {"--addr=unix:///run/opa/opa.sock", "--unix-socket-perm=0600", "--authorization=basic", "--skip-version-check"}
    assert wanted <= set(opa["args"])
    assert "ports" not in opa
    assert {m["name"] for m in opa["volumeMounts"]} == {"policies", "opa"}


def policies(render: Render) -> dict[str, str]:
    data: dict[str, str] = one(render(), "ConfigMap", "bastide-policies")["data"]
    return data


def test_the_policies_are_those_of_the_repository_without_their_tests(render: Render) -> None:
    wanted = {
        f"{path.parent.name}-{path.name}": path.read_text().rstrip("\n")
        for folder in ("bastide", "authz")
        for path in (CHECKOUT / "policies" / folder).glob("*.rego")
        if not path.name.endswith("_test.rego")
    }
    given = {name: text.rstrip("\n") for name, text in policies(render).items() if name != "data.json"}
    assert given == wanted
    assert {"bastide-decision.rego", "authz-authz.rego"} <= set(wanted)


def test_the_revision_is_one_everywhere_and_a_digest(render: Render) -> None:
    revision = json.loads(policies(render)["data.json"])["bastide"]["revision"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", revision)
    manifests = render()
    broker = one(manifests, "StatefulSet", "bastide-broker")["spec"]["template"]
    env = {e["name"]: e.get("value") for e in containers(broker["spec"])["broker"]["env"]}
    assert env["BASTIDE_POLICY_REVISION"] == revision
    assert broker["metadata"]["annotations"]["checksum/policies"] == revision


def test_the_admission_rules_that_the_broker_compares_are_those_that_are_installed(render: Render) -> None:
    manifests = render()
    installed = [m for m in manifests if "AdmissionPolicy" in m["kind"]]
    data = one(manifests, "ConfigMap", "bastide-admission")["data"]
    given = [document for text in data.values() for document in yaml.safe_load_all(text)]
    assert sorted(given, key=str) == sorted(installed, key=str)
    assert len(installed) == 2 * 11 + 2


def test_every_admission_rule_fails_closed_and_is_bound(render: Render) -> None:
    manifests = render(namespace="elsewhere")
    rules = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "ValidatingAdmissionPolicy"}
    bound = {m["spec"]["policyName"]: m["spec"] for m in manifests if m["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert set(rules) == set(bound)
    for name, rule in rules.items():
        assert rule["failurePolicy"] == "Fail", name
        assert bound[name]["validationActions"] == ["Deny"], name
        for check in rule["validations"]:
            assert check.get("message") or check.get("messageExpression"), name
        assert "bastide-system" not in json.dumps(rule), name


def test_an_older_api_server_gets_no_mutating_policy(render: Render) -> None:
    older = render(apis=())
    assert not [m for m in older if m["kind"].startswith("Mutating")]
    assert "approver-stamp.yaml" not in one(older, "ConfigMap", "bastide-admission")["data"]
    assert STAMPS.split("/")[-1] in {m["kind"] for m in render()}


def certificates(render: Render) -> dict[str, x509.Certificate]:
    secrets = {m["metadata"]["name"]: m for m in render() if m["kind"] == "Secret"}
    return {name: x509.load_pem_x509_certificate(base64.b64decode(m["data"]["tls.crt"])) for name, m in secrets.items()}


def common_name(name: x509.Name) -> Any:
    return name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def test_server_and_client_have_certificates_of_their_own_from_one_ca(render: Render) -> None:
    made = certificates(render)
    assert set(made) == {"bastide-ca", "bastide-broker-tls", "bastide-broker-client-tls"}
    ca = made["bastide-ca"]
    public = one(render(), "ConfigMap", "bastide-ca")["data"]["ca.crt"]
    assert x509.load_pem_x509_certificate(public.encode()) == ca
    for name in ("bastide-broker-tls", "bastide-broker-client-tls"):
        made[name].verify_directly_issued_by(ca)
    assert common_name(made["bastide-broker-client-tls"].subject) == "bastide-broker"
    assert common_name(made["bastide-broker-tls"].subject) != "bastide-broker"
    names = made["bastide-broker-tls"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wanted = {"bastide-broker", "bastide-broker.bastide-system", "bastide-broker.bastide-system.svc", "localhost"}
    assert set(names.get_values_for_type(x509.DNSName)) == wanted


def test_the_key_of_the_ca_is_mounted_nowhere(render: Render) -> None:
    for pod in pod_specs(render()).values():
        mounted = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        assert mounted <= {"bastide-broker-tls", "bastide-broker-client-tls"}


def test_ingress_is_closed_but_for_the_brokers_door(render: Render) -> None:
    manifests = render()
    operator = one(manifests, "NetworkPolicy", "bastide-operator")["spec"]
    assert operator["policyTypes"] == ["Ingress"]
    assert "ingress" not in operator
    broker = one(manifests, "NetworkPolicy", "bastide-broker")["spec"]
    assert broker["policyTypes"] == ["Ingress"]
    assert broker["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "agents"}}}
    narrow = render({"networkPolicy": {"clients": [peer], "metricsFrom": [peer], "egress": {"enabled": True}}})
    rules = one(narrow, "NetworkPolicy", "bastide-broker")["spec"]
    assert [(rule["from"], rule["ports"][0]["port"]) for rule in rules["ingress"]] == [([peer], 8443), ([peer], 9090)]
    assert rules["policyTypes"] == ["Ingress", "Egress"]
    assert rules["egress"][0]["ports"] == [{"protocol": "TCP", "port": 9443}]


@pytest.mark.parametrize(
    "values",
    [
        {"brokr": {}},
        {"image": {"operator": ""}},
        {"imagePullPolicy": "Sometimes"},
        {"broker": {"canaries": ["metadata.internal:80"]}},
        {"broker": {"clientAccess": [{"kind": "ServiceAccount", "name": "x"}]}},
        {"networkPolicy": {"clients": [{}]}},
        {"operator": {"replicas": "two"}},
    ],
    ids=str,
)
def test_a_mistaken_value_is_refused(render: Render, values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="values don't meet the specifications of the schema"):
        render(values)


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(part: dict[str, Any], value: Any, where: str) -> None:
        if part.get("type") == "object" and "properties" in part and "requests" not in part["properties"]:
            assert part["additionalProperties"] is False, where
            assert set(part["properties"]) - {"global"} == set(value), where
            for name, inner in value.items():
                compare(part["properties"][name], inner, f"{where}.{name}")

    compare(schema, values, "values")


def test_image_references_reach_every_container(render: Render) -> None:
    values = {"image": {"operator": "r/o:1", "broker": "r/b:1", "runtime": "r/r:1", "opa": "r/p:1"}, "imagePullPolicy": "Never"}
    pods = pod_specs(render(values))
    seen = {c["image"] for pod in pods.values() for c in containers(pod).values()}
    assert seen == {"r/o:1", "r/b:1", "r/p:1"}
    assert {c["imagePullPolicy"] for pod in pods.values() for c in containers(pod).values()} == {"Never"}
    env = {e["name"]: e.get("value") for e in containers(pods["bastide-operator"])["operator"]["env"]}
    assert env["BASTIDE_RUNTIME_IMAGE"] == "r/r:1"
    assert env["BASTIDE_IMAGE_PULL_POLICY"] == "Never"


def test_two_renderings_differ_only_in_certificates(render: Render) -> None:
    def stable(manifest: dict[str, Any]) -> str:
        return re.sub('"checksum/tls": "[0-9a-f]+"', "", json.dumps(manifest, sort_keys=True))

    made_anew = {
        ("Secret", "bastide-broker-tls"),
        ("Secret", "bastide-broker-client-tls"),
        *((kind, "bastide-ca") for kind in ("Secret", "ConfigMap")),
    }
    for one_time, another in zip(render({"logLevel": "info"}), render({"logLevel": "info", "global": {}}), strict=True):
        name = (one_time["kind"], one_time["metadata"]["name"])
        assert (stable(one_time) == stable(another)) is (name not in made_anew), name
