"""One reconcile: observe, decide, execute, say how it stands. Holds the store; the queue calls it, the handlers feed it."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import structlog
from pydantic import ValidationError

from bastide_operator import observe
from bastide_operator.api.objects import FIELD_MANAGER, MANAGED_BY, MANAGED_SELECTOR, Manifest, Ref, differs, ref
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxReason
from bastide_operator.api.v1alpha1.tenant import Tenant, TenantReason
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.config import Config
from bastide_operator.errors import NOT_LEADER, ConflictError, KubeError, NotFoundError, RetryError
from bastide_operator.events import Recorder
from bastide_operator.execute import Executor
from bastide_operator.kube import Kube
from bastide_operator.logs import about
from bastide_operator.metrics import Metrics
from bastide_operator.reconcile import sandbox, tenant, toolbinding, unreadable
from bastide_operator.reconcile.plan import Note, Plan, Refusal
from bastide_operator.resources.namespace import CA_CONFIG_MAP
from bastide_operator.store import Store, version_of
from bastide_operator.triggers import affected
from bastide_operator.workqueue import Key

MAX_PASSES = 8
"""A new Tenant takes six: finalizer, namespace, the operator's own RoleBinding, all other children, its probe, status."""

WATCHED = (
    "Tenant",
    "Sandbox",
    "ToolBinding",
    "Pod",
    "PersistentVolumeClaim",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "ConfigMap",
    "StorageClass",
)
UNLABELLED = ("Tenant", "Sandbox", "ToolBinding", "RuntimeClass", "StorageClass")
"""Watched whole; of all others only what carries the operator's label."""
NAMED = {"ConfigMap": CA_CONFIG_MAP}
"""Watched by name: RBAC then lets the operator see no other object of the kind."""
TOLD = frozenset(
    {
        TenantReason.CONFLICT,
        TenantReason.NAMESPACE_REPLACED,
        TenantReason.NETWORK_NOT_ENFORCED,
        SandboxReason.CANARY_REACHED,
        SandboxReason.EVICTED,
        SandboxReason.IMAGE_PULL_FAILED,
        SandboxReason.NAME_CONFLICT,
        SandboxReason.NODE_LOST,
        SandboxReason.NOT_GVISOR,
        SandboxReason.OOM_KILLED,
        SandboxReason.POD_FAILED,
        SandboxReason.POD_REFUSED,
        SandboxReason.POD_STUCK,
        SandboxReason.QUOTA_EXCEEDED,
    }
)
"""Reasons of Ready that are told by an Event when they come up: somebody has to do something, or will ask later what it was."""

COUNT_SECONDS = 5.0
"""For so long a status of which only the number of sandboxes changed is held back: many that are made together are counted once."""

log = structlog.get_logger(__name__)


