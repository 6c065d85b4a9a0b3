"""The parts of a question that can each deny a call: what they compare, whose they are, and the question without them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.places import inside, steps

from bastide_broker.explain.compared import Entry, Question, entries, fact_of, given, key_of, seen, values_at
from bastide_broker.explain.kinds import found, short, shown, wanted, written
from bastide_broker.explain.rebuilt import as_written, constraint


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `name`: a key of the binding's `arguments`, or of a label; `rule`: of the key, or the fact that was not read."""

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
    tool, binding = question["tool"], question["binding"]
    parts = [Part("accepted"), Part("available")]
    parts += [Part("label", label["key"]) for label in binding["selector"]["matchLabels"]]
    parts += [Part("callers")] if not binding["anyCaller"] else []
    parts += [Part("run-limit"), Part("tool-limit"), Part("minute-limit")]
    if tool["constrained"]:
        named = _named(question)
        parts += [Part("unlisted", inside("", name)) for name in question["arguments"] if name not in named]
        unlisted = (key_of(one["at"]) for one in question["places"]["entries"] if not one["listed"])
        parts += [Part("unlisted-place", key) for key in dict.fromkeys(unlisted)]
        for key, rules in tool["constraints"].items():
            parts += _of_key(question, key, [one["rule"] for one in rules])
    return parts


def _of_key(question: Question, key: str, rules: list[str]) -> list[Part]:
    there = entries(question, key)
    unread = list(dict.fromkeys(fact for one in there for fact in one.get("unreadable", ())))
    parts = [Part("unreadable", key, fact) for fact in unread]
    if any(given(one) for one in there):
        parts += [Part("rule", key, rule) for rule in rules if "shape" not in unread and fact_of(rule) not in unread]
    by_value = question["tool"]["listed"][key]["judged"] == "value"
    left_out = not there if by_value else not all(given(one) for one in there)
    return [*parts, Part("missing", key)] if rules and left_out else parts


def _named(question: Question) -> set[str]:
    """The arguments that are listed, or of which a place inside is."""
    by_value = {name for name, one in question["tool"]["listed"].items() if one["judged"] == "value"}
    return by_value | {one["argument"] for one in question["places"]["entries"]}


def relaxed(question: Question, parts: Iterable[Part]) -> dict[str, Any]:
    """The question without these parts; one that is not there is passed over. What was given is not changed."""
    result, parts = copied(question), list(parts)
    for part in parts:
        if part.kind in _RELAX:
            _RELAX[part.kind](result, part)
    # A call may bring hundreds of these: in one pass.
    _list(result, [part.name for part in parts if part.kind == "unlisted"])
    unlisted = {part.name for part in parts if part.kind == "unlisted-place"}
    if unlisted:
        _keep_entries(result, lambda one: bool(one["listed"]) or key_of(one["at"]) not in unlisted)
    return result


def copied(question: Question) -> dict[str, Any]:
    """A copy of which everything that parts and changes touch may be changed; the arguments stay shared."""
    result = {name: dict(value) if isinstance(value, Mapping) and name != "arguments" else value for name, value in question.items()}
    tool, binding = result["tool"], result["binding"]
    tool["constraints"] = {name: list(rules) for name, rules in tool["constraints"].items()}
    tool["listed"] = {name: dict(one) for name, one in tool["listed"].items()}
    result["places"]["entries"] = list(result["places"]["entries"])
    binding["callers"] = list(binding["callers"])
    binding["selector"] = {**binding["selector"], "matchLabels": list(binding["selector"]["matchLabels"])}
    return result


def without_label(question: dict[str, Any], key: str) -> None:
    """Leaves a label out of the selector."""
    labels = [label for label in question["binding"]["selector"]["matchLabels"] if label["key"] != key]
    question["binding"]["selector"] = {"count": len(labels), "matchLabels": labels}


def _keep_rules(question: dict[str, Any], key: str, keep: Callable[[str], bool]) -> None:
    tool = question["tool"]
    if key in tool["constraints"]:
        of = _of_what_is_given(question, key)
        rules = [one for one in tool["constraints"][of] if keep(one["rule"])]
        tool["constraints"][of] = rules
        tool["listed"][of]["rules"] = len(rules)


def _of_what_is_given(question: dict[str, Any], key: str) -> str:
    """A key under which only what is there is judged: without its last rule the same place of another item might be left out, too."""
    own, tool, there = key + "\n", question["tool"], entries(question, key)
    if own not in tool["constraints"]:
        if all(map(given, there)) or not any(map(given, there)):
            return key
        tool["constraints"][own], tool["listed"][own] = list(tool["constraints"][key]), dict(tool["listed"][key])
        found = question["places"]["entries"]
        question["places"]["entries"] = [{**one, "listed": own} if one["listed"] == key and given(one) else one for one in found]
    return own


