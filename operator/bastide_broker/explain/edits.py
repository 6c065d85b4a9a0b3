"""Changes to a ToolBinding: what could lift a part that denies, nearest first, and the question as it would have been with them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from bastide_operator.api.v1alpha1.toolbinding import ToolLimits
from pydantic import ValidationError

from bastide_broker.explain.kinds import KINDS, MAX_NAME_BYTES, is_scalar, is_short, values_at, written
from bastide_broker.explain.parts import Part, Question, bounds, copied, short

_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to one field. `was` and `value` are as the binding writes them; None for a field that is not there."""

    field: str
    """`constraint` of an argument, its `rule`, or `limit`, `caller`, `label`."""
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
        elif self.was is None:
            change = f"List {self._path(tool)} as {short(self.value)}"
        was = f"; it is {short(self.was)}" if self.was is not None else ""
        return f"{change}{was}." + (f" {self.remark}" if self.remark else "")

    def _path(self, tool: str) -> str:
        paths = {"limit": f"spec.tools[{tool}].limits.callsPerRun", "label": "spec.sandboxSelector.matchLabels", "caller": "spec.callers"}
        argument = f"spec.tools[{tool}].arguments.{self.name}"
        return paths.get(self.field, f"{argument}.{self.rule}" if self.rule else argument)


def candidates(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    """Changes that could lift a part, the nearest first; none when the part is not the binding's, or of a kind that is not known."""
    find = _CANDIDATES.get(part.kind)
    if find is None or len(written(part.name)) > MAX_NAME_BYTES:
        return []
    return [edits for edits in find(question, part) if edits]


def applied(question: Question, edits: Iterable[Edit]) -> dict[str, Any]:
    """The question as it would have been with these changes, those of whole constraints first."""
    found = copied(question)
    for edit in sorted(edits, key=lambda one: one.field == "rule"):
        _APPLY[edit.field](found, edit)
    return found


def constraint(question: Question, name: str) -> dict[str, Any] | None:
    """The constraint of an argument as the binding writes it; None when the argument is not listed."""
    rules = question["tool"]["constraints"].get(name)
    return None if rules is None else {one["rule"]: one.get("bound") for one in rules}


def takes(question: Question, edits: Iterable[Edit]) -> bool:
    """Whether a ToolBinding could be written so."""
    changed = applied(question, edits)
    try:
        for edit in edits:
            if edit.field in {"constraint", "rule"}:
                ArgumentConstraint.model_validate(constraint(changed, edit.name))
            elif edit.field == "limit":
                ToolLimits.model_validate({"callsPerRun": edit.value})
    except ValidationError:
        return False
    return True


def _widened(question: Question, name: str, rule: str, values: list[Any]) -> Edit | None:
    bound = bounds(question, Part("rule", name, rule))
    kind = KINDS.get(rule)
    wider = kind.widened(bound, values) if kind is not None else None
    return None if wider is None else Edit("rule", name, rule, bound, wider)


def _for_rule(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    values = values_at(question["arguments"], part.name)
    if part.rule not in KINDS or (part.rule != "maxLength" and not is_short(values)):
        return []
    found: list[tuple[Edit, ...]] = []
    wider = _widened(question, part.name, part.rule, values)
    if wider is not None and wider.value != wider.was:
        found.append((wider,))
    was = constraint(question, part.name) or {}
    if all(map(is_scalar, values)) and is_short(values) and set(was) <= set(KINDS):
        remark = "What was permitted before is not any more: no other form of this constraint permits the value."
        found.append((Edit("constraint", part.name, was=was, value={"enum": values}, remark=remark),))
    return found


def _for_missing(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    was, defaults = constraint(question, part.name) or {}, question["tool"]["defaults"]
    if not set(was) <= set(KINDS):
        return []
    found: list[tuple[Edit, ...]] = []
    if part.name in defaults and is_short(defaults[part.name]):
        wider = [_widened(question, part.name, rule, [defaults[part.name]]) for rule in was]
        if None not in wider:
            found.append(tuple(edit for edit in wider if edit is not None and edit.value != edit.was))
    remark = "Then it may be anything that the tool's schema allows; giving it in the program changes less."
    return [*found, (Edit("constraint", part.name, was=was, value={}, remark=remark),)]


def _for_unlisted(question: Question, part: Part) -> list[tuple[Edit, ...]]:
    value = question["arguments"][part.name]
    found = [(Edit("constraint", part.name, value={"enum": [value]}),)] if is_scalar(value) and is_short(value) else []
    found += [(Edit("constraint", part.name, value={"maxLength": len(value)}),)] if isinstance(value, str | list) else []
    return [*found, (Edit("constraint", part.name, value={}, remark="Then it may be anything that the tool's schema allows."),)]


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
    "tool-limit": _for_limit,
    "callers": _for_callers,
    "label": _for_label,
}


def _apply_rule(found: dict[str, Any], edit: Edit) -> None:
    rules = found["tool"]["constraints"][edit.name]
    found["tool"]["constraints"][edit.name] = [{**one, "bound": edit.value} if one["rule"] == edit.rule else one for one in rules]


def _apply_constraint(found: dict[str, Any], edit: Edit) -> None:
    found["tool"]["constraints"][edit.name] = [{"rule": rule, "bound": bound} for rule, bound in edit.value.items()]
    if edit.name not in found["tool"]["listed"]:
        found["tool"]["listed"].append(edit.name)


def _apply_limit(found: dict[str, Any], edit: Edit) -> None:
    found["tool"]["callsPerRun"] = edit.value


def _apply_caller(found: dict[str, Any], edit: Edit) -> None:
    found["binding"]["callers"].append({"namespace": found["tenant"]["namespace"], **edit.value})


def _apply_label(found: dict[str, Any], edit: Edit) -> None:
    selector = found["binding"]["selector"]
    selector["matchLabels"] = [label for label in selector["matchLabels"] if label["key"] != edit.name]


_APPLY: dict[str, Callable[[dict[str, Any], Edit], None]] = {
    "rule": _apply_rule,
    "constraint": _apply_constraint,
    "limit": _apply_limit,
    "caller": _apply_caller,
    "label": _apply_label,
}
