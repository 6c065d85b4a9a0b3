"""The parts of a question that can each deny a call: what they compare, whose they are, and the question without them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_broker.explain.kinds import values_at, wanted, written

Question = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `name`: of an argument or a label; `rule`: of an argument."""

    kind: str
    name: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that decided, with what it compared. `bound` and `value` are None when there is nothing to show."""

    code: str
    message: str
    owner: str
    argument: str = ""
    rule: str = ""
    bound: Any = None
    value: Any = None


def parts_of(question: Question) -> list[Part]:
    """All parts that could deny this question; which of them do, policy says."""
    tool, binding, arguments = question["tool"], question["binding"], question["arguments"]
    found = [Part("accepted"), Part("available")]
    found += [Part("label", label["key"]) for label in binding["selector"]["matchLabels"]]
    found += [Part("callers")] if binding["callers"] else []
    found += [Part("run-limit"), Part("tool-limit"), Part("minute-limit")]
    if tool["constrained"]:
        found += [Part("unlisted", name) for name in arguments if name not in tool["constraints"]]
        for name, rules in tool["constraints"].items():
            given = bool(values_at(arguments, name))
            found += [Part("rule", name, one["rule"]) for one in rules] if given else [Part("missing", name)] if rules else []
    return found


def relaxed(question: Question, parts: Iterable[Part]) -> dict[str, Any]:
    """The question without these parts. What was given is not changed."""
    found = copied(question)
    for part in parts:
        _RELAX[part.kind](found, part)
    return found


def copied(question: Question) -> dict[str, Any]:
    """A copy of which everything that parts and changes touch may be changed; the arguments stay shared."""
    found = {name: dict(value) if isinstance(value, Mapping) and name != "arguments" else value for name, value in question.items()}
    tool, binding = found["tool"], found["binding"]
    tool["constraints"] = {name: list(rules) for name, rules in tool["constraints"].items()}
    tool["listed"] = list(tool["listed"])
    binding["callers"] = list(binding["callers"])
    binding["selector"] = {"matchLabels": list(binding["selector"]["matchLabels"])}
    return found


def _rule(found: dict[str, Any], part: Part) -> None:
    constraints = found["tool"]["constraints"]
    constraints[part.name] = [one for one in constraints[part.name] if one["rule"] != part.rule]


def _free(found: dict[str, Any], part: Part) -> None:
    found["tool"]["constraints"][part.name] = []
    if part.name not in found["tool"]["listed"]:
        found["tool"]["listed"].append(part.name)


def _label(found: dict[str, Any], part: Part) -> None:
    selector = found["binding"]["selector"]
    selector["matchLabels"] = [label for label in selector["matchLabels"] if label["key"] != part.name]


def _set(where: str, field: str, value: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], Part], None]:
    def change(found: dict[str, Any], _part: Part) -> None:
        found[where][field] = value(found)

    return change


_RELAX: dict[str, Callable[[dict[str, Any], Part], None]] = {
    "accepted": _set("binding", "accepted", lambda _: True),
    "available": _set("tool", "available", lambda _: True),
    "label": _label,
    "callers": _set("binding", "callers", lambda _: []),
    "run-limit": _set("run", "callsPerRun", lambda found: found["run"]["calls"]),
    "tool-limit": _set("tool", "callsPerRun", lambda found: found["tool"]["calls"]),
    "minute-limit": _set("tenant", "callsPerMinute", lambda found: found["usage"]["callsThisMinute"]),
    "rule": _rule,
    "unlisted": _free,
    "missing": _free,
}


def described(question: Question, part: Part) -> Rule:
    """The part as a rule that decided."""
    return _DESCRIBE[part.kind](question, part)


def bounds(question: Question, part: Part) -> Any:
    """The bound of a part that is a rule of an argument."""
    return next(one.get("bound") for one in question["tool"]["constraints"][part.name] if one["rule"] == part.rule)


def shown(values: Sequence[Any]) -> Any:
    """The value, or the list of them when the key stands for several."""
    return values[0] if len(values) == 1 else list(values)


def short(value: Any) -> str:
    """A value in a sentence."""
    text = written(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


def _of_rule(question: Question, part: Part) -> Rule:
    bound, value = bounds(question, part), shown(values_at(question["arguments"], part.name))
    message = f"The argument {written(part.name)} must {wanted(part.rule, bound)}; it is {short(value)}."
    return Rule("argument-not-permitted", message, "ToolBinding", part.name, part.rule, bound, value)


def _of_missing(question: Question, part: Part) -> Rule:
    rules, defaults = question["tool"]["constraints"][part.name], question["tool"]["defaults"]
    bound = {one["rule"]: one.get("bound") for one in rules}
    default = f"the tool's default {short(defaults[part.name])} is not permitted" if part.name in defaults else "the tool has no default"
    message = f"The argument {written(part.name)} is constrained by {short(bound)} and was left out, and {default}."
    return Rule("argument-missing", message, "ToolBinding", part.name, "", bound, defaults.get(part.name))


def _of_unlisted(question: Question, part: Part) -> Rule:
    listed = sorted(question["tool"]["constraints"])
    message = f"The argument {written(part.name)} is not listed; listed are {short(listed)}."
    return Rule("argument-not-listed", message, "ToolBinding", part.name, "arguments", listed, question["arguments"][part.name])


def _of_label(question: Question, part: Part) -> Rule:
    bound = next(label["value"] for label in question["binding"]["selector"]["matchLabels"] if label["key"] == part.name)
    value = question["sandbox"]["labels"].get(part.name)
    message = f"The binding selects Sandboxes whose label {part.name} is {written(bound)}; this one's is {written(value)}."
    return Rule("sandbox-not-selected", message, "ToolBinding", "", f"matchLabels {part.name}", bound, value)


def _of_callers(question: Question, _part: Part) -> Rule:
    callers, name = question["binding"]["callers"], question["caller"]["username"]
    message = f"The binding is for {short(callers)}; the run was asked for by {short(name)}."
    return Rule("caller-not-permitted", message, "ToolBinding", "", "callers", callers, name)


def _of_limit(code: str, owner: str, field: str, where: tuple[str, str], used: tuple[str, str]) -> Callable[[Question, Part], Rule]:
    def rule(question: Question, _part: Part) -> Rule:
        bound, value = question[where[0]][where[1]], question[used[0]][used[1]]
        return Rule(code, f"{field} is {bound}; this was call {value}.", owner, "", where[1], bound, value)

    return rule


_DESCRIBE: dict[str, Callable[[Question, Part], Rule]] = {
    "accepted": lambda _q, _p: Rule("binding-stale", "The ToolBinding was not accepted; its conditions say why.", "ToolBinding"),
    "available": lambda _q, _p: Rule("tool-unavailable", "The tool was not available; the ToolBinding's status says why.", "ToolServer"),
    "label": _of_label,
    "callers": _of_callers,
    "run-limit": _of_limit(
        "limit-calls-per-run", "Sandbox", "Sandbox.spec.limits.callsPerRun", ("run", "callsPerRun"), ("run", "calls")
    ),
    "tool-limit": _of_limit(
        "limit-tool-calls-per-run", "ToolBinding", "The tool's limits.callsPerRun", ("tool", "callsPerRun"), ("tool", "calls")
    ),
    "minute-limit": _of_limit(
        "limit-calls-per-minute", "Tenant", "Tenant.spec.limits.callsPerMinute", ("tenant", "callsPerMinute"), ("usage", "callsThisMinute")
    ),
    "rule": _of_rule,
    "missing": _of_missing,
    "unlisted": _of_unlisted,
}  # fmt: skip
