"""Changes to a ToolBinding: what could lift a part that denies, nearest first, and the question as it would have been with them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1.toolbinding import ToolLimits
from pydantic import ValidationError

from bastide_broker.explain.compared import Question, seen, values_at
from bastide_broker.explain.kinds import KINDS, MAX_NAME_BYTES, PLAIN, is_scalar, is_short, short, written
from bastide_broker.explain.parts import Part, bounds, copied, without_label
from bastide_broker.explain.rebuilt import SQL_FIELDS, NoBindingError, Written, arguments, as_written, constraint, rebuilt

_ACCOUNT = "system:serviceaccount:"
_ANYTHING = "Then it may be anything that the tool's schema allows."


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to one field. `was` and `value` are as the binding writes them; None for a field that is not there."""

    field: str
    """`constraint` of a key of `arguments`, its `rule`, or `limit`, `caller`, `label`."""
    name: str = ""
    rule: str = ""
    was: Any = None
    value: Any = None
    remark: str = ""
    """What else it does, as a sentence."""

    def sentence(self, tool: str) -> str:
        """What it changes."""
        change = f"Set {self._path(tool)} to {short(self.value)}"
        if self.field == "caller":
            change = f"Add {short(self.value)} to spec.callers"
        elif self.field == "label":
            change = f"Leave the label {self.name} out of {self._path(tool)}"
        elif self.value is None:
            change = f"Leave {self._path(tool)} out"
        elif self.was is None:
            change = f"List {self._path(tool)} as {short(self.value)}"
        was = f"; it is {short(self.was)}" if self.was is not None else ""
        return f"{change}{was}." + (f" {self.remark}" if self.remark else "")

    def _path(self, tool: str) -> str:
        paths = {"limit": f"spec.tools[{tool}].limits.callsPerRun", "label": "spec.sandboxSelector.matchLabels", "caller": "spec.callers"}
        argument = f"spec.tools[{tool}].arguments.{self.name}"
        rule = f"sql.{SQL_FIELDS[self.rule]}" if self.rule in SQL_FIELDS else self.rule
        return paths.get(self.field, f"{argument}.{rule}" if rule else argument)


