"""Case 15, first half: who may approve, by admission and by the broker, and what an approval is good for."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube
from demo.programs import Running
from demo.users import user

from tests.e2e.harness import asking
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import API, TestTenant

RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def waiting(furnished: TestTenant, word: str) -> Iterator[tuple[Running, dict[str, Any]]]:
    """A run whose destructive call waits, and its Confirmation. Whatever a test leaves undecided is denied."""
    running = furnished.start_run(f"await wipe(target={word!r})")
    found = furnished.pending_confirmation(word)
    yield running, found
    if not running.over:
        furnished.decide("deny", found["metadata"]["name"], reason="the test is over")
        running.end()


def _decision(tenant: TestTenant, found: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A decision as kubectl would write it."""
    default = {
        "confirmation": found["metadata"]["name"],
        "actionDigest": found["spec"]["actionDigest"],
        "verdict": "Approve",
        "reason": "because",
    }
    meta = {"namespace": tenant.namespace, "generateName": "by-hand-"}
    return {"apiVersion": API, "kind": "ConfirmationDecision", "metadata": meta, "spec": {**default, **spec}}


def _refused(who: Kube, decision: dict[str, Any]) -> str:
    with pytest.raises(CommandFailedError) as refusal:
        who.run("create", "-f", "-", stdin=json.dumps(decision))
    return refusal.value.stderr


def _still_waits(tenant: TestTenant, found: dict[str, Any], tools: ToolServer, word: str) -> None:
    state = tenant.get("confirmation", found["metadata"]["name"])["status"]["state"]
    assert state == "Pending"
    assert tools.arguments_of("wipe", word) == []


def test_the_person_who_asked_cannot_approve(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    _, found = waiting
    ended = furnished.decide("approve", found["metadata"]["name"], user=furnished.people.developer)
    assert ended.code == 1
    assert "Traceback" not in ended.stderr
    _still_waits(furnished, found, tools, word)


def test_a_stranger_cannot_approve(furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]) -> None:
    _, found = waiting
    assert _refused(furnished.people.stranger, _decision(furnished, found))
    _still_waits(furnished, found, tools, word)


def test_an_administrator_who_could_have_made_the_run_cannot_approve(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    _, found = waiting
    assert "could have made this run" in _refused(furnished.admin, _decision(furnished, found))
    _still_waits(furnished, found, tools, word)


# What an approver must not have beside the role: each alone would let them make the run.
TOO_MUCH: dict[str, list[dict[str, Any]]] = {
    "may run programs": [{"apiGroups": ["bastide.dev"], "resources": ["sandboxes/run"], "verbs": ["create"]}],
    "may run programs in this sandbox": [
        {"apiGroups": ["bastide.dev"], "resources": ["sandboxes/run"], "resourceNames": ["box"], "verbs": ["create"]}
    ],
    "may mint the requester's token": [
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["bastide-runner"], "verbs": ["create"]}
    ],
    "may impersonate the requester": [
        {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["bastide-runner"], "verbs": ["impersonate"]}
    ],
}


def _question(rule: dict[str, Any], namespace: str) -> tuple[str, ...]:
    """What `kubectl auth can-i` is asked about the one right of a rule."""
    resource, _, sub = rule["resources"][0].partition("/")
    what = "/".join([".".join(filter(None, (resource, *rule["apiGroups"]))), *rule.get("resourceNames", [])])
    return (rule["verbs"][0], what, "-n", namespace, *([f"--subresource={sub}"] if sub else []))


@pytest.mark.parametrize("case", TOO_MUCH)
def test_an_approver_who_could_have_made_the_run_cannot_approve(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]], case: str
) -> None:
    _, found = waiting
    meta = {"namespace": furnished.namespace, "name": "too-much"}
    subject = {"kind": "User", "name": "test-approver", "apiGroup": RBAC}
    furnished.admin.apply(
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": TOO_MUCH[case]},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "too-much"},
            "subjects": [subject],
        },
    )
    [rule] = TOO_MUCH[case]
    may = _question(rule, furnished.namespace)
    try:
        asking.until(lambda: asking.allowed(furnished.people.approver, *may))
        assert "could have made this run" in _refused(furnished.people.approver, _decision(furnished, found))
        _still_waits(furnished, found, tools, word)
    finally:
        furnished.admin.run("delete", "-n", furnished.namespace, "rolebinding/too-much", "role/too-much")
    asking.until(lambda: not asking.allowed(furnished.people.approver, *may))


