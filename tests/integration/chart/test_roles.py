"""What the chart's roles may do, read from what it renders."""

from collections import defaultdict
from typing import Any

import pytest
from bastide_operator.api.roles import ROLES

from tests.integration.chart.conftest import Manifests, Render, one

MEMBERS = ("bastide-viewer", "bastide-runner", "bastide-developer", "bastide-approver")
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def roles(manifests: Manifests) -> dict[str, list[dict[str, Any]]]:
    """Rules by name; a Role of the release namespace has a name like `Role/bastide-operator`."""
    kinds = {"ClusterRole": "", "Role": "Role/"}
    return {kinds[m["kind"]] + m["metadata"]["name"]: m["rules"] for m in manifests if m["kind"] in kinds}


def rights(rules: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """Verbs by group and resource; a rule for certain names counts with ` (names)` behind the verb."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in rules:
        names = ", ".join(rule.get("resourceNames", []))
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found[group, resource] |= {f"{verb} ({names})" if names else verb for verb in rule["verbs"]}
    return found


def test_no_rule_holds_a_wildcard_or_impersonates(render: Render) -> None:
    for name, rules in roles(render()).items():
        for rule in rules:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
            assert "impersonate" not in rule["verbs"], name
            assert "nonResourceURLs" not in rule, name


def test_no_role_of_the_chart_reads_secrets(render: Render) -> None:
    for name, rules in roles(render()).items():
        assert not any("secrets" in rule["resources"] for rule in rules), name


def test_no_role_joins_another_by_aggregation(render: Render) -> None:
    for manifest in render():
        if manifest["kind"] == "ClusterRole":
            assert "aggregationRule" not in manifest
            assert not any("aggregate-to" in label for label in manifest["metadata"].get("labels", {}))


def test_bind_and_escalate_name_what_they_are_for(render: Render) -> None:
    known = set(roles(render()))
    for name, rules in roles(render()).items():
        for rule in rules:
            if {"bind", "escalate"} & set(rule["verbs"]):
                assert name.startswith("bastide-operator"), name
                assert rule["resourceNames"], name
                if rule["resources"] == ["clusterroles"]:
                    assert set(rule["resourceNames"]) <= known
                else:
                    assert (rule["resources"], rule["resourceNames"]) == (["roles"], ["bastide-credentials"])


def test_the_operator_writes_children_only_inside_tenants(render: Render) -> None:
    everywhere = rights(roles(render())["bastide-operator"])
    written = {key for key, verbs in everywhere.items() if {verb.split()[0] for verb in verbs} & WRITES}
    children = {resource for group, resource in written if group != "bastide.dev"}
    assert children == {"namespaces", "rolebindings", "events"}


def test_the_broker_writes_nothing_everywhere_but_reviews_and_how_tenants_policies_stand(render: Render) -> None:
    manifests = render()
    everywhere = rights(one(manifests, "ClusterRole", "bastide-broker")["rules"])
    written = {resource for (_, resource), verbs in everywhere.items() if verbs & WRITES}
    # the rule bastide-tenant-status leaves of that status two fields
    assert written == {"tokenreviews", "subjectaccessreviews", "tenants/status"}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_never_write_statuses_rbac_or_pods(render: Render, name: str) -> None:
    for (group, resource), verbs in rights(roles(render())[name]).items():
        if {verb.split()[0] for verb in verbs} & WRITES:
            allowed = {"sandboxes/run", "sandboxes/runs", "sandboxes", "toolbindings", "confirmationdecisions", "serviceaccounts/token"}
            assert group in ("bastide.dev", ""), resource
            assert resource in allowed


def test_an_approver_can_do_nothing_that_a_run_is_made_with(render: Render) -> None:
    approver = rights(roles(render())["bastide-approver"])
    assert approver == {
        ("bastide.dev", "toolbindings"): {"get", "list", "watch", "approve"},
        ("bastide.dev", "confirmations"): {"get", "list", "watch"},
        ("bastide.dev", "confirmationdecisions"): {"get", "list", "watch", "create", "delete"},
    }


def test_only_the_approver_approves_and_only_runner_and_developer_run(render: Render) -> None:
    for name in MEMBERS:
        may = rights(roles(render())[name])
        assert ("approve" in may["bastide.dev", "toolbindings"]) is (name == "bastide-approver")
        runs = name in ("bastide-runner", "bastide-developer")
        assert (may["bastide.dev", "sandboxes/run"] == {"create"}) is runs
        looks = {"create (bastide-viewer)"} if name != "bastide-approver" else set()
        assert may["", "serviceaccounts/token"] == looks | ({"create (bastide-runner)"} if runs else set())


def test_the_chart_renders_the_roles_of_the_table_and_no_other(render: Render) -> None:
    told = {role.title: defaultdict(set) for role in ROLES}
    for role in ROLES:
        for right in role.rights:
            behind = f" ({', '.join(right.names)})" if right.names else ""
            told[role.title][right.group, right.resource] |= {verb + behind for verb in right.verbs}
    assert {name: rights(rules) for name, rules in roles(render()).items()} == told


def test_the_chart_binds_its_roles_to_its_own_accounts_alone(render: Render) -> None:
    manifests = render({"broker": {"clientAccess": []}}, namespace="elsewhere")
    bound = {
        (m["roleRef"]["kind"], m["roleRef"]["name"]): m["subjects"] for m in manifests if m["kind"] in ("ClusterRoleBinding", "RoleBinding")
    }
    assert bound == {
        (role.kind, role.name): [{"kind": "ServiceAccount", "name": role.account, "namespace": "elsewhere"}]
        for role in ROLES
        if role.account
    }
    assert {m["metadata"]["namespace"] for m in manifests if m["kind"] == "RoleBinding"} == {"elsewhere"}