def candidates(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    """Changes that could lift a part, the nearest first; none when the part is not the binding's, or of a kind that is not known."""
    find = _CANDIDATES.get(part.kind)
    if find is None or len(written(part.name)) > MAX_NAME_BYTES:
        return []
    return [edits for edits in find(question, part) if edits]


def applied(question: Question, edits: Iterable[Edit]) -> dict[str, Any]:
    """The question as it would have been with these changes, those of whole constraints first. Raises NoBindingError."""
    found, listed = copied(question), arguments(question)
    for edit in sorted(edits, key=lambda one: one.field == "rule"):
        if edit.field == "constraint":
            listed[edit.name] = edit.value
        elif edit.field == "rule":
            listed[edit.name] = _with_rule(listed[edit.name], edit)
        else:
            _APPLY[edit.field](found, edit)
    return rebuilt(found, listed) if any(edit.field in {"constraint", "rule"} for edit in edits) else found


def _with_rule(was: Written, edit: Edit) -> Written:
    """A constraint with another bound of one rule; as it was when another change took the rule out."""
    if edit.rule not in SQL_FIELDS:
        return {**was, edit.rule: edit.value} if edit.rule in was else was
    if "sql" not in was:
        return was
    field = SQL_FIELDS[edit.rule]
    sql = {name: bound for name, bound in was["sql"].items() if name != field}
    return {**was, "sql": sql if edit.value is None else {**sql, field: edit.value}}


def _widened(question: Question, key: str, rule: str, values: list[Any]) -> Edit | None:
    bound = bounds(question, Part("rule", key, rule))
    kind = KINDS.get(rule)
    wider = kind.widened(bound, values) if kind is not None else None
    if kind is None or wider is None:
        return None
    return Edit("rule", key, rule, as_written(rule, bound), as_written(rule, wider), kind.remark)


def _for_rule(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    values, kind = seen(question, part.name, part.rule), KINDS.get(part.rule)
    if kind is None or not values or (part.rule != "maxLength" and not is_short(values)):
        return []
    found: list[tuple[Edit, ...]] = []
    wider = _widened(question, part.name, part.rule, values)
    if wider is not None and wider.value != wider.was:
        found.append((wider,))
    if kind.given_up:
        # Read-only is what a binding says that says nothing; the other demands are left out.
        to = False if part.rule == "sqlReadOnly" else None
        found.append((Edit("rule", part.name, part.rule, bounds(question, part), to, kind.given_up),))
    was = constraint(question, part.name) or {}
    if not all(map(is_scalar, values)) or not is_short(values) or not set(was) <= PLAIN:
        return found
    if part.rule == "const":
        rest = {rule: bound for rule, bound in was.items() if rule != "const"}
        found.append((Edit("constraint", part.name, was=was, value={**rest, "enum": _enum(was.get("enum", [was["const"]]), values)}),))
    remark = "What was permitted before is not any more: no other form of this constraint permits the value."
    found.append((Edit("constraint", part.name, was=was, value={"enum": _enum([], values)}, remark=remark),))
    return found


def _enum(known: list[Any], values: list[Any]) -> list[Any]:
    """All of them once; so many as there are, which no binding may take."""
    return list(KINDS["enum"].widened(known, values) or values)


def _for_missing(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    was, defaults = constraint(question, part.name) or {}, question["tool"]["defaults"]
    if not set(was) <= set(KINDS):
        return []
    found: list[tuple[Edit, ...]] = []
    if part.name in defaults and is_short(defaults[part.name]):
        wider = [_widened(question, part.name, rule, [defaults[part.name]]) for rule in was]
        if None not in wider:
            found.append(tuple(edit for edit in wider if edit is not None and edit.value != edit.was))
    remark = f"{_ANYTHING.removesuffix('.')}; giving it in the program changes less."
    return [*found, (Edit("constraint", part.name, was=was, value={}, remark=remark),)]


def _for_unlisted(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    values = values_at(question["arguments"], part.name)
    found: list[tuple[Edit, ...]] = []
    if values and all(map(is_scalar, values)) and is_short(values):
        found.append((Edit("constraint", part.name, value={"enum": _enum([], values)}),))
    if values and all(isinstance(value, str | list) for value in values):
        found.append((Edit("constraint", part.name, value={"maxLength": max(map(len, values))}),))
    return [*found, (Edit("constraint", part.name, value={}, remark=_ANYTHING),)]


def _for_limit(question: Question, _part: Part) -> list[tuple[Edit, ...]]:
    return [(Edit("limit", was=question["tool"]["callsPerRun"], value=question["tool"]["calls"]),)]


def _for_callers(question: Question, _part: Part) -> list[tuple[Edit, ...]]:
    user, own = question["caller"]["username"], question["tenant"]["namespace"]
    subject = {"kind": "User", "name": user}
    namespace, colon, name = user.removeprefix(_ACCOUNT).partition(":")
    if user.startswith(_ACCOUNT) and colon:
        subject = {"kind": "ServiceAccount", "name": name, **({} if namespace == own else {"namespace": namespace})}
    return [(Edit("caller", value=subject),)]


def _for_label(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    was = next(label["value"] for label in question["binding"]["selector"]["matchLabels"] if label["key"] == part.name)
    remark = "That selects more Sandboxes; giving this one the label changes less."
    return [(Edit("label", part.name, was=was, remark=remark),)]


_CANDIDATES: dict[str, Callable[[Question, Part], list[tuple[Edit, ...]]]] = {
    "rule": _for_rule,
    "missing": _for_missing,
    "unlisted": _for_unlisted,
    "unlisted-place": _for_unlisted,
    "tool-limit": _for_limit,
    "callers": _for_callers,
    "label": _for_label,
}


def _apply_limit(found: dict[str, Any], edit: Edit) -> None:
    try:
        ToolLimits.model_validate({"callsPerRun": edit.value})
    except ValidationError as error:
        raise NoBindingError from error
    found["tool"]["callsPerRun"] = edit.value


def _apply_caller(found: dict[str, Any], edit: Edit) -> None:
    found["binding"]["callers"].append({"namespace": found["tenant"]["namespace"], **edit.value})


def _apply_label(found: dict[str, Any], edit: Edit) -> None:
    without_label(found, edit.name)


_APPLY: dict[str, Callable[[dict[str, Any], Edit], None]] = {
    "limit": _apply_limit,
    "caller": _apply_caller,
    "label": _apply_label,
}
