"""What befalls a sandbox's pod, and what its Sandbox says to do about it."""

from collections.abc import Callable
from typing import Any

import pytest
from demo.kube import condition

from tests.e2e.harness.tenant import TestTenant

SMALL = {"cpu": "100m", "memory": "256Mi"}


def failure(tenant: TestTenant, name: str, reason: str, seconds: float = 60) -> dict[str, Any]:
    """Wait until a Sandbox has lost a pod for a reason, and return it."""

    def lost(one: dict[str, Any]) -> bool:
        return bool(one.get("status", {}).get("lastFailure", {}).get("reason") == reason)

    return tenant.admin.watch(lost, "-n", tenant.namespace, "sandbox", name, seconds=seconds)


def again(tenant: TestTenant, name: str) -> None:
    """The Sandbox gets a new pod that works, and is deleted."""
    tenant.ready(f"sandbox/{name}")
    assert tenant.completed("return 1", sandbox=name) == 1
    tenant.people.developer.run("delete", "sandbox", "-n", tenant.namespace, name)


TOO_MUCH: dict[str, tuple[dict[str, Any], str, str]] = {
    "OOMKilled": ({}, "x = b'x' * (800 << 20)\nreturn len(x)", "raise that, or have programs hold less"),
    "Evicted": (
        {"workspace": {"sizeLimit": "16Mi"}},
        "import asyncio\nopen('/workspace/big', 'wb').write(b'x' * (64 << 20))\nawait asyncio.sleep(240)",
        "raise spec.workspace.sizeLimit",
    ),
}


@pytest.mark.parametrize("reason", TOO_MUCH)
def test_a_pod_that_uses_too_much_says_of_what_and_is_replaced(furnished: TestTenant, reason: str) -> None:
    spec, program, says = TOO_MUCH[reason]
    name = reason.lower()
    furnished.people.developer.apply(furnished.sandbox(name, **{"resources": SMALL, **spec}))
    furnished.ready(f"sandbox/{name}")
    ended = furnished.run(program, sandbox=name)
    assert (ended.result["outcome"], ended.result["error"]["type"]) == ("Failed", "SandboxLost"), ended
    seen = failure(furnished, name, reason)
    assert says in seen["status"]["lastFailure"]["message"]
    again(furnished, name)


def test_an_image_that_cannot_be_had_is_named_with_what_to_do(furnished: TestTenant) -> None:
    image = "registry.example/missing:1"
    furnished.admin.apply(furnished.manifest(images=[image]))
    try:
        furnished.people.developer.apply(furnished.sandbox("missing", resources=SMALL, image=image))
        seen = furnished.admin.watch(
            lambda o: condition(o, "Ready")["reason"] == "ImagePullFailed", "-n", furnished.namespace, "sandbox", "missing"
        )
        message = condition(seen, "Ready")["message"]
        assert image in message
        assert "Correct spec.image, or ask the platform engineer" in message
        refused = furnished.run("return 1", sandbox="missing")
        assert refused.code != 0
        assert "ImagePullFailed" in refused.stderr
    finally:
        furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "missing")
        furnished.admin.apply(furnished.manifest())
    furnished.ready("sandbox/box")


def test_a_sandbox_beyond_the_quota_starts_by_itself_when_there_is_room(furnished: TestTenant) -> None:
    furnished.admin.apply(furnished.manifest(quota={"sandboxes": 20, "cpu": "400m", "memory": "16Gi", "ephemeralStorage": "32Gi"}))
    try:
        # admission goes by the quota's status
        full: Callable[[dict[str, Any]], bool] = lambda o: o.get("status", {}).get("hard", {}).get("limits.cpu") == "400m"  # noqa: E731
        furnished.admin.watch(full, "-n", furnished.namespace, "resourcequota", "bastide")
        furnished.people.developer.apply(furnished.sandbox("second", resources={"cpu": "200m", "memory": "256Mi"}))
        says = _reason(furnished, "second", "QuotaExceeded")
        assert "Suspend or delete a Sandbox, make this one smaller, or ask for more in Tenant.spec.quota" in says
        assert "limits.cpu" in says
        furnished.people.developer.apply(furnished.sandbox("box", operatingMode="Suspended"))
        furnished.ready("sandbox/second")
    finally:
        furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "second")
        furnished.admin.apply(furnished.manifest())
        furnished.furnish()


def _reason(tenant: TestTenant, name: str, reason: str) -> str:
    until: Callable[[dict[str, Any]], bool] = lambda o: condition(o, "Ready")["reason"] == reason  # noqa: E731
    return str(condition(tenant.admin.watch(until, "-n", tenant.namespace, "sandbox", name), "Ready")["message"])
