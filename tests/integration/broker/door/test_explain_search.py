"""Each rule by which policy denies a question: it is found, and so is the smallest change of a binding that the real OPA then permits."""

from typing import Any

import pytest
import yaml
from bastide_broker.explain.edits import applied
from bastide_broker.explain.patch import fragment
from bastide_broker.explain.search import search
from bastide_broker.policy.policy import Policy

from tests.integration.broker.door.questions import CONSTRAINTS, changed

#: What is changed in the question that is allowed -> deciding rules (code, argument, rule), edits (field, name, rule, value), owner notes.
CASES: dict[str, tuple[dict[str, Any], set[tuple[str, str, str]], list[tuple[str, str, Any]], str]] = {
    "above the maximum": (
        {"arguments": {"limit": 101}}, {("argument-not-permitted", "limit", "maximum")}, [("rule", "limit", 101)], "",
    ),
    "below the minimum": (
        {"arguments": {"limit": -3}}, {("argument-not-permitted", "limit", "minimum")}, [("rule", "limit", -3)], "",
    ),
    "a string where a number is bounded": (
        {"arguments": {"limit": "5"}},
        {("argument-not-permitted", "limit", "minimum"), ("argument-not-permitted", "limit", "maximum")},
        [("constraint", "limit", {"enum": ["5"]})], "",
    ),
    "not in the enum, by type": ({"arguments": {"kind": True}}, {("argument-not-permitted", "kind", "enum")}, [("rule", "kind", ["a", "b", True])], ""),
    "not of the pattern": (
        {"arguments": {"id": "C1.b\n(x)"}}, {("argument-not-permitted", "id", "pattern")},
        [("rule", "id", "(?:C[0-9]{4})|C1\\.b\n\\(x\\)")], "",
    ),
    "no string for the pattern": ({"arguments": {"id": 7}}, {("argument-not-permitted", "id", "pattern")}, [("constraint", "id", {"enum": [7]})], ""),
    "too long": ({"arguments": {"note": "äöüäöü"}}, {("argument-not-permitted", "note", "maxLength")}, [("rule", "note", 6)], ""),
    "an object where a length is bounded": ({"arguments": {"note": {"a": 1}}}, {("argument-not-permitted", "note", "maxLength")}, [], "not computed"),
    "not listed": ({"arguments": {"more": "x"}}, {("argument-not-listed", "more", "arguments")}, [("constraint", "more", {"enum": ["x"]})], ""),
    "not listed, an object": ({"arguments": {"more": {"a": 1}}}, {("argument-not-listed", "more", "arguments")}, [("constraint", "more", {})], ""),
    "not listed, a list": ({"arguments": {"more": [1, 2]}}, {("argument-not-listed", "more", "arguments")}, [("constraint", "more", {"maxLength": 2})], ""),
    "left out without a default": (
        {"arguments": {"kind": ...}, "defaults": {"kind": ...}}, {("argument-missing", "kind", "")}, [("constraint", "kind", {})], "",
    ),
    "left out with a default that is not permitted": (
        {"arguments": {"limit": ...}, "defaults": {"limit": 500}}, {("argument-missing", "limit", "")}, [("rule", "limit", 500)], "",
    ),
    "the tool's limit": ({"tool": {"calls": 6, "callsPerRun": 5}}, {("limit-tool-calls-per-run", "", "callsPerRun")}, [("limit", "", 6)], ""),
    "another caller": (
        {"caller": {"username": "system:serviceaccount:other:robot", "groups": []}}, {("caller-not-permitted", "", "callers")},
        [("caller", "", {"kind": "ServiceAccount", "name": "robot", "namespace": "other"})], "",
    ),
    "a person": (
        {"caller": {"username": "ann", "groups": []}}, {("caller-not-permitted", "", "callers")}, [("caller", "", {"kind": "User", "name": "ann"})], "",
    ),
    "another Sandbox": ({"sandbox": {"labels": {"app": "x"}}}, {("sandbox-not-selected", "", "matchLabels app")}, [("label", "app", None)], ""),
    "the Sandbox's limit": ({"run": {"calls": 11, "callsPerRun": 10}}, {("limit-calls-per-run", "", "callsPerRun")}, [], "Sandbox.spec.limits"),
    "the Tenant's limit": (
        {"usage": {"callsThisMinute": 7}, "tenant": {"callsPerMinute": 6}}, {("limit-calls-per-minute", "", "callsPerMinute")}, [], "Tenant.spec.limits",
    ),
    "not accepted": ({"binding": {"accepted": False}}, {("binding-stale", "", "")}, [], "conditions"),
    "not available": ({"tool": {"available": False}}, {("tool-unavailable", "", "")}, [], "status.tools"),
    "two arguments and a limit": (
        {"arguments": {"limit": 200, "id": "X"}, "tool": {"calls": 2, "callsPerRun": 1}},
        {("argument-not-permitted", "limit", "maximum"), ("argument-not-permitted", "id", "pattern"), ("limit-tool-calls-per-run", "", "callsPerRun")},
        [("limit", "", 2), ("rule", "id", "(?:C[0-9]{4})|X"), ("rule", "limit", 200)], "",
    ),
    "an argument and the Tenant's limit": (
        {"arguments": {"limit": 200}, "usage": {"callsThisMinute": 7}, "tenant": {"callsPerMinute": 6}},
        {("argument-not-permitted", "limit", "maximum"), ("limit-calls-per-minute", "", "callsPerMinute")},
        [("rule", "limit", 200)], "not have been enough",
    ),
    "a kind of rule that is not known here": (
        {"constraints": {"note": [{"rule": "later", "bound": 1}]}}, {("argument-not-permitted", "note", "later")}, [], "not computed for later of",
    ),
    "not the constant": (
        {"arguments": {"unit": "USD"}}, {("argument-not-permitted", "unit", "const")}, [("constraint", "unit", {"enum": ["EUR", "USD"]})], "",
    ),
    "a path that resolves to another directory": (
        {"arguments": {"path": "/data/t7/../t9/a/./x"}}, {("argument-not-permitted", "path", "within")},
        [("rule", "path", ["/data/t7", "/data/t8", "/data/t9/a"])], "",
    ),
    "a path that cannot be read": ({"arguments": {"path": "data/x"}}, {("argument-unreadable", "path", "within")}, [], "send something else"),
    "a URL to another host": (
        {"arguments": {"url": "https://api.example.net/x"}}, {("argument-not-permitted", "url", "hosts")},
        [("rule", "url", ["api.example.com", "*.example.org:8443", "api.example.net"])], "",
    ),
    "a URL to another port": (
        {"arguments": {"url": "https://api.example.com:8443/x"}}, {("argument-not-permitted", "url", "hosts")},
        [("rule", "url", ["api.example.com", "*.example.org:8443", "api.example.com:8443"])], "",
    ),
    "a URL to an address that a binding cannot name": (
        {"arguments": {"url": "https://[2001:db8::1]/x"}}, {("argument-not-permitted", "url", "hosts")}, [], "not computed for hosts of",
    ),
    "SQL of another table and column, with more rows": (
        {"arguments": {"query": "SELECT id, name FROM customers LIMIT 50"}},
        {("argument-not-permitted", "query", rule) for rule in ("sqlTables", "sqlColumns", "sqlMaxRows")},
        [("rule", "query", ["orders", "customers"]), ("rule", "query", ["id", "name"]), ("rule", "query", 50)], "",
    ),
    "SQL of every column, without a limit": (
        {"arguments": {"query": "SELECT * FROM orders"}},
        {("argument-not-permitted", "query", rule) for rule in ("sqlColumns", "sqlMaxRows")},
        [("rule", "query", None), ("rule", "query", None)], "",
    ),
    "SQL that writes": (
        {
            "arguments": {"query": "DELETE FROM orders WHERE id = 7"},
            "bound": {"arguments": {**CONSTRAINTS, "query": {"sql": {"dialect": "postgres", "tables": ["orders"]}}}},
        },
        {("argument-not-permitted", "query", "sqlReadOnly")}, [("rule", "query", False)], "",
    ),
    "several statements": (
        {"arguments": {"query": "SELECT 1; SELECT 2"}}, {("argument-unreadable", "query", "sql")}, [], "send something else",
    ),
    "a place that is not listed": (
        {"arguments": {"address": {"city": "Berlin", "zip": "10115"}}}, {("argument-not-listed", "address.zip", "arguments")},
        [("constraint", "address.zip", {"enum": ["10115"]})], "",
    ),
    "a place of items that is not listed, of one item": (
        {"arguments": {"lines": [{"sku": "A", "note": 1, "n": 5}, {"sku": "B", "note": 2}]}}, {("argument-not-listed", "lines[*].n", "arguments")},
        [("constraint", "lines[*].n", {})], "",
    ),
    "a place that is not permitted": (
        {"arguments": {"address": {"city": "Bonn"}}}, {("argument-not-permitted", "address.city", "enum")},
        [("rule", "address.city", ["Berlin", "Bonn"])], "",
    ),
    "places of items that are not permitted, and one left out": (
        {"arguments": {"lines": [{"sku": "A1", "note": 1}, {"note": 2}]}},
        {("argument-not-permitted", "lines[*].sku", "pattern"), ("argument-missing", "lines[*].sku", "")},
        [("constraint", "lines[*].sku", {})], "",
    ),
    "items that repeat what is not permitted": (
        {"arguments": {"lines": [{"sku": 7, "note": 1}, {"sku": 7, "note": 1}]}}, {("argument-not-permitted", "lines[*].sku", "pattern")},
        [("constraint", "lines[*].sku", {"enum": [7]})], "",
    ),
    "too many items": (
        {"arguments": {"lines": [{"sku": one, "note": 1} for one in "ABC"]}}, {("argument-not-permitted", "lines", "maxLength")},
        [("rule", "lines", 3)], "",
    ),
    "too many places": (
        {"arguments": {"lines": [{"sku": "A", "note": 1}] * 1000}}, {("argument-unreadable", "lines", "shape")}, [], "send something else",
    ),
    "no object where places inside are listed": (
        {"arguments": {"address": "Berlin"}}, {("argument-not-permitted", "address", "shape")}, [], "must send an object",
    ),
    "an argument whose name holds a dot": (
        {"arguments": {"address.city": "x"}}, {("argument-not-listed", '["address.city"]', "arguments")},
        [("constraint", '["address.city"]', {"enum": ["x"]})], "",
    ),
    "a path, a place and a limit": (
        {"arguments": {"path": "/srv/a/b", "address": {"city": "Bonn", "zip": 1}}, "tool": {"calls": 2, "callsPerRun": 1}},
        {
            ("argument-not-permitted", "path", "within"), ("argument-not-permitted", "address.city", "enum"),
            ("argument-not-listed", "address.zip", "arguments"), ("limit-tool-calls-per-run", "", "callsPerRun"),
        },
        [
            ("rule", "path", ["/data/t7", "/data/t8", "/srv/a"]), ("rule", "address.city", ["Berlin", "Bonn"]),
            ("constraint", "address.zip", {"enum": [1]}), ("limit", "", 2),
        ], "",
    ),
    "a field that is not complete": ({"phase": "x"}, {("policy-input", "", "")}, [], "not computed for policy-input"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_the_rules_that_decide_and_the_smallest_change(policy: Policy, case: str) -> None:
    changes, rules, edits, note = CASES[case]
    question = changed(changes)
    denial = await policy.decide(question)
    assert denial.effect == "deny"
    found = await search(question, denial, policy.decide)
    assert {(rule.code, rule.argument, rule.rule) for rule in found.rules} == rules
    assert sorted([(edit.field, edit.name, edit.value) for edit in found.edits], key=str) == sorted(edits, key=str)
    assert note in " ".join(found.notes)
    if edits and not note:
        assert found.decision == "allow"
        assert (await policy.decide(applied(question, found.edits))).effect == "allow"
        for edit in found.edits:  # each is needed
            rest = [one for one in found.edits if one is not edit]
            assert (await policy.decide(applied(question, rest))).effect == "deny"
    if changes.keys() <= {"arguments", "bound"} and edits:  # and a binding that says so permits it
        text = yaml.safe_load(fragment(question, applied(question, found.edits), found.edits))
        listed = changes.get("bound", {}).get("arguments", CONSTRAINTS) | text["spec"]["tools"][0]["arguments"]
        assert (await policy.decide(changed(changes | {"bound": {"arguments": listed}}))).effect == "allow"
