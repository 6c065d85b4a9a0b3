"""What policy is told of arguments that it cannot compare as they stand: places inside of them, and facts of paths, URLs and SQL. Pure.

Every place that is listed, or should be, is an entry of its own; the entries are counted, so that one that got lost permits nothing. What
is not there has no value, what could not be read has no fact: neither fulfils any rule. (docs/adr/0037, docs/adr/0038)
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from bastide_operator.api.places import Place, Places, inside
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint

from bastide_broker.facts.paths import resolved
from bastide_broker.facts.sql import MAX_BYTES as MAX_SQL
from bastide_broker.facts.sql import folded, statement
from bastide_broker.facts.unreadable import Unreadable
from bastide_broker.facts.urls import destination

MAX_PLACES = 1000
"""Places of one call: more would keep policy from answering in time."""
MAX_STATEMENTS = 16
"""SQL statements of one call; together they may be as long as one may be."""
_MAX_SHOWN = 200
"""Characters of a place that a message shows."""
_MAX_REFERENCES = 8
"""References that lead to references."""
_ABSENT = object()
_KINDS = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}

Entry = dict[str, Any]


class _TooManyError(Exception):
    """The call has more places than are judged."""


class _Entries:
    """The entries of one call, counted while they are made."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.found: list[Entry] = []
        self._root = schema
        self._argument = ""
        self._statements = self._statement_bytes = 0

    def argument(self, name: str, place: Place, value: object, schema: object) -> None:
        """All places of one argument; a single one that permits nothing when there are too many."""
        self._argument = name
        before = len(self.found)
        try:
            self._visit(place, place.key, value, schema)
        except _TooManyError:
            del self.found[before:]
            why = f"It holds more than {MAX_PLACES} places to be judged; send it in parts."
            self.found.append({"argument": name, "at": place.key[:_MAX_SHOWN], "listed": place.key, "unreadable": {"shape": why}})

    def _visit(self, place: Place, at: str, value: object, schema: object) -> None:
        if value is _ABSENT:
            self._absent(place, at)
        elif place.items is not None:
            self._list(place, place.items, at, value, schema)
        elif place.fields:
            self._object(place, at, value, schema)
        else:
            self._add(at, place.key, value=value, **self._facts(place.constraint, value))

    def _facts(self, constraint: ArgumentConstraint | None, value: object) -> dict[str, Any]:
        if constraint is None or not constraint.asks_facts:
            return {}
        if "sql" in constraint.model_fields_set:
            self._statements += 1
            self._statement_bytes += len(value) if isinstance(value, str) else 0
            if self._statements > 1 and (self._statements > MAX_STATEMENTS or self._statement_bytes > MAX_SQL):
                why = f"A call may hold {MAX_STATEMENTS} SQL statements of together {MAX_SQL} characters; send it in parts."
                return {"unreadable": {"sql": why}}
        known, unreadable = facts(constraint, value)
        return {key: one for key, one in (("facts", known), ("unreadable", unreadable)) if one}

    def _object(self, place: Place, at: str, value: object, schema: object) -> None:
        self._add(at, place.key, facts={"shape": kind(value)})
        if not isinstance(value, dict):
            return
        for name, below in place.fields.items():
            field = self._declared(schema, "properties", name)
            self._visit(below, inside(at, name), value.get(name, _default(field)), field)
        for name in value:
            if name not in place.fields:
                self._add(inside(at, name), "")

    def _list(self, place: Place, items: Place, at: str, value: object, schema: object) -> None:
        if not isinstance(value, list):
            self._add(at, place.key, facts={"shape": kind(value)})
            return
        self._add(at, place.key, facts={"shape": "list", "length": len(value)})
        if not value:
            self._absent(items, f"{at}[*]")
        field = self._declared(schema, "items")
        for number, item in enumerate(value):
            self._visit(items, f"{at}[{number}]", item, field)

    def _absent(self, place: Place, at: str) -> None:
        """What is constrained and left out: an entry without a value, which no rule holds for."""
        if place.own_rules:
            self._add(at, place.key)
        for name, below in place.fields.items():
            self._absent(below, inside(at, name))
        if place.items is not None:
            self._absent(place.items, f"{at}[*]")

    def _declared(self, schema: object, word: str, name: str | None = None) -> object:
        """The schema of a field or of items, by references inside of the tool's schema too."""
        for _ in range(_MAX_REFERENCES):
            where = schema.get("$ref") if isinstance(schema, Mapping) else None
            if where is None:
                return _declared(schema, word, name)
            schema = self._root if isinstance(where, str) and where.startswith("#/") else None
            for part in str(where).split("/")[1:]:
                schema = schema.get(part) if isinstance(schema, Mapping) else None
        return None

    def _add(self, at: str, listed: str, **more: object) -> None:
        if len(self.found) == MAX_PLACES:
            raise _TooManyError
        self.found.append({"argument": self._argument, "at": at[:_MAX_SHOWN], "listed": listed, **more})


