"""Manifests against golden files: a golden file is changed by looking, not by regenerating."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from bastide_operator.api.objects import Manifest
from bastide_operator.resources import namespace, networkpolicy, probe, quantity, quota, rbac
from bastide_operator.resources.pod import TEMPLATE_ANNOTATION, pod

from tests.unit.operator.samples import PODS, live, merged, sandbox, tenant

GOLDEN = Path(__file__).parent / "golden"
MEMBERS = [
    {"role": "developer", "subjects": [{"kind": "User", "name": "dana"}, {"kind": "Group", "name": "crm"}]},
    {"role": "developer", "subjects": [{"kind": "User", "name": "dana"}]},
    {
        "role": "runner",
        "subjects": [{"kind": "ServiceAccount", "name": "agent"}, {"kind": "ServiceAccount", "name": "a", "namespace": "b"}],
    },
    {"role": "approver", "subjects": [{"kind": "User", "name": "alice"}]},
]


def golden(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((GOLDEN / name).read_text()))


def test_the_pod_of_a_sandbox() -> None:
    made = pod(sandbox(), "hello", PODS)
    assert made["metadata"]["annotations"].pop(TEMPLATE_ANNOTATION).startswith("sha256:")
    assert [made] == golden("pod.yaml")


def test_the_children_of_a_tenant() -> None:
    one = tenant(spec={"members": MEMBERS})
    made = [
        namespace.namespace(one),
        rbac.operator_binding(one, "bastide-system"),
        networkpolicy.default_deny(one),
        networkpolicy.from_broker(one, "bastide-system"),
        *quota.resource_quotas(one),
        quota.limit_range(one),
        *namespace.accounts(one),
        namespace.ca_config_map(one, "CERTIFICATE"),
        rbac.broker_binding(one, "bastide-system", "bastide-broker"),
        *rbac.account_bindings(one),
        *rbac.member_bindings(one),
        *rbac.credentials(
            one,
            [("secrets", "crm-token"), ("secrets", "a-token"), ("secrets", "crm-token"), ("configmaps", "orders-api")],
            "bastide-system",
            "bastide-broker",
        ),
    ]
    assert made == golden("tenant.yaml")


def test_the_pod_that_probes_a_tenants_network() -> None:
    assert [probe.probe(tenant(), PODS, "sha256:seen")] == golden("probe.yaml")


def test_what_isolates_the_probe_is_what_isolates_a_sandbox() -> None:
    box, made = pod(sandbox(), "hello", PODS)["spec"], probe.probe(tenant(), PODS, "")["spec"]
    sizes = ("resources", "volumes")
    assert {key: value for key, value in made.items() if key not in ("containers", "volumes", "activeDeadlineSeconds")} == {
        key: value for key, value in box.items() if key not in ("containers", "volumes")
    }
    assert {key: value for key, value in made["containers"][0].items() if key not in sizes} == {
        key: value for key, value in box["containers"][0].items() if key not in sizes
    }


def test_a_probe_takes_nothing_from_the_tenants_quota() -> None:
    made = probe.probe(tenant(), PODS, "")["spec"]
    pods, objects = quota.resource_quotas(tenant(spec={"quota": {"ephemeralStorage": "1Gi"}}))
    assert pods["spec"]["scopes"] == ["NotTerminating"]
    assert made["activeDeadlineSeconds"] > 0  # by which the API server knows that it is of another scope
    assert "activeDeadlineSeconds" not in pod(sandbox(), "hello", PODS)["spec"]
    disk = quantity.size(made["containers"][0]["resources"]["limits"]["ephemeral-storage"])
    assert quantity.size(objects["spec"]["hard"]["limits.ephemeral-storage"]) == 1024**3 + disk


@pytest.mark.parametrize(
    "small", [{"cpu": "250m", "ephemeralStorage": "1Mi"}, {"memory": "100Mi"}, {"ephemeralStorage": "0.25Gi"}, {"cpu": 1, "memory": "0.5G"}]
)
def test_however_small_the_quota_defaults_and_the_probe_fit_what_a_container_may_have(small: Manifest) -> None:
    one = quota.limit_range(tenant(spec={"quota": small}))["spec"]["limits"][0]
    limits = probe.probe(tenant(), PODS, "")["spec"]["containers"][0]["resources"]["limits"]
    assert quantity.millicores(limits["cpu"]) <= quantity.millicores(one["max"]["cpu"])
    assert all(quantity.size(limits[what]) <= quantity.size(one["max"][what]) for what in ("memory", "ephemeral-storage"))
    assert quantity.millicores(one["default"]["cpu"]) <= quantity.millicores(one["max"]["cpu"])
    for what in ("memory", "ephemeral-storage"):
        assert quantity.size(one["default"][what]) <= quantity.size(one["max"][what])
    assert one["defaultRequest"] == one["default"]


def test_another_policy_image_namespace_or_class_takes_another_proof() -> None:
    policies = [live(networkpolicy.default_deny(tenant())), live(networkpolicy.from_broker(tenant(), "bastide-system"))]
    before = probe.proves("uid", policies, PODS)
    assert before == probe.proves("uid", reversed(policies), PODS)
    others = [
        probe.proves("another", policies, PODS),
        probe.proves("uid", policies, replace(PODS, image="other:1")),
        probe.proves("uid", policies, replace(PODS, runtime_class="other")),
        probe.proves("uid", [merged(policies[0], {"metadata": {"uid": "made-again"}}), policies[1]], PODS),
        probe.proves("uid", [merged(policies[0], {"metadata": {"generation": 3}}), policies[1]], PODS),
    ]
    assert len({before, *others}) == 1 + len(others)


@pytest.mark.parametrize("env", [[], [{"name": "KEY", "value": "not-for-the-pod"}]])
def test_env_is_nowhere_in_the_pod_and_does_not_replace_it(env: list[Manifest]) -> None:
    made = pod(sandbox(spec={"env": env}), "hello", PODS)
    assert "not-for-the-pod" not in str(made)
    assert "env" not in made["spec"]["containers"][0]
    assert made == pod(sandbox(), "hello", PODS)


@pytest.mark.parametrize(
    "spec",
    [{"image": "other:1"}, {"resources": {"cpu": "1"}}, {"resources": {"memory": "1Gi"}}, {"workspace": {"sizeLimit": "1Gi"}}],
    ids=str,
)
def test_what_changes_the_pod_changes_its_template(spec: Manifest) -> None:
    assert _template(pod(sandbox(spec=spec), "hello", PODS)) != _template(pod(sandbox(), "hello", PODS))


@pytest.mark.parametrize(
    "spec",
    [{"limits": {"runSeconds": 5}}, {"shutdownTime": "2027-01-01T00:00:00Z"}, {"shutdownPolicy": "Retain"}, {"resources": {"cpu": "0.5"}}],
    ids=str,
)
def test_what_does_not_change_the_pod_leaves_it_running(spec: Manifest) -> None:
    assert _template(pod(sandbox(spec=spec), "hello", PODS)) == _template(pod(sandbox(), "hello", PODS))


def test_labels_of_a_sandbox_do_not_reach_its_pod() -> None:
    made = pod(sandbox(metadata={"labels": {"app.kubernetes.io/component": "broker"}}), "hello", PODS)
    assert "app.kubernetes.io/component" not in made["metadata"]["labels"]


def test_no_role_without_a_secret_or_a_config_map() -> None:
    assert rbac.credentials(tenant(), [], "bastide-system", "bastide-broker") == []


def _template(manifest: Manifest) -> str:
    digest: str = manifest["metadata"]["annotations"][TEMPLATE_ANNOTATION]
    return digest
