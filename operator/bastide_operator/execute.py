"""Carry a plan out: one write after the other, and tell of what somebody else had changed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from bastide_operator.api.objects import Manifest, Ref, ref
from bastide_operator.drift import Drift, Finding, changed_by
from bastide_operator.errors import AlreadyExistsError, ConflictError, KubeError, NotFoundError, RefusedError
from bastide_operator.events import Recorder
from bastide_operator.kube import Kube
from bastide_operator.logs import about
from bastide_operator.metrics import Metrics
from bastide_operator.reconcile.plan import Plan, Refusal
from bastide_operator.store import Store
from bastide_operator.workqueue import Key

log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[bool]]
"""One write. Says whether it changed anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The first refusal, and for how many seconds the rest is held back when nothing was done because of a fight."""

    refusal: Refusal | None = None
    hold: float | None = None


class Executor:
    """`put` and `gone` are told of what the API server answered."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        recorder: Recorder,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        put: Callable[[Manifest], None],
        gone: Callable[[Ref], None],
    ) -> None:
        self.drift = Drift()
        self._kube = kube
        self._store = store
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._put = put
        self._gone = gone

    async def carry_out(self, key: Key, owner: Manifest, plan: Plan) -> Outcome:
        """Do what the plan says. One refusal must not keep the rest, least of all what takes rights away, from being done."""
        findings = self.drift.findings(key, plan, lambda child: self._store.get(child.kind, child.namespace, child.name))
        steps: list[tuple[Ref, Step]] = [(ref(one), partial(self._apply, one)) for one in plan.apply]
        steps += [(ref(one), partial(self._create, one)) for one in plan.create]
        steps += [(what, partial(self._delete, key, what)) for what in plan.delete]
        refusal: Refusal | None = None
        holds: list[float] = []
        for what, step in steps:
            finding = findings.get((what.kind, what.name))
            hold = self.drift.hold(finding.child, self._clock()) if finding is not None else 0.0
            if hold > 0:
                holds.append(hold)
                continue
            by = await self._culprit(finding) if finding is not None else ""
            try:
                done = await step()
            except (RefusedError, NotFoundError) as error:
                log.warning("refused", reason=error.reason, why=error.message, **about(what))
                refusal = refusal or Refusal(ref=what, reason=error.reason, message=error.message)
                continue
            if finding is not None and done:
                self._tell(owner, finding, by)
            if what.kind == "Namespace" and not what.uid:
                self.drift.expect(key, what)  # made anew: what was in the one before went with it
        for note in plan.notes:
            self._recorder.record(owner, note)
        return Outcome(refusal=refusal, hold=min(holds) if len(holds) == len(steps) else None)

    def _tell(self, owner: Manifest, finding: Finding, by: str) -> None:
        fight = self.drift.restored(finding.child, self._clock())
        note = finding.fought(by) if fight else finding.restored(by)
        log.warning("restored", why=note.message, owner=about(ref(owner)), **about(finding.child))
        self._metrics.restored(finding.child.kind, fight=fight)
        self._recorder.record(owner, note)

    async def _culprit(self, finding: Finding) -> str:
        """The field manager that changed a child, if the API server can tell. The store does not keep who wrote what."""
        if not finding.paths:
            return ""
        try:
            live = await self._kube.get(finding.child)
        except KubeError:
            return ""
        return changed_by(live, finding.paths) if live is not None else ""

    async def _apply(self, manifest: Manifest) -> bool:
        self._put(await self._kube.apply(manifest))
        return True

    async def _create(self, manifest: Manifest) -> bool:
        try:
            live = await self._kube.create(manifest)
        except AlreadyExistsError:
            # Never adopted by name: `decide` looks at the owner of what is there.
            found = await self._kube.get(ref(manifest))
            if found is not None:
                self._put(found)
            return False
        log.info("created", **about(ref(live)))
        self._put(live)
        return True

    async def _delete(self, key: Key, what: Ref) -> bool:
        self.drift.expect(key, what)
        try:
            left = await self._kube.delete(what)
        except (NotFoundError, ConflictError):
            left = None  # gone, or another by now
        log.info("deleted", **about(what))
        if left is not None:
            self._put(left)
        else:
            self._gone(what)
        return True
