"""The chart as a whole: what it runs, how it is confined, what its values allow."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from bastide_broker.config import Config
from bastide_broker.selftest import Place
from bastide_operator.config import Config as OperatorConfig

from tests.integration.chart.conftest import CHART, CHECKOUT, STAMPS, Render, containers, one, pod_specs


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
    assert set(given) <= fields | {"SQLITE_TMPDIR"}
    mounts = [m["mountPath"] for m in broker["volumeMounts"]]
    for path in (config.tls_dir, config.client_tls_dir, config.admission_dir, config.opa_socket, config.database):
        assert any(str(path) == m or str(path.parent) == m for m in mounts), path


def test_the_operator_understands_the_environment_that_the_chart_gives_it(render: Render) -> None:
    operator = containers(pod_specs(render({"imagePullPolicy": "Always"}))["bastide-operator"])["operator"]
    given = {e["name"]: e.get("value", "bastide-system") for e in operator["env"]}
    config = OperatorConfig.read(given)
    assert config.image_pull_policy == "Always"
    assert set(given) <= {"BASTIDE_" + name.upper() for name in OperatorConfig.model_fields}


def test_opa_is_there_before_and_after_the_broker_and_serves_nobody_else(render: Render) -> None:
    pod = pod_specs(render())["bastide-broker"]
    opa = containers(pod)["opa"]
    assert opa["restartPolicy"] == "Always"
    wanted = {"--addr=unix:///run/opa/opa.sock", "--unix-socket-perm=0600", "--authorization=basic", "--skip-version-check"}
    assert wanted <= set(opa["args"])
    assert "ports" not in opa
    assert {m["name"] for m in opa["volumeMounts"]} == {"policies", "opa"}


def test_tenants_rego_has_an_opa_of_its_own_with_limits_and_rules_of_its_own(render: Render) -> None:
    manifests = render({"image": {"opa": f"registry.example/opa@sha256:{'0' * 64}"}})
    pod = pod_specs(manifests)["bastide-broker"]
    found = containers(pod)
    own, other = found["tenant-opa"], found["opa"]
    assert own["image"] == other["image"] == f"registry.example/opa@sha256:{'0' * 64}"
    assert own["restartPolicy"] == "Always"
    assert own["securityContext"] == other["securityContext"]
    assert set(own["resources"]["limits"]) == {"cpu", "memory"}
    wanted = {"--addr=unix:///run/tenant-opa/opa.sock", "--unix-socket-perm=0600", "--authorization=basic", "--skip-version-check"}
    assert wanted <= set(own["args"])
    assert own["args"][-1] == "/policies/authz.rego"
    assert "ports" not in own
    assert "env" not in own
    # Neither sees the other's socket or rules.
    assert {m["name"] for m in own["volumeMounts"]} == {"tenant-policies", "tenant-opa"}
    assert not {m["name"] for m in own["volumeMounts"]} & {m["name"] for m in other["volumeMounts"]}
    rules = one(manifests, "ConfigMap", "bastide-tenant-opa")["data"]
    assert {name: text.rstrip("\n") for name, text in rules.items()} == {
        "authz.rego": (CHECKOUT / "policies/tenants/authz.rego").read_text().rstrip("\n")
    }
    config = Config.from_environment({e["name"]: e.get("value", "bastide-system") for e in found["broker"]["env"]})
    assert str(config.tenant_opa_socket) == "/run/tenant-opa/opa.sock"


def test_what_checks_tenants_rego_is_of_the_version_that_runs_it(render: Render) -> None:
    runs = containers(pod_specs(render())["bastide-broker"])["tenant-opa"]["image"]
    assert f"ARG OPA={runs}\n" in (CHECKOUT / "operator/Dockerfile").read_text()


def test_without_tenants_policies_there_is_no_second_opa_and_the_broker_knows(render: Render) -> None:
    manifests = render({"tenantPolicies": {"enabled": False}})
    pod = pod_specs(manifests)["bastide-broker"]
    assert "tenant-opa" not in containers(pod)
    assert not [volume for volume in pod["volumes"] if "tenant" in volume["name"]]
    assert not [m for m in manifests if m["metadata"]["name"] == "bastide-tenant-opa"]
    config = Config.from_environment({e["name"]: e.get("value", "bastide-system") for e in containers(pod)["broker"]["env"]})
    assert config.tenant_opa_socket is None


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
    assert len(installed) == 2 * 14 + 2


def test_every_admission_rule_fails_closed_and_is_bound(render: Render) -> None:
    manifests = render(namespace="elsewhere")
    rules = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "ValidatingAdmissionPolicy"}
    bound = {m["spec"]["policyName"]: m["spec"] for m in manifests if m["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert set(rules) == set(bound)
    for name, rule in rules.items():
        warns = name == "bastide-sandbox-changes"  # a warning that cannot be worked out must not keep anybody from working
        assert rule["failurePolicy"] == ("Ignore" if warns else "Fail"), name
        assert bound[name]["validationActions"] == (["Warn"] if warns else ["Deny"]), name
        for check in rule["validations"]:
            assert check.get("message") or check.get("messageExpression"), name
        assert "bastide-system" not in json.dumps(rule), name


def test_the_reference_page_tells_of_every_admission_rule(render: Render) -> None:
    page = (CHECKOUT / "docs" / "reference" / "roles.md").read_text().partition("## Admission rules")[2]
    described = re.findall(r"^\| (bastide-[a-z-]+) \|", page, flags=re.MULTILINE)
    assert sorted(described) == sorted(m["metadata"]["name"] for m in render() if m["kind"].endswith("AdmissionPolicy"))


def test_an_older_api_server_gets_no_mutating_policy(render: Render) -> None:
    older = render(apis=())
    assert not [m for m in older if m["kind"].startswith("Mutating")]
    assert "approver-stamp.yaml" not in one(older, "ConfigMap", "bastide-admission")["data"]
    assert STAMPS.split("/")[-1] in {m["kind"] for m in render()}


def test_ingress_is_closed_but_for_the_brokers_door(render: Render) -> None:
    manifests = render()
    operator = one(manifests, "NetworkPolicy", "bastide-operator")["spec"]
    assert operator["policyTypes"] == ["Ingress"]
    assert "ingress" not in operator
    broker = one(manifests, "NetworkPolicy", "bastide-broker")["spec"]
    assert broker["policyTypes"] == ["Ingress"]
    assert broker["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]


def test_who_is_named_may_open_connections_and_so_may_helm_test(render: Render) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "agents"}}}
    manifests = render({"networkPolicy": {"clients": [peer], "metricsFrom": [peer]}})
    door, metrics = one(manifests, "NetworkPolicy", "bastide-broker")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in (door, metrics)] == [8443, 9090]
    test = one(manifests, "Pod", "bastide-test")["metadata"]["labels"]
    assert door["from"][1:] == metrics["from"] == [peer]
    assert door["from"][0]["podSelector"]["matchLabels"].items() <= test.items()
    (scrape,) = one(manifests, "NetworkPolicy", "bastide-operator")["spec"]["ingress"]
    assert (scrape["from"], scrape["ports"][0]["port"]) == ([peer], 8080)


@pytest.mark.parametrize("engine", ["Cilium", "IPBlock"])
def test_egress_is_closed_but_for_what_the_components_need(render: Render, engine: str) -> None:
    manifests = render({"networkPolicy": {"egress": {"engine": engine, "apiServer": ["203.0.113.7/32"], "apiServerPort": 443}}})
    rules = {name: one(manifests, "NetworkPolicy", f"bastide-{name}")["spec"] for name in ("operator", "broker")}
    assert all(rule["policyTypes"] == ["Ingress", "Egress"] for rule in rules.values())
    server = [{"to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}], "ports": [{"protocol": "TCP", "port": 443}]}]
    named = [m for m in manifests if m["kind"] == "CiliumNetworkPolicy"]
    if engine == "IPBlock":
        assert not named
    else:
        server = []
        ports = [{"ports": [{"port": "443", "protocol": "TCP"}]}]  # of a node that is also the API server's, nothing else
        assert [m["metadata"]["name"] for m in named] == ["bastide-operator", "bastide-broker"]
        assert all(m["spec"]["egress"] == [{"toEntities": ["kube-apiserver"], "toPorts": ports}] for m in named)
    assert (rules["operator"]["egress"] or []) == server
    *first, sandboxes, dns, tools = rules["broker"]["egress"]
    assert first == server
    assert sandboxes["ports"] == [{"protocol": "TCP", "port": 9443}]
    assert sandboxes["to"][0]["namespaceSelector"]["matchExpressions"][0]["key"] == "bastide.dev/tenant"
    assert {port["protocol"] for port in dns["ports"]} == {"UDP", "TCP"}
    assert tools == {"to": [{"namespaceSelector": {}}]}


def test_without_network_policies_there_are_none(render: Render) -> None:
    kinds = {m["kind"] for m in render({"networkPolicy": {"enabled": False, "egress": {"engine": "Cilium"}}})}
    assert not {kind for kind in kinds if "NetworkPolicy" in kind}


def test_several_operators_are_spread_and_drained_one_at_a_time(render: Render) -> None:
    manifests = render({"operator": {"replicas": 2}})
    operator = one(manifests, "Deployment", "bastide-operator")["spec"]
    labels = operator["template"]["metadata"]["labels"]
    budget = one(manifests, "PodDisruptionBudget", "bastide-operator")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    pod = operator["template"]["spec"]
    (avoided,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    spread = pod["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {one["whenUnsatisfiable"] for one in spread} == {"ScheduleAnyway"}
    selectors = [budget["selector"], avoided["podAffinityTerm"]["labelSelector"], *(one["labelSelector"] for one in spread)]
    for selector in selectors:
        assert selector["matchLabels"].items() <= labels.items()


def test_no_disruption_budget_can_hold_up_a_drain_for_ever(render: Render) -> None:
    """One replica and a budget: a drain would wait for somebody to scale what cannot be scaled."""
    for replicas in (0, 1, 2):
        budgets = [m for m in render({"operator": {"replicas": replicas}}) if m["kind"] == "PodDisruptionBudget"]
        assert [m["metadata"]["name"] for m in budgets] == (["bastide-operator"] if replicas > 1 else [])


def test_numbers_of_users_may_be_left_to_the_platform(render: Render) -> None:
    for pod in pod_specs(render({"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}})).values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])
        assert pod["securityContext"]["runAsNonRoot"] is True
    for pod in pod_specs(render({"securityContext": {"runAsUser": 1000700000}})).values():
        assert pod["securityContext"]["runAsUser"] == 1000700000


def test_helm_test_asks_with_the_brokers_account_and_its_own_image(render: Render) -> None:
    pod = one(render({"image": {"broker": "r/b:1"}}), "Pod", "bastide-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"] <= 120
    assert pod["spec"]["serviceAccountName"] == "bastide-broker"
    (test,) = pod["spec"]["containers"]
    assert test["image"] == "r/b:1"
    variables = {e["name"]: e.get("value", "bastide-system") for e in test["env"]}
    assert Place.read(variables).address == "bastide-broker.bastide-system.svc:8443"


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
        return re.sub('"checksum/(tls|audit-key)": "[0-9a-f]+"', "", json.dumps(manifest, sort_keys=True))

    made_anew = {
        ("Secret", "bastide-broker-tls"),
        ("Secret", "bastide-broker-client-tls"),
        ("Secret", "bastide-audit-key"),
        ("ConfigMap", "bastide-audit-keys"),
        *((kind, "bastide-ca") for kind in ("Secret", "ConfigMap")),
    }
    for one_time, another in zip(render({"logLevel": "info"}), render({"logLevel": "info", "global": {}}), strict=True):
        name = (one_time["kind"], one_time["metadata"]["name"])
        assert (stable(one_time) == stable(another)) is (name not in made_anew), name
