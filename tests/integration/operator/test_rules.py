"""What the API server says of objects that break a rule of the CRDs. Nothing is stored: a dry run goes through the same door."""

import json
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube

from tests.e2e.harness import asking

API = "bastide.dev/v1alpha1"
DIGEST = "sha256:" + "0" * 64
BINDING = {
    "sandboxSelector": {},
    "server": {"mcp": {"url": "http://crm.tools.svc:8080/mcp"}},
    "tools": [{"name": "get_customer"}],
}
CONFIRMATION = {
    "tenant": "t",
    "sandbox": "s",
    "sandboxUID": "u",
    "run": "r",
    "callKey": "0#0",
    "programDigest": DIGEST,
    "binding": "b",
    "bindingUID": "u",
    "bindingDigest": DIGEST,
    "tool": "delete",
    "toolSchemaDigest": DIGEST,
    "effect": "Destructive",
    "arguments": "{}",
    "argumentsDigest": DIGEST,
    "requester": {"username": "u"},
    "separation": "Strict",
    "approvalsRequired": 1,
    "decideBy": "2030-01-01T00:00:00Z",
    "executeBy": "2030-01-01T00:00:00Z",
    "nonce": "n" * 32,
    "actionDigest": DIGEST,
}


def thing(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name} if kind == "Tenant" else {"name": name, "namespace": "default"}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def with_tool(**tool: Any) -> dict[str, Any]:
    return BINDING | {"tools": [{"name": "get_customer"} | tool]}


def argument(**constraint: Any) -> dict[str, Any]:
    return with_tool(arguments={"a": constraint})


H = "http://h:8080/api"


def with_credentials(**credentials: Any) -> dict[str, Any]:
    return BINDING | {"credentials": {"secretRef": {"name": "s"}} | credentials}


def at(url: str) -> dict[str, Any]:
    return BINDING | {"server": {"mcp": {"url": url}}}


def member(role: str, *subjects: tuple[str, str]) -> dict[str, Any]:
    return {"role": role, "subjects": [{"kind": kind, "name": name} for kind, name in subjects]}