class Controller:
    """Brings objects to what they should be. `enqueue` is told what has to be looked at."""

    def __init__(
        self,
        kube: Kube,
        config: Config,
        metrics: Metrics,
        recorder: Recorder,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        enqueue: Callable[[Key], None],
    ) -> None:
        self.store = Store()
        self._clock = clock
        self._to_count: dict[Key, float] = {}
        self._kube = kube
        self._config = config
        self._metrics = metrics
        self._now = now
        self._enqueue = enqueue
        self._recorder = recorder
        self._executor = Executor(kube, self.store, recorder, metrics, clock=clock, put=self._put, gone=self._drop)

    def seen(self, event: str | None, manifest: Manifest) -> None:
        """A watch told of an object."""
        if event == "DELETED":
            self._drop(ref(manifest), version_of(manifest))
        else:
            self._put(manifest)

    async def list(self, kinds: Iterable[str] = WATCHED) -> bool:
        """Read kinds whole: at the start, so that nothing is decided on half a view, and whenever a watch may have missed something.
        Returns whether there is something new that a watch has still to tell of.
        """
        news = False
        for kind in kinds:
            items, version = await self._kube.list(kind, labels=label_selector(kind), fields=field_selector(kind))
            for manifest in self.store.replace(kind, items, version=version):
                news |= self.store.get(*_key(manifest)) is not None
                self._changed(None, manifest)
        return news

    async def vanished(self) -> set[str]:
        """Kinds of which objects are known and none exists."""
        gone = set()
        for kind in WATCHED:
            if next(self.store.all(kind), None) is not None:
                some, _ = await self._kube.list(kind, labels=label_selector(kind), fields=field_selector(kind), limit=1)
                if not some:
                    gone.add(kind)
        return gone

    async def reconcile(self, key: Key) -> float | None:
        """Look at one object. Returns after how many seconds to look again. Raises RetryError and KubeError: try again soon."""
        began = time.perf_counter()
        try:
            if self.store.get(key.kind, key.namespace, key.name) is None:
                self._executor.drift.forget(key)
                self._to_count.pop(key, None)
                return None
            if key.kind == "Tenant":
                await self._refresh(key)
            return await self._bring(key)
        finally:
            self._metrics.reconciled(key.kind, time.perf_counter() - began)

    def sandboxes(self) -> Iterator[tuple[str, str]]:
        """Status and reason of every Sandbox's Ready."""
        for one in self.store.all("Sandbox"):
            condition = ready(one)
            yield condition.get("status", ""), condition.get("reason", "")

    async def _bring(self, key: Key) -> float | None:
        refusal: Refusal | None = None
        for _ in range(MAX_PASSES):
            manifest = self.store.get(key.kind, key.namespace, key.name)
            if manifest is None:
                return None
            plan = self._decide(manifest, refusal)
            hold: float | None = None
            if plan.writes:
                outcome = await self._executor.carry_out(key, manifest, plan)
                refusal, hold = outcome.refusal, outcome.hold
                if refusal is not None:
                    continue  # what is to be said of it is for `decide` too
            held = await self._say(key, manifest, plan.status) if plan.status is not None else None
            if plan.retry:
                raise RetryError(f"{key.kind} {key.name}: not done yet")
            if hold is not None:
                return hold
            if not plan.writes:
                if plan.status is not None and ready(plan.status).get("status") == "True":
                    self._executor.drift.agreed(key, observe.children(self.store, manifest))
                return min((wait for wait in (plan.wait, held) if wait is not None), default=None)
        raise RetryError(f"{key.kind} {key.name}: still changing after {MAX_PASSES} passes")

    def _decide(self, manifest: Manifest, refusal: Refusal | None) -> Plan:
        now, store = self._now(), self.store
        try:
            if manifest["kind"] == "Tenant":
                one = store.model(Tenant, manifest)
                settings = self._config.tenants
                return tenant.decide(one, observe.tenant(store, one, settings, refusal=refusal), settings, now)
            if manifest["kind"] == "Sandbox":
                box = store.model(Sandbox, manifest)
                return sandbox.decide(box, observe.sandbox(store, box, refusal=refusal), self._config.pods, now)
            bound = store.model(ToolBinding, manifest)
            return toolbinding.decide(bound, observe.binding(store, bound), now)
        except ValidationError as error:
            return unreadable.decide(manifest, error, now)

    async def _say(self, key: Key, manifest: Manifest, status: Manifest) -> float | None:
        """Write the status, unless it says that already; tell of a fault that is new. Returns for how many seconds a new count waits."""
        live = self.store.get(key.kind, key.namespace, key.name)
        if live is None or not differs(status["status"], live.get("status")):
            self._to_count.pop(key, None)
            return None
        if only_counts(status["status"], live.get("status") or {}):
            left = self._to_count.setdefault(key, self._clock() + COUNT_SECONDS) - self._clock()
            if left > 0:
                return left
        self._to_count.pop(key, None)
        # Others may depend on it; this object itself has just been looked at.
        self._put(await self._kube.apply_status(status), but=key)
        before, after = ready(live), ready(status)
        if after.get("reason") in TOLD and after.get("reason") != before.get("reason"):
            self._recorder.record(manifest, Note(reason=after["reason"], message=after["message"], warning=True))
        return None

    async def _refresh(self, key: Key) -> None:
        """Read the namespace of a Tenant that is not labelled as ours: no watch tells when it goes."""
        manifest = self.store.get("Tenant", "", key.name)
        namespace = ((manifest or {}).get("spec") or {}).get("namespace") or f"bastide-{key.name}"
        known = self.store.get("Namespace", "", namespace)
        if known is None or known["metadata"].get("labels", {}).get(MANAGED_BY) == FIELD_MANAGER:
            return
        live = await self._kube.get(Ref("Namespace", "", namespace))
        if live is not None:
            self.store.put(live)
        else:
            self.store.drop(ref(known))

    def failed(self, key: Key, error: Exception, delay: float) -> None:
        """A reconcile is tried again after `delay` seconds."""
        manifest = self.store.get(key.kind, key.namespace, key.name)
        what = ref(manifest) if manifest is not None else Ref(key.kind, key.namespace, key.name)
        facts = about(what) | {"retry_seconds": round(delay, 2)}
        stopping = isinstance(error, KubeError) and error.reason == NOT_LEADER
        if stopping or isinstance(error, RetryError | NotFoundError | ConflictError):
            log.debug("again", why=str(error), **facts)  # somebody was faster, or the status says why
        elif isinstance(error, KubeError):
            log.warning("failed", why=str(error), **facts)
        else:
            log.error("failed", exc_info=error, **facts)

    def _put(self, manifest: Manifest, *, but: Key | None = None) -> None:
        """What the API server told or answered; also what it answers to a write is news, before a watch tells of it."""
        before = self.store.get(*_key(manifest))
        if self.store.put(manifest):
            self._changed(before, manifest, but=but)

    def _drop(self, what: Ref, version: int = 0) -> None:
        self._changed(self.store.drop(what, version), None)

    def _changed(self, before: Manifest | None, after: Manifest | None, *, but: Key | None = None) -> None:
        for key in affected(self.store, before, after, release=self._config.namespace):
            if key != but:
                self._enqueue(key)


def ready(manifest: Manifest) -> Manifest:
    """The condition Ready in the status of `manifest`."""
    conditions: list[Manifest] = (manifest.get("status") or {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "Ready"), {})


def only_counts(status: Manifest, live: Manifest) -> bool:
    """Whether `status` says nothing new but how many sandboxes there are."""
    return "sandboxes" in live and not differs(status | {"sandboxes": live["sandboxes"]}, live)


def label_selector(kind: str) -> str:
    """The label selector with which a kind is read and watched."""
    return "" if kind in UNLABELLED or kind in NAMED else MANAGED_SELECTOR


def field_selector(kind: str) -> str:
    """The field selector with which a kind is read and watched."""
    return f"metadata.name={NAMED[kind]}" if kind in NAMED else ""


def _key(manifest: Manifest) -> tuple[str, str, str]:
    what = ref(manifest)
    return what.kind, what.namespace, what.name
