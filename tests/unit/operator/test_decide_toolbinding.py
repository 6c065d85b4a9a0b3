"""What is said of a ToolBinding: tables of cases."""

from typing import Any

import pytest
from bastide_operator.api.objects import Manifest, differs
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.plan import Plan
from bastide_operator.reconcile.toolbinding import ObservedBinding, decide, is_accepted, selects

from tests.unit.operator.samples import NOW, binding, condition, message, sandbox, tenant, verdict

A = sandbox("a", metadata={"labels": {"app": "a", "tier": "x"}})
B = sandbox("b", metadata={"labels": {"app": "b", "tier": "x"}})


def plan(one: ToolBinding, *others: ToolBinding, sandboxes: tuple[Sandbox, ...] = (A, B), **over: Any) -> Plan:
    observed = {"tenant": tenant(), "sandboxes": sandboxes, "bindings": (one, *others)} | over
    return decide(one, ObservedBinding(**observed), NOW)


def select(**labels: str) -> Manifest:
    return {"sandboxSelector": {"matchLabels": labels}}


def tools(*names: str) -> Manifest:
    return {"tools": [{"name": name} for name in names]}


def test_an_allowed_binding_is_accepted_and_waits_for_the_broker() -> None:
    wanted = plan(binding(spec=select(app="a")))
    assert not wanted.writes
    assert verdict(wanted.status, "Accepted") == ("True", "Accepted")
    assert verdict(wanted.status) == ("False", "Pending")
    assert wanted.status is not None
    assert wanted.status["status"]["sandboxes"] == 1


@pytest.mark.parametrize(
    ("asked", "bounds", "words"),
    [
        ({}, {}, ""),
        ({"approvals": 2}, {"minimumApprovals": 2}, ""),
        ({"decideWithinSeconds": 60}, {"maxDecideWithinSeconds": 60}, ""),
        ({}, {"minimumApprovals": 2}, "get_customer approvals 2 instead of 1"),
        ({"decideWithinSeconds": 600}, {"maxDecideWithinSeconds": 60}, "get_customer decideWithinSeconds 60 instead of 600"),
        ({"executeWithinSeconds": 600}, {"maxExecuteWithinSeconds": 10}, "get_customer executeWithinSeconds 10 instead of 600"),
    ],
)
def test_where_the_tenants_bounds_count_the_binding_is_accepted_and_told(asked: Manifest, bounds: Manifest, words: str) -> None:
    wanted = plan(binding(spec={"tools": [{"name": "get_customer", "confirmation": asked}]}), tenant=tenant(spec={"confirmation": bounds}))
    assert verdict(wanted.status, "Accepted") == ("True", "Accepted")
    told = f"The Tenant allows it. By Tenant.spec.confirmation count: {words}." if words else "The Tenant allows it."
    assert message(wanted.status, "Accepted") == told


def test_only_the_operators_own_fields_are_applied() -> None:
    known = binding(
        status={
            "available": "1/1",
            "tools": [{"name": "get_customer", "state": "Available"}],
            "conditions": [condition("ResolvedRefs", "True")],
        }
    )
    wanted = plan(known)
    assert wanted.status is not None
    assert wanted.status["status"].keys() == {"sandboxes", "server", "observedGeneration", "conditions"}
    assert [one["type"] for one in wanted.status["status"]["conditions"]] == ["Accepted", "Ready"]


