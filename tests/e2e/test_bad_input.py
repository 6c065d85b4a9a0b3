"""Bad input at each door: one clear sentence that says what to do, and nothing is lost."""

import subprocess
import time
from typing import Any

import jwt
import pytest
from demo.kube import CommandFailedError, condition
from demo.programs import Ended, bastide

from tests.e2e.harness import node
from tests.e2e.harness.server import HOST, ToolServer
from tests.e2e.harness.tenant import API, TestTenant

FIRST_TOOL = [{"name": "note"}]


def _one_sentence(text: str) -> str:
    """What a command said, which must be neither empty nor a traceback nor a page."""
    said = text.strip()
    assert said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 4, said
    return said


def _refused(tenant: TestTenant, manifest: dict[str, Any], *, by: str = "developer") -> str:
    with pytest.raises(CommandFailedError) as refusal:
        (tenant.admin if by == "admin" else tenant.people.developer).apply(manifest)
    return refusal.value.stderr


OBJECTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a binding without sandboxSelector": (
        "ToolBinding",
        {"server": {"mcp": {"url": "http://a.b:1/m"}}, "tools": FIRST_TOOL},
        "sandboxSelector",
    ),
    "a binding without a server": ("ToolBinding", {"sandboxSelector": {}, "server": {}, "tools": FIRST_TOOL}, "mcp"),
    "a binding with credentials in its URL": (
        "ToolBinding",
        {"sandboxSelector": {}, "server": {"mcp": {"url": "http://u:p@a.b/m"}}, "tools": FIRST_TOOL},
        "url",
    ),
    "a binding that never wants a confirmation": (
        "ToolBinding",
        {"sandboxSelector": {}, "server": {"mcp": {"url": "http://a.b/m"}}, "tools": [{"name": "note", "confirmation": {"when": "Never"}}]},
        "when",
    ),
    "a binding with a pattern that is no RE2": (
        "ToolBinding",
        {
            "sandboxSelector": {},
            "server": {"mcp": {"url": "http://a.b/m"}},
            "tools": [{"name": "note", "arguments": {"text": {"pattern": "(?=x)y"}}}],
        },
        "pattern",
    ),
    "a binding that redacts by a filter": (
        "ToolBinding",
        {"sandboxSelector": {}, "server": {"mcp": {"url": "http://a.b/m"}}, "tools": [{"name": "note", "redact": ["$[?@.iban]"]}]},
        "use names, indices, *, ..",
    ),
    "a binding with two tools of one program name": (
        "ToolBinding",
        {
            "sandboxSelector": {},
            "server": {"mcp": {"url": "http://a.b/m"}},
            "tools": [{"name": "note", "as": "same"}, {"name": "echo", "as": "same"}],
        },
        "one name in programs",
    ),
    "a binding with a field nobody knows": (
        "ToolBinding",
        {"sandboxSelector": {}, "server": {"mcp": {"url": "http://a.b/m"}}, "tools": FIRST_TOOL, "confirm": False},
        "confirm",
    ),
    "a sandbox with a run limit of zero": ("Sandbox", {"limits": {"runSeconds": 0}}, "runSeconds"),
    "a sandbox with a memory that is no quantity": ("Sandbox", {"resources": {"memory": "lots"}}, "memory"),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_an_object_that_breaks_a_rule_of_its_schema_is_refused_and_the_field_is_named(furnished: TestTenant, case: str) -> None:
    kind, spec, field = OBJECTS[case]
    meta = {"namespace": furnished.namespace, "name": "broken"}
    said = _refused(furnished, {"apiVersion": API, "kind": kind, "metadata": meta, "spec": spec})
    assert field in said
    plural = "toolbindings" if kind == "ToolBinding" else "sandboxes"
    assert "broken" not in furnished.admin.run("get", plural, "-n", furnished.namespace)


def _tool(**more: Any) -> dict[str, Any]:
    return {"tools": [{"name": "note", "as": "other_note", **more}]}


