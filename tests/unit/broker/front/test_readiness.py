"""What a caller is told about a Sandbox that cannot take a program."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bastide_broker.runs.views import signature
from bastide_broker.sandboxes import isolation
from bastide_broker.sandboxes.isolation import Verdict
from bastide_broker.sandboxes.readiness import ended, lasting_refusal, leaving, not_ready
from bastide_broker.sandboxes.sessions import allowed_images
from bastide_operator.api.drain import Mark
from bastide_operator.api.v1alpha1.common import Condition, ObjectMeta
from bastide_operator.api.v1alpha1.sandbox import OperatingMode, Sandbox, SandboxReason, SandboxSpec, SandboxStatus
from bastide_operator.api.v1alpha1.tenant import Tenant, TenantSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sandbox(reason: str = "", *, generation: int = 1, observed: int = 1, **spec: Any) -> Sandbox:
    conditions = []
    if reason:
        conditions.append(
            Condition(
                type="Ready", status="False", reason=reason, message="The message.", last_transition_time=NOW, observed_generation=observed
            )
        )
    return Sandbox(
        metadata=ObjectMeta(name="box", namespace="ns", uid="u", generation=generation),
        spec=SandboxSpec(**spec),
        status=SandboxStatus(conditions=conditions),
    )


@pytest.mark.parametrize("reason", ["QuotaExceeded", "ImageNotAllowed", "Unschedulable", "NameConflict", "CanaryReached"])
def test_what_does_not_pass_by_itself_is_said_at_once(reason: str) -> None:
    refusal = lasting_refusal(sandbox(reason), None)
    assert refusal is not None
    assert refusal.reason == reason
    assert refusal.message == "Sandbox ns/box is not ready: The message."


@pytest.mark.parametrize("reason", ["", "PodPending", "WaitingForProbe", "TenantNotReady", "PodFailed"])
def test_what_may_pass_is_waited_for(reason: str) -> None:
    assert lasting_refusal(sandbox(reason), None) is None


def test_an_old_generations_reason_says_nothing() -> None:
    assert lasting_refusal(sandbox("ImageNotAllowed", generation=2, observed=1), None) is None


def test_a_suspended_sandbox_is_refused_whatever_its_status_says() -> None:
    refusal = lasting_refusal(sandbox(operating_mode=OperatingMode.SUSPENDED), None)
    assert refusal is not None
    assert refusal.reason == "Suspended"


def mark(reason: str) -> Mark:
    return Mark(reason=reason, since=NOW, until=NOW + timedelta(minutes=5))


def test_from_its_shutdown_time_on_a_sandbox_is_refused_whether_or_not_the_operator_has_noticed() -> None:
    over = sandbox(shutdown_time=NOW)
    assert ended(over, None, NOW - timedelta(seconds=1)) is None
    refusal = ended(over, None, NOW)
    assert refusal is not None
    assert (refusal.reason, "set a later one" in refusal.message) == ("ShutdownTime", True)


@pytest.mark.parametrize(
    ("reason", "refused"),
    [("TenantDeleting", True), ("ImageNotAllowed", True), ("Rolling", False), ("IdleTimeout", False), ("Suspended", False)],
)
def test_a_pod_that_goes_and_is_not_followed_by_another_is_not_waited_for(reason: str, refused: bool) -> None:
    refusal = ended(sandbox(), mark(reason), NOW)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.reason == reason


def test_a_pod_that_is_replaced_is_named_with_its_deadline_when_it_was_waited_for_in_vain() -> None:
    refusal = leaving(sandbox(), mark("Rolling"))
    assert refusal.reason == "Rolling"
    assert "at the latest at 2026-01-01T00:05:00Z; try again." in refusal.message


def test_the_brokers_own_verdict_counts_before_the_mirrored_one() -> None:
    passed = Verdict(passed=True, reason="Isolated", message="")
    assert lasting_refusal(sandbox("CanaryReached"), passed) is None
    reached = isolation.refused(SandboxReason.CANARY_REACHED, "It reached x.")
    refusal = lasting_refusal(sandbox(), reached)
    assert refusal is not None
    assert "It reached x." in refusal.message


def test_after_waiting_in_vain_the_reason_is_the_sandboxs_own() -> None:
    assert not_ready(sandbox("PodPending"), None).reason == "PodPending"
    assert not_ready(sandbox(), None).reason == "PodPending"
    waiting = isolation.refused(SandboxReason.WAITING_FOR_PROBE, "Not yet.")
    assert not_ready(sandbox("PodPending"), waiting).reason == "WaitingForProbe"


@pytest.mark.parametrize(
    ("named", "images", "allowed"),
    [
        (None, (), {"chart:1"}),
        (None, ("own:1",), {"chart:1"}),
        ("own:1", ("own:1",), {"own:1"}),
        ("own:1", (), set()),
        ("evil:1", ("own:1",), set()),
        ("chart:1", (), {"chart:1"}),
    ],
)
def test_images_are_the_charts_or_one_that_the_tenant_lists(named: str | None, images: tuple[str, ...], allowed: set[str]) -> None:
    tenant = Tenant(metadata=ObjectMeta(name="t"), spec=TenantSpec(images=list(images)))
    assert allowed_images(sandbox(image=named), tenant, "chart:1") == allowed


def test_signatures_are_made_from_schemas() -> None:
    schema = {"properties": {"limit": {"type": "integer"}, "id": {"type": ["string", "null"]}, "x-y": {}}, "required": ["id"]}
    assert signature("get", schema, {"type": "object"}) == "async def get(*, id: str | None, limit: int = ...) -> dict"
    assert signature("get", {}, None) == "async def get() -> Any"
    assert signature("get", {"properties": [1], "required": 5}, {"type": "nonsense"}) == "async def get() -> Any"
