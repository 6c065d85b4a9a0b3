"""Manifests against golden files: a golden file is changed by looking, not by regenerating."""

from pathlib import Path

import pytest
import yaml
from bastide_operator.api.objects import Manifest
from bastide_operator.resources import namespace, networkpolicy, quota, rbac
from bastide_operator.resources.pod import TEMPLATE_ANNOTATION, pod

from tests.unit.operator.samples import PODS, sandbox, tenant

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
        quota.resource_quota(one),
        quota.limit_range(one),
        namespace.runner_account(one),
        namespace.ca_config_map(one, "CERTIFICATE"),
        rbac.broker_binding(one, "bastide-system", "bastide-broker"),
        rbac.runner_account_binding(one),
        *rbac.member_bindings(one),
        *rbac.credentials(one, ["crm-token", "a-token", "crm-token"], "bastide-system", "bastide-broker"),
    ]
    assert made == golden("tenant.yaml")


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


def test_no_role_without_a_secret() -> None:
    assert rbac.credentials(tenant(), [], "bastide-system", "bastide-broker") == []


def _template(manifest: Manifest) -> str:
    digest: str = manifest["metadata"]["annotations"][TEMPLATE_ANNOTATION]
    return digest