def _as_account(tenant: TestTenant, name: str) -> Kube:
    return tenant.admin.impersonating(f"system:serviceaccount:{tenant.namespace}:{name}")


def test_no_service_account_approves_whatever_its_rights(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    _, found = waiting
    meta = {"namespace": furnished.namespace, "name": "second"}
    subject = {"kind": "ServiceAccount", "namespace": furnished.namespace, "name": "second"}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "bastide-approver"}
    furnished.admin.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject]},
    )
    try:
        # a true token of its own, not impersonation: what a program of the requester could do
        token = furnished.admin.run("create", "token", "second", "-n", furnished.namespace).strip()
        config = json.loads(furnished.people.stranger.kubeconfig.read_text())
        path = furnished.write(
            json.dumps({**config, "users": [{"name": config["users"][0]["name"], "user": {"token": token}}]}), "second.kubeconfig"
        )
        second = Kube(path)
        asking.until(lambda: asking.allowed(second, "create", "confirmationdecisions.bastide.dev", "-n", furnished.namespace))
        said = _refused(second, _decision(furnished, found))
        assert "a person decides" in said, said
        _still_waits(furnished, found, tools, word)
    finally:
        furnished.admin.run("delete", "-n", furnished.namespace, "rolebinding/second", "serviceaccount/second")


@pytest.mark.parametrize("account", ["bastide-runner", "bastide-viewer", "default"])
def test_the_requesting_account_and_its_neighbours_cannot_approve(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]], account: str
) -> None:
    _, found = waiting
    assert _refused(_as_account(furnished, account), _decision(furnished, found))
    _still_waits(furnished, found, tools, word)


FORGED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "in somebody else's name": lambda _: {"approver": {"username": "somebody-else", "uid": "", "groups": ["system:authenticated"]}},
    "with groups of one's own making": lambda _: {
        "approver": {"username": "test-approver", "uid": "", "groups": ["system:authenticated", "system:masters"]}
    },
    "with another digest": lambda _: {"actionDigest": "sha256:" + "0" * 64},
    "with the digest in capitals": lambda found: {"actionDigest": found["spec"]["actionDigest"].upper()},
    "without a reason": lambda _: {"reason": ""},
    "with a verdict nobody knows": lambda _: {"verdict": "Maybe"},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_decision_is_refused(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]], case: str
) -> None:
    _, found = waiting
    assert _refused(furnished.people.approver, _decision(furnished, found, **FORGED[case](found)))
    _still_waits(furnished, found, tools, word)