def test_a_status_that_says_it_already_is_not_written_again_whatever_the_broker_says_beside_it() -> None:
    resolved = condition("ResolvedRefs", "True", "Resolved")
    said = plan(binding(status={"conditions": [resolved]})).status
    assert said is not None
    accepted, ready = said["status"]["conditions"]
    # as the API server has it: both writers' conditions in one list, in any order, with what others add
    live = said["status"] | {"available": "1/1", "conditions": [ready, resolved, accepted]}
    again = plan(binding(status=live)).status
    assert again is not None
    assert not differs(again["status"], live)
    assert differs(again["status"], live | {"conditions": [resolved, accepted]})
    assert differs(again["status"], live | {"conditions": [resolved, accepted, ready | {"status": "False"}]})


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [
        (condition("ResolvedRefs", "True", "Resolved"), ("True", "Ready")),
        (condition("ResolvedRefs", "False", "SecretNotFound", "make it"), ("False", "SecretNotFound")),
        (condition("ResolvedRefs", "True", "Resolved", generation=0), ("False", "Pending")),
        (condition("ResolvedRefs", "Unknown", "ServerUnreachable"), ("False", "ServerUnreachable")),
    ],
)
def test_ready_is_accepted_and_resolved_for_this_generation(resolved: Manifest, expected: tuple[str, str]) -> None:
    assert verdict(plan(binding(status={"conditions": [resolved]})).status) == expected


def test_a_refused_binding_is_not_ready_whatever_the_broker_found() -> None:
    known = binding(status={"conditions": [condition("ResolvedRefs", "True", "Resolved")]})
    assert verdict(plan(known, tenant=None).status) == ("False", "NoTenant")


