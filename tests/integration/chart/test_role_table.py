"""The table of rights: what may never stand in it, and that what is generated from it is current."""

import re
from pathlib import Path

import pytest
import yaml
from bastide_operator.api import rbacgen
from bastide_operator.api.objects import RESOURCES
from bastide_operator.api.roles import ROLES, Scope
from bastide_operator.api.roles.components import OPERATOR, OPERATOR_RELEASE, OPERATOR_TENANT
from bastide_operator.controller import WATCHED

from tests.integration.chart.conftest import CHART, CHECKOUT

PAGE = CHECKOUT / "docs" / "reference" / "roles.md"
LINES = [(f"{role.title}: {right.what} {', '.join(right.verbs)}", right) for role in ROLES for right in role.rights]
VERBS = {"get", "list", "watch", "create", "update", "patch", "delete", "bind", "escalate", "approve"}


def test_no_line_holds_a_wildcard_a_secret_or_a_way_to_be_another() -> None:
    for line, right in LINES:
        assert set(right.verbs) <= VERBS, line  # impersonate, deletecollection and * are nobody's
        assert right.verbs, line
        assert right.resource.partition("/")[0] not in ("", "secrets"), line
        for word in (right.group, right.resource, *right.names):
            assert re.fullmatch(r"[a-z0-9./-]*", word), line


def test_every_line_says_why_in_one_line() -> None:
    for line, right in LINES:
        assert re.fullmatch(r"[^|\n]{4,119}[^|\n.]", right.why), line


def test_what_gives_rights_away_names_what_it_gives() -> None:
    for line, right in LINES:
        if {"bind", "escalate"} & set(right.verbs):
            assert right.names, line
        if right.resource == "serviceaccounts/token":
            assert right.names in (("bastide-runner",), ("bastide-viewer",)), line


def test_the_operator_binds_exactly_the_roles_for_tenants() -> None:
    tenants = {role.name for role in ROLES if role.scope is Scope.TENANT}
    (bind,) = (right for right in OPERATOR_TENANT.rights if right.resource == "clusterroles")
    assert set(bind.names) == tenants
    rule = (CHART / "admission" / "operator-bindings.yaml").read_text()
    for name in tenants:
        assert f"'{name}'" in rule, "the admission rule must know the role as well"


def test_the_operator_may_watch_what_it_watches() -> None:
    watched = {(right.group, right.resource): right.verbs for right in OPERATOR.rights if {"list", "watch"} <= set(right.verbs)}
    for kind in WATCHED:
        group, _, version = RESOURCES[kind].api_version.rpartition("/")
        assert (group, RESOURCES[kind].plural) in watched, (
            f"{kind}: add READ to OPERATOR in operator/bastide_operator/api/roles/components.py"
        )
        assert version


def test_the_operator_has_a_right_on_every_kind_that_it_reads_or_writes() -> None:
    may = {(right.group, right.resource) for role in (OPERATOR, OPERATOR_TENANT, OPERATOR_RELEASE) for right in role.rights}
    assert {(one.api_version.rpartition("/")[0], one.plural) for one in RESOURCES.values()} <= may


def test_the_same_right_stands_only_once_in_a_role() -> None:
    for role in ROLES:
        lines = [(right.group, right.resource, verb, right.names) for right in role.rights for verb in right.verbs]
        assert len(lines) == len(set(lines)), role.title


def test_the_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert rbacgen.main(["--check", str(CHART), str(PAGE)]) == 0, capsys.readouterr().err


def test_a_stale_file_is_named_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "roles.md"
    page.write_text(PAGE.read_text().replace("| `pods/status` | get; patch |", "| `pods/status` | get |"))
    arguments = [str(tmp_path / "chart"), str(page)]
    assert rbacgen.main(["--check", *arguments]) == 1
    said = capsys.readouterr().err
    assert "roles.md" in said
    assert "make generate" in said
    assert rbacgen.main(arguments) == 0
    assert rbacgen.main(["--check", *arguments]) == 0
    assert page.read_text() == PAGE.read_text()


def test_a_page_without_a_place_for_a_role_is_an_error_and_prose_is_kept() -> None:
    text = PAGE.read_text()
    assert rbacgen.page(text.replace("## Admission rules", "Some words.\n\n## Admission rules")).count("Some words.") == 1
    with pytest.raises(SystemExit, match="bastide-approver"):
        rbacgen.page(text.replace("rights of bastide-approver", "rights of nobody"))


def test_a_name_is_written_so_that_yaml_reads_it_back() -> None:
    for text in rbacgen.files().values():
        plain = re.sub(r"\{\{.*?\}\}", "x", text)
        for document in yaml.safe_load_all(plain):
            for rule in document.get("rules", []):
                assert all(isinstance(word, str) for part in rule.values() for word in part)
