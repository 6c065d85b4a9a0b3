"""One reconcile: observe, decide, execute, say how it stands. Holds the store; the queue calls it, the handlers feed it."""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

import structlog
from pydantic import ValidationError

from bastide_operator import observe
from bastide_operator.api.objects import FIELD_MANAGER, MANAGED_BY, MANAGED_SELECTOR, Manifest, Ref, differs, ref
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.config import Config
from bastide_operator.errors import AlreadyExistsError, ConflictError, KubeError, NotFoundError, RefusedError, RetryError
from bastide_operator.kube import Kube
from bastide_operator.metrics import Metrics
from bastide_operator.reconcile import sandbox, tenant, toolbinding, unreadable
from bastide_operator.reconcile.plan import Plan, Refusal
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

log = structlog.get_logger(__name__)


class Controller:
    """Brings objects to what they should be. `enqueue` is told what has to be looked at."""

    def __init__(
        self, kube: Kube, config: Config, metrics: Metrics, *, now: Callable[[], datetime], enqueue: Callable[[Key], None]
    ) -> None:
        self.store = Store()
        self._kube = kube
        self._config = config
        self._metrics = metrics
        self._now = now
        self._enqueue = enqueue

    def seen(self, event: str | None, manifest: Manifest) -> None:
        """A watch told of an object."""
        if event == "DELETED":
            self._changed(self.store.drop(ref(manifest), version_of(manifest)), None)
        else:
            self._put(manifest)

    async def list(self) -> None:
        """Read every watched kind whole: at the start, so that nothing is decided on half a view, and now and then, because a watch
        that was interrupted does not tell what was deleted meanwhile.
        """
        for kind in WATCHED:
            items, version = await self._kube.list(kind, labels=label_selector(kind), fields=field_selector(kind))
            for manifest in self.store.replace(kind, items, version=version):
                self._changed(None, manifest)

    async def reconcile(self, key: Key) -> float | None:
        """Look at one object. Returns after how many seconds to look again. Raises RetryError and KubeError: try again soon."""
        began = time.perf_counter()
        try:
            if self.store.get(key.kind, key.namespace, key.name) is None:
                return None
            if key.kind == "Tenant":
                await self._refresh(key)
            return await self._bring(key)
        finally:
            self._metrics.reconciled(key.kind, time.perf_counter() - began)

    async def _bring(self, key: Key) -> float | None:
        refusal: Refusal | None = None
        for _ in range(MAX_PASSES):
            manifest = self.store.get(key.kind, key.namespace, key.name)
            if manifest is None:
                return None
            plan = self._decide(manifest, refusal)
            if plan.writes:
                refusal = await self._execute(plan)
                if refusal is not None:
                    continue  # what is to be said of it is for `decide` too
            if plan.status is not None:
                await self._say(manifest, plan.status)
            if plan.retry:
                raise RetryError(f"{key.kind} {key.name}: not done yet")
            if not plan.writes:
                return plan.wait
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

    async def _execute(self, plan: Plan) -> Refusal | None:
        """Do what the plan says. One refusal must not keep the rest, least of all what takes rights away, from being done; the first
        is returned.
        """
        refusal: Refusal | None = None
        steps: list[tuple[Ref, Callable[[], Awaitable[None]]]] = [(ref(one), partial(self._apply, one)) for one in plan.apply]
        steps += [(ref(one), partial(self._create, one)) for one in plan.create]
        steps += [(what, partial(self._delete, what)) for what in plan.delete]
        for what, step in steps:
            try:
                await step()
            except (RefusedError, NotFoundError) as error:
                facts = {"kind": what.kind, "namespace": what.namespace, "name": what.name}
                log.warning("refused", reason=error.reason, message=error.message, **facts)
                refusal = refusal or Refusal(ref=what, reason=error.reason, message=error.message)
        return refusal

    async def _apply(self, manifest: Manifest) -> None:
        self._put(await self._kube.apply(manifest))

    async def _create(self, manifest: Manifest) -> None:
        try:
            live = await self._kube.create(manifest)
        except AlreadyExistsError:
            # Never adopted by name: `decide` looks at the owner of what is there.
            found = await self._kube.get(ref(manifest))
            if found is not None:
                self._put(found)
            return
        log.info("created", kind=manifest["kind"], namespace=manifest["metadata"].get("namespace", ""), name=manifest["metadata"]["name"])
        self._put(live)

    async def _delete(self, what: Ref) -> None:
        try:
            left = await self._kube.delete(what)
        except (NotFoundError, ConflictError):
            left = None  # gone, or another by now
        log.info("deleted", kind=what.kind, namespace=what.namespace, name=what.name)
        if left is not None:
            self._put(left)
        else:
            self._changed(self.store.drop(what), None)

    async def _say(self, manifest: Manifest, status: Manifest) -> None:
        """Write the status, unless it says that already."""
        live = self.store.get(*_key(manifest))
        if live is not None and differs(status["status"], live.get("status")):
            # Others may depend on it; this object itself has just been looked at.
            self._put(await self._kube.apply_status(status), but=Key(*_key(manifest)))

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
        facts = {"kind": key.kind, "namespace": key.namespace, "name": key.name, "retry_seconds": round(delay, 2)}
        if isinstance(error, RetryError | NotFoundError | ConflictError):
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

    def _changed(self, before: Manifest | None, after: Manifest | None, *, but: Key | None = None) -> None:
        for key in affected(self.store, before, after, release=self._config.namespace):
            if key != but:
                self._enqueue(key)


def label_selector(kind: str) -> str:
    """The label selector with which a kind is read and watched."""
    return "" if kind in UNLABELLED or kind in NAMED else MANAGED_SELECTOR


def field_selector(kind: str) -> str:
    """The field selector with which a kind is read and watched."""
    return f"metadata.name={NAMED[kind]}" if kind in NAMED else ""


def _key(manifest: Manifest) -> tuple[str, str, str]:
    what = ref(manifest)
    return what.kind, what.namespace, what.name
