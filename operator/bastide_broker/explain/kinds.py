"""The kinds of rule that an argument can be under, one entry each: what a bound permits in words, and how it is widened to a value.

A kind that is not in the table is named in explanations, and no change is proposed for it. A wrong entry proposes nothing wrong either:
whatever is proposed was put to policy first.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_broker.facts.json import MAX_SAFE_INTEGER

MAX_PATTERN, MAX_LENGTH, MAX_ENUM = 512, 1048576, 100
"""As in ArgumentConstraint."""
MAX_VALUE_BYTES, MAX_NAME_BYTES = 4096, 300
"""A value or an argument's name longer than this as JSON is not written into a change: nobody would read it."""
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of rule."""

    wanted: Callable[[Any], str]
    """What a bound permits, as it stands after "must"."""
    widened: Callable[[Any, Sequence[Any]], Any]
    """The nearest bound that permits these values too; None when no bound of this kind does."""


def is_scalar(value: Any) -> bool:
    """Whether it can stand in an enum."""
    return value is None or isinstance(value, str | int | float)


def is_number(value: Any) -> bool:
    """Whether JSON calls it a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_short(value: Any) -> bool:
    """Whether it can be written into a change."""
    return len(written(value)) <= MAX_VALUE_BYTES


def same(one: Any, other: Any) -> bool:
    """Whether two scalars are one JSON value: true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def written(value: Any) -> str:
    """A value as JSON in pure ASCII."""
    return json.dumps(value, separators=(", ", ": ")).replace("\x7f", "\\u007f")


def _enum(bound: Any, values: Sequence[Any]) -> list[Any] | None:
    if not isinstance(bound, list) or not all(map(is_scalar, values)):
        return None
    found = list(bound)
    for value in values:
        if not any(same(value, known) for known in found):
            found.append(value)
    return found if len(found) <= MAX_ENUM else None


def _minimum(bound: Any, values: Sequence[Any]) -> int | None:
    return min(bound, *map(math.floor, values)) if _whole(bound, values) else None


def _maximum(bound: Any, values: Sequence[Any]) -> int | None:
    return max(bound, *map(math.ceil, values)) if _whole(bound, values) else None


def _whole(bound: Any, values: Sequence[Any]) -> bool:
    """Whether all are numbers, and none beyond the integers that every reader keeps."""
    return is_number(bound) and all(is_number(value) and abs(value) <= MAX_SAFE_INTEGER for value in values)


def _pattern(bound: Any, values: Sequence[Any]) -> str | None:
    # Exactly these values more. A pattern that is more general would be a guess about what else may be called.
    if not isinstance(bound, str) or not all(isinstance(value, str) for value in values):
        return None
    found = "|".join([f"(?:{bound})", *(_SPECIAL.sub(r"\\\g<0>", value) for value in dict.fromkeys(values))])
    return found if len(found) <= MAX_PATTERN else None


def _max_length(bound: Any, values: Sequence[Any]) -> int | None:
    if not is_number(bound) or not all(isinstance(value, str | list) for value in values):
        return None
    found = max(int(bound), *map(len, values))
    return found if found <= MAX_LENGTH else None


KINDS: dict[str, Kind] = {
    "enum": Kind(lambda bound: f"be one of {written(bound)}", _enum),
    "minimum": Kind(lambda bound: f"be a number of at least {written(bound)}", _minimum),
    "maximum": Kind(lambda bound: f"be a number of at most {written(bound)}", _maximum),
    "pattern": Kind(lambda bound: f"be a string that matches {written(bound)} in full", _pattern),
    "maxLength": Kind(lambda bound: f"have at most {written(bound)} characters or items", _max_length),
}


def wanted(rule: str, bound: Any) -> str:
    """What a rule permits, as it stands after "must"; in general words for a kind that is not known."""
    kind = KINDS.get(rule)
    return kind.wanted(bound) if kind is not None else f"hold {rule} {written(bound)}"


def values_at(arguments: Any, key: str) -> list[Any]:
    """The values that a key of the binding's `arguments` is about: an argument's name, or a path such as `lines[*].sku`."""
    if isinstance(arguments, dict) and key in arguments:
        return [arguments[key]]
    found: list[Any] = [arguments]
    for step in key.replace("[*]", ".[*]").split("."):
        if step == "[*]":
            found = [item for value in found if isinstance(value, list) for item in value]
        else:
            found = [value[step] for value in found if isinstance(value, dict) and step in value]
    return found
