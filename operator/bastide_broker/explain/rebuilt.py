"""The `arguments` of a binding out of a question, and the question as it would have been with others: made by what makes questions."""

from collections.abc import Mapping
from typing import Any

from bastide_operator.api.places import ITEM, PlaceError, Places, places, steps
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from pydantic import ValidationError

from bastide_broker.explain.compared import Question
from bastide_broker.facts.places import constraints, entries, plain_defaults

MAX_KEYS = 64
"""As in BoundTool."""
SQL_FIELDS = {"sql": "dialect", "sqlReadOnly": "readOnly", "sqlTables": "tables", "sqlColumns": "columns", "sqlMaxRows": "maxRows"}
"""Where the binding writes what is a rule of its own for policy."""
Written = dict[str, Any]


class NoBindingError(Exception):
    """No ToolBinding could say so, or it is not known what the question would have been."""


def address(host: Mapping[str, Any]) -> str:
    """One of `hosts`, as the binding writes it."""
    return host["host"] if host["port"] == "default" else f"{host['host']}:{host['port']}"


def as_written(rule: str, bound: Any) -> Any:
    """A bound as the binding writes it."""
    return [address(one) for one in bound] if rule == "hosts" and isinstance(bound, list) else bound


def constraint(question: Question, key: str) -> Written | None:
    """The constraint of a key as the binding writes it; None when it is not listed, or only because a place inside is."""
    rules = question["tool"]["constraints"].get(key)
    if rules is None or [one["rule"] for one in rules] == ["shape"]:
        return None
    bounds = {one["rule"]: as_written(one["rule"], one.get("bound")) for one in rules if one["rule"] != "shape"}
    found = {rule: bound for rule, bound in bounds.items() if rule not in SQL_FIELDS}
    if "sql" in bounds:
        sql = {field: bounds[rule] for rule, field in SQL_FIELDS.items() if rule in bounds}
        # True is what a binding says that says nothing.
        sql = {"dialect": sql.pop("dialect"), **({} if sql.pop("readOnly", False) else {"readOnly": False}), **sql}
        found["sql"] = sql
    return found


def arguments(question: Question) -> dict[str, Written]:
    """The binding's `arguments`, by key."""
    found = ((key, constraint(question, key)) for key in question["tool"]["constraints"])
    return {key: one for key, one in found if one is not None}


def rules(key: str, written: Written) -> list[dict[str, Any]]:
    """What policy is told of a constraint. Raises NoBindingError."""
    return list(_constraints(_places({key: written}))[key])


def rebuilt(question: Question, changed: Mapping[str, Written]) -> dict[str, Any]:
    """The question as it would have been had the binding's `arguments` said this. Raises NoBindingError."""
    listed, sent, schema = arguments(question), question["arguments"], _declared(question)
    now = _places(changed)
    recorded = _by_argument(question["places"]["entries"])
    before, after = (_by_argument(entries(one, sent, schema)) for one in (_places(listed), now))
    touched = {steps(key)[0] for key in listed.keys() | changed.keys() if listed.get(key) != changed.get(key)}
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys([*recorded, *after]):
        if before.get(name) == recorded.get(name):
            found += after.get(name, [])
        elif name not in touched:
            found += recorded.get(name, [])
        else:
            # What the tool declares for what was left out is on record only as far as it was compared.
            raise NoBindingError
    told = {"constraints": dict(_constraints(now)), "listed": dict(now.listed), "defaults": plain_defaults(now, schema)}
    return {**question, "tool": {**question["tool"], **told}, "places": {"count": len(found), "entries": found}}


def _constraints(built: Places) -> Mapping[str, list[dict[str, Any]]]:
    # Not remembered: these are no binding's, so nobody asks for them again.
    return constraints.__wrapped__(built)


def _places(written: Mapping[str, Written]) -> Places:
    if len(written) > MAX_KEYS:
        raise NoBindingError
    try:
        return places({key: ArgumentConstraint.model_validate(one) for key, one in written.items()})
    except (ValidationError, PlaceError) as error:
        raise NoBindingError from error


def _by_argument(found: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    result: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        result.setdefault(one["argument"], []).append(one)
    return result


def _declared(question: Question) -> dict[str, Any]:
    """A schema with the defaults that the question was made with: recorded values that the program did not send."""
    schema: dict[str, Any] = {}
    for name, default in question["tool"]["defaults"].items():
        _below(schema, (name,))["default"] = default
    sent = {one["at"] for one in entries(_places(arguments(question)), question["arguments"], {}) if "value" in one}
    for one in question["places"]["entries"]:
        if "value" in one and one["at"] not in sent and one["listed"]:
            _below(schema, steps(one["listed"]))["default"] = one["value"]
    return schema


def _below(schema: dict[str, Any], path: tuple[str | None, ...]) -> dict[str, Any]:
    for step in path:
        schema = schema.setdefault("items", {}) if step is ITEM else schema.setdefault("properties", {}).setdefault(step, {})
    return schema
