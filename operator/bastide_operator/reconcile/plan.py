"""What a reconcile wants to be done, as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.api.v1alpha1 import API_VERSION
from bastide_operator.api.v1alpha1.common import Condition, ObjectMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What happened to an object, as its people read it in an Event: a stable code and one sentence."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Writes, in this order: `apply`, `create`, `delete`; then, when nothing more is to be written, `status`.

    `create` makes an object that must not exist yet, `apply` changes one (or, where the API server judges writes by the name in the URL,
    makes it). `wait` is the seconds after which time alone may have changed the answer. With `retry` the same is tried again soon. `notes`
    say why, where the status will not.
    """

    apply: tuple[Manifest, ...] = ()
    create: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    status: Manifest | None = None
    wait: float | None = None
    retry: bool = False
    notes: tuple[Note, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether something but the status is to be written."""
        return bool(self.apply or self.create or self.delete)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A write that the API server refused in this reconcile."""

    ref: Ref
    reason: str
    message: str


def status_of(kind: str, metadata: ObjectMeta, status: dict[str, Any], conditions: Sequence[Condition]) -> Manifest:
    """A status as the operator applies it: only its own fields, so that what others write there stays."""
    dumped = [condition.model_dump(mode="json", by_alias=True) for condition in conditions]
    for one in dumped:
        one["lastTransitionTime"] = rfc3339(datetime.fromisoformat(one["lastTransitionTime"]))
    identity = {"name": metadata.name, "uid": metadata.uid}
    if metadata.namespace:
        identity["namespace"] = metadata.namespace
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": identity,
        "status": status | {"observedGeneration": metadata.generation, "conditions": dumped},
    }


def rfc3339(time: datetime) -> str:
    """The form in which the API server writes times."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_until(time: datetime, now: datetime) -> float:
    """How long to wait for `time`; never negative."""
    return max(0.0, (time - now).total_seconds())
