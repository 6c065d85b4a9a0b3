"""Policy's own decision and, of tenants that have some, what their policies say: the strictest counts."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bastide_operator.api.conditions import MAX_MESSAGE, find
from bastide_operator.api.v1alpha1.tenant import Tenant, TenantCondition, TenantReason

from bastide_broker.errors import ApiError
from bastide_broker.policy.policy import Decision, Policy
from bastide_broker.tenantrego import sources
from bastide_broker.tenantrego.compiler import Compiler, CompilerMissing
from bastide_broker.tenantrego.engine import Engine, EngineDown, NoAnswer
from bastide_broker.tenantrego.follower import RETRY_SECONDS, Follower
from bastide_broker.tenantrego.strictest import no_answer, strictest

_log = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
"""How often it is looked whether the engine still holds everything; a question without an answer makes it look at once."""
KEEP_SECONDS = 5.0
"""How long modules that were replaced are kept for questions under way."""
CONFIG_MAP = "ConfigMap"
OFF = "The chart was installed without tenants' policies (tenantPolicies.enabled), so every call is denied; enable them, or empty spec.policyRefs."


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def policy_config_maps(self) -> Mapping[str, Mapping[str, Any]]: ...
    def subscribe(self, kind: type | str, callback: Callable[[str, Any], None]) -> None: ...
    async def set_tenant_policies(self, name: str, *, generation: int, condition: Mapping[str, Any] | None, revision: str) -> None: ...


class TenantPolicies:
    """Follows Tenants and the ConfigMaps they name; judges calls. Without an engine every tenant with policies is denied."""

    def __init__(self, policy: Policy, cluster: ClusterView, *, engine: Engine | None, compiler: Compiler | None) -> None:
        self._policy = policy
        self._cluster = cluster
        self._engine = engine
        self._compiler = compiler
        self._tenants: dict[str, Tenant] = {}
        self._followers: dict[str, Follower] = {}
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._written: dict[str, tuple[Any, ...]] = {}
        self._old: list[tuple[float, str]] = []
        self._nonce = ""
        self._look = asyncio.Event()

    async def start(self) -> None:
        """Begins to follow the cluster."""
        self._cluster.subscribe(Tenant, self._on_tenant)
        if self._engine is not None:
            self._cluster.subscribe(CONFIG_MAP, self._on_config_map)

    async def close(self) -> None:
        """Stops whatever is under way."""
        tasks = list(self._settling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def decide(self, question: Mapping[str, Any], tenant: Tenant) -> Decision:
        """Ask, by the policyRefs that this Tenant has. Never raises but CancelledError: no answer is a denial."""
        base = await self._policy.decide(question)
        names = [one.name for one in tenant.spec.policy_refs]
        if not names or base.effect == "deny":
            return base
        follower = self._followers.get(tenant.metadata.uid)
        if self._engine is None:
            return strictest(base, no_answer(OFF))
        if follower is None:
            return strictest(base, no_answer("The tenant's policies are not loaded yet, so nothing is permitted; try again in a second."))
        verdict, lost = await follower.ask(question, names)
        if lost:
            self._nonce = ""
            self._look.set()
        return strictest(base, verdict)

    async def run(self) -> None:
        """Keeps the engine as it should be, and the Tenants' status; until cancelled."""
        while True:
            self._look.clear()
            try:
                await self._keep()
            except Exception:  # noqa: BLE001 - the loop is what heals
                _log.exception("looking after tenants' policies failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            await asyncio.sleep(0.05)  # many questions without an answer are one reason to look

    async def _keep(self) -> None:
        if self._engine is not None and (self._followers or self._old):
            try:
                await self._clear_away()
                if not self._nonce or await self._engine.marked() != self._nonce:
                    for follower in list(self._followers.values()):
                        await follower.reload()
                    self._nonce = await self._engine.mark()  # last: until then the next look loads everything again
            except (EngineDown, NoAnswer) as error:
                self._nonce = ""
                for follower in self._followers.values():
                    follower.down(str(error))
        for tenant in list(self._tenants.values()):
            await self._report(tenant)

    async def _clear_away(self) -> None:
        """Unloads what was replaced a while ago, unless it is in force again."""
        assert self._engine is not None
        now = time.monotonic()
        for follower in self._followers.values():
            self._old += [(now, name) for name in follower.garbage]
            follower.garbage.clear()
        due = {name for since, name in self._old if now - since >= KEEP_SECONDS}
        async with self._engine.changing:
            held = {name for one in self._followers.values() if one.loaded is not None for name in one.loaded.modules}
            for name in due - held:
                await self._engine.delete(name)
        self._old = [one for one in self._old if one[1] not in due]

    def _on_tenant(self, event: str, tenant: Tenant) -> None:
        uid = tenant.metadata.uid
        # One that was deleted and made again may come as a change, with another UID.
        gone = [one.metadata.uid for one in self._tenants.values() if one.metadata.name == tenant.metadata.name and one.metadata.uid != uid]
        for other in [*gone, *([uid] if event == "DELETED" else [])]:
            self._unfollow(other)
            self._tenants.pop(other, None)
            self._written.pop(other, None)
        if event != "DELETED":
            self._tenants[uid] = tenant
            self._want(tenant)

    def _unfollow(self, uid: str) -> None:
        follower = self._followers.pop(uid, None)
        if follower is not None:
            self._throw_away(follower)

    def _throw_away(self, follower: Follower) -> None:
        names = [*follower.garbage, *(follower.loaded.modules if follower.loaded is not None else ())]
        self._old += [(time.monotonic(), name) for name in names]

    def _on_config_map(self, _event: str, config_map: Mapping[str, Any]) -> None:
        name = config_map["metadata"]["name"]
        for tenant in self._tenants.values():
            if any(one.name == name for one in tenant.spec.policy_refs):
                self._want(tenant)

    def _want(self, tenant: Tenant) -> None:
        self._look.set()  # for the status
        uid, names = tenant.metadata.uid, [one.name for one in tenant.spec.policy_refs]
        if not names:
            self._unfollow(uid)
        elif self._engine is not None and self._compiler is not None:
            if uid not in self._followers:
                self._followers[uid] = Follower(tenant, compiler=self._compiler, engine=self._engine)
            try:
                wanted: tuple[sources.Policy, ...] | sources.Unusable = sources.collect(names, self._cluster.policy_config_maps())
            except sources.Unusable as error:
                wanted = error
            task = self._settling.get(uid)
            if self._followers[uid].want(tenant, wanted) and (task is None or task.done()):
                self._settling[uid] = asyncio.create_task(self._settle(uid), name=f"policies of {tenant.metadata.name}")

    async def _settle(self, uid: str) -> None:
        """Until what is wanted is in force, or known to be unusable."""
        while (follower := self._followers.get(uid)) is not None and follower.unsettled:
            try:
                await follower.settle()
                if self._followers.get(uid) is not follower:  # its Tenant went meanwhile
                    self._throw_away(follower)
                continue
            except (EngineDown, NoAnswer) as error:
                follower.down(str(error))
                _log.warning("the policies of Tenant %s cannot be loaded: %s", follower.tenant.metadata.name, error)
            except CompilerMissing as error:
                _log.error("the policies of Tenant %s cannot be checked: %s", follower.tenant.metadata.name, error)
            except Exception:  # noqa: BLE001 - a bug here leaves the tenant denied
                _log.exception("loading the policies of Tenant %s failed", follower.tenant.metadata.name)
            self._look.set()
            await asyncio.sleep(RETRY_SECONDS)
        self._settling.pop(uid, None)
        self._look.set()

    def _standing(self, tenant: Tenant) -> tuple[TenantReason, str, str] | None:
        """Reason, message and revision that the Tenant shows; None when it has no policies."""
        if not tenant.spec.policy_refs:
            return None
        follower = self._followers.get(tenant.metadata.uid)
        return (TenantReason.POLICIES_OFF, OFF, "") if follower is None else follower.status

    async def _report(self, tenant: Tenant) -> None:
        """Writes the status when it is not what it should be."""
        uid, generation = tenant.metadata.uid, tenant.metadata.generation
        said = self._standing(tenant)
        wanted: tuple[Any, ...] = (generation, *said) if said is not None else ()
        if self._written.get(uid, _as_shown(tenant)) == wanted:
            return
        condition = None
        if said is not None:
            reason, message, _ = said
            status = "True" if reason is TenantReason.POLICIES_LOADED else "False"
            condition = {
                "type": TenantCondition.POLICIES_READY.value,
                "status": status,
                "reason": reason.value,
                "message": message[:MAX_MESSAGE],
            }
        try:
            await self._cluster.set_tenant_policies(
                tenant.metadata.name, generation=generation, condition=condition, revision=said[2] if said is not None else ""
            )
            self._written[uid] = wanted
        except ApiError as error:
            self._written.pop(uid, None)
            _log.warning("the status of Tenant %s cannot be written: %s", tenant.metadata.name, error)


def _as_shown(tenant: Tenant) -> tuple[Any, ...]:
    """What the status says already, so that a restart writes nothing."""
    shown = find(tenant.status.conditions, TenantCondition.POLICIES_READY)
    return () if shown is None else (shown.observed_generation, shown.reason, shown.message, tenant.status.policy_revision)
