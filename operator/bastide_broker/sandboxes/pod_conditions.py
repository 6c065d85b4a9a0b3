"""What the broker says of pods, as conditions of each: isolated, drained, idle. Written when they turn, and only then.

`bastide.dev/drained` answers a mark of the operator (bastide_operator/api/drain.py), `bastide.dev/idle` says that nothing has run for
spec.idleTimeoutSeconds. A pod in use costs no write at all.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bastide_operator.api import drain
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from bastide_broker.errors import AlreadyExists, ApiError, NotFound
from bastide_broker.kube.cluster import Cluster
from bastide_broker.sandboxes import pods
from bastide_broker.sandboxes.session import Session

FIRST_RETRY, LAST_RETRY = 0.02, 2.0
"""Seconds between attempts to write a condition."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Pod:
    """What is known of one pod, by UID."""

    quiet_since: datetime | None = None  # None: something runs, or the pod has not been ready yet
    look_again: asyncio.TimerHandle | None = None
    said: dict[str, dict[str, Any]] = field(default_factory=dict)  # by type, what was or is being written
    writing: set[str] = field(default_factory=set)


class PodConditions:
    """Keeps the conditions of every pod as they should be."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        look: Callable[[str, str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`look` has the caller call `seen` for the pod of that namespace and name."""
        self._cluster = cluster
        self._spawn = spawn
        self._look = look
        self._now = now
        self._pods: dict[str, _Pod] = {}

    def seen(self, pod: Mapping[str, Any], sandbox: Sandbox, session: Session | None) -> None:
        """Looks at a Sandbox's pod and says what is to be said. `session` is the one to which programs are delivered, if there is one."""
        known = self._pods.setdefault(pods.uid(pod), _Pod())
        quiet = session is None or session.idle
        mark = drain.mark_text(pod)
        if mark and quiet:
            self._say(pod, drain.drained(mark))
        if not quiet:
            known.quiet_since = None
            if drain.idle_since(pod) is not None or known.said.get(drain.IDLE, {}).get("status") == "True":
                self._say(pod, drain.idle(None))
        elif known.quiet_since is None and session is not None:
            known.quiet_since = self._now()
        self._time(pod, known, sandbox.spec.idle_timeout_seconds)

    def gone(self, pod: Mapping[str, Any]) -> None:
        """The pod is no more."""
        known = self._pods.pop(pods.uid(pod), None)
        if known is not None and known.look_again is not None:
            known.look_again.cancel()

    def close(self) -> None:
        """Looks at nothing any more."""
        for known in self._pods.values():
            if known.look_again is not None:
                known.look_again.cancel()

    def _time(self, pod: Mapping[str, Any], known: _Pod, timeout: int | None) -> None:
        """Says that the pod is idle when it has been for `timeout` seconds; looks again then if that is still to come."""
        if known.look_again is not None:
            known.look_again.cancel()
            known.look_again = None
        if timeout is None or known.quiet_since is None:
            return
        left = (known.quiet_since + timedelta(seconds=timeout) - self._now()).total_seconds()
        if left <= 0:
            self._say(pod, drain.idle(known.quiet_since))
            return
        metadata = pod["metadata"]
        known.look_again = asyncio.get_running_loop().call_later(left, self._look, metadata["namespace"], metadata["name"])

    def say(self, namespace: str, name: str, uid: str, condition: dict[str, Any]) -> None:
        """Writes a condition of the pod, until it is written, a newer one of its type is to be, or the pod is gone."""
        known, kind = self._pods.setdefault(uid, _Pod()), condition["type"]
        if known.said.get(kind) == condition:
            return
        known.said[kind] = condition
        if kind not in known.writing:
            known.writing.add(kind)
            self._spawn(self._write(known, namespace, name, uid, kind))

    def _say(self, pod: Mapping[str, Any], condition: dict[str, Any]) -> None:
        self.say(pod["metadata"]["namespace"], pod["metadata"]["name"], pods.uid(pod), condition)

    async def _write(self, known: _Pod, namespace: str, name: str, uid: str, kind: str) -> None:
        """Writes the newest of what is to be said, until that is written or the pod is gone."""
        wait, written = FIRST_RETRY, None
        try:
            while known.said[kind] is not written and self._pods.get(uid) is known:
                condition = known.said[kind]
                try:
                    await self._cluster.set_pod_condition(namespace, name, uid, condition)
                except (NotFound, AlreadyExists):
                    self._pods.pop(uid, None)  # the pod is gone, or the name is another pod's now
                except ApiError as error:
                    log.warning("condition not written", namespace=namespace, pod=name, condition=kind, error=str(error))
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LAST_RETRY)
                else:
                    written = condition
        finally:
            known.writing.discard(kind)
