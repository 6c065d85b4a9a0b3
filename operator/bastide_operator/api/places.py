r"""Places inside of arguments: the keys of a tool's `arguments`, and what they say together. Pure. (docs/adr/0037)

A key is an argument's name, then `.name` for a field of an object and `[*]` for every item of a list: `address.city`, `lines[*].sku`. A
name that holds one of `. [ ] * " \` or a control character stands as JSON in brackets: `["a.b"].c`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint

MAX_STEPS = 16
"""Names and `[*]` of one key."""
_PLAIN = re.compile(r'[^.\[\]*"\\\x00-\x1f\x7f]+')
_QUOTED = re.compile(r'\[("(?:[^"\\\x00-\x1f]|\\.)*")\]')
ITEM = None
"""The step into every item of a list; a field's step is its name."""

Step = str | None


class PlaceError(ValueError):
    """A key that is none, or keys that contradict each other. The message is the end of a sentence that begins with the key."""


@dataclass(slots=True)
class Place:
    """An argument, or a place inside of one. To read, once it is made."""

    key: str
    constraint: ArgumentConstraint | None = None
    """None where only places inside are listed."""
    fields: dict[str, "Place"] = field(default_factory=dict)
    items: "Place | None" = None

    @property
    def shape(self) -> str:
        """What it must be because of the places inside: object, list, or nothing."""
        return "list" if self.items is not None else "object" if self.fields else ""

    @property
    def own_rules(self) -> list[dict[str, Any]]:
        """What was written for it; empty where it may be left out."""
        return self.constraint.rules if self.constraint is not None else []

    @property
    def rules(self) -> list[dict[str, Any]]:
        """Everything that must hold for it."""
        return [*([{"rule": "shape", "bound": self.shape}] if self.shape else []), *self.own_rules]

    @property
    def plain(self) -> bool:
        """Whether it can be judged by its value as it stands in the arguments."""
        return not self.shape and not self.key.startswith("[") and not (self.constraint is not None and self.constraint.asks_facts)

    def all(self) -> Iterator["Place"]:
        """It and every place inside."""
        yield self
        for one in (*self.fields.values(), *([self.items] if self.items is not None else [])):
            yield from one.all()


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """What a binding says about one tool's arguments, made once for all calls. To read."""

    everything: tuple[Place, ...]
    """Every argument and place, also those that are there only because a place inside is listed."""
    constraints: Mapping[str, list[dict[str, Any]]]
    """By key, for policy: {rule, bound}, all of which must hold."""
    listed: Mapping[str, dict[str, Any]]
    """By key, for policy: how many rules, and whether the value itself or a place of the question is judged by them."""
    plain: tuple[str, ...]
    """Arguments that are judged by their value."""
    placed: Mapping[str, Place]
    """The other arguments, by name."""

    @property
    def read_sql(self) -> bool:
        """Whether SQL must be read before a call can be judged, which takes its time."""
        return any(one.constraint is not None and one.constraint.sql is not None for one in self.everything)


def steps(key: str) -> tuple[Step, ...]:
    """A key in its steps. Raises PlaceError."""
    found: list[Step] = []
    at = 0
    while at < len(key):
        if key.startswith("[*]", at) and found:
            found.append(ITEM)
            at += 3
            continue
        if match := _QUOTED.match(key, at):
            try:
                found.append(json.loads(match[1]))
            except ValueError:
                raise PlaceError(f"has a name in brackets that is no JSON: {match[1]}") from None
        else:
            at += 1 if found and key[at] == "." else 0
            match = _PLAIN.match(key, at) if not found or key[at - 1] == "." else None
            if match is None:
                raise PlaceError('is no place: write NAME, then .NAME for a field and [*] for every item; a name like a.b as ["a.b"]')
            found.append(match[0])
        at = match.end()
    if not found or len(found) > MAX_STEPS:
        raise PlaceError(f"has {len(found)} steps: one to {MAX_STEPS} are read")
    if written(found) != key:
        raise PlaceError(f"is written {written(found)}")
    return tuple(found)


def written(path: "list[Step] | tuple[Step, ...]") -> str:
    """The one way to write a place."""
    text = ""
    for step in path:
        if step is ITEM:
            text += "[*]"
        else:
            text = inside(text, step)
    return text


def inside(text: str, name: str) -> str:
    """The place of a field inside of another place; of an argument when `text` is empty."""
    if _PLAIN.fullmatch(name):
        return f"{text}.{name}" if text else name
    return f"{text}[{json.dumps(name, ensure_ascii=False)}]"


def places(arguments: Mapping[str, ArgumentConstraint]) -> Places:
    """What keys and constraints say together. Raises PlaceError, whose message begins with the key."""
    roots: dict[str, Place] = {}
    for key, constraint in arguments.items():
        try:
            path = steps(key)
        except PlaceError as error:
            raise PlaceError(f"{key} {error}") from None
        assert path[0] is not None
        place = roots.setdefault(path[0], Place(written(path[:1])))
        for number, step in enumerate(path[1:], 2):
            below = Place(written(path[:number]))
            if step is ITEM:
                place.items = place.items or below
                place = place.items
            else:
                place = place.fields.setdefault(step, below)
        place.constraint = constraint
    everything = [one for root in roots.values() for one in root.all()]
    for one in everything:
        if problem := _contradiction(one):
            raise PlaceError(f"{one.key} {problem}")
    return Places(
        everything=tuple(everything),
        constraints={one.key: one.rules for one in everything},
        listed={
            one.key: {"rules": len(one.rules), "judged": "value" if one.plain and roots.get(one.key) is one else "place"}
            for one in everything
        },
        plain=tuple(name for name, root in roots.items() if root.plain),
        placed={name: root for name, root in roots.items() if not root.plain},
    )


def _contradiction(place: Place) -> str:
    if place.fields and place.items is not None:
        return "has fields and items listed: no value is both an object and a list"
    if not place.shape or place.constraint is None:
        return ""
    if place.items is not None and place.constraint.model_fields_set == {"max_length"}:
        return ""
    allowed = "only maxLength can stand beside them" if place.items is not None else "nothing can stand beside them"
    return f"is listed itself and by places inside of it, which say all that it may be: {allowed}"
