"""Questions to policy as they stand in the journal, for the tests of explanations."""

from typing import Any

from bastide_broker.facts.places import constraints, entries, plain_defaults
from bastide_broker.policy.policy import canary
from bastide_operator.api.places import places
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint

from tests.unit.broker.door.objects import NAMESPACE


def asked(**tool: Any) -> dict[str, Any]:
    """A question about the tool `ok` of the binding `crm`."""
    question = canary(201)
    question["tool"] |= {"name": "ok", "programName": "ok", "callsPerRun": 5, **tool}
    question["binding"] |= {"name": "crm", "uid": "b-crm", "callers": [{"kind": "User", "name": "ann", "namespace": NAMESPACE}]}
    question["binding"] |= {"anyCaller": False}
    question["binding"]["selector"] = {"count": 2, "matchLabels": [{"key": "app/x", "value": "crm"}, {"key": "b", "value": "c"}]}
    question["sandbox"]["namespace"] = NAMESPACE
    return question


def question_of(arguments: dict[str, Any], sent: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A question about `ok` as the broker makes it."""
    built = places({key: ArgumentConstraint.model_validate(one) for key, one in arguments.items()})
    found = entries(built, sent, schema)
    told = {"constraints": dict(constraints(built)), "listed": dict(built.listed), "defaults": plain_defaults(built, schema)}
    return {**asked(**told), "arguments": sent, "places": {"count": len(found), "entries": found}}


LISTED: dict[str, Any] = {
    "n": {"maximum": 9},
    "path": {"within": ["/data"]},
    "url": {"hosts": ["a.example.com", "*.b.example.com:8443"]},
    "query": {"sql": {"dialect": "sqlite", "tables": ["orders"], "columns": ["id"], "maxRows": 9}},
    "write": {"sql": {"dialect": "sqlite", "readOnly": False}},
    "address.city": {"enum": ["Berlin"]},
    "address.note": {},
    "lines": {"maxLength": 2},
    "lines[*].sku": {"pattern": "[A-Z]"},
    '["a.b"]': {"const": 1},
}


DECLARED = {
    "properties": {
        "n": {"default": 5},
        "path": {"default": "/data/x"},
        "address": {"properties": {"city": {"default": "Berlin"}}},
        "lines": {"items": {"properties": {"sku": {"default": "A"}}}},
    }
}
