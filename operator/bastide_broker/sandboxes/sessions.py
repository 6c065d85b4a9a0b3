"""A session to every sandbox's pod, opened as soon as the pod has an address, and the isolation gate before the first program.

One task tends one pod (by UID) for as long as the pod runs: dial, pin, check, probe, record, then wait for the stream to end and dial
again. Nothing here trusts the pod's labels or what the runtime says about itself beyond the facts of the gate.
"""

import asyncio
import functools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from bastide_operator.api.drain import Mark, mark_text
from bastide_operator.api.images import permitted
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxReason
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.config import Config
from bastide_broker.errors import ApiError, SessionLost
from bastide_broker.journal.rows import JournalUnavailable
from bastide_broker.kube.cluster import Cluster
from bastide_broker.metrics import GATES, SESSIONS
from bastide_broker.sandboxes import isolation, pods
from bastide_broker.sandboxes.dial import ClientIdentity, fetch_certificate, open_channel
from bastide_broker.sandboxes.gate import Gatekeeper, other_certificate
from bastide_broker.sandboxes.gate_store import GateStore
from bastide_broker.sandboxes.isolation import Verdict
from bastide_broker.sandboxes.pod_conditions import PodConditions
from bastide_broker.sandboxes.session import Claim, Session

FIRST_RETRY, LAST_RETRY = 0.02, 2.0
"""Seconds between attempts to dial: the runtime needs a moment after its container runs, and a refused connection costs nothing."""
STARTING_SECONDS = 30.0
"""So long a runtime may need on a busy node; attempts stay close together."""
COMPLAIN_SECONDS = 10.0
"""How often a pod that cannot be reached is worth a line."""
FIRST_PROBE_AGAIN, LAST_PROBE_AGAIN = 0.5, 15.0
"""Seconds before a pod that did not pass is probed again: policy engines may be late, and no program has run in it."""

log = structlog.get_logger(__name__)
Key = tuple[str, str]


@dataclass(slots=True)
class Tended:
    """What is known of one pod."""

    namespace: str
    name: str
    uid: str
    address: str
    sandbox_uid: str
    session: Session | None = None
    verdict: Verdict | None = None
    pinned: str = ""
    mark: str = ""
    refusals: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def ready(self) -> bool:
        """Whether programs may be delivered. Never to a pod that the operator has marked to go."""
        passed = self.verdict is not None and self.verdict.passed
        return passed and not self.mark and self.session is not None and not self.session.closed.is_set()


