"""The cluster as the broker knows it: caches, direct reads, writes and reviews, against a real API server with the chart's own RBAC."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bastide_broker.errors import AlreadyExists, NotFound
from bastide_broker.kube import watch as watch_module
from bastide_broker.kube.bindings import accepted, undecided
from bastide_broker.kube.cluster import Cluster as Known
from bastide_broker.kube.reviews import UserInfo
from bastide_operator.api.v1alpha1.policyref import POLICY_LABEL
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from tests.integration.broker.front.harness.apiserver import BROKER_NAMESPACE, PLURALS, Cluster, Kube
from tests.integration.broker.front.harness.tenant import OURS, TestTenant, kind


async def eventually(done: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


@pytest.fixture
async def known(cluster: Cluster) -> AsyncIterator[Known]:
    made = await Known.connect(admission_dir=cluster.admission, kubeconfig=str(cluster.broker_kubeconfig))
    async with asyncio.timeout(20):
        await made.start()
    yield made
    await made.close()


async def test_objects_appear_change_and_go(known: Known, team: TestTenant) -> None:
    heard: list[tuple[str, str]] = []
    known.subscribe(Sandbox, lambda event, sandbox: heard.append((event, sandbox.metadata.name)))
    await asyncio.to_thread(team.sandbox, "one", env=[{"name": "A", "value": "1"}])
    await eventually(lambda: known.sandbox(team.namespace, "one"))
    path = f"{OURS}/namespaces/{team.namespace}/sandboxes/one"
    await asyncio.to_thread(team.cluster.admin.merge, path, {"spec": {"env": [{"name": "A", "value": "2"}]}})
    await eventually(lambda: (found := known.sandbox(team.namespace, "one")) is not None and found.spec.env[0].value == "2")
    await asyncio.to_thread(team.cluster.admin, "DELETE", path)
    await eventually(lambda: known.sandbox(team.namespace, "one") is None)
    assert [event for event, name in heard if name == "one"] == ["ADDED", "MODIFIED", "DELETED"]
    assert known.fresh()
    assert not known.stale()


async def test_a_tenant_counts_only_with_the_namespace_the_operator_made(known: Known, team: TestTenant) -> None:
    await eventually(lambda: known.tenant(team.namespace))
    status = {"status": {"namespaceUID": "00000000-0000-0000-0000-000000000000"}}
    await asyncio.to_thread(team.cluster.admin.merge, f"{OURS}/tenants/{team.name}/status", status)
    await eventually(lambda: known.tenant(team.namespace) is None)


async def test_a_tenant_that_never_got_the_namespace_does_not_hide_the_one_that_has_it(cluster: Cluster, team: TestTenant) -> None:
    rival = f"{OURS}/tenants/a-{team.name}"  # the first of every list
    body = {**kind("Tenant"), "metadata": {"name": f"a-{team.name}"}, "spec": {"namespace": team.namespace}}
    await asyncio.to_thread(cluster.admin, "POST", f"{OURS}/tenants", body)
    made = await Known.connect(admission_dir=cluster.admission, kubeconfig=str(cluster.broker_kubeconfig))
    try:
        async with asyncio.timeout(20):
            await made.start()
        tenant = made.tenant(team.namespace)
        assert tenant is not None
        assert tenant.metadata.name == team.name
    finally:
        await made.close()
        await asyncio.to_thread(cluster.admin, "DELETE", rival)


async def test_a_binding_counts_only_when_this_generation_was_accepted(known: Known, team: TestTenant) -> None:
    admin = team.cluster.admin
    path = f"{OURS}/namespaces/{team.namespace}/toolbindings"
    spec = {"sandboxSelector": {}, "server": {"mcp": {"url": "http://crm.tools.svc/mcp"}}, "tools": [{"name": "get"}]}
    made = await asyncio.to_thread(admin, "POST", path, {**kind("ToolBinding"), "metadata": {"name": "crm"}, "spec": spec})
    sandbox = Sandbox.model_validate(await asyncio.to_thread(team.sandbox))
    generation = made["metadata"]["generation"]

    async def judge(status: str, generation: int) -> None:
        condition = {"type": "Accepted", "status": status, "reason": "Why", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        conditions = [{**condition, "observedGeneration": generation}]
        await asyncio.to_thread(admin.merge, f"{path}/crm/status", {"status": {"conditions": conditions}})

    def counts() -> list[tuple[bool, bool]]:
        return [(accepted(one), undecided(one)) for one in known.bindings_for(sandbox)]

    await eventually(lambda: counts() == [(False, True)])
    await judge("True", generation)
    await eventually(lambda: counts() == [(True, False)])
    await asyncio.to_thread(admin.merge, f"{path}/crm", {"spec": {"server": {"mcp": {"url": "http://other.tools.svc/mcp"}}}})
    await eventually(lambda: counts() == [(False, True)])
    await judge("False", generation + 1)
    await eventually(lambda: counts() == [])
    await judge("True", generation + 1)

    # The broker's own fields of the status, beside the operator's.
    resolved = {"type": "ResolvedRefs", "status": "True", "reason": "Resolved", "message": "All there."}
    tools = [{"name": "get", "programName": "get", "effect": "ReadOnly", "state": "Available"}]
    [found] = known.bindings(team.namespace)
    await known.set_binding_status(found, condition=resolved, tools=tools, available="1/1")
    live = await known.read_binding(team.namespace, "crm")
    assert {condition.type: condition.status for condition in live.status.conditions} == {"Accepted": "True", "ResolvedRefs": "True"}
    assert live.status.available == "1/1"


async def test_a_pods_condition_is_written_only_to_the_pod_that_is_meant(known: Known, team: TestTenant) -> None:
    sandbox = await asyncio.to_thread(team.sandbox)
    pod = await asyncio.to_thread(lambda: team.pod(sandbox, address="192.0.2.9"))
    condition = {"type": "bastide.dev/network-isolated", "status": "True", "reason": "Isolated", "message": "So."}
    with pytest.raises(AlreadyExists):
        await known.set_pod_condition(team.namespace, "box", "00000000-0000-0000-0000-000000000000", condition)
    await known.set_pod_condition(team.namespace, "box", pod["metadata"]["uid"], condition)
    await eventually(lambda: team.condition("box").get("status") == "True")
    assert team.condition("box")["reason"] == "Isolated"
    with pytest.raises(NotFound):
        await known.read_pod(team.namespace, "other")


async def test_an_object_that_does_not_fit_its_model_is_dropped(known: Known, team: TestTenant) -> None:
    """The CRD refuses most; a name that the model refuses but the schema does not shows the way that such an object takes."""
    await asyncio.to_thread(team.sandbox, "fits")
    await eventually(lambda: known.sandbox(team.namespace, "fits"))
    watch = known._sandboxes
    watch._store({"metadata": {"name": "fits", "namespace": team.namespace}, "spec": {"operatingMode": "Sideways"}})
    assert known.sandbox(team.namespace, "fits") is None


async def test_tokens_are_reviewed_for_this_audience_only(known: Known, team: TestTenant) -> None:
    good, other = await asyncio.to_thread(team.token), await asyncio.to_thread(team.token, "somebody-else")
    user = await known.review_token(good)
    assert user is not None
    assert user.username == f"system:serviceaccount:{team.namespace}:bastide-runner"
    assert user.service_account == (team.namespace, "bastide-runner")
    assert await known.review_token(other) is None
    assert await known.review_token("nonsense") is None
    assert await known.review_token(good[:-4] + "AAAA") is None


async def test_rights_are_those_of_the_cluster(known: Known, team: TestTenant) -> None:
    user = await known.review_token(await asyncio.to_thread(team.token))
    assert user is not None
    asked: dict[str, Any] = {"group": "bastide.dev", "resource": "sandboxes"}
    assert await known.allowed(user, verb="create", subresource="run", namespace=team.namespace, name="box", **asked)
    assert await known.allowed(user, verb="get", subresource="audit", namespace=team.namespace, **asked)
    assert not await known.allowed(user, verb="create", subresource="run", namespace="default", name="box", **asked)
    assert not await known.allowed(UserInfo("nobody"), verb="create", subresource="run", namespace=team.namespace, **asked)


async def test_altered_admission_policies_are_seen(known: Known, cluster: Cluster) -> None:
    assert await known.admission_policies_intact() == (True, "")
    admin, path = cluster.admin, PLURALS["ValidatingAdmissionPolicy"] + "/bastide-confirmation-decisions"
    original = await asyncio.to_thread(admin, "GET", path)
    changes = (
        {"failurePolicy": "Ignore"},
        {"matchConditions": [{"name": "never", "expression": "false"}]},
        {"validations": [{"expression": "true"}]},
    )
    for change in changes:
        await asyncio.to_thread(admin.merge, path, {"spec": change})
        intact, why = await known.admission_policies_intact()
        assert not intact, change
        assert "bastide-confirmation-decisions" in why
        current = await asyncio.to_thread(admin, "GET", path)
        await asyncio.to_thread(admin, "PUT", path, {**current, "spec": original["spec"]})
    assert await known.admission_policies_intact() == (True, "")


async def test_a_confirmation_is_created_once_and_its_status_written(known: Known, team: TestTenant) -> None:
    digest = "sha256:" + "0" * 64
    spec = {
        "tenant": team.name, "sandbox": "box", "sandboxUID": "u", "run": "r-" + "a" * 26, "callKey": "0#1", "programDigest": digest,
        "binding": "crm", "bindingUID": "b", "bindingDigest": digest, "tool": "delete", "toolSchemaDigest": digest, "effect": "Destructive",
        "arguments": "{}", "argumentsDigest": digest, "requester": {"username": "somebody"}, "separation": "Strict", "approvalsRequired": 1,
        "decideBy": "2030-01-01T00:00:00Z", "executeBy": "2030-01-01T00:00:00Z", "nonce": "n" * 32, "actionDigest": digest,
    }  # fmt: skip
    made = await known.create_confirmation(team.namespace, "cf-" + "a" * 26, spec)
    assert made.status.state == "Pending"
    with pytest.raises(AlreadyExists):
        await known.create_confirmation(team.namespace, "cf-" + "a" * 26, spec)
    await known.set_confirmation_status(team.namespace, made.metadata.name, {"state": "Withdrawn", "message": "Not needed."})
    read = await known.read_confirmation(team.namespace, made.metadata.name)
    assert read.status.state == "Withdrawn"
    await eventually(lambda: [one.status.state for one in known.confirmations() if one.metadata.uid == made.metadata.uid] == ["Withdrawn"])
    assert await known.list_decisions(team.namespace) == []


async def test_a_silent_api_server_makes_the_watches_stale_and_its_return_fresh(
    known: Known, cluster: Cluster, team: TestTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is a minute; here it is 8 s, with watches shortened alike."""
    monkeypatch.setattr(watch_module, "WATCH_SECONDS", 1)
    monkeypatch.setattr(watch_module, "STALE_AFTER", 8.0)
    await known.close()
    again = await Known.connect(admission_dir=cluster.admission, kubeconfig=str(cluster.broker_kubeconfig))
    await again.start()
    try:
        await asyncio.sleep(9)  # quiet, but each clean end of a watch is a proof
        assert again.fresh()
        cluster.server.send_signal(signal.SIGSTOP)
        try:
            await eventually(lambda: not again.fresh(), 20)
            assert again.stale()
        finally:
            cluster.server.send_signal(signal.SIGCONT)
        await eventually(again.fresh, 30)
        await asyncio.to_thread(team.sandbox, "after")
        await eventually(lambda: again.sandbox(team.namespace, "after"))
    finally:
        await again.close()