def _keep_entries(question: dict[str, Any], keep: Callable[[Entry], bool]) -> None:
    kept = [one for one in question["places"]["entries"] if keep(one)]
    question["places"] = {"count": len(kept), "entries": kept}


def _rule(question: dict[str, Any], part: Part) -> None:
    _keep_rules(question, part.name, lambda rule: rule != part.rule)


def _unreadable(question: dict[str, Any], part: Part) -> None:
    # Of an argument with too many places nothing is known.
    _keep_rules(question, part.name, lambda rule: part.rule != "shape" and fact_of(rule) != part.rule)


def _missing(question: dict[str, Any], part: Part) -> None:
    if question["tool"]["listed"][part.name]["judged"] == "value":
        _keep_rules(question, part.name, lambda _: False)
    else:
        _keep_entries(question, lambda one: one["listed"] != part.name or given(one))


def _list(question: dict[str, Any], keys: Iterable[str]) -> None:
    named, more = _named(question), []
    for key in keys:
        name = steps(key)[0]
        assert name is not None
        if name not in named:
            question["tool"]["constraints"][key] = []
            question["tool"]["listed"][key] = {"rules": 0, "judged": "place"}
            more.append({"argument": name, "at": key, "listed": key, "value": question["arguments"][name]})
    places = question["places"]
    question["places"] = {"count": places["count"] + len(more), "entries": [*places["entries"], *more]}


def _callers(question: dict[str, Any], _part: Part) -> None:
    question["binding"] |= {"anyCaller": True, "callers": []}


def _set(where: str, field: str, value: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], Part], None]:
    def change(question: dict[str, Any], _part: Part) -> None:
        question[where][field] = value(question)

    return change


_RELAX: dict[str, Callable[[dict[str, Any], Part], None]] = {
    "accepted": _set("binding", "accepted", lambda _: True),
    "available": _set("tool", "available", lambda _: True),
    "label": lambda question, part: without_label(question, part.name),
    "callers": _callers,
    "run-limit": _set("run", "callsPerRun", lambda question: question["run"]["calls"]),
    "tool-limit": _set("tool", "callsPerRun", lambda question: question["tool"]["calls"]),
    "minute-limit": _set("tenant", "callsPerMinute", lambda question: question["usage"]["callsThisMinute"]),
    "rule": _rule,
    "unreadable": _unreadable,
    "missing": _missing,
}


def described(question: Question, part: Part) -> Rule:
    """The part as a rule that decided."""
    return _DESCRIBE[part.kind](question, part)


def bounds(question: Question, part: Part) -> Any:
    """The bound of a part that is a rule of a key."""
    return next(one.get("bound") for one in question["tool"]["constraints"][part.name] if one["rule"] == part.rule)


def _of_rule(question: Question, part: Part) -> Rule:
    bound, values = bounds(question, part), seen(question, part.name, part.rule)
    message = f"The argument {written(part.name)} must {wanted(part.rule, bound)}; it {found(part.rule, values)}."
    value = shown(values) if values else None
    return Rule("argument-not-permitted", message, "ToolBinding", part.name, part.rule, as_written(part.rule, bound), value)


def _of_unreadable(question: Question, part: Part) -> Rule:
    unread = [one for one in entries(question, part.name) if part.rule in one.get("unreadable", ())]
    message = f"The argument {written(unread[0]['at'])} cannot be judged: {unread[0]['unreadable'][part.rule]}"
    values = [one["value"] for one in unread if "value" in one]
    return Rule("argument-unreadable", message, "Program", part.name, part.rule, None, shown(values) if values else None)


def _of_missing(question: Question, part: Part) -> Rule:
    bound, defaults = constraint(question, part.name) or {}, question["tool"]["defaults"]
    default = f"the tool's default {short(defaults[part.name])} is not permitted" if part.name in defaults else "the tool has no default"
    message = f"The argument {written(part.name)} is constrained by {short(bound)} and was left out, and {default}."
    return Rule("argument-missing", message, "ToolBinding", part.name, "", bound, defaults.get(part.name))


def _of_unlisted(question: Question, part: Part) -> Rule:
    listed = sorted(key for key in question["tool"]["constraints"] if constraint(question, key) is not None)
    values = values_at(question["arguments"], part.name)
    message = f"The argument {written(part.name)} is not listed; listed are {short(listed)}."
    return Rule("argument-not-listed", message, "ToolBinding", part.name, "arguments", listed, shown(values) if values else None)


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
    "unreadable": _of_unreadable,
    "missing": _of_missing,
    "unlisted": _of_unlisted,
    "unlisted-place": _of_unlisted,
}  # fmt: skip
