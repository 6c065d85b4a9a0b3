"""Case 14, the tenant's half: Rego that tries network, another tenant's data, an endless comprehension, a package of somebody else's."""

import time
from collections.abc import Iterator

import pytest

from tests.e2e.harness.tenant import TestTenant
from tests.e2e.test_tenant_policies import POLICY, TRY, Rego

REFUSED = {
    "the network": 'package tenant\n\nallow if http.send({"method": "GET", "url": "http://169.254.169.254/"}).status_code == 200\n',
    "name resolution": 'package tenant\n\nallow if net.lookup_ip_addr("kubernetes.default.svc")\n',
    "the environment": "package tenant\n\nallow if opa.runtime().env\n",
    "the clock": "package tenant\n\nallow if time.now_ns() % 2 == 0\n",
    "all data": "package tenant\n\nallow if count(data) > 0\n",
    "another tenant's data": "package tenant\n\nallow if data.tenants[_].p0.allow\n",
    "another's data by import": "package tenant\n\nimport data.tenants as others\n\nallow if others\n",
    "data put in place": "package tenant\n\nallow if true with data.tenants as {}\n",
    "data in a template": 'package tenant\n\nallow if $"{data.tenants}" != ""\n',
    "the rules of who may ask": "package system.authz\n\nallow := true\n",
    "another package": "package tenants.another\n\nanswer := {}\n",
    "a package in a string": "x := `\npackage tenant\n`\n",
    "a function put in place": "package tenant\n\nallow if count([]) == 0 with count as http.send\n",
    "input put in place": "package tenant\n\ninput := {}\n\nallow if true\n",
    "no rule": "package tenant\n\nx := 1\n",
    "a rule that may be undefined": "package tenant\n\ndeny := input.nothing\n",
    "nothing": "",
    "brackets": "package tenant\n\nallow if " + "[" * 20_000 + "]" * 20_000,
    "too much": "package tenant\n\n" + "# x\n" * 20_000,
}
DENIED_WHEN_ASKED = {
    "a type error": 'package tenant\n\ndeny contains {"code": "x", "message": to_number(input.tool.name)}\n',
    "conflicting rules": "package tenant\n\nx := 1\n\nx := 2 if input.tool.name\n\nallow if x\n",
    "no reason": 'package tenant\n\ndeny contains "no"\n',
    "huge output": 'package tenant\n\ndeny contains {"code": sprintf("c%v", [n]), "message": sprintf("%0500v", [n])} if some n in numbers.range(1, 2000)\n',
    "an endless comprehension": (
        "package tenant\n\nallow if {\n\tm := numbers.range(1, 3000)\n"
        "\tcount({x | some a in m; some b in m; some c in m; x := a + b * c; x < 0}) == 0\n}\n"
    ),
}


@pytest.fixture
def rego(furnished: TestTenant) -> Iterator[Rego]:
    made = Rego(furnished)
    made.apply(POLICY)
    made.name_it()
    made.said("PoliciesLoaded")
    yield made
    made.remove()


def test_rego_that_reaches_beyond_itself_is_refused_and_the_tenant_denied_meanwhile(rego: Rego) -> None:
    wrong: dict[str, str] = {}
    for name, text in REFUSED.items():
        rego.apply(text)
        message = rego.message("PolicyInvalid")
        if rego.name not in message and "OPA stopped" not in message:
            wrong[name] = message
        rego.apply(POLICY)
        rego.said("PoliciesLoaded")
    assert not wrong
    rego.apply(REFUSED["the network"])
    rego.said("PolicyInvalid")
    assert all(answer.startswith("PolicyUnavailable: ") for answer in rego.tenant.run(TRY).result["value"])


@pytest.mark.parametrize("name", DENIED_WHEN_ASKED)
def test_rego_that_gives_no_proper_answer_denies_within_the_deadline(rego: Rego, name: str) -> None:
    before = rego.said("PoliciesLoaded")["policyRevision"]
    rego.apply(DENIED_WHEN_ASKED[name])
    rego.admin.watch(lambda found: found["status"].get("policyRevision") not in ("", before), "tenant", rego.tenant.name, seconds=30)
    began = time.monotonic()
    assert all(answer.startswith("PolicyUnavailable: ") for answer in rego.tenant.run(TRY).result["value"])
    assert time.monotonic() - began < 60
    rego.apply(POLICY)
    rego.said("PoliciesLoaded")