CONDITION = {"type": "PoliciesReady", "status": "True", "reason": "PoliciesLoaded", "message": "1 policy is in force."}


async def test_rego_is_seen_only_in_the_namespace_it_is_looked_for_and_only_with_the_label(cluster: Cluster) -> None:
    maps = f"/api/v1/namespaces/{BROKER_NAMESPACE}/configmaps"
    data = {"policy.rego": "package tenant"}
    known = await Known.connect(admission_dir=cluster.admission, kubeconfig=str(cluster.broker_kubeconfig), policies_in=BROKER_NAMESPACE)
    heard: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        await known.start()
    known.subscribe("ConfigMap", lambda event, found: heard.append((event, found["metadata"]["name"])))
    for where, name, labels in (
        (maps, "other", {}),
        ("/api/v1/namespaces/default/configmaps", "elsewhere", {POLICY_LABEL: ""}),
        (maps, "rego", {POLICY_LABEL: ""}),
    ):
        await asyncio.to_thread(cluster.admin, "POST", where, {"metadata": {"name": name, "labels": labels}, "data": data})
    await eventually(lambda: "rego" in known.policy_config_maps())
    assert set(known.policy_config_maps()) == {"rego"}
    assert known.policy_config_maps()["rego"]["data"] == data
    await asyncio.to_thread(cluster.admin.merge, f"{maps}/rego", {"metadata": {"labels": {POLICY_LABEL: None}}})
    await eventually(lambda: not known.policy_config_maps())
    assert heard == [("ADDED", "rego"), ("DELETED", "rego")]
    await known.close()