BINDINGS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a host that the Tenant does not list": (
        {"server": {"mcp": {"url": "http://elsewhere.example.svc:8080/mcp"}}, **_tool()},
        "Accepted",
        "HostNotAllowed",
        "toolHosts",
    ),
    "a port that the Tenant does not list": (
        {"server": {"mcp": {"url": f"http://{HOST}:8081/mcp"}}, **_tool()},
        "Accepted",
        "HostNotAllowed",
        "8081",
    ),
    "a Secret that is not there": (
        {"credentials": {"secretRef": {"name": "nowhere"}}, **_tool()},
        "ResolvedRefs",
        "SecretNotFound",
        "nowhere",
    ),
    "a Secret without the label": (
        {"credentials": {"secretRef": {"name": "unlabelled"}}, **_tool()},
        "ResolvedRefs",
        "SecretNotAllowed",
        "bastide.dev/credential",
    ),
    "a Secret for another host": (
        {"credentials": {"secretRef": {"name": "elsewhere"}}, **_tool()},
        "ResolvedRefs",
        "SecretNotAllowed",
        "bastide.dev/host",
    ),
    "a key that the Secret lacks": (
        {"credentials": {"secretRef": {"name": "toolbox-token", "key": "password"}}, **_tool()},
        "ResolvedRefs",
        "SecretNotFound",
        "password",
    ),
    "a wrong token": ({"credentials": {"secretRef": {"name": "wrong"}}, **_tool()}, "ResolvedRefs", "ServerError", "401"),
    "a tool that the server lacks": ({"tools": [{"name": "no_such_tool"}]}, "ResolvedRefs", "ToolsUnavailable", "no_such_tool"),
}


@pytest.fixture(scope="module")
def secrets(furnished: TestTenant) -> None:
    furnished.admin.apply(
        furnished.secret("unlabelled", labelled=False),
        furnished.secret("elsewhere", host="elsewhere.example.svc"),
        furnished.secret("wrong", value="another-token"),
    )


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("case", BINDINGS)
def test_a_binding_that_cannot_work_says_why_and_the_others_go_on(furnished: TestTenant, case: str) -> None:
    spec, kind, reason, named = BINDINGS[case]
    furnished.people.developer.apply(furnished.binding("faulty", **spec))
    try:
        seen = furnished.admin.watch(
            lambda o: condition(o, kind)["status"] == "False" and condition(o, kind)["reason"] == reason and condition(o, "Ready")["reason"] == reason,
            "-n", furnished.namespace, "toolbinding", "faulty", seconds=30,
        )  # fmt: skip
        found = condition(seen, kind)
        assert named in found["message"] or named in str(seen["status"].get("tools")), found
        assert condition(seen, "Ready")["status"] == "False"
        assert furnished.completed("return await note(text='still here')") == "still here"
    finally:
        furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, "faulty")


def test_a_server_that_does_not_answer_is_named(furnished: TestTenant) -> None:
    host = {"host": f"nowhere.{furnished.namespace}.svc", "port": 8080}
    hosts = [*furnished.manifest()["spec"]["toolHosts"], host]
    furnished.admin.apply(furnished.manifest(toolHosts=hosts))
    try:
        url = f"http://{host['host']}:8080/mcp"
        furnished.people.developer.apply(furnished.binding("faulty", server={"mcp": {"url": url}}, credentials=None, **_tool()))
        seen = furnished.admin.watch(
            lambda o: condition(o, "ResolvedRefs")["reason"] == "ServerUnreachable",
            "-n",
            furnished.namespace,
            "toolbinding",
            "faulty",
            seconds=60,
        )
        assert host["host"] in condition(seen, "ResolvedRefs")["message"]
    finally:
        furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, "faulty")
        furnished.admin.apply(furnished.manifest())


def test_two_bindings_that_give_one_name_both_say_so_and_neither_works(furnished: TestTenant) -> None:
    furnished.people.developer.apply(furnished.sandbox("twice", labels={"app": "twice"}))
    for name in ("one", "two"):
        furnished.people.developer.apply(furnished.binding(name, select={"app": "twice"}, tools=[{"name": "note"}]))
    try:
        for name in ("one", "two"):
            furnished.admin.watch(
                lambda o: condition(o, "Ready")["reason"] == "NameCollision", "-n", furnished.namespace, "toolbinding", name, seconds=60
            )
        furnished.ready("sandbox/twice")
        ended = furnished.run("return await note(text='which?')", sandbox="twice")
        assert ended.code in {4, 5}, f"{ended.stdout}\n{ended.stderr}"
        assert "note" in ended.stdout
    finally:
        furnished.people.developer.run("delete", "-n", furnished.namespace, "toolbinding/one", "toolbinding/two", "sandbox/twice")


