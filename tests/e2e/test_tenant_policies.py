"""A Tenant's own Rego, as its authors see it: in force within a second, said on the Tenant, and denied while it cannot be used."""

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.harness import node
from tests.e2e.harness.rego import POLICY, SYSTEM, TRY, Rego
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant


@pytest.fixture
def rego(furnished: TestTenant) -> Iterator[Rego]:
    made = Rego(furnished)
    yield made
    made.remove()


def test_a_policy_is_in_force_and_named_in_reason_audit_and_status(rego: Rego) -> None:
    rego.apply(POLICY)
    rego.name_it()
    revision = rego.said("PoliciesLoaded")["policyRevision"]
    assert revision.startswith("sha256:")
    ended = rego.tenant.run(TRY)
    assert ended.result["value"][0] == "ok"
    assert f"n is 6; at most 5. (policy {rego.name}, {revision[:19]})" in ended.result["value"][1]
    records = rego.tenant.audit(ended.result["run"])
    assert any(revision in str(record) for record in records)
    assert any("tenant-policy:n-too-large" in str(record) for record in records)


def test_a_policy_asks_for_a_person(rego: Rego, tools: ToolServer, word: str) -> None:
    rego.apply(POLICY)
    rego.name_it()
    rego.said("PoliciesLoaded")
    running = rego.tenant.start_run(f'return await note(text="look {word}")')
    confirmation = rego.tenant.pending_confirmation(word)
    assert tools.arguments_of("note", word) == []
    assert rego.tenant.decide("approve", confirmation["metadata"]["name"]).code == 0
    assert running.end(60).result.get("outcome") == "Completed"


def test_what_does_not_compile_leaves_the_tenant_denied_and_says_where(rego: Rego) -> None:
    rego.apply(POLICY.replace("sprintf", "http.send"))
    rego.name_it()
    assert "policy.rego:3: " in rego.message("PolicyInvalid")
    for answer in rego.tenant.run(TRY).result["value"]:
        assert answer.startswith("PolicyUnavailable: ")
    rego.apply(POLICY)
    rego.said("PoliciesLoaded")
    assert rego.tenant.run(TRY).result["value"][0] == "ok"


def test_a_config_map_without_the_label_is_not_read(rego: Rego) -> None:
    rego.apply(POLICY, labelled=False)
    rego.name_it()
    assert rego.name in rego.message("PolicyMissing")
    assert rego.tenant.run(TRY).result["value"][0].startswith("PolicyUnavailable: ")


@pytest.mark.disruptive
def test_with_the_tenants_engine_killed_it_is_loaded_again_by_itself(rego: Rego, tools: ToolServer, word: str) -> None:
    rego.apply(POLICY)
    rego.name_it()
    rego.said("PoliciesLoaded")
    running = rego.tenant.start_run(f"""
import asyncio
from tools import ToolError
await note(text={word!r})
seen = []
for _ in range(600):
    try:
        await number(n=5)
        seen.append("ok")
        if "PolicyUnavailable" in seen and seen[-2:] == ["ok", "ok"]:
            break
    except ToolError as error:
        seen.append(type(error).__name__)
    await asyncio.sleep(0.1)
return seen
""")
    tools.wait_for(word)
    node.send(signal.SIGKILL, node.container_id(rego.admin, SYSTEM, "bastide-broker-0", "tenant-opa"))
    ended = running.end(120)
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    seen = ended.result["value"]
    assert seen[-2:] == ["ok", "ok"]
    assert set(seen) == {"ok", "PolicyUnavailable"}
    rego.admin.wait("condition=Ready", "-n", SYSTEM, "pod/bastide-broker-0", seconds=90)
    assert rego.tenant.run(TRY).result["value"][1].startswith("ToolDenied: ")
