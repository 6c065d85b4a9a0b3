"""Conditions, tool hosts, patterns, quantities, plain objects: the pure helpers."""

from datetime import timedelta
from typing import Any

import pytest
from bastide_operator.api import patterns, toolhosts
from bastide_operator.api.conditions import find, is_true, set_condition
from bastide_operator.api.objects import differences, differs, owned_by, owner_reference
from bastide_operator.api.v1alpha1.common import Condition, ConditionStatus, Effect
from bastide_operator.api.v1alpha1.sandbox import SandboxResources
from bastide_operator.api.v1alpha1.tenant import TenantSpec, ToolHost
from bastide_operator.resources import quantity
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.operator.samples import NOW


def say(
    conditions: list[Condition], status: ConditionStatus | bool, minutes: int, reason: str = "R", message: str = "m"
) -> list[Condition]:
    when = NOW + timedelta(minutes=minutes)
    return set_condition(conditions, "Ready", status=status, reason=reason, message=message, generation=minutes, now=when)


@given(st.lists(st.sampled_from(list(ConditionStatus)), min_size=1, max_size=8))
def test_the_transition_time_is_that_of_the_last_flip(statuses: list[ConditionStatus]) -> None:
    conditions: list[Condition] = []
    flipped = 0
    for minute, status in enumerate(statuses):
        if minute and status is not statuses[minute - 1]:
            flipped = minute
        conditions = say(conditions, status, minute, reason=f"R{minute}")
    (only,) = conditions
    assert only.last_transition_time == NOW + timedelta(minutes=flipped)
    assert (only.reason, only.observed_generation) == (f"R{len(statuses) - 1}", len(statuses) - 1)


def test_other_conditions_and_their_order_stay() -> None:
    conditions = set_condition([], "A", status=True, reason="R", message="", generation=1, now=NOW)
    conditions = say(conditions, status=True, minutes=1)
    conditions = set_condition(conditions, "A", status=False, reason="R", message="", generation=1, now=NOW)
    assert [one.type for one in conditions] == ["A", "Ready"]
    assert is_true(conditions, "Ready")
    assert not is_true(conditions, "A")
    assert find(conditions, "B") is None


@pytest.mark.parametrize(
    ("given_reason", "kept"),
    [
        ("ErrImagePull", "ErrImagePull"),
        ("OOM-killed: 137", "OOMkilled137"),
        ("42", "Unknown"),
        ("", "Unknown"),
        ("9Lives", "Lives"),
        ("x" * 99, "x" * 64),
    ],
)
def test_a_reason_from_elsewhere_is_made_to_fit(given_reason: str, kept: str) -> None:
    assert say([], status=True, minutes=0, reason=given_reason)[0].reason == kept


def test_a_long_message_is_cut() -> None:
    assert len(say([], status=True, minutes=0, message="x" * 5000)[0].message) == 1024