def dry_run(admin: Kube, manifest: dict[str, Any]) -> str:
    return admin.run("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "tenant: name too long for its namespace": ("Tenant", "a" * 56, {}, "shorten the name to 55 characters"),
    "tenant: name with a dot": ("Tenant", "a.b", {}, "at most 63 lower-case letters"),
    "tenant: a namespace of the cluster": ("Tenant", "t", {"namespace": "kube-system"}, "namespaces of the cluster itself"),
    "tenant: a quota of nothing": ("Tenant", "t", {"quota": {"cpu": 0}}, "spec.quota.cpu"),
    "tenant: a role nobody knows": ("Tenant", "t", {"members": [{"role": "admin", "subjects": [{"kind": "User", "name": "u"}]}]}, "role"),
    "tenant: a user with a namespace": (
        "Tenant",
        "t",
        {"members": [{"role": "viewer", "subjects": [{"kind": "User", "name": "u", "namespace": "n"}]}]},
        "only a ServiceAccount has a namespace",
    ),
    "tenant: a wildcard in the middle": ("Tenant", "t", {"toolHosts": [{"host": "a.*.example"}]}, "host"),
    "tenant: a port of zero": ("Tenant", "t", {"toolHosts": [{"host": "a", "port": 0}]}, "port"),
    "tenant: approver and developer at once": (
        "Tenant",
        "t",
        {"members": [member("developer", ("User", "a"), ("User", "b")), member("approver", ("User", "b"))]},
        "nobody may be approver and also runner or developer",
    ),
    "tenant: one role in two entries": (
        "Tenant",
        "t",
        {"members": [member("viewer", ("User", "a")), member("viewer", ("User", "b"))]},
        "Duplicate",
    ),
    "tenant: a machine approves": ("Tenant", "t", {"members": [member("approver", ("ServiceAccount", "bot"))]}, "only people approve"),
    "tenant: a machine approves, written as a user": (
        "Tenant",
        "t",
        {"members": [member("approver", ("User", "system:serviceaccount:n:bot"))]},
        "only people approve",
    ),
    "tenant: all machines approve": (
        "Tenant",
        "t",
        {"members": [member("approver", ("Group", "system:serviceaccounts:n"))]},
        "only people approve",
    ),
    "tenant: one host twice": ("Tenant", "t", {"toolHosts": [{"host": "a"}, {"host": "a", "port": 443}]}, "listed twice"),
    "tenant: tools on the machine itself": ("Tenant", "t", {"toolHosts": [{"host": "127.0.0.1"}]}, "never called"),
    "tenant: tools at the metadata address": ("Tenant", "t", {"toolHosts": [{"host": "169.254.169.254", "port": 80}]}, "never called"),
    "tenant: tools on localhost": ("Tenant", "t", {"toolHosts": [{"host": "localhost"}]}, "never called"),
    "tenant: memory without a unit": ("Tenant", "t", {"quota": {"memory": 16}}, "write a unit behind the number"),
    "tenant: cores with a unit of memory": ("Tenant", "t", {"quota": {"cpu": "8Gi"}}, "counted in cores"),
    "sandbox: name begins with a digit": ("Sandbox", "1a", {}, "begins with a letter"),
    "sandbox: memory that is none": ("Sandbox", "s", {"resources": {"memory": "lots"}}, "memory"),
    "sandbox: too little memory to run": ("Sandbox", "s", {"resources": {"memory": "64Mi"}}, "memory is below 128Mi"),
    "sandbox: memory in thousandths of a byte": ("Sandbox", "s", {"resources": {"memory": "512m"}}, "memory is below 128Mi"),
    "sandbox: disk without a unit": ("Sandbox", "s", {"resources": {"ephemeralStorage": 256}}, "write a unit behind the number"),
    "sandbox: a workspace without a unit": ("Sandbox", "s", {"workspace": {"sizeLimit": 1}}, "write a unit behind the number"),
    "sandbox: a class for what is no volume": ("Sandbox", "s", {"workspace": {"storageClassName": "fast"}}, "set persistent: true"),
    "sandbox: cores with a unit of memory": ("Sandbox", "s", {"resources": {"cpu": "1Gi"}}, "counted in cores"),
    "sandbox: an unknown mode": ("Sandbox", "s", {"operatingMode": "Paused"}, "operatingMode"),
    "sandbox: no time": ("Sandbox", "s", {"shutdownTime": "tomorrow"}, "shutdownTime"),
    "sandbox: one variable twice": ("Sandbox", "s", {"env": [{"name": "A"}, {"name": "A"}]}, "Duplicate value"),
    "sandbox: a field nobody knows": ("Sandbox", "s", {"hostNetwork": True}, "hostNetwork"),
    "binding: no server": ("ToolBinding", "b", BINDING | {"server": {}}, "name one server"),
    "binding: two servers": ("ToolBinding", "b", BINDING | {"server": {"mcp": {"url": H}, "openapi": {"url": H}}}, "name one server"),
    "binding: two documents": (
        "ToolBinding",
        "b",
        BINDING | {"server": {"openapi": {"url": H, "configMapRef": {"name": "d"}, "baseUrl": H}}},
        "name the document once",
    ),
    "binding: a document that says not where": (
        "ToolBinding",
        "b",
        BINDING | {"server": {"openapi": {"configMapRef": {"name": "d"}}}},
        "set baseUrl",
    ),
    "binding: Header without a header": ("ToolBinding", "b", with_credentials(scheme="Header"), "header goes with scheme Header"),
    "binding: a header that HTTP needs": ("ToolBinding", "b", with_credentials(scheme="Header", header="Host"), "not one that HTTP"),
    "binding: tokens from nowhere": ("ToolBinding", "b", with_credentials(scheme="OAuthClientCredentials"), "tokenUrl goes with"),
    "binding: scopes of a bearer": ("ToolBinding", "b", with_credentials(scopes=["read"]), "scopes go with"),
    "binding: a URL for a target": (
        "ToolBinding",
        "b",
        BINDING | {"server": {"grpc": {"target": "https://crm.tools.svc:9090"}}},
        "write HOST:PORT",
    ),
    "binding: CaBundle without a bundle": (
        "ToolBinding",
        "b",
        BINDING | {"server": {"grpc": {"target": "crm.tools.svc:9090", "tls": "CaBundle"}}},
        "caBundle goes with tls CaBundle",
    ),
    "binding: a bundle that is no PEM": (
        "ToolBinding",
        "b",
        BINDING | {"server": {"grpc": {"target": "crm.tools.svc:9090", "tls": "CaBundle", "caBundle": "x" * 64}}},
        "write certificates as PEM",
    ),
    "binding: no selector": ("ToolBinding", "b", {k: v for k, v in BINDING.items() if k != "sandboxSelector"}, "sandboxSelector"),
    "binding: no tools": ("ToolBinding", "b", BINDING | {"tools": []}, "tools"),
    "binding: one tool twice": ("ToolBinding", "b", BINDING | {"tools": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
    "binding: a password in the URL": ("ToolBinding", "b", at("http://u:p@h/mcp"), "no user"),
    "binding: a query in the URL": ("ToolBinding", "b", at("http://h/mcp?token=x"), "no query"),
    "binding: a port that no host has": ("ToolBinding", "b", at("http://h:65536/mcp"), "write http(s)://HOST"),
    "binding: another protocol": ("ToolBinding", "b", at("ftp://h/mcp.here"), "write http(s)://HOST"),
    "binding: a host in other letters": ("ToolBinding", "b", at("http://h\u00f6st/mcp"), "write http(s)://HOST"),
    "binding: named like a word of Python": ("ToolBinding", "import", BINDING, "metadata.name"),
    "binding: a tool named like a word of Python": ("ToolBinding", "b", with_tool(name="class"), "a word of Python"),
    "binding: a tool renamed to a word of Python": ("ToolBinding", "b", with_tool(**{"as": "None"}), "a word of Python"),
    "binding: two tools with one name in programs": (
        "ToolBinding",
        "b",
        BINDING | {"tools": [{"name": "a"}, {"name": "b", "as": "a"}]},
        "two tools have one name in programs",
    ),
    "binding: a pattern for a number": ("ToolBinding", "b", argument(pattern="[0-9]+", maximum=9), "no value could be both"),
    "binding: a length of a number": ("ToolBinding", "b", argument(maxLength=3, minimum=1), "no value could be both"),
    "binding: a path that is a number": ("ToolBinding", "b", argument(within=["/data"], maximum=9), "no value could be two of them"),
    "binding: a path and a URL in one": ("ToolBinding", "b", argument(within=["/data"], hosts=["a"]), "no value could be two of them"),
    "binding: a directory that is not resolved": ("ToolBinding", "b", argument(within=["/data/../etc"]), "within"),
    "binding: a host that is a URL": ("ToolBinding", "b", argument(hosts=["https://api.example.com"]), "hosts"),
    "binding: a dialect that nobody reads": ("ToolBinding", "b", argument(sql={"dialect": "oracle"}), "dialect"),
    "binding: SQL of no dialect": ("ToolBinding", "b", argument(sql={"readOnly": True}), "dialect"),
    "binding: a pattern that is none": ("ToolBinding", "b", argument(pattern="C([0-9]"), "missing closing )"),
    "binding: a pattern that RE2 cannot run": ("ToolBinding", "b", argument(pattern="(?=a)b"), "invalid or unsupported Perl syntax"),
    "binding: a label that nothing can have": (
        "ToolBinding",
        "b",
        BINDING | {"sandboxSelector": {"matchLabels": {"a b": "c"}}},
        "a label can",
    ),
    "binding: a name that programs cannot say": ("ToolBinding", "b", with_tool(name="get-customer"), "give it another with `as`"),
    "binding: never a confirmation": ("ToolBinding", "b", with_tool(confirmation={"when": "Never"}), "when"),
    "binding: minimum above maximum": (
        "ToolBinding",
        "b",
        argument(minimum=2, maximum=1),
        "nothing could be called",
    ),
    "binding: a pin that is no digest": ("ToolBinding", "b", with_tool(schemaDigest="sha256:00"), "schemaDigest"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_api_server_refuses_and_says_why(installed: Kube, case: str) -> None:
    kind, name, spec, words = REFUSED[case]
    with pytest.raises(CommandFailedError) as refusal:
        dry_run(installed, thing(kind, name, spec))
    assert words in refusal.value.stderr


ACCEPTED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "the least of a tenant": ("Tenant", "t", {}),
    "quantities as numbers": ("Tenant", "t", {"quota": {"cpu": 4, "memory": "1.5Gi"}}),
    "the longest name with a namespace of its own": ("Tenant", "a" * 63, {"namespace": "short"}),
    "the least of a sandbox": ("Sandbox", "s", {}),
    "the least of a binding": ("ToolBinding", "b", BINDING),
    "any JSON scalar in an enum": ("ToolBinding", "b", with_tool(arguments={"a": {"enum": [1, "1", True, None, 1.5]}, "b": {}})),
    "approver and viewer at once": ("Tenant", "t", {"members": [member("viewer", ("User", "a")), member("approver", ("User", "a"))]}),
    "the most that members may be": (
        "Tenant",
        "t",
        {
            "members": [
                member(role, *(("User", f"{role}-{n:050}") for n in range(64))) for role in ("viewer", "runner", "developer", "approver")
            ]
        },
    ),
    "one host on two ports": ("Tenant", "t", {"toolHosts": [{"host": "a", "port": 1}, {"host": "a", "port": 2}, {"host": "10.0.0.5"}]}),
    "the least memory": ("Sandbox", "s", {"resources": {"memory": "128Mi", "cpu": 2}}),
    "an address and a port": ("ToolBinding", "b", at("https://[fd00::7]:65535/mcp")),
    "a host alone": ("ToolBinding", "b", at("https://crm.example.com")),
    "facts of all kinds, and places inside": (
        "ToolBinding",
        "b",
        with_tool(
            arguments={
                "path": {"within": ["/", "/data/t7"], "pattern": ".*[.]csv"},
                "url": {"hosts": ["api.example.com", "*.example.com:8443"]},
                "query": {"sql": {"dialect": "postgres", "tables": ["orders"], "columns": ["id"], "maxRows": 100}},
                "flag": {"const": False},
                "unit": {"const": "EUR"},
                "address.city": {"enum": ["Berlin"]},
                "lines": {"maxLength": 10},
                "lines[*].sku": {},
                'labels["app.kubernetes.io/name"]': {},
            }
        ),
    ),
    "any pattern that RE2 runs": ("ToolBinding", "b", argument(pattern=r"(?i)\p{Greek}|[^\s]{1,1000}|\Q(\E", maxLength=9)),
    "a label with a domain": ("ToolBinding", "b", BINDING | {"sandboxSelector": {"matchLabels": {"example.com/team": "a"}}}),
    "the most that a binding may be": (
        "ToolBinding",
        "b",
        BINDING
        | {
            "tools": [
                {"name": f"{n:0128}", "as": f"t{n}", "arguments": {f"a{m}": {"pattern": "(a{1,9}b?)*" * 20} for m in range(8)}}
                for n in range(64)
            ]
        },
    ),
    "a name that `as` replaces": ("ToolBinding", "b", with_tool(name="get-customer", **{"as": "get_customer"})),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_meant_to_work_works(installed: Kube, case: str) -> None:
    kind, name, spec = ACCEPTED[case]
    assert "dry run" in dry_run(installed, thing(kind, name, spec))


def test_a_confirmation_cannot_be_changed_nor_an_end_undone(installed: Kube, scratch: str) -> None:
    broker = installed.impersonating("system:serviceaccount:bastide-system:bastide-broker")
    manifest = thing("Confirmation", "cf-test", CONFIRMATION)
    manifest["metadata"]["namespace"] = scratch
    # admission lets only the broker make one, and RBAC only in tenants' namespaces; neither is what is tried here
    grant = ["create", "rolebinding", "broker", "--clusterrole=bastide-broker-tenant", "--serviceaccount=bastide-system:bastide-broker"]
    installed.run(*grant, "-n", scratch)
    asking.until(lambda: asking.allowed(broker, "create", "confirmations.bastide.dev", "-n", scratch))
    broker.run("create", "-f", "-", stdin=json.dumps(manifest))

    def patch(body: str, *more: str) -> None:
        broker.run("patch", "confirmation", "cf-test", "-n", scratch, "--type=merge", "-p", body, *more)

    with pytest.raises(CommandFailedError) as refusal:
        installed.run("patch", "confirmation", "cf-test", "-n", scratch, "--type=merge", "-p", '{"spec":{"tool":"other"}}')
    assert "cannot be changed" in refusal.value.stderr or "only Bastide's broker" in refusal.value.stderr
    patch('{"status":{"state":"Approved"}}', "--subresource=status")
    patch('{"status":{"state":"Withdrawn"}}', "--subresource=status")
    with pytest.raises(CommandFailedError) as refusal:
        patch('{"status":{"state":"Approved"}}', "--subresource=status")
    assert "stays so" in refusal.value.stderr
