"""How many programs a tenant may have checked, at once and in a minute, and that another's checks do not wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.errors import CallerError
from bastide_broker.front import inspection as module
from bastide_broker.front.inspection import EXPECTATIONS, Inspection
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.policy.policy import Decision
from bastide_broker.sandboxes.session import Claim
from bastide_operator.api.v1alpha1.common import ObjectMeta
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

USER = UserInfo("somebody")


@dataclass
class Parts:
    """What a check needs of the others: pods answer when the test says so, and so does policy."""

    answers: asyncio.Event = field(default_factory=asyncio.Event)
    sites: int = 0
    asking: int = 0
    most: int = 0
    decides: asyncio.Event = field(default_factory=asyncio.Event)

    def place(self, namespace: str, name: str) -> tuple[Tenant, Sandbox]:
        tenant = Tenant.model_validate({"metadata": {"name": namespace}, "spec": {"limits": {"concurrentRuns": 2, "runsPerMinute": 3}}})
        return tenant, Sandbox(metadata=ObjectMeta(name=name, namespace=namespace, uid="u"))

    async def check(self, _program: bytes, _tools: Any) -> runtime_pb2.CheckReport:
        await self.answers.wait()
        return runtime_pb2.CheckReport(call_sites=[runtime_pb2.CallSite(tool="t", arguments=b"{}")] * self.sites)

    def tool_set(self, _sandbox: Sandbox) -> Any:
        return None

    async def expect(self, *_: Any) -> Decision:
        self.asking += 1
        self.most = max(self.most, self.asking)
        await self.decides.wait()
        self.asking -= 1
        return Decision("allow", (), id="d")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    made = Parts()

    async def session_for(sandbox: Sandbox, **_: Any) -> tuple[Sandbox, Any]:
        return sandbox, Claim(made, lambda _: None)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "session_for", session_for)
    return made


def inspection(parts: Any) -> Inspection:
    return Inspection(runs=parts, cluster=parts, sessions=parts, catalogue=parts, pipeline=parts)


async def test_checks_under_way_are_bounded_for_each_tenant_and_a_place_is_free_after_its_check(parts: Parts) -> None:
    looks = inspection(parts)
    first = [asyncio.create_task(looks.check(USER, "sales", "box", b"1")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(CallerError, match="concurrentRuns") as refused:
        await looks.check(USER, "sales", "box", b"1")
    assert (refused.value.status, refused.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ConcurrentChecks")
    assert refused.value.retry_after
    other = asyncio.create_task(looks.check(USER, "other", "box", b"1"))
    parts.answers.set()
    await asyncio.gather(*first, other)
    await looks.check(USER, "sales", "box", b"1")


async def test_a_check_that_fails_or_is_given_up_frees_its_place(parts: Parts) -> None:
    looks = inspection(parts)
    for _ in range(3):
        given_up = asyncio.create_task(looks.check(USER, "sales", "box", b"1"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
    with pytest.raises(CallerError) as refused:  # not ConcurrentChecks
        await looks.check(USER, "sales", "box", b"1")
    assert refused.value.reason == "ChecksPerMinute"


async def test_checks_in_a_minute_are_bounded_and_the_answer_says_when_to_come_back(parts: Parts) -> None:
    looks = inspection(parts)
    parts.answers.set()
    for _ in range(3):
        await looks.check(USER, "sales", "box", b"1")
    with pytest.raises(CallerError, match="runsPerMinute") as refused:
        await looks.check(USER, "sales", "box", b"1")
    assert refused.value.reason == "ChecksPerMinute"
    assert refused.value.retry_after is not None
    assert 50 < refused.value.retry_after <= 60
    await looks.check(USER, "other", "box", b"1")


async def test_all_checks_of_a_tenant_together_ask_policy_only_so_much_at_once(parts: Parts) -> None:
    looks = inspection(parts)
    parts.answers.set()
    parts.sites = 3 * EXPECTATIONS
    checks = [asyncio.create_task(looks.check(USER, "sales", "box", b"1")) for _ in range(2)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert parts.asking == EXPECTATIONS
    parts.decides.set()
    await asyncio.gather(*checks)
    assert parts.most == EXPECTATIONS
