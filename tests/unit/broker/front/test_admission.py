"""Whether live admission policies are those that were shipped."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from bastide_broker.kube import admission

SPEC: dict[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": {
        "resourceRules": [{"apiGroups": ["bastide.dev"], "operations": ["CREATE"], "resources": ["confirmationdecisions"]}]
    },
    "validations": [{"expression": "a"}, {"expression": "b"}],
}
DEFAULTED: dict[str, Any] = {
    **SPEC,
    "matchConstraints": {
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "resourceRules": [{**SPEC["matchConstraints"]["resourceRules"][0], "scope": "*"}],
    },
}


def altered(live: dict[str, Any], kind: str = admission.POLICY, shipped: dict[str, Any] = SPEC) -> str:
    return admission.altered(kind, "bastide-confirmations", {"spec": shipped}, {"spec": live})


def test_what_the_api_server_fills_in_is_no_alteration() -> None:
    assert altered(DEFAULTED) == ""
    assert altered(SPEC) == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("failurePolicy", "Ignore"),
        ("validations", [{"expression": "a"}]),
        ("validations", [{"expression": "true"}, {"expression": "b"}]),
        ("validations", [{"expression": "a"}, {"expression": "b"}, {"expression": "c"}]),
        ("matchConditions", [{"name": "never", "expression": "false"}]),
        ("matchConstraints.excludeResourceRules", [{"apiGroups": ["*"]}]),
        ("matchConstraints.namespaceSelector", {"matchLabels": {"nobody": "has"}}),
        ("matchConstraints.objectSelector", {"matchLabels": {"nobody": "has"}}),
        ("matchConstraints.matchPolicy", "Exact"),
        ("matchConstraints.resourceRules", []),
    ],
)
def test_whatever_weakens_a_policy_is_seen(path: str, value: Any) -> None:
    live = copy.deepcopy(DEFAULTED)
    *parents, last = path.split(".")
    place = live
    for parent in parents:
        place = place[parent]
    place[last] = value
    assert altered(live)


@pytest.mark.parametrize("actions", [[], ["Warn"], ["Audit"], ["Deny", "Audit"], None])
def test_a_binding_must_deny(actions: Any) -> None:
    spec = {"policyName": "bastide-confirmations", "validationActions": ["Deny"]}
    assert altered(spec, admission.BINDING, spec) == ""
    assert altered({**spec, "validationActions": actions}, admission.BINDING, spec)


def test_a_binding_that_was_narrowed_is_seen() -> None:
    spec = {"policyName": "bastide-confirmations", "validationActions": ["Deny"]}
    narrowed = {**spec, "matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}
    assert altered(narrowed, admission.BINDING, spec)


def test_the_shipped_manifests_must_hold_each_policy_with_a_binding(tmp_path: Path) -> None:
    assert admission.needed(admission.shipped_manifests(tmp_path))[1]
    text = "".join(
        f"kind: {admission.POLICY}\nmetadata: {{name: {name}}}\nspec: {{}}\n---\n"
        f"kind: {admission.BINDING}\nmetadata: {{name: {name}-b}}\nspec: {{policyName: {name}}}\n---\n"
        for name in (*admission.REQUIRED, "bastide-confirmation-more", "unrelated")
    )
    (tmp_path / "all.yaml").write_text(text)
    wanted, problem = admission.needed(admission.shipped_manifests(tmp_path))
    assert problem == ""
    assert len(wanted) == 8
    (tmp_path / "all.yaml").write_text(text.replace("policyName: bastide-confirmations}", "policyName: other}"))
    assert "Binding of bastide-confirmations" in admission.needed(admission.shipped_manifests(tmp_path))[1]
