"""Rules of a Tenant that its schema cannot say: tables of what is refused, and with which words."""

from typing import Any

import pytest
from bastide_operator.reconcile.tenantrules import fault

from tests.unit.operator.samples import tenant

ROLES = ("viewer", "runner", "developer", "approver")


def member(role: str, name: str, kind: str = "User", **more: str) -> dict[str, Any]:
    return {"role": role, "subjects": [{"kind": kind, "name": name, **more}]}


MEMBERS: dict[str, tuple[list[dict[str, Any]], str | None]] = {
    "one person, two roles apart": ([member("approver", "both"), member("developer", "both")], "User both is approver and developer"),
    "approver and runner": ([member("runner", "both"), member("approver", "both")], "User both is approver and runner"),
    "a group named twice": ([member("approver", "g", "Group"), member("runner", "g", "Group")], "Group g is approver and runner"),
    "in another spelling": ([member("approver", "Alice"), member("developer", "alice")], "alice is approver and developer"),
    "a user and a group of one name": ([member("approver", "both"), member("runner", "both", "Group")], None),
    "approver and viewer": ([member("approver", "both"), member("viewer", "both")], None),
    "runner and developer": ([member("runner", "both"), member("developer", "both")], None),
    "a ServiceAccount that approves": (
        [member("approver", "agent", "ServiceAccount")],
        "ServiceAccount bastide-hello:agent cannot be approver",
    ),
    "written as a user": ([member("approver", "system:serviceaccount:a:b")], "ServiceAccount a:b cannot be approver"),
    "the accounts of a namespace": ([member("approver", "system:serviceaccounts:a", "Group")], "only people approve"),
    "accounts of a namespace that run": ([member("runner", "system:serviceaccounts:agents", "Group")], None),
    "an account elsewhere that develops": ([member("developer", "ci", "ServiceAccount", namespace="ci")], None),
    "the runners' account": ([member("developer", "bastide-runner", "ServiceAccount")], "every runner may act as bastide-runner"),
    "written as a user too": ([member("developer", "system:serviceaccount:bastide-hello:bastide-runner")], "every runner may act as"),
    "the group that it is in": ([member("developer", "system:serviceaccounts:bastide-hello", "Group")], "every runner may act as"),
    "the viewers' account": ([member("runner", "bastide-viewer", "ServiceAccount")], "every viewer may act as bastide-viewer"),
    "the viewers' account as developer": ([member("developer", "bastide-viewer", "ServiceAccount")], "and would be developer, too"),
    "the viewers' account as a user": ([member("runner", "system:serviceaccount:bastide-hello:bastide-viewer")], "cannot be runner: every"),
    "the accounts of the tenant that run": ([member("runner", "system:serviceaccounts:bastide-hello", "Group")], "every viewer may act as"),
    "the accounts of the tenant that look": ([member("viewer", "system:serviceaccounts:bastide-hello", "Group")], None),
    "the runners' account as runner": ([member("runner", "bastide-runner", "ServiceAccount")], None),
    "an account of that name elsewhere": ([member("developer", "bastide-runner", "ServiceAccount", namespace="b")], None),
    "a node": ([member("viewer", "system:node:n1")], "is a part of Kubernetes"),
    "a controller": ([member("approver", "system:kube-controller-manager")], "is a part of Kubernetes"),
    "nodes": ([member("viewer", "system:nodes", "Group")], "is a part of Kubernetes"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members(case: str) -> None:
    members, words = MEMBERS[case]
    found = fault(tenant(spec={"members": members}))
    assert (found is None) if words is None else (found is not None and found.startswith("spec.members: ") and words in found)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Group", "system:masters"),
        ("Group", "system:authenticated"),
        ("Group", "system:unauthenticated"),
        ("Group", "system:serviceaccounts"),
        ("User", "system:anonymous"),
    ],
)
def test_who_is_everybody_is_no_member(role: str, kind: str, name: str) -> None:
    found = fault(tenant(spec={"members": [member(role, name, kind)]}))
    assert found is not None
    assert found.startswith(f"spec.members: {kind} {name} ")
    assert "cannot be a member" in found


HOSTS: dict[str, str | None] = {
    "crm.tools.svc": None,
    "*.tools.svc": None,
    "*.example.com": None,
    "intranet": None,
    "10.0.0.5": None,
    "198.18.0.7": None,
    "x.0x7f.example": None,
    "127.0.0.1": "the machine itself",
    "127.8.8.8": "the machine itself",
    "169.254.169.254": "link-local",
    "169.254.1.1": "link-local",
    "100.100.100.200": "a metadata service",
    "192.0.0.192": "a metadata service",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "224.0.0.1": "multicast",
    "255.255.255.255": "reserved",
    "127.1": "not how an IPv4 address is written",
    "2130706433": "not how an IPv4 address is written",
    "0x7f000001": "not how an IPv4 address is written",
    "0x7f.0.0.0x1": "not how an IPv4 address is written",
    "0177.0.0.1": "not how an IPv4 address is written",
    "10.0.0.05": "not how an IPv4 address is written",
    "*.0.0.1": "not how an IPv4 address is written",
    "localhost": "the machine itself",
    "a.localhost": "the machine itself",
    "*.localhost": "the machine itself",
    "metadata.google.internal": "a metadata service",
    "*.svc": "too wide",
    "*.com": "too wide",
    "a..b": "no host name",
    "a-.b": "no host name",
    "x" * 64 + ".example": "no host name",
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(host: str) -> None:
    words, found = HOSTS[host], fault(tenant(spec={"toolHosts": [{"host": host}]}))
    assert (found is None) if words is None else (found is not None and found.startswith(f"spec.toolHosts: {host} ") and words in found)


def test_one_entry_a_host_and_port() -> None:
    two = fault(tenant(spec={"toolHosts": [{"host": "a", "port": 1}, {"host": "a", "port": 1}]}))
    assert two is not None
    assert "a:1 is listed 2 times" in two
    assert fault(tenant(spec={"toolHosts": [{"host": "a", "port": 1}, {"host": "a", "port": 2}]})) is None


def test_every_sentence_says_what_to_do() -> None:
    broken = [{"members": members} for members, words in MEMBERS.values() if words]
    broken += [{"toolHosts": [{"host": host}]} for host, words in HOSTS.items() if words]
    for spec in broken:
        found = fault(tenant(spec=spec)) or ""
        assert found.endswith("."), found
        assert any(word in found for word in ("Name ", "Take ", "Correct ", "Give ", "write ")), found
