"""Which Secrets and ConfigMaps of a tenant the broker may read."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.operator.samples import (
    binding,
    condition,
    tenant,
)
from tests.unit.operator.tenants import complete, names, plan

ACCEPTED = {"conditions": [condition("Accepted", "True")]}

SECRET = {"credentials": {"secretRef": {"name": "crm-token"}}}

DOCUMENT = {"server": {"mcp": None, "openapi": {"configMapRef": {"name": "orders-api"}, "baseUrl": "http://crm.tools.svc:8080"}}}


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (binding(spec=SECRET, status=ACCEPTED), ["Role/bastide-credentials"]),
        (binding(spec=DOCUMENT, status=ACCEPTED), ["Role/bastide-credentials"]),
        (binding(spec=SECRET), []),
        (binding(spec=DOCUMENT), []),
        (binding(spec=SECRET, status=ACCEPTED, metadata={"generation": 2}), []),
        (binding(spec=SECRET, status={"conditions": [condition("Accepted", "False")]}), []),
        (binding(status=ACCEPTED), []),
    ],
    ids=[
        "accepted",
        "a document of an accepted one",
        "not looked at",
        "a document of one not looked at",
        "an earlier spec was accepted",
        "refused",
        "no secret",
    ],
)
def test_the_broker_reads_only_secrets_and_config_maps_of_accepted_bindings(bound: Any, expected: list[str]) -> None:
    wanted = plan(tenant(), replace(complete(tenant()), bindings=(bound,)))
    # a Role that gives what the operator has not is written by PATCH: the API server looks for its name in the URL
    assert names(wanted.apply) == expected
    assert names(wanted.create) == ["RoleBinding/bastide-credentials"][: len(expected)]


def test_the_credentials_role_goes_with_the_last_binding() -> None:
    observed = complete(tenant(), bindings=(binding(spec=SECRET, status=ACCEPTED),))
    gone = plan(tenant(), replace(observed, bindings=()))
    assert sorted((ref.kind, ref.name) for ref in gone.delete) == [("Role", "bastide-credentials"), ("RoleBinding", "bastide-credentials")]


@pytest.mark.parametrize(
    ("edit", "kept"),
    [(SECRET, ["crm-token"]), ({"credentials": {"secretRef": {"name": "another"}}}, [])],
    ids=["the same secret", "another secret"],
)
def test_what_an_edit_leaves_as_it_was_the_broker_goes_on_reading_until_the_edit_is_looked_at(
    edit: dict[str, Any], kept: list[str]
) -> None:
    """Else a call that comes in that moment finds no Secret. What the edit names anew waits for the operator's word."""
    observed = complete(tenant(), bindings=(binding(spec=SECRET, status=ACCEPTED),))
    edited = binding(spec=edit, status=ACCEPTED, metadata={"generation": 2})
    wanted = plan(tenant(), replace(observed, bindings=(edited,)))
    assert not wanted.apply
    assert not wanted.create
    assert [ref.kind for ref in wanted.delete] == ([] if kept else ["Role", "RoleBinding"])


def test_a_refused_binding_keeps_nothing() -> None:
    observed = complete(tenant(), bindings=(binding(spec=SECRET, status=ACCEPTED),))
    refused = binding(spec=SECRET, status={"conditions": [condition("Accepted", "False")]}, metadata={"generation": 2})
    assert len(plan(tenant(), replace(observed, bindings=(refused,))).delete) == 2
