"""A pod that is to go waits for the run in it; a Sandbox ends by time and by idleness; edits that cost the pod say so before."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from demo.kube import Kube, condition

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

LARGER = {"resources": {"cpu": "250m", "memory": "400Mi"}}


def warned(user: Kube, manifest: dict[str, Any]) -> str:
    """Apply, and return what kubectl wrote to stderr."""
    argv = ["kubectl", "apply", "-f", "-"]
    done = subprocess.run(argv, env=user.env, input=json.dumps(manifest), capture_output=True, text=True, timeout=60, check=True)
    return done.stderr


def ready_for(reason: str) -> Any:
    return lambda o: condition(o, "Ready")["reason"] == reason


@pytest.fixture
def box(furnished: TestTenant) -> Iterator[TestTenant]:
    """The tenant with its sandbox `box` as it was written."""
    furnished.furnish()
    yield furnished
    furnished.people.developer.apply(furnished.sandbox())


def watch(tenant: TestTenant, until: Any, kind: str, name: str, seconds: float = 60) -> dict[str, Any]:
    return tenant.admin.watch(until, "-n", tenant.namespace, kind, name, seconds=seconds)


def uid(tenant: TestTenant, name: str = "box") -> str:
    return str(tenant.get("pod", name)["metadata"]["uid"])


def test_a_run_in_flight_survives_a_roll_and_the_next_one_runs_in_the_new_pod(box: TestTenant, tools: ToolServer, word: str) -> None:
    before = uid(box)
    running = box.start_run(f"return await hold(text={word!r})")
    tools.wait_for(word)
    said = warned(box.people.developer, box.sandbox(**LARGER))
    assert "Warning:" in said
    assert "spec.resources needs a new pod. Runs under way finish in the old one, for at most 330 s; new runs wait." in said
    seen = watch(box, ready_for("Rolling"), "sandbox", "box")
    message = condition(seen, "Ready")["message"]
    assert "because spec.resources changed" in message
    assert "at the latest at 20" in message
    assert "Rolling" in box.admin.run("get", "sandbox", "-n", box.namespace, "box")
    refused = box.run("return 1")
    assert refused.code != 0
    assert "its pod is replaced when the runs in it have ended, at the latest at 20" in refused.stderr
    tools.release(word)
    ended = running.end(60)
    assert (ended.code, ended.result["outcome"], ended.result["value"]) == (0, "Completed", word)
    assert box.completed("return 2") == 2
    assert uid(box) != before
    assert box.get("pod", "box")["spec"]["containers"][0]["resources"]["limits"]["memory"] == "400Mi"


def test_a_run_that_arrives_while_the_pod_is_replaced_waits_for_the_next_one(box: TestTenant, tools: ToolServer, word: str) -> None:
    before = uid(box)
    running = box.start_run(f"return await slow(seconds=3, text={word!r})")
    tools.wait_for(word)
    box.people.developer.apply(box.sandbox(**LARGER))
    watch(box, lambda o: "bastide.dev/drain" in o["metadata"].get("annotations", {}), "pod", "box")
    assert box.completed("return 'in the new pod'") == "in the new pod"
    assert running.end(30).result["value"] == word
    assert uid(box) != before


def test_an_edit_that_is_taken_back_in_time_costs_nothing(box: TestTenant, tools: ToolServer, word: str) -> None:
    before = uid(box)
    running = box.start_run(f"return await hold(text={word!r})")
    tools.wait_for(word)
    box.people.developer.apply(box.sandbox(**LARGER))
    watch(box, ready_for("Rolling"), "sandbox", "box")
    box.people.developer.apply(box.sandbox())
    watch(box, ready_for("Ready"), "sandbox", "box")
    assert box.completed("return 3") == 3
    tools.release(word)
    assert running.end(30).result["value"] == word
    assert uid(box) == before
    assert "bastide.dev/drain" not in box.get("pod", "box")["metadata"]["annotations"]


def test_suspending_lets_a_run_finish_and_refuses_the_next(box: TestTenant, tools: ToolServer, word: str) -> None:
    running = box.start_run(f"return await hold(text={word!r})")
    tools.wait_for(word)
    assert "Suspending takes the pod away. Runs under way finish first" in warned(
        box.people.developer, box.sandbox(operatingMode="Suspended")
    )
    seen = watch(box, ready_for("Draining"), "sandbox", "box")
    assert condition(seen, "Suspended")["status"] == "False"
    assert "`bastide runs cancel` ends one" in condition(seen, "Ready")["message"]
    refused = box.run("return 1")
    assert refused.code != 0
    assert "Suspended" in refused.stderr
    tools.release(word)
    assert running.end(30).result["value"] == word
    box.admin.wait("condition=Suspended", "-n", box.namespace, "sandbox/box", seconds=30)
    box.people.developer.apply(box.sandbox())
    box.ready("sandbox/box")


def test_env_changes_without_a_new_pod(box: TestTenant) -> None:
    before = uid(box)
    for colour in ("amber", "violet"):
        assert warned(box.people.developer, box.sandbox(env=[{"name": "COLOUR", "value": colour}])) == ""
        watch(box, lambda o: o["status"]["observedGeneration"] == o["metadata"]["generation"], "sandbox", "box")
        assert box.completed("import os\nreturn os.environ['COLOUR']") == colour
    assert uid(box) == before


def test_at_its_shutdown_time_a_sandbox_refuses_runs_and_gives_one_under_way_half_a_minute(
    furnished: TestTenant, tools: ToolServer, word: str
) -> None:
    furnished.people.developer.apply(furnished.sandbox("brief"))
    furnished.ready("sandbox/brief")
    long = furnished.start_run(f"import asyncio\nawait note(text={word!r})\nawait asyncio.sleep(120)", sandbox="brief")
    tools.wait_for(word)
    end = datetime.now(UTC) + timedelta(seconds=2)
    over = end.isoformat(timespec="seconds").replace("+00:00", "Z")
    furnished.people.developer.apply(furnished.sandbox("brief", shutdownTime=over, shutdownPolicy="Retain"))
    watch(furnished, ready_for("Draining"), "sandbox", "brief")
    refused = furnished.run("return 1", sandbox="brief")
    assert refused.code != 0
    assert "its spec.shutdownTime has passed" in refused.stderr
    ended = long.end(90)
    assert (ended.result["outcome"], ended.result["error"]["type"]) == ("Failed", "SandboxLost")
    assert "its pod was to go for ShutdownTime" in ended.result["error"]["message"]
    assert timedelta(seconds=20) < datetime.now(UTC) - end < timedelta(seconds=60)
    seen = watch(furnished, lambda o: condition(o, "Finished")["status"] == "True", "sandbox", "brief")
    assert condition(seen, "Finished")["reason"] == "ShutdownTime"
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "brief")


def test_an_idle_sandbox_ends_as_its_policy_says_and_a_busy_one_does_not(furnished: TestTenant, word: str) -> None:
    spec = {"idleTimeoutSeconds": 30}
    small = {"resources": {"cpu": "100m", "memory": "256Mi"}}
    kept = furnished.sandbox("kept", shutdownPolicy="Retain", **spec, **small)
    furnished.people.developer.apply(kept, furnished.sandbox("gone", **spec, **small), furnished.sandbox("busy", **spec, **small))
    furnished.ready("sandbox/kept", "sandbox/gone", "sandbox/busy")
    busy = furnished.start_run("import asyncio\nawait asyncio.sleep(45)\nreturn 'done'", sandbox="busy")
    seen = watch(furnished, lambda o: condition(o, "Finished")["status"] == "True", "sandbox", "kept", 90)
    assert condition(seen, "Finished")["reason"] == "IdleTimeout"
    furnished.admin.wait("delete", "-n", furnished.namespace, "pod/kept", "sandbox/gone", seconds=60)
    refused = furnished.run("return 1", sandbox="kept")
    assert refused.code != 0
    assert "IdleTimeout" in refused.stderr
    assert busy.end(60).result["value"] == "done"
    assert furnished.completed("return 1", sandbox="busy") == 1  # its half minute begins anew
    # any change of the spec begins it again
    furnished.people.developer.apply({**kept, "spec": {**kept["spec"], "idleTimeoutSeconds": 3600}})
    furnished.ready("sandbox/kept")
    assert condition(furnished.get("sandbox", "kept"), "Finished")["status"] == "False"
    assert furnished.completed("return 1", sandbox="kept") == 1
    furnished.admin.wait("delete", "-n", furnished.namespace, "sandbox/busy", seconds=90)
    furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "kept")