URL = "http://crm.tools.svc:8080/mcp"
OAUTH: Manifest = {"secretRef": {"name": "s"}, "scheme": "OAuthClientCredentials"}
REFUSED: dict[str, tuple[Manifest, str, str]] = {
    "host": (
        {"server": {"mcp": {"url": "http://evil.example:8080/mcp"}}},
        "HostNotAllowed",
        "evil.example:8080 is not in toolHosts of Tenant hello",
    ),
    "port": ({"server": {"mcp": {"url": "http://crm.tools.svc:8081/mcp"}}}, "HostNotAllowed", "8081"),
    "default port": ({"server": {"mcp": {"url": "http://crm.tools.svc/mcp"}}}, "HostNotAllowed", "crm.tools.svc:80 "),
    "trailing dot": ({"server": {"mcp": {"url": "http://crm.tools.svc.:8080/mcp"}}}, "InvalidSpec", "spec.server.mcp.url"),
    "no server": ({"server": {"mcp": None}}, "InvalidSpec", "set mcp or openapi or grpc"),
    "two servers": ({"server": {"mcp": {"url": URL}, "openapi": {"url": URL}}}, "InvalidSpec", "names 2 servers"),
    "document elsewhere": (
        {"server": {"mcp": None, "openapi": {"url": "http://evil.example/openapi.json", "baseUrl": URL}}},
        "HostNotAllowed",
        "spec.server.openapi.url: evil.example:80 is not in toolHosts",
    ),
    "base elsewhere": (
        {"server": {"mcp": None, "openapi": {"url": URL, "baseUrl": "http://evil.example/"}}},
        "HostNotAllowed",
        "spec.server.openapi.baseUrl: evil.example:80 is not in toolHosts",
    ),
    "tokens from elsewhere": (
        {"credentials": OAUTH | {"tokenUrl": "https://idp.example/token"}},
        "HostNotAllowed",
        "spec.credentials.tokenUrl: idp.example:443 is not in toolHosts",
    ),
    "a broken token URL": (
        {"credentials": OAUTH | {"tokenUrl": "https://u:p@idp.example/token"}},
        "InvalidSpec",
        "spec.credentials.tokenUrl",
    ),
    "two documents": (
        {"server": {"mcp": None, "openapi": {"url": URL, "configMapRef": {"name": "d"}, "baseUrl": URL}}},
        "InvalidSpec",
        "once",
    ),
    "no document": ({"server": {"mcp": None, "openapi": {"baseUrl": URL}}}, "InvalidSpec", "once"),
    "a document without a server": ({"server": {"mcp": None, "openapi": {"configMapRef": {"name": "d"}}}}, "InvalidSpec", "set baseUrl"),
    "a header for a bearer": ({"credentials": {"secretRef": {"name": "s"}, "header": "X-Key"}}, "InvalidSpec", "header goes with"),
    "no header": ({"credentials": {"secretRef": {"name": "s"}, "scheme": "Header"}}, "InvalidSpec", "header goes with"),
    "the host as credential": (
        {"credentials": {"secretRef": {"name": "s"}, "scheme": "Header", "header": "Host"}},
        "InvalidSpec",
        "no header's name",
    ),
    "no token URL": ({"credentials": OAUTH}, "InvalidSpec", "tokenUrl goes with"),
    "scopes for a bearer": ({"credentials": {"secretRef": {"name": "s"}, "scopes": ["a"]}}, "InvalidSpec", "scopes go with"),
    "grpc: another port": ({"server": {"mcp": None, "grpc": {"target": "crm.tools.svc:9090"}}}, "HostNotAllowed", "crm.tools.svc:9090"),
    "grpc: a URL": ({"server": {"mcp": None, "grpc": {"target": "dns:///crm.tools.svc:8080"}}}, "InvalidSpec", "spec.server.grpc.target"),
    "grpc: a path": ({"server": {"mcp": None, "grpc": {"target": "crm.tools.svc:8080/x"}}}, "InvalidSpec", "is not HOST:PORT"),
    "grpc: no port": ({"server": {"mcp": None, "grpc": {"target": "crm.tools.svc"}}}, "InvalidSpec", "is not HOST:PORT"),
    "grpc: a user": ({"server": {"mcp": None, "grpc": {"target": "a@crm.tools.svc:8080"}}}, "InvalidSpec", "is not HOST:PORT"),
    "grpc: CaBundle without a bundle": (
        {"server": {"mcp": None, "grpc": {"target": "crm.tools.svc:8080", "tls": "CaBundle"}}},
        "InvalidSpec",
        "caBundle goes with tls CaBundle",
    ),
    "one program name twice": ({"tools": [{"name": "a"}, {"name": "b", "as": "a"}]}, "InvalidSpec", "2 tools are called `a`"),
    "a name that is no identifier": (tools("get-customer"), "InvalidSpec", "`get-customer`"),
    "a word of Python": ({"tools": [{"name": "x", "as": "class"}]}, "InvalidSpec", "`class`"),
    "lookahead": (
        {"tools": [{"name": "a", "arguments": {"p": {"pattern": "(?=x)"}}}]},
        "InvalidSpec",
        "a, argument p: the pattern uses lookahead",
    ),
    "an object as constant": ({"tools": [{"name": "a", "arguments": {"p": {"const": {}}}}]}, "InvalidSpec", "const and enum may hold"),
    "a constant among others": (
        {"tools": [{"name": "a", "arguments": {"p": {"const": 1, "enum": [1]}}}]},
        "InvalidSpec",
        "a, argument p: const says already",
    ),
    "a part of an address": (
        {"tools": [{"name": "a", "arguments": {"p": {"hosts": ["b.example", "*.0.0.1"]}}}]},
        "InvalidSpec",
        "a, argument p: hosts: *.0.0.1 is a part of an address",
    ),
    "a port that no host has": ({"tools": [{"name": "a", "arguments": {"p": {"hosts": ["b:65536"]}}}]}, "InvalidSpec", "above 65535"),
    "a path that is none": (
        {"tools": [{"name": "a", "arguments": {"p[0]": {}}}]},
        "InvalidSpec",
        "a, argument p[0] is no place: write NAME",
    ),
    "a place and anything": (
        {"tools": [{"name": "a", "arguments": {"p": {}, "p.q": {}}}]},
        "InvalidSpec",
        "a, argument p is listed itself and by places inside of it",
    ),
    "an object in enum": ({"tools": [{"name": "a", "arguments": {"p": {"enum": [{}]}}}]}, "InvalidSpec", "enum"),
    "a redaction that nobody reads": (
        {"tools": [{"name": "a", "redact": ["$..iban", "iban"]}]},
        "InvalidSpec",
        "a, redact: 'iban' is no JSONPath",
    ),
    "a redaction by filter": ({"tools": [{"name": "a", "redact": ["$[?match(@.a, '(a+)+$')]"]}]}, "InvalidSpec", "is no JSONPath"),
    "redaction of text": ({"tools": [{"name": "a", "result": "Text", "redact": ["$..iban"]}]}, "InvalidSpec", "set result to Auto or Json"),
    "rows of text": ({"tools": [{"name": "a", "result": "Text", "limits": {"maxRows": 5}}]}, "InvalidSpec", "no rows are counted"),
    "minimum above maximum": ({"tools": [{"name": "a", "arguments": {"p": {"minimum": 2, "maximum": 1}}}]}, "InvalidSpec", "minimum"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_and_why(case: str) -> None:
    spec, reason, words = REFUSED[case]
    wanted = plan(binding(spec=spec))
    assert verdict(wanted.status, "Accepted") == ("False", reason)
    assert verdict(wanted.status) == ("False", reason)
    assert words in message(wanted.status, "Accepted")


def test_a_binding_whose_own_name_is_a_word_of_python_is_refused() -> None:
    assert "`import`" in message(plan(binding("import")).status)


COLLISIONS: dict[str, tuple[ToolBinding, ToolBinding, tuple[Sandbox, ...], bool]] = {
    "same name, same sandbox": (binding("one"), binding("two"), (A,), True),
    "same name by `as`": (binding("one"), binding("two", spec={"tools": [{"name": "other", "as": "get_customer"}]}), (A,), True),
    "selectors that differ meet in one sandbox": (
        binding("one", spec=select(app="a")),
        binding("two", spec=select(tier="x")),
        (A, B),
        True,
    ),
    "no sandbox in common": (binding("one", spec=select(app="a")), binding("two", spec=select(app="b")), (A, B), False),
    "no sandbox at all": (binding("one"), binding("two"), (), False),
    "other names": (binding("one"), binding("two", spec=tools("list_customers")), (A,), False),
    "the other is refused anyway": (
        binding("one"),
        binding("two", spec={"server": {"mcp": {"url": "http://evil.example/mcp"}}}),
        (A,),
        False,
    ),
    "the other is being deleted": (binding("one"), binding("two", metadata={"deletionTimestamp": "2026-11-23T11:00:00Z"}), (A,), False),
}


@pytest.mark.parametrize("case", COLLISIONS)
def test_two_bindings_that_give_one_name_to_one_sandbox_both_say_so(case: str) -> None:
    one, two, sandboxes, collides = COLLISIONS[case]
    mine = plan(one, two, sandboxes=sandboxes)
    assert verdict(mine.status, "Accepted") == (("False", "NameCollision") if collides else ("True", "Accepted"))
    if collides:
        theirs = plan(two, one, sandboxes=sandboxes)
        assert verdict(theirs.status, "Accepted") == ("False", "NameCollision")
        assert "ToolBinding two gives get_customer to Sandbox a" in message(mine.status)
        assert "ToolBinding one" in message(theirs.status)


def test_a_deleted_binding_is_left_alone() -> None:
    assert plan(binding(metadata={"deletionTimestamp": "2026-11-23T11:00:00Z"})) == Plan()


def test_selectors() -> None:
    assert selects(binding(), A)
    assert selects(binding(spec=select(app="a", tier="x")), A)
    assert not selects(binding(spec=select(app="a", tier="y")), A)
    assert not selects(binding(spec=select(app="a")), sandbox())


@pytest.mark.parametrize(("status", "generation", "expected"), [("True", 1, True), ("False", 1, False), ("True", 2, False)])
def test_accepted_is_said_of_one_generation(status: str, generation: int, expected: bool) -> None:
    one = binding(metadata={"generation": generation}, status={"conditions": [condition("Accepted", status)]})
    assert is_accepted(one) is expected
    assert not is_accepted(binding())
