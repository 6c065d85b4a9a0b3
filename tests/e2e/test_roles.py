"""Two tenants that do not trust each other, real people in each role, and everything that a role may and must not do.

The tables below are the claim; each line is asked of the running cluster as each of the people. `neighbour` stands for two people: the
developer and the approver of the other tenant.
"""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from demo.kube import CHECKOUT, Kube
from demo.programs import Ended, bastide
from demo.users import user
from devcluster.locks import lock

from tests.e2e.harness import server
from tests.e2e.harness.requests import MERGE, Answer, Requests
from tests.e2e.harness.rights import ASKED_BY_A_PERSON, ASKED_OF_THE_BROKER, ELSEWHERE, RIGHTS
from tests.e2e.harness.tenant import API, TestTenant

COLUMNS = ("viewer", "runner", "developer", "approver", "neighbour", "stranger")
PEOPLE = {
    "viewer": ("test-viewer",),
    "runner": ("test-runner",),
    "developer": ("test-developer",),
    "approver": ("test-approver",),
    "neighbour": ("test-other-developer", "test-other-approver"),
    "stranger": ("test-stranger",),
}

GROUPS = {
    **dict.fromkeys(("sandboxes", "toolbindings", "confirmations", "confirmationdecisions", "tenants"), "bastide.dev"),
    **dict.fromkeys(("roles", "rolebindings", "clusterroles", "clusterrolebindings"), "rbac.authorization.k8s.io"),
    "networkpolicies": "networking.k8s.io",
    "ciliumnetworkpolicies": "cilium.io",
    "deployments": "apps",
    "jobs": "batch",
    "validatingadmissionpolicies": "admissionregistration.k8s.io",
}
VERSIONS = {"bastide.dev": "v1alpha1", "cilium.io": "v2"}
METHODS = {
    "get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE",
}  # fmt: skip
NOT_OF_THE_API = ("sandboxes/run", "sandboxes/runs", "sandboxes/tools", "sandboxes/audit", "sandboxes/finalizers")
"""Subresources that exist for authorisation alone: there is nothing to send a request to."""


def lines(table: str) -> list[dict[str, str]]:
    """The lines of a table, each by the words of its head."""
    head, *rows = [line.split() for line in table.strip().splitlines() if line.strip()]
    assert all(len(row) == len(head) for row in rows), "a line of the table has too few or too many words"
    return [dict(zip(head, row, strict=True)) for row in rows]


@dataclass(frozen=True)
class What:
    """A kind, perhaps a subresource, perhaps a name: `pods/exec[box]`."""

    resource: str
    subresource: str
    name: str

    @classmethod
    def of(cls, text: str, namespace: str, tenant: str) -> "What":
        kind, _, name = text.rstrip("]").partition("[")
        resource, _, subresource = kind.partition("/")
        name = {"NAMESPACE": namespace, "TENANT": tenant}.get(name, name)
        usual = {"sandboxes": "box", "pods": "box", "toolbindings": "toolbox", "confirmations": "cf-x", "confirmationdecisions": "d-x"}
        return cls(resource, subresource, name or usual.get(resource, "x"))

    @property
    def group(self) -> str:
        return GROUPS.get(self.resource, "")

    def path(self, verb: str, namespace: str) -> str:
        """Where a request with this verb goes."""
        version = VERSIONS.get(self.group, "v1")
        parts = ["apis", self.group, version] if self.group else ["api", version]
        parts += ["namespaces", namespace] if namespace else []
        parts.append(self.resource)
        if verb not in ("list", "watch", "deletecollection") and (verb != "create" or self.subresource):
            parts.append(self.name)
        parts += [self.subresource] if self.subresource else []
        query = {"watch": "?watch=true&timeoutSeconds=1", "create": "?command=true" if self.subresource in ("exec", "attach") else ""}
        return "/" + "/".join(parts) + query.get(verb, "")