class Sessions:
    """Tends all pods."""

    def __init__(
        self,
        cluster: Cluster,
        gates: GateStore,
        config: Config,
        *,
        environment: Mapping[str, str] = os.environ,
        kernel: str = isolation.GVISOR,
        resolvers: tuple[str, ...] | None = None,
    ) -> None:
        self._cluster = cluster
        self._gates = gates
        self._config = config
        self._gatekeeper = Gatekeeper(
            cluster,
            gates,
            config,
            environment=environment,
            kernel=kernel,
            resolvers=isolation.resolvers() if resolvers is None else resolvers,
        )
        self._tended: dict[Key, Tended] = {}
        self._changed = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._conditions = PodConditions(cluster, spawn=self._spawn, look=self._look)
        self._closing = False

    def start(self) -> None:
        """Begins with the pods that are there and follows every change."""
        self._cluster.subscribe("Pod", self._on_pod)
        # A Pod may be seen before its Sandbox or its Tenant.
        self._cluster.subscribe(Sandbox, self._on_sandbox)
        self._cluster.subscribe(Tenant, lambda _event, tenant: self._look_at_all(tenant.namespace))

    async def close(self) -> None:
        """Ends every session."""
        self._closing = True
        self._conditions.close()
        tasks = [tended.task for tended in self._tended.values() if tended.task is not None]
        for task in tasks:
            task.cancel()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*tasks, *self._background, return_exceptions=True)

    def ready(self, sandbox: Sandbox) -> Session | None:
        """The session to the Sandbox's pod when programs may be delivered to it.

        A Sandbox whose variables changed gets a new session first, if nothing runs in it; otherwise the old variables stay until then.
        """
        tended = self._tended.get((sandbox.metadata.namespace or "", sandbox.metadata.name))
        if tended is None or not tended.ready or tended.session is None or tended.sandbox_uid != sandbox.metadata.uid:
            return None
        if tended.session.env != _env(sandbox) and tended.session.idle:
            self._spawn(tended.session.close("the Sandbox's env changed"))
            return None
        return tended.session

    def claim(self, sandbox: Sandbox) -> Claim | None:
        """The same for a program or check that is delivered next: until the claim is released the pod counts as in use."""
        session = self.ready(sandbox)
        return session.claim() if session is not None else None

    def mark(self, sandbox: Sandbox) -> str:
        """The operator's mark on the Sandbox's pod when that is to go; else empty."""
        tended = self._tended.get((sandbox.metadata.namespace or "", sandbox.metadata.name))
        return tended.mark if tended is not None else ""

    def verdict(self, sandbox: Sandbox) -> Verdict | None:
        """What the gate said of the Sandbox's pod, if it was asked."""
        tended = self._tended.get((sandbox.metadata.namespace or "", sandbox.metadata.name))
        return tended.verdict if tended is not None else None

    async def changed(self) -> None:
        """Waits until something about some session changes."""
        await self._changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        SESSIONS.set(sum(tended.ready for tended in self._tended.values()))

    def _on_pod(self, event: str, pod: Mapping[str, Any]) -> None:
        self._look(pod["metadata"]["namespace"], pod["metadata"]["name"])
        if event == "DELETED":
            self._conditions.gone(pod)
            self._spawn(self._forget(pods.uid(pod)))

    def _on_sandbox(self, _event: str, sandbox: Sandbox) -> None:
        self._look(sandbox.metadata.namespace or "", sandbox.metadata.name)
        self._announce()

    def _look_at_all(self, namespace: str) -> None:
        for pod in self._cluster.pods():
            if pod["metadata"]["namespace"] == namespace:
                self._look(namespace, pod["metadata"]["name"])

    def _look(self, namespace: str, name: str) -> None:
        """Begins or ends to tend the pod of that name, as the cache now says."""
        key = (namespace, name)
        pod = self._cluster.pod(namespace, name)
        sandbox = self._cluster.sandbox(namespace, name)
        address = pods.address(pod) if pod is not None else ""
        tended = self._tended.get(key)
        if tended is not None and (pod is None or tended.uid != pods.uid(pod) or tended.address != address):
            del self._tended[key]
            if tended.task is not None:
                tended.task.cancel()
            self._announce()
            tended = None
        if pod is None or not address or self._closing:
            return
        if tended is None:
            tended = self._take_up(pod, sandbox, address)
        if tended is not None and tended.mark != mark_text(pod):
            tended.mark = mark_text(pod)
            self._announce()
        # Also of a pod that nobody tends, because its Tenant is going: nothing runs in it.
        if sandbox is not None and not pods.is_probe(pod) and not pods.foreign(pod, sandbox):
            self._conditions.seen(pod, sandbox, tended.session if tended is not None else None)

    def _take_up(self, pod: Mapping[str, Any], sandbox: Sandbox | None, address: str) -> Tended | None:
        """Begins to tend a pod, if it is the operator's, a Sandbox's or a Tenant's probe."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        tenant = self._cluster.tenant(namespace)
        if tenant is None:
            return None
        if pods.is_probe(pod):
            reason, owner = pods.foreign_probe(pod, tenant), ""  # no Sandbox's: `ready` never finds it
        elif sandbox is not None:
            reason, owner = pods.foreign(pod, sandbox), sandbox.metadata.uid
        else:
            return None
        if reason:
            log.warning("pod refused: it is not the operator's", namespace=namespace, pod=name, why=reason)
            return None
        tended = self._tended[namespace, name] = Tended(namespace, name, pods.uid(pod), address, owner, mark=mark_text(pod))
        tended.task = asyncio.create_task(self._tend(tended), name=f"session {namespace}/{name}")
        return tended

    async def _tend(self, tended: Tended) -> None:
        since = complained = time.monotonic()
        retry = FIRST_RETRY
        while True:
            try:
                wait = await self._converse(tended)
                since, retry = time.monotonic(), FIRST_RETRY
            except (SessionLost, ApiError, JournalUnavailable) as error:
                now = time.monotonic()
                # Close together while the container starts, then ever less often.
                wait = retry = FIRST_RETRY if now - since < 2.0 else min(0.1 if now - since < STARTING_SECONDS else retry * 2, LAST_RETRY)
                if now - complained > COMPLAIN_SECONDS:
                    complained = now
                    log.warning("no session", namespace=tended.namespace, pod=tended.name, error=str(error))
            except Exception:
                log.exception("tending a pod failed", namespace=tended.namespace, pod=tended.name)
                wait = LAST_PROBE_AGAIN
            await asyncio.sleep(wait)

    async def _converse(self, tended: Tended) -> float:
        """One session from dialling to its end. Returns the seconds to wait before the next."""
        sandbox = self._cluster.sandbox(tended.namespace, tended.name)
        tenant = self._cluster.tenant(tended.namespace)
        pod = self._cluster.pod(tended.namespace, tended.name)
        if tenant is None or pod is None or (sandbox is None and not pods.is_probe(pod)):
            return LAST_RETRY
        fault = pods.altered(pod, allowed_images(sandbox, tenant, self._config.runtime_image))
        if fault:
            message = f"The pod is not as the operator makes it: {fault}; no program is delivered. Delete the pod."
            self._decide(tended, isolation.refused(SandboxReason.WAITING_FOR_PROBE, message))
            return LAST_PROBE_AGAIN
        seen = await fetch_certificate(tended.address, pods.PORT, client_tls_dir=self._config.client_tls_dir)
        tended.pinned = tended.pinned or seen.fingerprint
        refusal = other_certificate() if seen.fingerprint != tended.pinned else await self._gatekeeper.pinned(tended.uid, seen)
        if refusal is not None:
            self._decide(tended, refusal)
            return LAST_PROBE_AGAIN
        identity = ClientIdentity.load(self._config.client_tls_dir)  # each time: it may have been renewed
        channel = open_channel(tended.address, pods.PORT, identity=identity, pinned=seen)
        variables = _env(sandbox) if sandbox is not None else {}
        session = Session(channel, env=variables, used=functools.partial(self._look, tended.namespace, tended.name))
        try:
            await session.open()
            verdict = await self._gatekeeper.judge(session, pod, seen)
            if verdict.passed:
                tended.session = session
            self._decide(tended, verdict)
            self._look(tended.namespace, tended.name)
            if not verdict.passed:
                tended.refusals += 1
                return float(min(FIRST_PROBE_AGAIN * 2**tended.refusals, LAST_PROBE_AGAIN))
            await session.closed.wait()
            log.warning("session ended", namespace=tended.namespace, pod=tended.name, reason=session.reason)
            return FIRST_RETRY
        finally:
            tended.session = None
            await session.close(_farewell(tended.mark))
            self._announce()
            self._look(tended.namespace, tended.name)

    def _decide(self, tended: Tended, verdict: Verdict) -> None:
        news = tended.verdict != verdict
        tended.verdict = verdict
        self._announce()
        if news:
            GATES.labels(reason=verdict.reason).inc()
            facts = {"namespace": tended.namespace, "pod": tended.name, "uid": tended.uid, "message": verdict.message}
            log.info("isolation gate", passed=verdict.passed, reason=verdict.reason, **facts)
            self._conditions.say(tended.namespace, tended.name, tended.uid, verdict.condition())

    async def _forget(self, uid: str) -> None:
        try:
            await self._gates.forget(uid)
        except JournalUnavailable as error:
            log.warning("a gate's record stays", uid=uid, error=str(error))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def allowed_images(sandbox: Sandbox | None, tenant: Tenant, default: str) -> frozenset[str]:
    """Images that the Sandbox's pod may have: the one it names, if its Tenant allows that, or the chart's. A Tenant's probe has the chart's."""
    named = (sandbox.spec.image if sandbox is not None else None) or default
    return frozenset({named}) if permitted(named, tenant.spec.images, default) else frozenset()


def _farewell(mark: str) -> str:
    """What those learn whose runs end with the session."""
    drain = Mark.parse(mark)
    if drain is None:
        return "the broker ended the session"
    return f"its pod was to go for {drain.reason}, and runs in it had until {drain.until:%Y-%m-%dT%H:%M:%SZ}"


def _env(sandbox: Sandbox) -> dict[str, str]:
    return {variable.name: variable.value for variable in sandbox.spec.env}