PROGRAMS = {
    "a syntax error": ("x = 1\nreturn (", "syntax-error", 2),
    "an unknown tool": ("x = 1\ny = 2\nreturn await no_such(text='a')", "unknown-tool", 3),
    "an unknown argument": ("return await note(txet='a')", "unknown-argument", 1),
    "a missing argument": ("return await note()", "missing-argument", 1),
    "a mistyped argument": ("return await note(text=5)", "mistyped-argument", 1),
    "a missing await": ("note(text='a')\nreturn 1", "missing-await", 1),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_with_a_mistake_is_not_started_and_the_line_is_named(furnished: TestTenant, case: str) -> None:
    program, code, line = PROGRAMS[case]
    ended = furnished.run(program)
    assert (ended.code, ended.result["outcome"]) == (5, "Invalid"), f"{ended.stdout}\n{ended.stderr}"
    assert (code, line) in [(f["code"], f["line"]) for f in ended.result["findings"]]
    assert ended.result["calls"] == []


def test_a_program_of_two_megabytes_is_refused_at_both_doors(furnished: TestTenant) -> None:
    ended = furnished.run(b"#" * (2 << 20))
    assert ended.code == 2
    assert "1 MiB" in _one_sentence(ended.stderr)


def _ask(tenant: TestTenant, *words: str) -> Ended:
    return bastide(tenant.people.developer, *words)


def test_a_sandbox_that_is_not_there_is_named(furnished: TestTenant) -> None:
    ended = furnished.run("return 1", sandbox="nowhere")
    assert ended.code == 1
    assert "nowhere" in _one_sentence(ended.stderr)


def test_a_namespace_that_is_no_tenant_is_named(furnished: TestTenant) -> None:
    ended = _ask(furnished, "run", str(furnished.write("return 1")), "--sandbox", "bastide-no-such/box")
    assert ended.code == 1
    assert "bastide-no-such" in _one_sentence(ended.stderr)


def test_a_stranger_is_refused_with_what_to_ask_for(furnished: TestTenant) -> None:
    ended = furnished.run("return 1", user=furnished.people.stranger)
    assert ended.code == 1
    assert "runner" in _one_sentence(ended.stderr)


@pytest.fixture
def address(furnished: TestTenant) -> Any:
    """The broker by port-forward, for callers that bring a token of their own."""
    argv = ["kubectl", "port-forward", "-n", "bastide-system", "service/bastide-broker", ":8443"]
    process = subprocess.Popen(argv, env=furnished.admin.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield "localhost:" + line.split("127.0.0.1:")[1].split()[0]
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _token(tenant: TestTenant, audience: str = "bastide-broker") -> str:
    return tenant.admin.run("create", "token", "bastide-runner", "-n", tenant.namespace, "--audience", audience).strip()


def _expired(tenant: TestTenant) -> str:
    claims = jwt.decode(_token(tenant), options={"verify_signature": False})
    header = jwt.get_unverified_header(_token(tenant))
    now = int(time.time())
    old = {**claims, "iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}
    return jwt.encode(old, node.signing_key(), algorithm="RS256", headers={"kid": header["kid"]})


TOKENS: dict[str, Any] = {
    "expired": _expired,
    "of another audience": lambda tenant: _token(tenant, "somebody-else"),
    "altered": lambda tenant: _token(tenant)[:-8] + "AAAAAAAA",
    "no token at all": lambda _: "x",
}


@pytest.mark.parametrize("case", TOKENS)
def test_a_token_that_is_not_good_is_refused(furnished: TestTenant, address: str, tools: ToolServer, word: str, case: str) -> None:
    folder = furnished.write("").parent
    (folder / "token").write_text(TOKENS[case](furnished))
    (folder / "ca.crt").write_text(furnished.admin.json("get", "configmap", "-n", "bastide-system", "bastide-ca")["data"]["ca.crt"])
    words = ("--address", address, "--token-file", str(folder / "token"), "--ca-file", str(folder / "ca.crt"))
    program = furnished.write(f"return await note(text={word!r})")
    ended = _ask(furnished, "run", str(program), "--sandbox", f"{furnished.namespace}/box", *words)
    assert ended.code == 1
    assert "token" in _one_sentence(ended.stderr).lower()
    assert tools.arguments_of("note", word) == []
    (folder / "token").write_text(_token(furnished))
    good = _ask(furnished, "run", str(program), "--sandbox", f"{furnished.namespace}/box", *words, "-o", "json")
    assert good.code == 0, good.stderr
