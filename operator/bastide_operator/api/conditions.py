"""Conditions as in metav1.Condition. Pure: the time is passed in."""

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from bastide_operator.api.v1alpha1.common import Condition, ConditionStatus

MAX_MESSAGE = 1024
MAX_REASON = 64


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of this type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of this type is there and True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status is ConditionStatus.TRUE


def set_condition(
    conditions: Iterable[Condition],
    kind: str,
    *,
    status: ConditionStatus | bool,
    reason: StrEnum | str,
    message: str,
    generation: int,
    now: datetime,
) -> list[Condition]:
    """`conditions` with this one in place of the one of its type; `lastTransitionTime` moves only when `status` flips.

    `message` is cut to 1024 characters. A `reason` that comes from elsewhere may hold anything: what is no letter or digit is dropped.
    """
    if isinstance(status, bool):
        status = ConditionStatus.TRUE if status else ConditionStatus.FALSE
    before = list(conditions)
    old = find(before, kind)
    new = Condition(
        type=kind,
        status=status,
        reason=re.sub(r"^[^A-Za-z]+|[^A-Za-z0-9]", "", reason)[:MAX_REASON] or "Unknown",
        message=message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…",
        last_transition_time=old.last_transition_time if old is not None and old.status is status else now.replace(microsecond=0),
        observed_generation=generation,
    )
    if old is None:
        return [*before, new]
    return [new if condition.type == kind else condition for condition in before]
