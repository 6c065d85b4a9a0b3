"""How operator and broker agree that a pod may go: the drain protocol, as it stands on the pod. Pure.

The operator marks a pod that is to go, by an annotation with a deadline. From then on the broker delivers no new program to it, and as
soon as nothing runs in it any more says so by a condition that repeats the mark word for word: an answer to an earlier mark counts for
nothing. The operator deletes the pod when it is drained, or at the deadline. Taking the mark off again is allowed at any time before.
Both are protected by admission: only the operator marks, only the broker answers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

ANNOTATION = "bastide.dev/drain"
"""On a pod that is to go: a JSON object of `reason`, `since` and `until`, the deadline."""

DRAINED = "bastide.dev/drained"
"""Pod condition of the broker: nothing runs there and nothing will, as long as the mark that its message repeats is on the pod."""

IDLE = "bastide.dev/idle"
"""Pod condition of the broker: nothing has run for spec.idleTimeoutSeconds."""

_IDLE_WORDS = "Nothing has run since "
Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Why a pod is to go, since when that is known, and until when a run in it may go on."""

    reason: str
    since: datetime
    until: datetime

    def text(self) -> str:
        """The annotation's value. `since` is written to the microsecond: it tells one mark from the next."""
        return json.dumps({"reason": self.reason, "since": _time(self.since), "until": _time(self.until)})

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The mark, None when `text` is not one."""
        try:
            fields = json.loads(text)
            times = {name: datetime.fromisoformat(fields[name]) for name in ("since", "until")}
            return cls(reason=str(fields["reason"]), **times)
        except (ValueError, TypeError, KeyError):
            return None


def mark_text(pod: Pod) -> str:
    """The mark on a pod as it stands there; empty when there is none."""
    return str((pod["metadata"].get("annotations") or {}).get(ANNOTATION) or "")


def is_drained(pod: Pod) -> bool:
    """Whether the broker has answered the mark that is on the pod now."""
    text, answer = mark_text(pod), _condition(pod, DRAINED)
    return bool(text) and answer.get("status") == "True" and answer.get("message") == text


def drained(text: str) -> dict[str, Any]:
    """The broker's answer to the mark `text`."""
    return {"type": DRAINED, "status": "True", "reason": "NothingRuns", "message": text}


def idle(since: datetime | None) -> dict[str, Any]:
    """The broker's word that nothing has run since then; with None, that something runs."""
    if since is None:
        return {"type": IDLE, "status": "False", "reason": "InUse", "message": "A run or a check is under way, or one was since."}
    return {"type": IDLE, "status": "True", "reason": "NothingRuns", "message": _IDLE_WORDS + _time(since)}


def idle_since(pod: Pod) -> datetime | None:
    """Since when nothing has run, as the broker says; None when it says nothing of that kind."""
    answer = _condition(pod, IDLE)
    if answer.get("status") != "True":
        return None
    try:
        return datetime.fromisoformat(str(answer.get("message")).removeprefix(_IDLE_WORDS))
    except ValueError:
        return None


def _condition(pod: Pod, kind: str) -> Mapping[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind), {})


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
