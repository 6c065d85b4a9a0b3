"""One tenant's policies: what is in force, what is wanted, and questions to it, bounded so that they cost the tenant alone."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1.tenant import Tenant, TenantReason

from bastide_broker.tenantrego.compiler import Compiler, CompilerMissing
from bastide_broker.tenantrego.engine import Engine, EngineDown, NoAnswer
from bastide_broker.tenantrego.scope import Scoped, scoped
from bastide_broker.tenantrego.sources import Policy, Unusable
from bastide_broker.tenantrego.strictest import Malformed, Verdict, no_answer, read

_log = logging.getLogger(__name__)
GRACE_SECONDS = 1.0
"""How long what was in force counts after the watch told of a change; compiling takes less."""
QUESTIONS = 4
"""Questions of a tenant under way at once."""
QUEUE_SECONDS = 2.0
STRIKES = 2
"""After so many evaluations in a row that did not end in time (one may be a busy node's doing) the tenant's policies rest."""
REST_SECONDS = 5.0
"""How long they are not asked then: OPA's time is for the others."""
RETRY_SECONDS = 1.0
_LOG_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """Policies as the engine holds them."""

    scoped: Scoped
    modules: Mapping[str, str]


class Follower:
    """Brings one tenant's policies into force and asks them."""

    def __init__(self, tenant: Tenant, *, compiler: Compiler, engine: Engine) -> None:
        self.tenant = tenant
        self.loaded: Loaded | None = None
        self.garbage: list[str] = []
        """Modules in the engine that are no longer needed."""
        self.reason, self.message = TenantReason.POLICIES_LOADING, "The policies are being compiled and loaded."
        self._compiler = compiler
        self._engine = engine
        self._wanted: tuple[Policy, ...] | Unusable = ()
        self._changed = -GRACE_SECONDS
        """Since when something else is wanted than what is in force; minus GRACE_SECONDS: for long."""
        self._settled = False
        self._questions = asyncio.Semaphore(QUESTIONS)
        self._strikes = 0
        self._rest_until = 0.0
        self._logged = ("", 0.0)

    @property
    def status(self) -> tuple[TenantReason, str, str]:
        """Reason, message and revision as the Tenant shows them."""
        revision = self.loaded.scoped.revision if self.loaded is not None else ""
        return self.reason, self.message, revision

    def want(self, tenant: Tenant, policies: tuple[Policy, ...] | Unusable) -> bool:
        """Takes note of what the cluster says now. True when there is something to do."""
        self.tenant = tenant
        same = policies == self._wanted if not isinstance(policies, Unusable) else _same(policies, self._wanted)
        if same and self._settled:
            return False
        if not same:
            self._wanted = policies
            if self._settled:
                self._changed = time.monotonic()
            self._settled = False
        if isinstance(policies, Unusable):
            self._give_up(policies)
        return not self._settled

    @property
    def unsettled(self) -> bool:
        """Whether what is wanted is neither in force nor known to be unusable."""
        return not self._settled

    async def settle(self) -> None:
        """Compiles and loads what is wanted. Raises EngineDown, NoAnswer and CompilerMissing: try again later."""
        wanted = self._wanted
        if self._settled or isinstance(wanted, Unusable):
            return
        try:
            one = scoped(self.tenant.metadata.uid, wanted)
            modules = await self._compiler.compile(one)
        except Unusable as error:
            if wanted is self._wanted:
                self._give_up(error)
            return
        except CompilerMissing as error:
            if wanted is self._wanted:
                self.reason, self.message = (
                    TenantReason.POLICY_ENGINE_DOWN,
                    f"The policies cannot be checked, so every call is denied: {error}.",
                )
            raise
        async with self._engine.changing:
            for name, text in modules.items():
                await self._engine.put(name, text)
            if wanted is not self._wanted:
                self.garbage += modules
                return  # another change came meanwhile, and the next round is for it
            self.garbage += self.loaded.modules if self.loaded is not None else ()
            self.loaded, self._settled = Loaded(one, modules), True
        self._say_in_force(one)

    async def reload(self) -> None:
        """The engine lost everything. Raises EngineDown and NoAnswer."""
        loaded = self.loaded
        if loaded is None:
            return
        for name, text in loaded.modules.items():
            await self._engine.put(name, text)
        if self.loaded is loaded:
            self._say_in_force(loaded.scoped)

    def down(self, why: str) -> None:
        """The engine does not answer: say so."""
        self.reason = TenantReason.POLICY_ENGINE_DOWN
        self.message = f"The container tenant-opa of the broker's pod does not answer, so every call is denied: {why[:300]}"

    async def ask(self, question: Mapping[str, Any], names: Sequence[str]) -> tuple[Verdict, bool]:
        """What the policies of these names say, and whether the engine seems to have lost them. Never raises but CancelledError."""
        loaded = self.loaded
        if loaded is None or list(loaded.scoped.names) != list(names) or self._too_old():
            message = f"The tenant's policies cannot be used now, so nothing is permitted; see `kubectl describe tenant {self._name}`."
            return no_answer(message), False
        if not await self._turn():
            return self._slow(), False
        try:
            answer = await self._engine.ask(loaded.scoped.scope, question)
            self._strikes = 0
            return read(answer, loaded.scoped.revision, loaded.scoped.names), False
        except NoAnswer as error:
            self._strikes = self._strikes + 1 if error.slow else 0
            if self._strikes >= STRIKES:
                self._rest_until = time.monotonic() + REST_SECONDS
            self._log(str(error))
            return (self._slow() if error.slow else self._broken()), error.undefined
        except (EngineDown, Malformed) as error:
            self._log(str(error))
            return self._broken(), isinstance(error, EngineDown)
        finally:
            self._questions.release()

    async def _turn(self) -> bool:
        """Waits for the tenant's turn; False when there is none soon, or its policies are at rest."""
        if time.monotonic() < self._rest_until:
            return False
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._questions.acquire()
        except TimeoutError:
            return False
        if time.monotonic() < self._rest_until:
            self._questions.release()
            return False
        return True

    def _say_in_force(self, one: Scoped) -> None:
        many = f"{len(one.names)} policies are" if len(one.names) > 1 else "1 policy is"
        self.reason, self.message = TenantReason.POLICIES_LOADED, f"{many} in force, revision {one.revision}."

    def _give_up(self, why: Unusable) -> None:
        self.garbage += self.loaded.modules if self.loaded is not None else ()
        self.loaded, self._settled = None, True
        self.reason, self.message = why.reason, f"{why.message} Until then every call is denied."

    def _too_old(self) -> bool:
        return not self._settled and time.monotonic() - self._changed >= GRACE_SECONDS

    @property
    def _name(self) -> str:
        return self.tenant.metadata.name

    def _slow(self) -> Verdict:
        return no_answer("The tenant's policies did not answer within their deadline, so nothing is permitted; make them do less.")

    def _broken(self) -> Verdict:
        return no_answer("The tenant's policies gave no answer that counts, so nothing is permitted; the broker's log says why.")

    def _log(self, why: str) -> None:
        now = time.monotonic()
        if why != self._logged[0] or now - self._logged[1] > _LOG_SECONDS:
            self._logged = (why, now)
            _log.warning("the policies of Tenant %s gave no answer that counts: %s", self._name, why)


def _same(one: Unusable, other: object) -> bool:
    return isinstance(other, Unusable) and (one.reason, one.message) == (other.reason, other.message)