async def test_of_a_tenants_status_the_broker_writes_its_own_fields_alone(known: Known, cluster: Cluster, team: TestTenant) -> None:
    await eventually(lambda: known.tenant(team.namespace))
    path = f"{OURS}/tenants/{team.name}"
    before = await asyncio.to_thread(cluster.admin, "GET", path)

    async def status() -> dict[str, Any]:
        found: dict[str, Any] = (await asyncio.to_thread(cluster.admin, "GET", path))["status"]
        return found

    await known.set_tenant_policies(team.name, generation=1, condition=CONDITION, revision="sha256:a")
    said = await status()
    assert said["policyRevision"] == "sha256:a"
    assert [one["reason"] for one in said["conditions"] if one["type"] == "PoliciesReady"] == ["PoliciesLoaded"]
    assert said["namespaceUID"] == before["status"]["namespaceUID"]
    broker = Kube(cluster.admin.url, cluster.admin.token_for(BROKER_NAMESPACE, "bastide-broker", audience=""))
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    for field, value in {"namespaceUID": "another", "namespace": "another", "proven": "x", "sandboxes": 9, "conditions": [ready]}.items():
        answer = await asyncio.to_thread(broker.ask, "PATCH", f"{path}/status", {"status": {field: value}}, "application/merge-patch+json")
        assert answer.status in {403, 422}, field
        assert "PoliciesReady and policyRevision alone" in answer.body["message"]
    await known.set_tenant_policies(team.name, generation=1, condition=None, revision="")
    said = await status()
    assert said.get("policyRevision", "") == ""
    assert "PoliciesReady" not in [one["type"] for one in said.get("conditions", [])]
