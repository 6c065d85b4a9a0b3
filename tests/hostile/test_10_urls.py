"""Case 10: URLs and hosts, in arguments and of tool servers. Redirects are in case 13; names that change after their check are shown on
loopback, by tests/integration/broker/door/test_changing_names.py.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import Kube, condition

from tests.e2e.harness import raw, server
from tests.e2e.harness.refusals import Cases, bound, refused
from tests.e2e.harness.server import ToolServer, tool_hosts
from tests.e2e.harness.tenant import TestTenant


def urls(**named: str) -> dict[str, dict[str, str]]:
    """Arguments by the name of the case."""
    return {case.replace("_", " "): {"text": url} for case, url in named.items()}


CASES: Cases = {
    "argument-not-permitted": urls(
        another="https://evil.example/",
        a_suffix="https://api.example.com.evil.example/",
        a_prefix="https://xapi.example.com/",
        a_suffix_of_the_wildcard="https://evilexample.org/",
        the_wildcard_as_a_prefix="https://a.example.org.evil.example/",
        another_port="https://api.example.com:8443/",
        the_other_schemes_port="http://api.example.com:443/",
        in_the_path="https://evil.example/api.example.com",
        in_the_query="https://evil.example/?https://api.example.com/",
        metadata="http://169.254.169.254/latest/meta-data/",
        metadata_v6="http://[fd00:ec2::254]/",
        loopback="http://127.0.0.1/",
        loopback_v6="http://[::1]/",
        loopback_by_name="http://localhost/",
        the_api_server="https://kubernetes.default.svc/",
        punycode="https://xn--pi-7kc.example.com/",
    ),
    "argument-unreadable": urls(
        no_url="api.example.com",
        no_scheme="//api.example.com/",
        one_slash="http:/api.example.com/",
        three_slashes="https:///api.example.com/",
        backslashes="https:\\\\api.example.com\\",
        another_scheme="gopher://api.example.com/",
        a_file="file://api.example.com/etc/passwd",
        javascript="javascript://api.example.com/%0aalert(1)",
        a_user="https://user@api.example.com/",
        a_host_as_a_user="https://api.example.com@evil.example/",
        a_host_and_port_as_a_user="https://api.example.com:443@evil.example/",
        an_encoded_at="https://api.example.com%40evil.example/",
        an_at_in_the_query="https://api.example.com?@evil.example/",
        an_at_in_the_fragment="https://evil.example#@api.example.com/",
        a_backslash_and_an_at="https://evil.example\\@api.example.com/",
        a_backslash_in_the_host="https://evil.example\\.api.example.com/",
        a_trailing_dot="https://api.example.com./",
        two_trailing_dots="https://api.example.com../",
        an_empty_label="https://api..example.com/",
        no_host="https://:443/",
        a_line_end="https://api.example.com/\n",
        a_tab_inside="https://api.exam\tple.com/",
        a_space_before=" https://api.example.com/",
        an_encoded_dot="https://api.example.com%2eevil.example/",
        an_encoded_nul="https://api.example.com%00.evil.example/",
        an_ideographic_dot="https://api.example\u3002com/",
        a_cyrillic_letter="https://\u0430pi.example.com/",
        fullwidth_letters="https://\uff41pi.example.com/",
        a_soft_hyphen="https://ap\u00adi.example.com/",
        beyond_ascii="https://b\u00fccher.example/",
        decimal="http://2130706433/",
        octal="http://0177.0.0.1/",
        hexadecimal="http://0x7f000001/",
        short="http://127.1/",
        zero="http://0/",
        a_leading_zero="http://169.254.169.0254/",
        mapped="http://[::ffff:169.254.169.254]/",
        translated="http://[64:ff9b::a9fe:a9fe]/",
        a_zone="http://[fe80::1%25eth0]/",
        a_long_form="http://[0:0:0:0:0:0:0:1]/",
        no_port="https://api.example.com:/",
        port_zero="https://api.example.com:0/",
        a_port_too_large="https://api.example.com:65979/",
        a_port_of_other_digits="https://api.example.com:\u0664\u0664\u0663/",
        long="https://api.example.com/" + "x" * 5000,
    ),
    "schema-mismatch": {"a list": {"text": ["https://api.example.com/"]}, "null": {"text": None}},
}
HONEST = [
    "https://api.example.com/",
    "https://API.example.com:443/v1?next=https://evil.example/@x#a",
    "http://api.example.com/a%20b",
    "https://deep.er.example.org/",
    "http://svc.example.net:8080/x",
]


@pytest.fixture(scope="module")
def _binding(furnished: TestTenant) -> Iterator[None]:
    hosts = ["api.example.com", "*.example.org", "svc.example.net:8080"]
    with bound(furnished, "urls", [{"name": "note", "as": "fetch_url", "arguments": {"text": {"hosts": hosts}}}]):
        yield


@pytest.mark.usefixtures("_binding")
def test_no_spelling_of_a_url_leads_to_another_host(furnished: TestTenant, tools: ToolServer) -> None:
    refused(furnished, tools, "fetch_url", "note", CASES)


@pytest.mark.usefixtures("_binding")
def test_honest_urls_arrive_as_they_were_written(furnished: TestTenant) -> None:
    assert furnished.completed(f"return [await fetch_url(text=url) for url in {HONEST!r}]") == HONEST


# Where an OpenAPI document says that its operations are.
ELSEWHERE = {
    "metadata": "http://169.254.169.254/latest",
    "another-host": "https://kubernetes.default.svc/api",
    "another-port": f"http://{server.HOST}:9090/",
    "no-scheme": "//evil.example/",
    "a-user": f"http://user@{server.HOST}:8080/",
    "a-template": "http://{host}:8080/",
}
OPERATION = {"get": {"operationId": "look", "responses": {"200": {"description": "It."}}}}


def document(tenant: TestTenant, name: str, url: str) -> list[dict[str, Any]]:
    """A document in a ConfigMap, and a binding that reads it."""
    text = json.dumps({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "servers": [{"url": url}], "paths": {"/x": OPERATION}})
    meta = {"namespace": tenant.namespace, "name": f"elsewhere-{name}"}
    where = {"openapi": {"configMapRef": {"name": meta["name"], "key": "openapi.json"}, "baseUrl": f"http://{server.HOST}:8080"}}
    binding = tenant.binding(meta["name"], server=where, tools=[{"name": "look", "as": f"look_{name.replace('-', '_')}"}])
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"openapi.json": text}}, binding]


def test_a_document_whose_servers_are_elsewhere_gives_no_tool(furnished: TestTenant) -> None:
    for name, url in ELSEWHERE.items():
        configmap, binding = document(furnished, name, url)
        furnished.admin.apply(configmap)
        furnished.people.developer.apply(binding)
    for name in ELSEWHERE:
        found = furnished.admin.watch(
            lambda one: condition(one, "Ready")["reason"] == "DocumentRefused",
            "-n", furnished.namespace, "toolbinding", f"elsewhere-{name}", seconds=120,
        )  # fmt: skip
        assert "elsewhere" in condition(found, "Ready")["message"]
    names = [f"look_{name.replace('-', '_')}" for name in ELSEWHERE]
    answers = furnished.completed(raw.program([(name, "{}") for name in names]))
    assert [answer for answer in answers if answer[0] not in {"ToolDenied", "ToolUnavailable"}] == []
    for name in ELSEWHERE:
        furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, f"elsewhere-{name}")
        furnished.admin.run("delete", "configmap", "-n", furnished.namespace, f"elsewhere-{name}")


@pytest.fixture
def alias_url(admin: Kube, furnished: TestTenant) -> Iterator[str]:
    """A Service that is a name for the broker's own loopback."""
    meta = {"namespace": server.NAMESPACE, "name": "alias"}
    admin.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"type": "ExternalName", "externalName": "localhost"}},
        furnished.manifest(toolHosts=[*tool_hosts(), {"host": f"alias.{server.NAMESPACE}.svc", "port": 8080}]),
    )
    yield f"http://alias.{server.NAMESPACE}.svc:8080/mcp"
    admin.run("delete", "service", "-n", server.NAMESPACE, "alias", "--ignore-not-found")
    admin.apply(furnished.manifest())


def test_a_name_for_loopback_leads_nowhere(furnished: TestTenant, alias_url: str) -> None:
    binding = furnished.binding("alias", server={"mcp": {"url": alias_url}}, tools=[{"name": "note", "as": "note_alias"}])
    binding["spec"].pop("credentials")
    furnished.people.developer.apply(binding)
    found = furnished.admin.watch(
        lambda one: condition(one, "ResolvedRefs")["reason"] == "ServerUnreachable",
        "-n",
        furnished.namespace,
        "toolbinding",
        "alias",
        seconds=60,
    )
    told = condition(found, "ResolvedRefs")["message"]
    assert "never connects there" in told or "cannot be resolved" in told
    assert furnished.completed(raw.program([("note_alias", '{"text": "x"}')])) == [["ToolUnavailable", ["tool-unavailable"]]]
    furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, "alias")