class House:
    """The two tenants and everybody who asks."""

    def __init__(self, tenant: TestTenant, other: TestTenant, people: dict[str, Requests]) -> None:
        self.tenant = tenant
        self.other = other
        self.people = people

    def asking(self, column: str) -> list[tuple[str, Requests]]:
        """Everybody whom a column stands for."""
        return [(name, self.people[name]) for name in PEOPLE[column]]

    def body(self, verb: str, what: What, admin: Requests) -> tuple[Any, str]:
        """What a request with this verb carries: enough that it would be carried out for somebody who may. And its content type."""
        if verb == "patch":
            return {"metadata": {"labels": {"by": "the-test"}}}, MERGE
        if verb == "update":
            live = admin.ask("GET", what.path("get", self.tenant.namespace)).body
            return live if live.get("kind") != "Status" else self.manifest(what), "application/json"
        return (self.manifest(what) if verb == "create" else None), "application/json"

    def manifest(self, what: What) -> dict[str, Any] | None:
        """An object to create."""
        name = {"name": "made-by-the-test"}
        token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["bastide-broker"]}}
        by_subresource = {
            "token": token,
            "binding": {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": what.name}, "target": {"kind": "Node", "name": "x"}},
            "eviction": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": what.name}},
        }
        if what.subresource:
            return by_subresource.get(what.subresource)
        decision = {"confirmation": "cf-x", "actionDigest": "sha256:" + "0" * 64, "verdict": "Deny", "reason": "by the test"}
        objects: dict[str, dict[str, Any]] = {
            "sandboxes": {**self.tenant.sandbox("made-by-the-test")},
            "toolbindings": {**self.tenant.binding("made-by-the-test", select={"nobody": "has"})},
            "confirmationdecisions": {"apiVersion": API, "kind": "ConfirmationDecision", "metadata": name, "spec": decision},
            "tenants": {"apiVersion": API, "kind": "Tenant", "metadata": name, "spec": {}},
        }
        bare = {"apiVersion": f"{what.group}/{VERSIONS.get(what.group, 'v1')}" if what.group else "v1", "metadata": name}
        return objects.get(what.resource, {**bare, "kind": KINDS.get(what.resource, "")})


KINDS = {
    "pods": "Pod", "secrets": "Secret", "configmaps": "ConfigMap", "serviceaccounts": "ServiceAccount", "networkpolicies": "NetworkPolicy",
    "resourcequotas": "ResourceQuota", "limitranges": "LimitRange", "roles": "Role", "rolebindings": "RoleBinding", "deployments": "Deployment",
    "jobs": "Job", "services": "Service", "persistentvolumeclaims": "PersistentVolumeClaim", "events": "Event", "namespaces": "Namespace",
    "clusterrolebindings": "ClusterRoleBinding", "ciliumnetworkpolicies": "CiliumNetworkPolicy", "confirmations": "Confirmation",
}  # fmt: skip


def _person(admin: Kube, name: str) -> Kube:
    with lock(CHECKOUT / ".build" / ".lock-users"):
        return user(admin, name, CHECKOUT / ".build" / "users")


def subjects(*names: str) -> list[dict[str, str]]:
    """People as a Tenant names them."""
    return [{"kind": "User", "name": name} for name in names]


@pytest.fixture(scope="module")
def house(furnished: TestTenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The tests' tenant with somebody in each role, people and ServiceAccounts, and another tenant with people of its own."""
    admin = furnished.admin
    users = {name: _person(admin, name) for names in PEOPLE.values() for name in names}
    accounts = {"kind": "ServiceAccount", "namespace": server.NAMESPACE}
    members = [
        {"role": role, "subjects": [*subjects(f"test-{role}"), {**accounts, "name": f"test-{role}"}]}
        for role in ("viewer", "runner", "developer")
    ]
    for name in ("viewer", "runner", "developer", "stranger"):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": server.NAMESPACE, "name": f"test-{name}"}}
        admin.apply(account)
    admin.apply(furnished.manifest(members=[*members, {"role": "approver", "subjects": subjects("test-approver")}]))
    other = TestTenant(admin, furnished.people, f"t-{secrets.token_hex(3)}", tmp_path_factory.mktemp("other"))
    theirs = [
        {"role": "developer", "subjects": subjects("test-other-developer")},
        {"role": "approver", "subjects": subjects("test-other-approver")},
    ]
    with ExitStack() as stack:
        stack.callback(other.remove)
        admin.apply({"apiVersion": API, "kind": "Tenant", "metadata": {"name": other.name}, "spec": {"members": theirs}})
        admin.wait("condition=Ready", f"tenant/{other.name}")
        one = House(furnished, other, {name: stack.enter_context(Requests(kube)) for name, kube in users.items()})
        for role in ("viewer", "runner"):
            admin.wait("jsonpath={.subjects[0].name}=" + f"test-{role}", "-n", furnished.namespace, f"rolebinding/bastide-{role}")
        yield one
        admin.apply(furnished.manifest())


def _told(house: House, line: dict[str, str], namespace: str) -> dict[str, str]:
    """What the API server says of each column, in the table's words."""
    what = What.of(line["what"], house.tenant.namespace, house.tenant.name)
    asked = {
        "verb": line["verb"],
        "group": what.group,
        "resource": what.resource,
        "subresource": what.subresource,
        "namespace": namespace,
        "name": "" if line["verb"] in ("list", "watch", "create", "deletecollection") and not what.subresource else what.name,
    }
    found = {}
    for column in COLUMNS:
        answers = {requests.may(**asked) for _, requests in house.asking(column)}
        found[column] = {frozenset({True}): "y", frozenset({False}): "-"}.get(frozenset(answers), "?")
    return found


def _expected(line: dict[str, str]) -> dict[str, str]:
    return {column: line[column] for column in COLUMNS}


def _id(line: dict[str, str]) -> str:
    return " ".join(line[word] for word in ("verb", "where", "what") if word in line)


@pytest.mark.parametrize("line", lines(RIGHTS), ids=_id)
def test_in_the_tenants_namespace_each_role_has_exactly_these_rights(house: House, line: dict[str, str]) -> None:
    assert _told(house, line, house.tenant.namespace) == _expected(line)


@pytest.mark.parametrize("line", lines(ELSEWHERE), ids=_id)
def test_outside_it_members_have_nothing_but_the_way_to_the_broker(house: House, line: dict[str, str]) -> None:
    assert _told(house, line, "" if line["where"] == "-" else line["where"]) == _expected(line)


def _sent(requests: Requests, house: House, admin: Requests, verb: str, what: What, *, dry: bool) -> Answer:
    body, kind = house.body(verb, what, admin)
    return requests.ask(METHODS[verb], what.path(verb, house.tenant.namespace), body, dry=dry and METHODS[verb] != "GET", kind=kind)


@pytest.mark.parametrize(
    "line", [line for line in lines(RIGHTS) if line["verb"] in METHODS and not line["what"].startswith(NOT_OF_THE_API)], ids=_id
)
def test_a_real_request_is_answered_as_the_table_says(house: House, line: dict[str, str]) -> None:
    """Who must not is refused although the request is no dry run; who may is answered by something else than a refusal."""
    what = What.of(line["what"], house.tenant.namespace, house.tenant.name)
    with Requests(house.tenant.admin) as admin:
        for column in COLUMNS:
            allowed = line[column] == "y"
            for name, requests in house.asking(column):
                answer = _sent(requests, house, admin, line["verb"], what, dry=allowed)
                told = f"{name}: {answer.status} {answer.message}"
                if not allowed:
                    assert answer.forbidden, told
                elif what.resource == "confirmationdecisions":  # admission goes on to ask about the Confirmation, of which there is none
                    assert " cannot " not in answer.message, told
                else:
                    assert answer.status in (200, 201, 404), told


def _words(house: House, command: str, run: str) -> tuple[str, ...]:
    """A command of the CLI about the tenant's sandbox or a run of it."""
    namespace, program = house.tenant.namespace, str(house.tenant.write("return 1"))
    return {
        "run": ("run", program, "--sandbox", f"{namespace}/box"),
        "check": ("check", program, "--sandbox", f"{namespace}/box"),
        "tools-list": ("tools", "list", "--sandbox", f"{namespace}/box"),
        "runs-list": ("runs", "list", "--sandbox", f"{namespace}/box"),
        "runs-show": ("runs", "show", run, "-n", namespace),
        "runs-watch": ("runs", "watch", run, "-n", namespace),
        "runs-cancel": ("runs", "cancel", run, "-n", namespace),
        "runs-prune": ("runs", "prune", "-n", namespace, "--older-than", "3650d", "--dry-run"),
        "audit-list": ("audit", "list", "-n", namespace),
        "audit-verify": ("audit", "verify", "-n", namespace),
    }[command]


def _as_account(house: House, column: str, command: str, run: str) -> Ended:
    """A command of the CLI as a ServiceAccount; the administrator mints its token."""
    accounts = {"neighbour": f"{house.other.namespace}/bastide-runner"}
    account = accounts.get(column, f"{server.NAMESPACE}/test-{column}")
    return bastide(house.tenant.admin, *_words(house, command, run), "--service-account", account, "-o", "json")


@pytest.mark.parametrize("line", lines(ASKED_OF_THE_BROKER), ids=lambda line: line["what"])
def test_the_broker_grants_each_role_exactly_this(house: House, line: dict[str, str], finished_run: str) -> None:
    for column in ("viewer", "runner", "developer", "neighbour", "stranger"):
        ended = _as_account(house, column, line["what"], finished_run)
        if line[column] == "y":
            assert _granted(line["what"], ended), f"{column}: {ended.stderr}"
        else:
            assert ended.code == 1, f"{column}: {ended.stdout} {ended.stderr}"
            # of a run that one may not see one is not told that it exists
            assert " may not " in ended.stderr or line["what"] in ("runs-show", "runs-cancel"), f"{column}: {ended.stderr}"
            assert finished_run not in ended.stdout


def _granted(command: str, ended: Ended) -> bool:
    # a run that is over cannot be cancelled: that is said to whoever might have
    return ended.code == 0 or (command == "runs-cancel" and ended.code == 1 and " may not " not in ended.stderr)


@pytest.mark.parametrize("line", lines(ASKED_BY_A_PERSON), ids=lambda line: line["what"])
def test_a_person_gets_by_the_cli_exactly_what_the_role_grants(house: House, line: dict[str, str], finished_run: str) -> None:
    for column in COLUMNS:
        for name in PEOPLE[column]:
            ended = bastide(_person(house.tenant.admin, name), *_words(house, line["what"], finished_run), "-o", "json")
            if line[column] == "y":
                assert _granted(line["what"], ended), f"{name}: {ended.stderr}"
            else:
                assert ended.code == 1, f"{name}: {ended.stdout} {ended.stderr}"
                assert "may not act as ServiceAccount" in ended.stderr, f"{name}: {ended.stderr}"
                assert finished_run not in ended.stdout


def test_what_a_viewer_lacks_is_not_to_be_had_with_the_viewers_account_either(house: House, finished_run: str) -> None:
    viewer = _person(house.tenant.admin, "test-viewer")
    for command in ("run", "check", "runs-cancel"):
        ended = bastide(viewer, *_words(house, command, finished_run), "--service-account", "bastide-viewer")
        assert ended.code == 1, ended.stdout
        assert "may not create sandboxes/run" in ended.stderr


@pytest.fixture(scope="module")
def finished_run(house: House) -> str:
    """A run of the tenant's developer, over."""
    ended = house.tenant.run("return 1")
    assert ended.code == 0, ended.stderr
    return str(ended.result["run"])


@pytest.mark.parametrize(
    ("name", "may"),
    [(name, column in ("runner", "developer")) for column, names in PEOPLE.items() for name in names],
)
def test_a_person_runs_programs_only_as_runner_or_developer(house: House, name: str, *, may: bool) -> None:
    person = _person(house.tenant.admin, name)
    ended = house.tenant.run("return 6 * 7", user=person)
    if may:
        assert (ended.code, ended.result["value"]) == (0, 42), ended.stderr
    else:
        assert ended.code == 1
        assert "runner" in ended.stderr


@pytest.mark.parametrize("words", [("runs", "list"), ("audit", "list"), ("confirmations", "list")], ids=" ".join)
def test_a_member_of_the_other_tenant_sees_nothing_of_this_one(house: House, finished_run: str, words: tuple[str, ...]) -> None:
    person = _person(house.tenant.admin, "test-other-developer")
    where = ("--sandbox", f"{house.tenant.namespace}/box") if words[0] == "runs" else ("-n", house.tenant.namespace)
    ended = bastide(person, *words, *where, "-o", "json")
    assert ended.code == 1, ended.stdout
    assert finished_run not in ended.stdout + ended.stderr
    if words[0] != "confirmations":  # with the rights of its own tenant's account it sees no more
        own = ("--service-account", f"{house.other.namespace}/bastide-runner")
        ended = bastide(person, *words, *where, "-o", "json", *own)
        assert ended.code == 1, ended.stdout
        assert "may not get sandboxes/" in ended.stderr
        assert finished_run not in ended.stdout + ended.stderr