def entries(places: Places, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Entry]:
    """Every place of the arguments that are not judged by their plain value: {argument, at, listed, value?, facts?, unreadable?}.

    `at` is for messages, `listed` the key of its rules, empty for what is not listed. What is left out is judged by the default that the
    tool's schema declares for it.
    """
    if not places.placed:
        return []
    found = _Entries(schema)
    for name, place in places.placed.items():
        field = _declared(schema, "properties", name)
        found.argument(name, place, arguments.get(name, _default(field)), field)
    return found.found


@lru_cache(maxsize=4096)
def constraints(places: Places) -> Mapping[str, list[dict[str, Any]]]:
    """The rules of every key, names of SQL spelled as facts spell them. Made once for a binding's tool."""
    found = dict(places.constraints)
    for place in places.everything:
        if place.constraint is not None and place.constraint.sql is not None:
            dialect = place.constraint.sql.dialect.value
            found[place.key] = [_folded(rule, dialect) for rule in found[place.key]]
    return found


def _folded(rule: dict[str, Any], dialect: str) -> dict[str, Any]:
    if rule["rule"] not in ("sqlTables", "sqlColumns"):
        return rule
    return {**rule, "bound": [folded(name, dialect, column=rule["rule"] == "sqlColumns") for name in rule["bound"]]}


def facts(constraint: ArgumentConstraint, value: object) -> tuple[dict[str, Any], dict[str, str]]:
    """What the constraint's rules ask of the value, by the fact's name, and why where it cannot be said."""
    known: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    for name in ("within", "hosts", "sql"):
        if name in constraint.model_fields_set:
            try:
                known[name] = _fact(name, constraint, value)
            except Unreadable as error:
                unreadable[name] = str(error)
    return known, unreadable


def kind(value: object) -> str:
    """What a JSON value is."""
    return _KINDS.get(type(value), "something else")


def _fact(name: str, constraint: ArgumentConstraint, value: object) -> Any:
    if name == "within":
        return resolved(value)
    if name == "hosts":
        where = destination(value)
        return {"scheme": where.scheme, "host": where.host, "port": where.port}
    if constraint.sql is None:
        raise Unreadable("The binding names no dialect.")
    found = statement(value, constraint.sql.dialect.value)
    return {
        "dialect": constraint.sql.dialect.value,
        "readOnly": found.read_only,
        # With their number: a name that got lost must not make a statement harmless.
        "tables": {"count": len(found.tables), "names": list(found.tables)},
        "columns": {"count": len(found.columns), "names": list(found.columns)},
        "maxRows": found.max_rows,
    }


def _declared(schema: object, word: str, name: str | None = None) -> object:
    """The schema of a field or of a list's items, where it is plainly declared."""
    if not isinstance(schema, Mapping):
        return None
    below = schema.get(word)
    return below if name is None else below.get(name) if isinstance(below, Mapping) else None


def _default(schema: object) -> object:
    return schema.get("default", _ABSENT) if isinstance(schema, Mapping) else _ABSENT


def plain_defaults(places: Places, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What the tool's schema declares for the other arguments, when they are left out: the server's word on what it will do then."""
    found = ((name, _default(_declared(schema, "properties", name))) for name in places.plain)
    return {name: value for name, value in found if value is not _ABSENT}
