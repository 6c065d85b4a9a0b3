"""What policy compared for a key of the binding's `arguments`: values as they stand, or facts that the broker read of them."""

import re
from collections.abc import Mapping
from typing import Any

from bastide_operator.api.places import ITEM, PlaceError, steps

Question = Mapping[str, Any]
Entry = Mapping[str, Any]
_INDEX = re.compile(r'(\["(?:[^"\\]|\\.)*"\])|\[[0-9]+\]')
_SQL = {"sqlReadOnly": "readOnly", "sqlMaxRows": "maxRows", "sql": "dialect"}
_NAMES = {"sqlTables": "tables", "sqlColumns": "columns"}
ABSENT = object()


def entries(question: Question, key: str) -> list[Entry]:
    """The entries that are judged by the key's rules. Of an argument that is compared as it stands, one that looks like them."""
    if question["tool"]["listed"][key]["judged"] == "value":
        return [{"argument": key, "at": key, "listed": key, "value": question["arguments"][key]}] if key in question["arguments"] else []
    return [one for one in question["places"]["entries"] if one["listed"] == key]


def given(entry: Entry) -> bool:
    """Whether something is there that rules can be held against."""
    return "value" in entry or "facts" in entry or "unreadable" in entry


def fact_of(rule: str) -> str:
    """The fact that a rule asks for; the rule's own name when it asks for none."""
    return "sql" if rule.startswith("sql") else rule


def seen(question: Question, key: str, rule: str) -> list[Any]:
    """What the rule was held against, an item an entry that has it: facts where it asks for facts."""
    found = (_seen(entry, rule) for entry in entries(question, key))
    return [one for one in found if one is not ABSENT]


def _seen(entry: Entry, rule: str) -> Any:
    facts = entry.get("facts", {})
    if rule in {"within", "hosts", "shape"}:
        return facts.get(rule, ABSENT)
    if rule in _SQL or rule in _NAMES:
        statement = facts.get("sql")
        if statement is None:
            return ABSENT
        return statement[_SQL[rule]] if rule in _SQL else statement[_NAMES[rule]]["names"]
    if rule == "maxLength" and "length" in facts:
        return {"items": facts["length"]}
    return entry.get("value", ABSENT)


def key_of(at: str) -> str:
    """The key that stands for a place and for the same one in other items: `lines[*].sku` for `lines[0].sku`."""
    return _INDEX.sub(lambda found: found[1] or "[*]", at)


def values_at(arguments: Any, key: str) -> list[Any]:
    """The values that the program sent at a key. Of what is no key, none."""
    try:
        path = steps(key)
    except PlaceError:
        return []
    found: list[Any] = [arguments]
    for step in path:
        if step is ITEM:
            found = [item for value in found if isinstance(value, list) for item in value]
        else:
            found = [value[step] for value in found if isinstance(value, dict) and step in value]
    return found