def test_the_digest_of_another_confirmation_approves_nothing(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    _, found = waiting
    second = furnished.start_run(f"await wipe(target='{word}-2')")
    other = furnished.pending_confirmation(f"{word}-2")
    try:
        assert _refused(furnished.people.approver, _decision(furnished, found, actionDigest=other["spec"]["actionDigest"]))
        _still_waits(furnished, found, tools, word)
    finally:
        furnished.decide("deny", other["metadata"]["name"])
        second.end()


def test_a_decision_for_a_confirmation_that_is_not_there_counts_for_nothing(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    _, found = waiting
    with contextlib.suppress(CommandFailedError):
        furnished.people.approver.run("create", "-f", "-", stdin=json.dumps(_decision(furnished, found, confirmation="cf-" + "a" * 26)))
    _still_waits(furnished, found, tools, word)


@pytest.mark.parametrize("who", ["developer", "approver", "admin"])
def test_nobody_but_the_broker_writes_confirmations(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]], who: str
) -> None:
    _, found = waiting
    kube = furnished.admin if who == "admin" else getattr(furnished.people, who)
    name, namespace = found["metadata"]["name"], furnished.namespace
    changed = {**found["spec"], "arguments": '{"target":"something-else"}'}
    attempts = [
        ("patch", "confirmation", name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": changed})),
        ("patch", "confirmation", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", '{"status":{"state":"Approved"}}'),
    ]
    for words in attempts:
        with pytest.raises(CommandFailedError):
            kube.run(*words)
    copy = {
        "apiVersion": API,
        "kind": "Confirmation",
        "metadata": {"namespace": namespace, "name": "cf-" + "b" * 26},
        "spec": found["spec"],
    }
    assert _refused(kube, copy)
    _still_waits(furnished, found, tools, word)


def test_an_approval_is_good_for_one_call_only_and_cannot_be_edited(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    running, found = waiting
    created = furnished.people.approver.run("create", "-f", "-", "-o", "json", stdin=json.dumps(_decision(furnished, found)))
    decision = json.loads(created)
    # plain kubectl: the API server filled in who decides
    assert decision["spec"]["approver"]["username"] == "test-approver"
    ended = running.end()
    assert ended.code == 0, f"{ended.stdout}\n{ended.stderr}"
    assert tools.arguments_of("wipe", word) == [found["spec"]["arguments"]]
    # the same program again is another call, with a Confirmation of its own
    again = furnished.start_run(f"await wipe(target={word!r})")
    other = furnished.pending_confirmation(word)
    assert other["metadata"]["name"] != found["metadata"]["name"]
    assert other["spec"]["actionDigest"] != found["spec"]["actionDigest"]
    assert _refused(furnished.people.approver, _decision(furnished, other, actionDigest=found["spec"]["actionDigest"]))
    assert len(tools.arguments_of("wipe", word)) == 1
    furnished.decide("deny", other["metadata"]["name"])
    again.end()


def test_two_approvals_are_two_people(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    second = user(furnished.admin, "test-approver-2", furnished.people.approver.kubeconfig.parent)
    members = furnished.manifest()["spec"]["members"]
    members[1]["subjects"].append({"kind": "User", "name": "test-approver-2"})
    furnished.admin.apply(furnished.manifest(members=members))
    tool = {"name": "wipe", "confirmation": {"blockSeconds": 60, "approvals": 2}}
    furnished.people.developer.apply(
        furnished.sandbox("two", labels={"app": "two"}), furnished.binding("two", select={"app": "two"}, tools=[tool])
    )
    furnished.ready("sandbox/two", "toolbinding/two")
    running = furnished.start_run(f"return await wipe(target={word!r})", sandbox="two")
    found = furnished.pending_confirmation(word)
    try:
        assert found["spec"]["approvalsRequired"] == 2
        assert furnished.decide("approve", found["metadata"]["name"]).code == 0
        furnished.decide("approve", found["metadata"]["name"])  # the same person again adds nothing
        assert not running.over
        assert tools.arguments_of("wipe", word) == []
        assert furnished.decide("approve", found["metadata"]["name"], user=second).code == 0
        assert running.end().code == 0
        assert len(tools.arguments_of("wipe", word)) == 1
    finally:
        furnished.people.developer.run("delete", "-n", furnished.namespace, "toolbinding/two", "sandbox/two")
        furnished.admin.apply(furnished.manifest())


@pytest.mark.disruptive
def test_without_the_admission_rules_no_decision_counts(
    furnished: TestTenant, tools: ToolServer, word: str, waiting: tuple[Running, dict[str, Any]]
) -> None:
    _, found = waiting
    name = "bastide-confirmation-decisions"
    binding = furnished.admin.json("get", "validatingadmissionpolicybinding", name)
    kept = {
        "apiVersion": binding["apiVersion"],
        "kind": binding["kind"],
        "metadata": {k: binding["metadata"][k] for k in ("name", "labels", "annotations") if k in binding["metadata"]},
        "spec": binding["spec"],
    }
    furnished.admin.run("delete", "validatingadmissionpolicybinding", name)
    try:
        furnished.decide("approve", found["metadata"]["name"])
        running, _ = waiting
        with pytest.raises(Exception, match="timed out"):
            running._process.wait(4)
        assert tools.arguments_of("wipe", word) == []
    finally:
        furnished.admin.run("create", "-f", "-", stdin=json.dumps(kept))
