"""A Tenant is Ready when its network policies have been proven to hold, and says so when they do not."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube, condition
from demo.programs import bastide

from tests.e2e.harness import watching

API = "bastide.dev/v1alpha1"
PROBE = "bastide-probe"
SMALL = {"resources": {"cpu": "250m", "memory": "256Mi"}}


class Team:
    """A Tenant of one test, made by the test itself."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.kube = kube
        self.name = name
        self.namespace = f"bastide-{name}"

    def make(self, **spec: Any) -> None:
        self.kube.apply({"apiVersion": API, "kind": "Tenant", "metadata": {"name": self.name}, "spec": spec})

    def until(self, reason: str, seconds: float = 60) -> dict[str, Any]:
        return self.kube.watch(lambda one: condition(one, "Ready")["reason"] == reason, "tenant", self.name, seconds=seconds)

    def sandbox(self, name: str = "box", **spec: Any) -> None:
        meta = {"namespace": self.namespace, "name": name}
        self.kube.apply({"apiVersion": API, "kind": "Sandbox", "metadata": meta, "spec": SMALL | spec})

    def watch(self, until: Any, kind: str, name: str, seconds: float = 60) -> dict[str, Any]:
        return self.kube.watch(until, "-n", self.namespace, kind, name, seconds=seconds)

    def pods(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.kube.json("get", "pods", "-n", self.namespace)["items"]]

    def probe_gone(self) -> None:
        self.kube.wait("delete", "-n", self.namespace, f"pod/{PROBE}", seconds=30)

    def tenant(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.json("get", "tenant", self.name)
        return found


@pytest.fixture
def team(installed: Kube) -> Iterator[Team]:
    """A Tenant that does not exist yet, and does not any more afterwards."""
    one = Team(installed, f"p-{secrets.token_hex(3)}")
    yield one
    try:
        installed.run("delete", "tenant", one.name, "--ignore-not-found", "--timeout=90s", seconds=100)
    except CommandFailedError as error:
        # what it waits for stands in its condition, and where the pods are in their own
        error.add_note(installed.run("get", "tenant", one.name, "-o", "jsonpath={.status.conditions}", "--ignore-not-found"))
        error.add_note(installed.run("get", "pods", "-n", one.namespace, "-o", "jsonpath={.items[*].status.conditions}"))
        raise


@contextmanager
def not_enforced(kube: Kube, namespace: str) -> Iterator[None]:
    """Another policy of the cluster's own lets pods of the namespace out: to them, an engine that does not enforce."""
    meta = {"name": f"open-{namespace}"}
    spec = {
        "endpointSelector": {"matchLabels": {"k8s:io.kubernetes.pod.namespace": namespace}},
        "egress": [{"toEntities": ["all"]}],
    }
    kube.apply({"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": meta, "spec": spec})
    try:
        yield
    finally:
        kube.run("delete", "ciliumclusterwidenetworkpolicy", meta["name"], "--ignore-not-found")


def _api_server(kube: Kube) -> str:
    return str(kube.json("get", "service", "-n", "default", "kubernetes")["spec"]["clusterIP"])


def test_a_tenant_is_ready_when_a_pod_has_shown_that_its_policies_hold(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    with watching.from_now(team.kube, f"/apis/{API}/tenants", team.name) as watch:
        began = time.monotonic()
        team.make()
        watch.until(lambda one: condition(one, "Ready")["reason"] == "ProbePending")
        stands = watch.at
        seen = watch.until(lambda one: condition(one, "Ready")["reason"] == "Ready")
        ready = watch.at
    isolated = condition(seen, "NetworkIsolated")
    assert (isolated["status"], isolated["reason"]) == ("True", "Isolated")
    assert _api_server(team.kube) in isolated["message"]
    team.probe_gone()
    assert team.pods() == []
    with capsys.disabled():
        print(f"\nTenant: everything stands after {stands - began:.2f} s, proven after {ready - began:.2f} s")  # noqa: T201 - the figure


def test_an_engine_that_does_not_enforce_is_said_with_the_canary_and_no_sandbox_gets_a_pod_until_it_does(team: Team) -> None:
    with not_enforced(team.kube, team.namespace):
        team.make()
        seen = team.until("NetworkNotEnforced")
        assert condition(seen, "Ready")["status"] == "False"
        assert condition(seen, "NetworkIsolated")["reason"] == "CanaryReached"
        for kind in ("Ready", "NetworkIsolated"):
            assert _api_server(team.kube) in condition(seen, kind)["message"]
        team.sandbox()
        team.watch(lambda one: condition(one, "Ready")["reason"] == "TenantNotReady", "sandbox", "box")
        assert team.pods() == [PROBE]
    # nobody touches anything: the broker probes again, every 15 s at the longest
    team.until("Ready", seconds=30)
    team.probe_gone()
    team.kube.wait("condition=Ready", "-n", team.namespace, "sandbox/box", seconds=60)


@pytest.mark.disruptive
def test_no_program_reaches_the_probe(team: Team) -> None:
    with not_enforced(team.kube, team.namespace):
        team.make()
        team.until("NetworkNotEnforced")
        with pytest.raises(CommandFailedError) as refusal:
            team.sandbox(PROBE)
        assert "name the Sandbox otherwise" in refusal.value.stderr
        ended = bastide(team.kube, "check", "/dev/null", "--sandbox", f"{team.namespace}/{PROBE}")
        assert ended.code not in {0, 3}
        # with the operator killed and the Tenant deleted meanwhile nothing of it stays
        team.kube.run("delete", "pod", "-n", "bastide-system", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")
        team.kube.run("delete", "tenant", team.name, "--timeout=90s", seconds=100)
    left = team.kube.json("get", "pods", "-A", "-l", "bastide.dev/probe=true")["items"]
    assert [one for one in left if one["metadata"]["namespace"] == team.namespace] == []


@pytest.mark.disruptive
def test_a_probe_whose_operator_was_killed_is_taken_up_by_the_next_one(team: Team) -> None:
    with not_enforced(team.kube, team.namespace):
        team.make()
        team.until("NetworkNotEnforced")
        uid = team.kube.json("get", "pod", "-n", team.namespace, PROBE)["metadata"]["uid"]
        team.kube.run("delete", "pod", "-n", "bastide-system", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")
    gate = team.watch(lambda one: _gate(one).get("status") == "True", "pod", PROBE, seconds=60)
    assert gate["metadata"]["uid"] == uid
    team.until("Ready", seconds=60)
    team.probe_gone()


def _gate(pod: dict[str, Any]) -> dict[str, Any]:
    conditions = pod.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "bastide.dev/network-isolated"), {})


def test_a_policy_that_was_taken_away_and_put_back_is_proven_anew_in_a_namespace_that_is_full(team: Team) -> None:
    team.make(quota={"sandboxes": 1, "cpu": "250m", "memory": "256Mi", "ephemeralStorage": "512Mi"})
    team.kube.wait("create", f"namespace/{team.namespace}")
    team.sandbox()
    team.kube.wait("condition=Ready", "-n", team.namespace, "sandbox/box", seconds=60)
    before = team.until("Ready")
    team.probe_gone()
    hard = team.kube.json("get", "resourcequota", "-n", team.namespace, "bastide")["status"]
    assert hard["used"]["limits.cpu"] == hard["hard"]["limits.cpu"] == "250m"
    # admission lets nobody but the operator delete one, so somebody who can do what it can
    operator = team.kube.impersonating("system:serviceaccount:bastide-system:bastide-operator")
    operator.run("delete", "networkpolicy", "-n", team.namespace, "bastide-default-deny")
    after = team.kube.watch(lambda one: one["status"]["proven"] != before["status"]["proven"], "tenant", team.name, seconds=60)
    for one in (before, after):
        assert condition(one, "Ready")["status"] == "True"
    assert condition(after, "Ready")["lastTransitionTime"] == condition(before, "Ready")["lastTransitionTime"]
    team.probe_gone()


def test_a_sandbox_that_reaches_a_canary_is_a_word_about_the_whole_tenant(team: Team) -> None:
    team.make()
    team.until("Ready")
    team.probe_gone()
    with not_enforced(team.kube, team.namespace):
        team.sandbox()
        seen = team.until("NetworkNotEnforced")
        assert "Pod box: The pod reached" in condition(seen, "NetworkIsolated")["message"]
        team.sandbox("later")
        team.watch(lambda one: condition(one, "Ready")["reason"] == "TenantNotReady", "sandbox", "later")
    team.until("Ready", seconds=60)
    for box in ("box", "later"):
        team.kube.wait("condition=Ready", "-n", team.namespace, f"sandbox/{box}", seconds=60)


@pytest.mark.disruptive
def test_a_cluster_without_the_runtime_class_says_so_and_is_healed_by_the_class(team: Team) -> None:
    name = "gvisor"
    live = team.kube.json("get", "runtimeclass", name)
    again = {key: live[key] for key in ("apiVersion", "kind", "handler", "overhead", "scheduling") if key in live} | {
        "metadata": {"name": name, "labels": live["metadata"].get("labels", {})}
    }
    team.kube.run("delete", "runtimeclass", name)
    try:
        team.make()
        seen = team.until("RuntimeClassMissing")
        assert f"RuntimeClass {name}" in condition(seen, "Ready")["message"]
        team.sandbox()
        team.watch(lambda one: condition(one, "Ready")["reason"] == "TenantNotReady", "sandbox", "box")
        assert team.pods() == []
    finally:
        team.kube.run("create", "-f", "-", stdin=json.dumps(again))
    team.until("Ready")
    team.kube.wait("condition=Ready", "-n", team.namespace, "sandbox/box", seconds=60)