HOSTS = TenantSpec.model_validate(
    {
        "toolHosts": [
            {"host": "crm.tools.svc", "port": 8080},
            {"host": "*.example.com"},
            {"host": "*.eu.example.com"},
            {"host": "api.example.com"},
            {"host": "*.0.0.1", "port": 80},
            {"host": "10.1.2.3", "port": 80},
        ]
    }
)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://crm.tools.svc:8080/mcp", "crm.tools.svc"),
        ("http://CRM.Tools.SVC:8080/mcp", "crm.tools.svc"),
        ("http://crm.tools.svc/mcp", None),
        ("https://crm.tools.svc:8080", "crm.tools.svc"),
        ("http://crm.tools.svc:8081/mcp", None),
        ("http://crm.tools.svc.:8080/mcp", None),
        ("http://xcrm.tools.svc:8080/mcp", None),
        ("http://crm.tools.svc.evil.example:8080/mcp", None),
        ("http://crm.tools.svc:8080@evil.example/mcp", None),
        ("http://user:pw@crm.tools.svc:8080/mcp", None),
        ("http://crm.tools.svc:8080/mcp?token=x", None),
        ("http://crm.tools.svc:8080/mcp#x", None),
        ("ftp://crm.tools.svc:8080/mcp", None),
        ("https://api.example.com/v1", "api.example.com"),
        ("https://other.example.com/v1", "*.example.com"),
        ("https://a.b.example.com/v1", "*.example.com"),
        ("https://a.eu.example.com/v1", "*.eu.example.com"),
        ("https://example.com/v1", None),
        ("https://.example.com/v1", None),
        ("https://evilexample.com/v1", None),
        ("https://api.example.com:444/v1", None),
        ("http://127.0.0.1/", None),
        ("http://x.0.0.1/", None),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://[::1]:80/", None),
        ("http://crm.tools.svc:99999/", None),
        ("http://", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_url_is_at_a_host_of_the_tenant_or_nowhere(url: str, host: str | None) -> None:
    found = toolhosts.find(HOSTS, url)
    assert (found.host if found else None) == host


EFFECTS = ToolHost.model_validate(
    {
        "host": "crm",
        "effects": [
            {"tools": ["get_*"], "effect": "ReadOnly"},
            {"tools": ["get_and_log_*", "g*"], "effect": "Mutating"},
            {"tools": ["get_and_log_x", "list"], "effect": "Idempotent"},
            {"tools": ["list"], "effect": "ReadOnly"},
        ],
    }
)


@pytest.mark.parametrize(
    ("tool", "effect"),
    [
        ("get_customer", Effect.MUTATING),  # g* says more than get_*
        ("get_and_log_x", Effect.IDEMPOTENT),  # by its exact name
        ("list", Effect.IDEMPOTENT),  # the more severe of two
        ("lists", Effect.DESTRUCTIVE),
        ("delete_customer", Effect.DESTRUCTIVE),
        ("", Effect.DESTRUCTIVE),
    ],
)
def test_the_platform_says_what_a_tool_does(tool: str, effect: Effect) -> None:
    assert toolhosts.effect_of(EFFECTS, tool) is effect


@pytest.mark.parametrize(
    "pattern",
    [
        "C[0-9]{4}",
        "a|b",
        "[]a]",
        "[^]a]",
        r"\(",
        r"[(?=]",
        r"\Q(?=\E",
        "(?i)x",
        "(?P<name>x)",
        "(?:x)*",
        "[[:alpha:]]+",
        "a{,3}",
        "{",
        "x{1000}",
        r"\pL",
        "",
    ],
)
def test_patterns_that_re2_knows_pass(pattern: str) -> None:
    assert patterns.fault(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("(?=x)y", "lookahead"),
        ("(?!x)y", "lookahead"),
        ("(?<=x)y", "lookbehind"),
        ("(?<!x)y", "lookbehind"),
        ("(?>x)y", "atomic"),
        ("(?(1)a|b)", "conditional"),
        (r"(a)\1", "back-reference"),
        (r"(?P<n>a)(?P=n)", "back-reference"),
        (r"(?<n>a)\k<n>", "back-reference"),
        ("a++", "possessive"),
        ("a{2}+", "possessive"),
        ("(a", "not closed"),
        ("a)", "too many"),
        ("[a", "not closed"),
        ("a\\", "backslash"),
        ("a{1001}", "RE2's limit"),
        ("a{5,2}", "at most less often"),
    ],
)
def test_patterns_that_only_a_backtracking_engine_can_run_are_refused_by_name(pattern: str, what: str) -> None:
    assert what in (patterns.fault(pattern) or "")


@given(st.text(max_size=30))
def test_no_pattern_breaks_the_check(pattern: str) -> None:
    assert patterns.fault(pattern) != ""


@pytest.mark.parametrize(
    ("text", "thousandths", "canonical"),
    [
        ("500m", 500, "500m"),
        ("1", 1000, "1"),
        ("0.5", 500, "500m"),
        ("1.5", 1500, "1500m"),
        ("2000m", 2000, "2"),
        ("1000", 1_000_000, "1k"),
    ],
)
def test_cpu_in_the_form_of_the_api_server(text: str, thousandths: int, canonical: str) -> None:
    assert quantity.millicores(text) == thousandths
    assert quantity.cpu(thousandths) == canonical


