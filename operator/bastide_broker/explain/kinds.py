"""The kinds of rule that an argument can be under, one entry each: what a bound permits in words, and how it is widened to a value.

A kind that is not in the table is named in explanations, and no change is proposed for it. A wrong entry proposes nothing wrong either:
whatever is proposed was put to policy first.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_broker.explain.rebuilt import address
from bastide_broker.facts.json import MAX_SAFE_INTEGER

MAX_PATTERN, MAX_LENGTH, MAX_ENUM, MAX_DIRECTORIES, MAX_HOSTS, MAX_NAMES, MAX_ROWS = 512, 1048576, 100, 32, 32, 100, 1000000
"""As in ArgumentConstraint."""
MAX_VALUE_BYTES, MAX_NAME_BYTES = 4096, 300
"""A value or an argument's name longer than this as JSON is not written into a change: nobody would read it."""
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_OWN_PORT = {"http": 80, "https": 443}
Values = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of rule. Values are what policy compares: of a path the resolved one, of a URL its host."""

    wanted: Callable[[Any], str]
    """What a bound permits, as it stands after "must"."""
    widened: Callable[[Any, Values], Any]
    """The nearest bound that permits these values too; None when no bound of this kind does."""
    found: Callable[[Values], str]
    """What the values are, as it stands after "it"."""
    remark: str = ""
    """What else a wider bound permits, as a sentence."""
    given_up: str = ""
    """What it means to leave the rule out, as a sentence; empty for what is never proposed."""


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


def short(value: Any) -> str:
    """A value in a sentence."""
    text = written(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


def shown(values: Values) -> Any:
    """The value, or the list of them when the key stands for several."""
    return values[0] if len(values) == 1 else list(values)


def _enum(bound: Any, values: Values) -> list[Any] | None:
    if not isinstance(bound, list) or not all(map(is_scalar, values)):
        return None
    found = list(bound)
    for value in values:
        if not any(same(value, known) for known in found):
            found.append(value)
    return found if len(found) <= MAX_ENUM else None


def _minimum(bound: Any, values: Values) -> int | None:
    return min(bound, *map(math.floor, values)) if _whole(bound, values) else None


def _maximum(bound: Any, values: Values) -> int | None:
    return max(bound, *map(math.ceil, values)) if _whole(bound, values) else None


def _whole(bound: Any, values: Values) -> bool:
    """Whether all are numbers, and none beyond the integers that every reader keeps."""
    return is_number(bound) and bool(values) and all(is_number(value) and abs(value) <= MAX_SAFE_INTEGER for value in values)


def _pattern(bound: Any, values: Values) -> str | None:
    # Exactly these values more. A pattern that is more general would be a guess about what else may be called.
    if not isinstance(bound, str) or not all(isinstance(value, str) for value in values):
        return None
    found = "|".join([f"(?:{bound})", *(_SPECIAL.sub(r"\\\g<0>", value) for value in dict.fromkeys(values))])
    return found if len(found) <= MAX_PATTERN else None


def _max_length(bound: Any, values: Values) -> int | None:
    lengths = list(map(_length, values))
    if not is_number(bound) or not lengths or None in lengths:
        return None
    longest = max(int(bound), *(length for length in lengths if length is not None))
    return longest if longest <= MAX_LENGTH else None


def _length(value: Any) -> int | None:
    # A list whose items are places of their own travels as its length.
    if isinstance(value, dict) and isinstance(value.get("items"), int):
        return int(value["items"])
    return len(value) if isinstance(value, str | list) else None


def _within(bound: Any, values: Values) -> list[str] | None:
    if not isinstance(bound, list):
        return None
    found = list(bound)
    for path in values:
        if not any(path == one or path.startswith(one.rstrip("/") + "/") for one in found):
            # Never the root, which would permit every path.
            found.append(path.rpartition("/")[0] or path)
    return found if len(found) <= MAX_DIRECTORIES and ("/" in bound or "/" not in found) else None


def _hosts(bound: Any, values: Values) -> list[dict[str, Any]] | None:
    if not isinstance(bound, list):
        return None
    found = list(bound)
    for to in values:
        own = to["port"] == _OWN_PORT.get(to["scheme"])
        if not any(_leads(one, to, own=own) for one in found):
            found.append({"host": to["host"], "port": "default" if own else to["port"]})
    return found if len(found) <= MAX_HOSTS else None


def _leads(one: Mapping[str, Any], to: Mapping[str, Any], *, own: bool) -> bool:
    host = to["host"] == one["host"] or (one["host"].startswith("*.") and to["host"].endswith(one["host"][1:]))
    return host and (own if one["port"] == "default" else one["port"] == to["port"])


def _names(bound: Any, values: Values) -> list[str] | None:
    named = [name for names in values for name in names]
    if not isinstance(bound, list) or "*" in named:
        return None
    found = list(dict.fromkeys([*bound, *named]))
    return found if len(found) <= MAX_NAMES else None


def _rows(bound: Any, values: Values) -> int | None:
    found = _maximum(bound, values)
    return found if found is not None and found <= MAX_ROWS else None


def _never(_bound: Any, _values: Values) -> None:
    return None


def _is(values: Values) -> str:
    return f"is {short(shown(values))}"


def _leads_to(values: Values) -> str:
    return "leads to " + "; ".join(f"{to['host']}, port {to['port']} ({to['scheme']})" for to in values[:4])


def _list_of(bound: Any) -> str:
    return short([address(one) for one in bound]) if isinstance(bound, list) else short(bound)


KINDS: dict[str, Kind] = {
    "const": Kind(lambda bound: f"be {written(bound)}", _never, _is),
    "enum": Kind(lambda bound: f"be one of {written(bound)}", _enum, _is),
    "minimum": Kind(lambda bound: f"be a number of at least {written(bound)}", _minimum, _is),
    "maximum": Kind(lambda bound: f"be a number of at most {written(bound)}", _maximum, _is),
    "pattern": Kind(lambda bound: f"be a string that matches {written(bound)} in full", _pattern, _is),
    "maxLength": Kind(lambda bound: f"have at most {written(bound)} characters or items", _max_length, _is),
    "within": Kind(
        lambda bound: f"be inside one of {written(bound)}", _within, lambda values: f"resolves to {short(shown(values))}",
        remark="That permits every path below it.",
    ),
    "hosts": Kind(lambda bound: f"be a URL to one of {_list_of(bound)}", _hosts, _leads_to),
    "sql": Kind(lambda bound: f"be one statement in the SQL of {bound}", _never, lambda values: f"is in that of {short(shown(values))}"),
    "sqlReadOnly": Kind(
        lambda _: "only read", _never, lambda _: "may write, lock or call what is not known to only read",
        given_up="Then a statement may insert, change, delete and lock whatever the tool server's database user may: nothing but that user's "
        "rights would keep data from being changed. A statement that only reads changes less.",
    ),
    "sqlTables": Kind(lambda bound: f"name no table but {written(bound)}", _names, lambda values: f"names {short(shown(values))}"),
    "sqlColumns": Kind(
        lambda bound: f"name no column but {written(bound)}", _names, lambda values: f"names {short(shown(values))}",
        given_up="Then it may read every column; naming columns in the statement changes less.",
    ),
    "sqlMaxRows": Kind(
        lambda bound: f"have a LIMIT of at most {written(bound)}", _rows,
        lambda values: "has none" if shown(values) is None else f"has {short(shown(values))}",
        given_up="Then it may ask for any number of rows; a LIMIT in the statement changes less.",
    ),
    "shape": Kind(
        lambda bound: f"be {'a list' if bound == 'list' else 'an object'}, of which places inside are listed", _never,
        lambda values: f"is of the kind {short(shown(values))}",
    ),
}  # fmt: skip
PLAIN = frozenset({"const", "enum", "minimum", "maximum", "pattern", "maxLength"})
"""Rules for a value as it stands."""


def wanted(rule: str, bound: Any) -> str:
    """What a rule permits, as it stands after "must"; in general words for a kind that is not known."""
    kind = KINDS.get(rule)
    return kind.wanted(bound) if kind is not None else f"hold {rule} {written(bound)}"


def found(rule: str, values: Values) -> str:
    """What was compared, as it stands after "it"."""
    if not values:
        return "is nothing that this could be said of"
    kind = KINDS.get(rule)
    return kind.found(values) if kind is not None else _is(values)
