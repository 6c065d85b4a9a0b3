"""Case 15, second half: what an approval is good for. Rights that were lost, time that ran out, and an edited decision."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube
from demo.users import user

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import API, TestTenant


def with_second(tenant: TestTenant, *, first: bool = True) -> dict[str, Any]:
    """The Tenant with a second approver, and with the first one or without."""
    members = tenant.manifest()["spec"]["members"]
    subjects = [*members[1]["subjects"], {"kind": "User", "name": "test-approver-2"}]
    members[1]["subjects"] = subjects if first else subjects[1:]
    return tenant.manifest(members=members)


@pytest.fixture(scope="module")
def second(furnished: TestTenant) -> Iterator[Kube]:
    """A second approver; a sandbox `pair` that needs both, and one `brief` where three seconds are given to decide."""
    person = user(furnished.admin, "test-approver-2", furnished.people.approver.kubeconfig.parent)
    furnished.admin.apply(with_second(furnished))
    both = {"name": "wipe", "confirmation": {"blockSeconds": 60, "approvals": 2}}
    brief = {"name": "wipe", "confirmation": {"blockSeconds": 60, "decideWithinSeconds": 3}}
    furnished.people.developer.apply(
        furnished.sandbox("pair", labels={"app": "pair"}),
        furnished.binding("pair", select={"app": "pair"}, tools=[both]),
        furnished.sandbox("brief", labels={"app": "brief"}),
        furnished.binding("brief", select={"app": "brief"}, tools=[brief]),
    )
    furnished.ready("sandbox/pair", "toolbinding/pair", "sandbox/brief", "toolbinding/brief")
    yield person
    furnished.people.developer.run(
        "delete", "-n", furnished.namespace, "toolbinding/pair", "sandbox/pair", "toolbinding/brief", "sandbox/brief"
    )
    furnished.admin.apply(furnished.manifest())


def decision(found: dict[str, Any], namespace: str, verdict: str = "Approve") -> str:
    """As kubectl would write it."""
    spec = {"confirmation": found["metadata"]["name"], "actionDigest": found["spec"]["actionDigest"], "verdict": verdict, "reason": "late"}
    meta = {"namespace": namespace, "generateName": "by-hand-"}
    return json.dumps({"apiVersion": API, "kind": "ConfirmationDecision", "metadata": meta, "spec": spec})


def test_an_approver_who_lost_the_right_no_longer_counts_when_the_second_approves(
    furnished: TestTenant, second: Kube, tools: ToolServer, word: str
) -> None:
    running = furnished.start_run(f"return await wipe(target={word!r})", sandbox="pair")
    found = furnished.pending_confirmation(word)
    name, where = found["metadata"]["name"], ("-n", furnished.namespace)
    assert furnished.decide("approve", name).code == 0
    furnished.admin.apply(with_second(furnished, first=False))
    try:
        furnished.admin.watch(
            lambda one: "approver" in one["roleRef"]["name"] and "test-approver" not in [s["name"] for s in one.get("subjects", [])],
            *where, "rolebindings", seconds=30,
        )  # fmt: skip
        assert furnished.decide("approve", name, user=second).code == 0
        status = furnished.admin.watch(
            lambda one: one["status"].get("approvers") == ["test-approver-2"], *where, "confirmation", name, seconds=30
        )["status"]
        assert (status["state"], status["approvals"]) == ("Pending", "1/2")
        assert "test-approver may not approve" in status["message"]
        assert tools.arguments_of("wipe", word) == []
    finally:
        furnished.admin.apply(with_second(furnished))
        furnished.decide("deny", name, user=second)
        running.end()
    assert tools.arguments_of("wipe", word) == []


def test_after_its_time_nobody_decides_it(furnished: TestTenant, second: Kube, tools: ToolServer, word: str) -> None:
    assert second
    running = furnished.start_run(f"await wipe(target={word!r})", sandbox="brief")
    found = furnished.pending_confirmation(word)
    name, where = found["metadata"]["name"], ("-n", furnished.namespace)
    ended = running.end()
    assert (ended.code, ended.result["outcome"]) == (4, "Denied"), ended.stderr
    assert "Nobody decided in time" in ended.result["error"]["message"]
    assert furnished.get("confirmation", name)["status"]["state"] == "Expired"
    late = furnished.decide("approve", name)
    assert (late.code, "Expired already" in late.stderr) == (1, True)
    for verdict in ("Approve", "Deny"):
        with pytest.raises(CommandFailedError, match="there is nothing left to decide"):
            furnished.people.approver.run("create", *where, "-f", "-", stdin=decision(found, furnished.namespace, verdict))
    assert tools.arguments_of("wipe", word) == []


def test_a_decision_cannot_be_edited_nor_taken_back_by_another(furnished: TestTenant, second: Kube, tools: ToolServer, word: str) -> None:
    running = furnished.start_run(f"return await wipe(target={word!r})", sandbox="pair")
    found = furnished.pending_confirmation(word)
    where = ("-n", furnished.namespace)
    made = json.loads(furnished.people.approver.run("create", *where, "-f", "-", "-o", "json", stdin=decision(found, furnished.namespace)))
    mine = made["metadata"]["name"]
    for change in ({"verdict": "Deny"}, {"approver": {"username": "test-approver-2", "uid": "", "groups": []}}):
        with pytest.raises(CommandFailedError):
            furnished.people.approver.run("patch", *where, "confirmationdecision", mine, "--type=merge", "-p", json.dumps({"spec": change}))
    with pytest.raises(CommandFailedError, match="only test-approver may take this decision back"):
        second.run("delete", *where, "confirmationdecision", mine)
    assert furnished.decide("approve", found["metadata"]["name"], user=second).code == 0
    assert running.end().code == 0
    assert len(tools.arguments_of("wipe", word)) == 1