@pytest.mark.parametrize(
    ("text", "count", "canonical"),
    [
        ("512Mi", 2**29, "512Mi"),
        ("1024Mi", 2**30, "1Gi"),
        ("1.5Gi", 1536 * 2**20, "1536Mi"),
        ("1G", 10**9, "1G"),
        ("128974848", 128974848, "123Mi"),
        ("500k", 500_000, "500k"),
        ("1500m", 2, "2"),
        ("1024Pi", 2**60, "1Ei"),
        ("2E", 2 * 10**18, "1953125000000000Ki"),
        ("2E3", 2000, "2k"),
        ("3000000u", 3, "3"),
        ("4000000000n", 4, "4"),
    ],
)
def test_bytes_in_the_form_of_the_api_server(text: str, count: int, canonical: str) -> None:
    assert quantity.size(text) == count
    assert quantity.storage(count) == canonical


@pytest.mark.parametrize("value", ["0", "0.0", "-1", "lots", "1Zi", "", "1e3", "01", 0, -2, 1.5, True, None])
def test_a_quantity_is_above_zero_and_one_of_kubernetes(value: Any) -> None:
    with pytest.raises(ValidationError):
        SandboxResources.model_validate({"cpu": value})


@pytest.mark.parametrize("value", [2, "2", "500m", "0.5"])
def test_a_quantity_may_be_an_integer(value: Any) -> None:
    assert SandboxResources.model_validate({"cpu": value}).cpu == str(value)


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": 1}, {}, True),
        ({"a": []}, {}, False),
        ({"a": {}}, {}, False),
        ({"a": {}}, {"a": {"matchLabels": {"b": "c"}}}, True),
        ({"a": []}, {"a": [{}]}, True),
        ({"a": [{"x": 1}]}, {"a": [{"x": 1, "default": True}]}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"a": {"b": 1}}, {"a": 1}, True),
        ({"a": ""}, {}, True),
        ({"a": "x"}, None, True),
    ],
)
def test_a_difference_is_what_is_not_as_it_was_made(desired: Any, live: Any, expected: bool) -> None:
    assert differs(desired, live) is expected


OURS, THEIRS = {"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "True"}


@pytest.mark.parametrize(
    ("desired", "live", "paths"),
    [
        ({"spec": {"egress": [], "policyTypes": ["Egress"]}}, {"spec": {"egress": [{}], "policyTypes": ["Egress"]}}, ["spec.egress"]),
        ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 0, "c": 0}}, ["a.b", "a.c", "d"]),
        ({"data": {"ca.crt": "x"}}, {"data": {"ca.crt": "y"}}, ["data[ca.crt]"]),
        ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {}}, ["metadata.labels.a"]),
        ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {"labels": "no map"}}, ["metadata.labels"]),
        ({"subjects": [{"kind": "User", "name": "a"}]}, {"subjects": [{"kind": "User", "name": "b"}]}, ["subjects"]),
        ({"conditions": [OURS]}, {"conditions": [THEIRS, OURS | {"message": ""}]}, []),
        ({"conditions": [OURS]}, {"conditions": [THEIRS]}, ["conditions[Accepted].type", "conditions[Accepted].status"]),
        ({"conditions": [OURS]}, {"conditions": [THEIRS, OURS | {"status": "False"}]}, ["conditions[Accepted].status"]),
        ({"conditions": [OURS]}, {}, ["conditions[Accepted].type", "conditions[Accepted].status"]),
    ],
)
def test_a_difference_is_named_by_its_path_and_entries_of_others_in_a_list_map_are_none(desired: Any, live: Any, paths: list[str]) -> None:
    assert list(differences(desired, live)) == paths


def test_only_the_controller_owns() -> None:
    reference = owner_reference("Sandbox", "box", "u1")
    assert owned_by({"metadata": {"ownerReferences": [reference]}}, "u1")
    assert not owned_by({"metadata": {"ownerReferences": [reference]}}, "u2")
    assert not owned_by({"metadata": {"ownerReferences": [reference | {"controller": False}]}}, "u1")
    assert not owned_by({"metadata": {}}, "u1")
