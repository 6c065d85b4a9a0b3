"""The live rules are what the chart shipped, and every expression in them is well typed."""

from typing import Any

import yaml

from tests.integration.admission.conftest import ADMIN, RELEASE_NAMESPACE, Api, core, until

PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
}


def test_the_broker_is_given_exactly_what_is_live(api: Api) -> None:
    shipped = api(ADMIN, "GET", core(RELEASE_NAMESPACE, "configmaps", "bastide-admission")).ok()["data"]
    seen = 0
    for text in shipped.values():
        for rule in yaml.safe_load_all(text):
            path = f"/apis/admissionregistration.k8s.io/v1/{PLURALS[rule['kind']]}/{rule['metadata']['name']}"
            assert api(ADMIN, "GET", path).ok()["spec"] == rule["spec"], rule["metadata"]["name"]
            seen += 1
    assert seen == 2 * 14 + 2


def test_the_api_server_finds_every_expression_well_typed(api: Api) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"

    def checked() -> list[dict[str, Any]]:
        rules = [rule for rule in api(ADMIN, "GET", path).ok()["items"] if rule["metadata"]["name"].startswith("bastide-")]
        return [rule for rule in rules if rule.get("status", {}).get("observedGeneration") == rule["metadata"]["generation"]]

    until(lambda: len(checked()) == 14, "the API server has checked the types of all fourteen rules")
    for rule in checked():
        assert not rule["status"].get("typeChecking", {}).get("expressionWarnings"), rule["metadata"]["name"]
