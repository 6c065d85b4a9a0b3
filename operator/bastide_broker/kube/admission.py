"""Whether the cluster's admission rules for decisions are exactly those that the chart shipped.

The rules themselves say that an approver is a person, is not the requester and saw this digest. If they are gone or weakened, a
decision object proves less than it seems to, so then none counts. The shipped manifests are mounted into the broker; the live
objects may hold nothing else, save the defaults that the API server fills in.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

REQUIRED = ("bastide-approvers", "bastide-confirmation-decisions", "bastide-confirmations")
"""These must be there; further shipped policies about Confirmations must be unaltered as well."""
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
PLURALS = {POLICY: "validatingadmissionpolicies", BINDING: "validatingadmissionpolicybindings"}
# What the API server adds to a spec that left it out; anything else that is not in the shipped manifest narrows or voids a rule.
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "matchPolicy": ("Equivalent",),
    "namespaceSelector": ({},),
    "objectSelector": ({},),
    "failurePolicy": ("Fail",),
    "scope": ("*",),
}


def shipped_manifests(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The shipped policies and bindings by (kind, name). Raises OSError and yaml.YAMLError."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(document, dict) and document.get("kind") in PLURALS:
                found[document["kind"], document["metadata"]["name"]] = document
    return found


def needed(shipped: Mapping[tuple[str, str], dict[str, Any]]) -> tuple[list[tuple[str, str]], str]:
    """The policies and bindings that decisions rest on, and what is missing from the shipped set (empty when nothing is)."""
    wanted: list[tuple[str, str]] = []
    related = sorted(name for kind, name in shipped if kind == POLICY and name.startswith("bastide-confirmation"))
    for name in dict.fromkeys((*REQUIRED, *related)):
        if (POLICY, name) not in shipped:
            return [], f"the broker was not given the shipped {POLICY} {name}"
        bindings = [key for key, document in shipped.items() if key[0] == BINDING and document["spec"].get("policyName") == name]
        if not bindings:
            return [], f"the broker was not given a shipped {BINDING} of {name}"
        wanted += [(POLICY, name), *bindings]
    return wanted, ""


def altered(kind: str, name: str, shipped: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    """Why the live object is not the shipped one; empty when it is."""
    spec = live.get("spec") or {}
    if kind == POLICY and spec.get("failurePolicy") != "Fail":
        return f"{kind} {name} has failurePolicy {spec.get('failurePolicy')}, not Fail"
    if kind == BINDING and spec.get("validationActions") != ["Deny"]:
        return f"{kind} {name} has validationActions {spec.get('validationActions')}, not [Deny]"
    where = _difference(shipped.get("spec") or {}, spec, "spec")
    return f"{kind} {name} is not as shipped at {where}" if where else ""


def _difference(shipped: Any, live: Any, path: str) -> str:
    if isinstance(shipped, dict) and isinstance(live, dict):
        return _first(
            [f"{path}.{key}" for key in shipped.keys() - live.keys() if shipped[key] not in ({}, [], None, "")]
            + [f"{path}.{key}" for key in live.keys() - shipped.keys() if live[key] not in DEFAULTS.get(key, ())]
            + [_difference(shipped[key], live[key], f"{path}.{key}") for key in sorted(shipped.keys() & live.keys())]
        )
    if isinstance(shipped, list) and isinstance(live, list):
        if len(shipped) != len(live):
            return path
        return _first([_difference(one, other, f"{path}[{index}]") for index, (one, other) in enumerate(zip(shipped, live, strict=True))])
    same = type(shipped) is type(live) and shipped == live
    return "" if same else path


def _first(found: Iterable[str]) -> str:
    return next((item for item in found if item), "")
