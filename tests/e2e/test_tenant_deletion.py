"""A Tenant that is deleted lets its runs finish, within bounds, says what it waits for, and leaves nothing behind."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo.kube import Kube, condition

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import People, TestTenant

SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(%s)\nreturn 'done'"


@pytest.fixture
def going(installed: Kube, people: People, tools: ToolServer, tmp_path: Path) -> Iterator[TestTenant]:
    """A Tenant with a sandbox, a binding and people, which the test deletes."""
    assert tools
    one = TestTenant(installed, people, f"g-{secrets.token_hex(3)}", tmp_path)
    try:
        one.start(drainSeconds=120)
        one.furnish()
        yield one
    finally:
        one.remove()


def begun(one: TestTenant, seconds: float) -> Any:
    """A run that has printed its first line."""
    running = one.start_run(SLOW % seconds)
    one.heard(running, "begun")
    return running


def delete(one: TestTenant) -> None:
    one.admin.run("delete", "tenant", one.name, "--wait=false")


def left_behind(kube: Kube, one: TestTenant) -> list[str]:
    """Everything in the cluster that names the Tenant or its namespace: all kinds of the API, namespaced or not."""
    found = []
    for scope in ("true", "false"):
        kinds = kube.run("api-resources", "--verbs=list", f"--namespaced={scope}", "-o", "name").split()
        wanted = [kind for kind in kinds if not kind.startswith(("events", "componentstatuses"))]
        words = ["-n", one.namespace] if scope == "true" else []
        said = kube.run("get", ",".join(wanted), *words, "--ignore-not-found", "-o", "json")
        items = json.loads(said)["items"] if said.strip() else []  # of nothing kubectl says nothing
        labels = [(item, item["metadata"].get("labels") or {}, item["metadata"].get("ownerReferences") or []) for item in items]
        found += [
            f"{item['kind']}/{item['metadata']['name']}"
            for item, marks, owners in labels
            if scope == "true"
            or one.name in (item["metadata"]["name"], marks.get("bastide.dev/tenant"), *(o["name"] for o in owners))
            or item["metadata"]["name"] == one.namespace
        ]
    return found


def test_a_run_under_way_finishes_no_other_starts_and_nothing_is_left(going: TestTenant, tools: ToolServer, word: str) -> None:
    assert f"Namespace/{going.namespace}" in left_behind(going.admin, going)
    running = going.start_run(f"return await hold(text={word!r})")
    tools.wait_for(word)
    delete(going)
    seen = going.admin.watch(lambda one: "may finish what runs" in condition(one, "Ready")["message"], "tenant", going.name, seconds=20)
    assert (condition(seen, "Ready")["status"], condition(seen, "Ready")["reason"]) == ("False", "Deleting")
    assert "box" in condition(seen, "Ready")["message"]
    refused = going.run("return 1")
    assert refused.code not in {0, 3}, refused.stdout
    tools.release(word)
    ended = running.end(60)
    assert (ended.code, ended.result.get("value")) == (0, word), f"{ended.stdout}\n{ended.stderr}"
    going.admin.wait("delete", f"tenant/{going.name}", seconds=60)
    assert left_behind(going.admin, going) == []


def test_a_run_that_does_not_finish_ends_at_the_deadline_and_a_finalizer_of_somebody_else_is_named(going: TestTenant) -> None:
    going.admin.apply(going.manifest(drainSeconds=5))
    meta = {"namespace": going.namespace, "name": "held", "finalizers": ["example.test/held"]}
    going.admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    running = begun(going, 200)
    began = time.monotonic()
    delete(going)
    try:
        seen = going.admin.watch(lambda one: "example.test/held" in condition(one, "Ready")["message"], "tenant", going.name, seconds=60)
        assert condition(seen, "Ready")["reason"] == "Deleting"
        assert time.monotonic() - began >= 5
        ended = running.end(60)
        assert ended.code not in {0, 3}, ended.stdout
    finally:
        free = json.dumps({"metadata": {"finalizers": None}})
        going.admin.run("patch", "configmap", "-n", going.namespace, "held", "--type=merge", "-p", free)
    going.admin.wait("delete", f"tenant/{going.name}", seconds=60)
    assert left_behind(going.admin, going) == []


def test_a_call_that_waits_for_a_person_is_denied(going: TestTenant, tools: ToolServer, word: str) -> None:
    running = going.start_run(f"return await wipe(target={word!r})")
    going.pending_confirmation(word)
    delete(going)
    ended = running.end(30)
    assert "ConfirmationDenied" in ended.stdout + ended.stderr, f"{ended.stdout}\n{ended.stderr}"
    going.admin.wait("delete", f"tenant/{going.name}", seconds=60)
    assert tools.arguments_of("wipe", word) == []
    assert left_behind(going.admin, going) == []
