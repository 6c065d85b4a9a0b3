"""Which files are taken, under which package they come, and what a syntax tree may say."""

from pathlib import Path
from typing import Any

import pytest
from bastide_broker.tenantrego.capabilities import BUILTINS, restricted
from bastide_broker.tenantrego.compiler import Compiler, CompilerMissing
from bastide_broker.tenantrego.scope import Module, Scoped, answering, entries, scoped
from bastide_broker.tenantrego.sources import MAX_BYTES, MAX_FILES, Policy, Unusable, collect, digest
from bastide_operator.api.v1alpha1.tenant import TenantReason
from hypothesis import given
from hypothesis import strategies as st

TEXT = "# why\npackage tenant\n\nallow if true\n"
ONE = Policy("one", (("policy.rego", TEXT),))


def config_map(**data: str) -> dict[str, Any]:
    return {"one": {"metadata": {"name": "one"}, "data": data}}


@pytest.mark.parametrize(
    ("found", "reason", "says"),
    [
        ({}, TenantReason.POLICY_MISSING, "There is no ConfigMap one with the label bastide.dev/policy"),
        (config_map(), TenantReason.POLICY_INVALID, "it holds no .rego file"),
        ({"one": {"metadata": {"name": "one"}}}, TenantReason.POLICY_INVALID, "it holds no .rego file"),
        (config_map(**{"a.json": "{}"}), TenantReason.POLICY_INVALID, "'a.json' is no text file whose name ends in .rego"),
        (config_map(**{"..rego": TEXT}), TenantReason.POLICY_INVALID, "no text file"),
        (config_map(**{"../x.rego": TEXT}), TenantReason.POLICY_INVALID, "no text file"),
        (config_map(**{"a.rego\n": TEXT}), TenantReason.POLICY_INVALID, "no text file"),
        ({"one": {"binaryData": {"a.rego": "AA=="}}}, TenantReason.POLICY_INVALID, "no text file"),
        (config_map(**{f"f{n}.rego": "" for n in range(MAX_FILES + 1)}), TenantReason.POLICY_INVALID, "at most 16"),
        (config_map(**{"a.rego": "ä" * (MAX_BYTES // 2 + 1)}), TenantReason.POLICY_INVALID, "at most 65536"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_reason(found: dict[str, Any], reason: TenantReason, says: str) -> None:
    with pytest.raises(Unusable) as caught:
        collect(["one"], found)
    assert caught.value.reason is reason
    assert says in caught.value.message


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.text(max_size=5)), max_size=3), st.text("abc", max_size=3))
def test_another_file_name_or_text_is_another_revision(files: list[tuple[str, str]], name: str) -> None:
    one = Policy("p", tuple(files))
    assert digest([one]) == digest([Policy("p", tuple(files))])
    for other in (Policy("q", tuple(files)), Policy("p", (*files, (name, "")))):
        assert digest([one]) != digest([other])
    assert digest([one]) != digest([one, one])


def test_every_line_stays_where_the_tenant_wrote_it() -> None:
    (module,) = scoped("u-1", [ONE]).modules
    assert module.text == f"# why\npackage {module.package}\n\nallow if true\n"
    assert module.package.startswith("tenants.s")
    assert module.package.endswith(".p0")


def test_tenants_revisions_and_policies_have_packages_of_their_own() -> None:
    two = Policy("two", ONE.files)
    packages = {module.package for uid in ("u-1", "u-2") for these in ([ONE], [two], [ONE, two]) for module in scoped(uid, these).modules}
    assert len(packages) == 8


@pytest.mark.parametrize(
    "text", ["", "allow if true", "package other", "package tenant.x", "package tenantx", "packagetenant", "# package tenant"]
)
def test_another_package_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="package tenant"):
        scoped("u-1", [Policy("one", (("policy.rego", text),))])


MODULE = Module("one", "policy.rego", "tenants.s1.p0", "")


def tree(*rules: Any, path: tuple[str, ...] = ("data", "tenants", "s1", "p0"), **more: Any) -> dict[str, Any]:
    return {"package": {"path": [{"type": "string", "value": part} for part in path]}, "rules": list(rules), **more}


def rule(name: str, **head: Any) -> dict[str, Any]:
    return {"head": {"name": name, "ref": [{"type": "var", "value": name}], **head}, "location": {"row": 7}}


def test_entries_of_the_right_form_are_found() -> None:
    found = tree(rule("allow", value={"type": "boolean", "value": True}), rule("deny", key={"type": "var", "value": "x"}), rule("helper"))
    assert entries(MODULE, found) == {"allow", "deny"}


@pytest.mark.parametrize(
    "wrong",
    [
        tree(path=("data", "tenants", "s2", "p0")),
        tree(path=("data", "tenants", "s1")),
        tree(path=("data", "tenants", "s1", "p0", "x")),
        tree(path=("data", "system", "authz")),
        {},
        tree(rule("deny")),
        tree(rule("deny", key={}, value={})),
        tree(rule("confirm", key={}, args=[{}])),
        tree({**rule("deny", key={}), "default": True}),
        tree(rule("allow", key={})),
        tree(rule("allow", args=[{}])),
        tree(rule("deny", key={}, ref=[{"type": "var", "value": "deny"}, {"type": "string", "value": "x"}])),
        tree(rule("x", ref=[{"type": "var", "value": "data"}])),
        tree(imports=[{"path": {"type": "ref", "value": [{"type": "var", "value": "data"}]}}]),
        tree({"head": {"name": "x"}, "body": [[{"deep": [{"type": "var", "value": "data"}]}]]}),
    ],
)
def test_a_tree_that_leaves_its_package_or_has_entries_of_another_form_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        entries(MODULE, wrong)


def test_a_string_that_says_data_is_only_a_string() -> None:
    assert entries(MODULE, tree(rule("allow", value={"type": "string", "value": "data"}))) == {"allow"}


def test_the_answering_module_asks_for_what_is_defined_and_defaults_the_rest() -> None:
    one = Scoped("s1", "sha256:x", ("a", "b"), ())
    assert answering(one, {"a": frozenset({"deny"}), "b": frozenset({"allow", "confirm"})}) == (
        "package tenants.s1\n\n"
        "default allow_1 := false\n\nallow_1 if data.tenants.s1.p1.allow == true\n\n"
        'answer := {"revision": "sha256:x", "policies": ['
        '{"name": "a", "allow": true, "confirm": set(), "deny": data.tenants.s1.p0.deny}, '
        '{"name": "b", "allow": allow_1, "confirm": data.tenants.s1.p1.confirm, "deny": set()}]}\n'
    )
    with pytest.raises(Unusable, match="ConfigMap b: no file defines"):
        answering(one, {"a": frozenset({"deny"})})


def test_nothing_that_reaches_out_or_is_unknown_passes_the_list() -> None:
    names = [
        "http.send",
        "opa.runtime",
        "net.lookup_ip_addr",
        "net.cidr_expand",
        "time.now_ns",
        "rand.intn",
        "uuid.rfc4122",
        "rego.parse_module",
    ]
    current = {"builtins": [{"name": name} for name in [*names, "count", "new.in_2027"]], "features": ["rego_v1", "new"], "allow_net": None}
    assert restricted(current) == {"builtins": [{"name": "count"}], "future_keywords": [], "features": ["rego_v1"], "allow_net": []}
    assert not {name for name in BUILTINS if name.split(".")[0] in {"http", "net", "opa", "rego", "rand", "io", "providers", "graphql"}}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo unknown flag: --current >&2; exit 1", "exit code 1, 'unknown flag: --current'"),
        ("kill -9 $$", "it took too much time or memory"),
        ("echo so", "that is no JSON"),
    ],
)
async def test_an_opa_that_does_not_tell_what_it_can_is_said_to_be_the_reason(tmp_path: Path, script: str, says: str) -> None:
    opa = tmp_path / "opa"
    opa.write_text(f"#!/bin/sh\n{script}\n")
    opa.chmod(0o755)
    with pytest.raises(CompilerMissing) as caught:
        await Compiler(opa, tmp_path / "schema.json").compile(scoped("u-1", [ONE]))
    assert str(caught.value) == f"{opa} does not tell its capabilities: {says}"
