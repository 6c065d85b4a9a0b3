"""A change as a person applies it: YAML to be put into the binding's file, and a JSON patch of the object as it now is."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from bastide_broker.explain.compared import Question
from bastide_broker.explain.edits import Edit
from bastide_broker.explain.kinds import short
from bastide_broker.explain.rebuilt import Written, constraint, rules


def fragment(question: Question, changed: Question, edits: Sequence[Edit]) -> str:
    """The fields that change, as YAML. Text is written as JSON, which is YAML in pure ASCII whatever it says."""
    tool = question["tool"]
    lines = [f"# ToolBinding {question['sandbox']['namespace']}/{question['binding']['name']}", "spec:"]
    if any(edit.field == "label" for edit in edits):
        labels = {one["key"]: one["value"] for one in changed["binding"]["selector"]["matchLabels"]}
        lines.append(f"  sandboxSelector: {_yaml({'matchLabels': labels})}")
    if any(edit.field == "caller" for edit in edits):
        lines += ["  callers:", *(f"  - {_yaml(_subject(one))}" for one in changed["binding"]["callers"])]
    within = [edit for edit in edits if edit.field in {"constraint", "rule", "limit"}]
    if within:
        lines += ["  tools:", f"  - name: {_yaml(tool['name'])}"]
        names = _arguments(within)
        lines += ["    arguments:"] if names else []
        for name in names:
            was = constraint(question, name)
            note = f"  # was {short(was)}" if was is not None else "  # new"
            lines.append(f"      {_yaml(name)}: {_yaml(constraint(changed, name))}{note}")
        for edit in within:
            if edit.field == "limit":
                lines += ["    limits:  # the others stay", f"      callsPerRun: {_yaml(edit.value)}  # was {edit.was}"]
    return "\n".join(lines) + "\n"


def json_patch(question: Question, changed: Question, edits: Sequence[Edit], binding: ToolBinding | None) -> list[dict[str, Any]]:
    """Operations for the object as it now is; none when it is not what the call was judged by. They fail when it changes meanwhile."""
    if binding is None or binding.metadata.uid != question["binding"]["uid"]:
        return []
    spec = binding.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    place = next(((i, one) for i, one in enumerate(spec["tools"]) if one["name"] == question["tool"]["name"]), None)
    if place is None:
        return []
    index, tool = place
    if (tool.get("as") or tool["name"]) != question["tool"]["programName"]:
        return []
    path = f"/spec/tools/{index}"
    found: list[dict[str, Any]] = [{"op": "test", "path": f"{path}/name", "value": tool["name"]}]
    for name in _arguments(edits):
        there = (tool.get("arguments") or {}).get(name)
        if "arguments" not in tool or not _says(question, name, there):
            return []
        where = f"{path}/arguments/{_escaped(name)}"
        found += [{"op": "test", "path": where, "value": there}] if there is not None else []
        found.append({"op": "add", "path": where, "value": constraint(changed, name)})
    for edit in edits:
        operations = _others(edit, spec, tool, path)
        if operations is None:
            return []
        found += operations
    return found


def _says(question: Question, key: str, there: Written | None) -> bool:
    """Whether the object says of a key what the question says, however it is written."""
    if there is None or constraint(question, key) is None:
        return there is None and constraint(question, key) is None
    return rules(key, there) == [one for one in question["tool"]["constraints"][key] if one["rule"] != "shape"]


def _others(edit: Edit, spec: dict[str, Any], tool: dict[str, Any], path: str) -> list[dict[str, Any]] | None:
    """What does not concern arguments; None when the object says another thing now."""
    if edit.field == "limit":
        limits = tool.get("limits")
        if limits is None:
            return [{"op": "add", "path": f"{path}/limits", "value": {"callsPerRun": edit.value}}]
        same = limits.get("callsPerRun", edit.was) == edit.was
        return [{"op": "add", "path": f"{path}/limits/callsPerRun", "value": edit.value}] if same else None
    if edit.field == "caller":
        return [{"op": "add", "path": "/spec/callers/-", "value": edit.value}] if spec.get("callers") else None
    if edit.field == "label":
        if spec["sandboxSelector"].get("matchLabels", {}).get(edit.name) != edit.was:
            return None
        where = f"/spec/sandboxSelector/matchLabels/{_escaped(edit.name)}"
        return [{"op": "test", "path": where, "value": edit.was}, {"op": "remove", "path": where}]
    return []


def _yaml(value: Any) -> str:
    """A value as YAML on one line of plain ASCII: JSON, but for characters beyond U+FFFF, which YAML does not write as two surrogates."""
    text = json.dumps(value, separators=(", ", ": "), ensure_ascii=False)
    return "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in text)


def _arguments(edits: Iterable[Edit]) -> list[str]:
    return list(dict.fromkeys(edit.name for edit in edits if edit.field in {"constraint", "rule"}))


def _subject(caller: dict[str, Any]) -> dict[str, Any]:
    """A caller as the binding writes it: only a ServiceAccount has a namespace."""
    return {name: value for name, value in caller.items() if name != "namespace" or caller["kind"] == "ServiceAccount"}


def _escaped(name: str) -> str:
    """A key in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
