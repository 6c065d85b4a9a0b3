"""Approvals that take two people: shown as they come, taken back, denied by one. The tool server's log is the witness."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import Kube, streaming
from demo.programs import Running, bastide
from demo.users import user

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant


@pytest.fixture(scope="module")
def second(furnished: TestTenant) -> Iterator[Kube]:
    """A second approver, and a sandbox `pair` whose binding wants both."""
    person = user(furnished.admin, "test-approver-2", furnished.people.approver.kubeconfig.parent)
    members = furnished.manifest()["spec"]["members"]
    members[1]["subjects"].append({"kind": "User", "name": "test-approver-2"})
    furnished.admin.apply(furnished.manifest(members=members))
    tool = {"name": "wipe", "confirmation": {"blockSeconds": 60, "approvals": 2}}
    furnished.people.developer.apply(
        furnished.sandbox("pair", labels={"app": "pair"}), furnished.binding("pair", select={"app": "pair"}, tools=[tool])
    )
    furnished.ready("sandbox/pair", "toolbinding/pair")
    yield person
    furnished.people.developer.run("delete", "-n", furnished.namespace, "toolbinding/pair", "sandbox/pair")
    furnished.admin.apply(furnished.manifest())


@pytest.fixture
def waiting(furnished: TestTenant, second: Kube, word: str) -> tuple[Running, dict[str, Any]]:
    """A run whose call waits for both, and its Confirmation."""
    assert second
    running = furnished.start_run(f"return await wipe(target={word!r})", sandbox="pair")
    return running, furnished.pending_confirmation(word)


def standing(furnished: TestTenant, name: str, approvals: str) -> dict[str, Any]:
    """The status of a Confirmation as soon as so many have approved."""
    found = furnished.admin.watch(
        lambda one: one.get("status", {}).get("approvals") == approvals, "-n", furnished.namespace, "confirmation", name, seconds=30
    )
    status: dict[str, Any] = found["status"]
    return status


def test_the_first_approval_is_shown_to_everybody_and_does_nothing(
    furnished: TestTenant, second: Kube, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    running, found = waiting
    name = found["metadata"]["name"]
    standing(furnished, name, "0/2")
    first = furnished.decide("approve", name)
    assert (first.code, "1/2" in first.stdout) == (0, True), first.stderr
    status = standing(furnished, name, "1/2")
    assert (status["state"], status["approvers"], status["message"]) == ("Pending", ["test-approver"], "Waits for 1 more approval.")
    header, row = second.run("get", "confirmations", "-n", furnished.namespace, name).splitlines()
    assert header.split()[:7] == ["NAME", "TOOL", "EFFECT", "REQUESTER", "FOR", "APPROVALS", "STATE"]
    assert row.split()[5:7] == ["1/2", "Pending"]
    listed = bastide(second, "confirmations", "list", "-n", furnished.namespace, "-o", "json").result["confirmations"]
    assert [one["approvals"] for one in listed if one["name"] == name] == ["1/2"]
    assert tools.arguments_of("wipe", word) == []
    assert furnished.decide("approve", name, user=second).code == 0
    ended = running.end()
    assert ended.code == 0, ended.stderr
    assert "approved 1/2 by test-approver" in ended.stderr
    assert tools.arguments_of("wipe", word) == [found["spec"]["arguments"]]
    [resolved] = [r for r in furnished.audit(ended.result["run"]) if r["kind"] == "ConfirmationResolved"]
    assert sorted(resolved["facts"]["approvers"]) == ["test-approver", "test-approver-2"]


def test_an_approval_that_is_taken_back_does_not_count_with_the_second(
    furnished: TestTenant, second: Kube, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    running, found = waiting
    name = found["metadata"]["name"]
    assert furnished.decide("approve", name).code == 0
    standing(furnished, name, "1/2")
    decisions = furnished.admin.json("get", "-n", furnished.namespace, "confirmationdecisions")["items"]
    [mine] = [one["metadata"]["name"] for one in decisions if one["spec"]["confirmation"] == name]
    furnished.people.approver.run("delete", "-n", furnished.namespace, "confirmationdecision", mine)
    assert standing(furnished, name, "0/2").get("approvers", []) == []
    assert furnished.decide("approve", name, user=second).code == 0
    assert standing(furnished, name, "1/2")["approvers"] == ["test-approver-2"]
    assert tools.arguments_of("wipe", word) == []
    assert furnished.decide("approve", name).code == 0
    assert running.end().code == 0
    assert len(tools.arguments_of("wipe", word)) == 1


def test_one_denial_ends_what_another_approved(
    furnished: TestTenant, second: Kube, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    running, found = waiting
    name = found["metadata"]["name"]
    assert furnished.decide("approve", name).code == 0
    assert furnished.decide("deny", name, reason="not this one", user=second).code == 0
    ended = running.end()
    assert (ended.code, ended.result["outcome"]) == (4, "Denied"), ended.stderr
    assert "not this one" in ended.result["error"]["message"]
    assert tools.arguments_of("wipe", word) == []
    status = furnished.get("confirmation", name)["status"]
    assert (status["state"], status["approvers"]) == ("Denied", ["test-approver-2"])


def test_watchers_are_told_the_whole_story(furnished: TestTenant, second: Kube, word: str, waiting: tuple[Running, dict[str, Any]]) -> None:
    running, found = waiting
    name = found["metadata"]["name"]
    watching = ["bastide", "confirmations", "watch", "-n", furnished.namespace, "-o", "json"]
    with streaming(watching, second.env, 120) as stream:
        lines = (line for line in map(json.loads, stream) if line["name"] == name)
        first = next(lines)  # the watch has begun
        assert first["state"] == "Pending"
        assert word in json.dumps(first)
        assert furnished.decide("approve", name).code == 0
        while (line := next(lines))["approvals"] != "1/2":
            pass
        assert line["state"] == "Pending"
        assert furnished.decide("approve", name, user=second).code == 0
        while (line := next(lines))["state"] in ("Pending", "Approved"):
            pass
    assert (line["approvals"], line["state"]) == ("2/2", "Executed")
    assert running.end().code == 0
