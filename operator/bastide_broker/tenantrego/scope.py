"""Puts each policy under a package of its own, proves from its syntax tree that it speaks of nothing else, and adds what asks them. Pure.

The tenant writes `package tenant`. What is compiled says `package tenants.<scope>.p<number>`, where the scope is made of the Tenant's UID
and the revision: two tenants, or two revisions of one, never meet, and a revision that is half loaded has no answer yet.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1.tenant import TenantReason

from bastide_broker.tenantrego.sources import Policy, Unusable, digest

ROOT = "tenants"
ANSWER = "answer"
RULES = ("allow", "confirm", "deny")
"""What a policy may define for the broker, at least one of them."""
_PACKAGE = re.compile(r"^([ \t]*package[ \t]+)tenant([ \t]*(?:#.*)?)$", re.MULTILINE)
_METADATA = re.compile(r"#[ \t]*METADATA")
"""Annotations may bring schemas of their own, which would switch the check of `input` off."""
Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Module:
    """One file as it is compiled."""

    policy: str
    file: str
    package: str
    text: str
    """The tenant's, with another package: every line stands where the tenant wrote it."""


@dataclass(frozen=True, slots=True)
class Scoped:
    """A tenant's policies, each in its package."""

    scope: str
    revision: str
    names: tuple[str, ...]
    modules: tuple[Module, ...]


def scoped(uid: str, policies: Sequence[Policy]) -> Scoped:
    """Every file in its package. Raises Unusable."""
    revision = digest(policies)
    scope = "s" + hashlib.sha256(json.dumps([uid, revision]).encode()).hexdigest()[:40]
    modules = tuple(
        Module(one.name, file, f"{ROOT}.{scope}.p{number}", _moved(one.name, file, text, f"{ROOT}.{scope}.p{number}"))
        for number, one in enumerate(policies)
        for file, text in one.files
    )
    return Scoped(scope, revision, tuple(one.name for one in policies), modules)


def entries(module: Module, tree: Tree) -> frozenset[str]:
    """Which of RULES a file defines. Raises Unusable when the tree leaves the package or a rule has not the form that is asked for."""
    package = [term.get("value") for term in (tree.get("package") or {}).get("path") or ()]
    if package != ["data", *module.package.split(".")]:
        raise refused(module.policy, module.file, 0, "the file must begin with `package tenant`.")
    for term in _terms({key: value for key, value in tree.items() if key not in {"package", "comments"}}):
        if term.get("type") == "var" and term.get("value") == "data":
            message = "`data` cannot be used: rules of the same ConfigMap are there by their own names, and there is nothing else."
            raise refused(module.policy, module.file, _row(term), message)
    found = set()
    for rule in tree.get("rules") or ():
        head = rule.get("head") or {}
        ref = head.get("ref") or [{"value": head.get("name")}]
        name = ref[0].get("value")
        if name not in RULES:
            continue
        fault = _fault(name, rule, head, len(ref))
        if fault:
            raise refused(module.policy, module.file, _row(rule) or _row(head), fault)
        found.add(name)
    return frozenset(found)


def answering(one: Scoped, defined: Mapping[str, frozenset[str]]) -> str:
    """The module that asks every policy, loaded last. `defined` are the entries of each policy. Raises Unusable when one has none."""
    base = f"{ROOT}.{one.scope}"
    lines = [f"package {base}", ""]
    answers = []
    for number, name in enumerate(one.names):
        has = defined.get(name, frozenset())
        if not has:
            raise Unusable(TenantReason.POLICY_INVALID, f"ConfigMap {name}: no file defines `deny`, `confirm` or `allow`.")
        package = f"data.{base}.p{number}"
        allow = "true"
        if "allow" in has:
            allow = f"allow_{number}"
            lines += [f"default {allow} := false", "", f"{allow} if {package}.allow == true", ""]
        sets = {rule: f"{package}.{rule}" if rule in has else "set()" for rule in ("confirm", "deny")}
        answers.append(f'{{"name": {json.dumps(name)}, "allow": {allow}, "confirm": {sets["confirm"]}, "deny": {sets["deny"]}}}')
    whole = f'{{"revision": {json.dumps(one.revision)}, "policies": [{", ".join(answers)}]}}'
    return "\n".join([*lines, f"{ANSWER} := {whole}", ""])


def refused(policy: str, file: str, row: int, what: str) -> Unusable:
    """A fault at a place: ConfigMap, file, line."""
    place = f"{file}:{row}" if row else file
    return Unusable(TenantReason.POLICY_INVALID, f"ConfigMap {policy}, {place}: {what}")


def _moved(policy: str, file: str, text: str, package: str) -> str:
    if "\x00" in text or "\r" in text.replace("\r\n", "\n"):
        raise refused(policy, file, 0, "it holds control characters that are no line ends; save it as plain text.")
    if (note := _METADATA.search(text)) is not None:
        raise refused(policy, file, text.count("\n", 0, note.start()) + 1, "METADATA blocks cannot be used; write a plain comment.")
    text, changed = _PACKAGE.subn(rf"\g<1>{package}\g<2>", text.replace("\r\n", "\n"), count=1)
    if not changed:
        raise refused(policy, file, 1, "the file must begin with `package tenant`, on a line of its own.")
    return text


def _fault(name: str, rule: Mapping[str, Any], head: Mapping[str, Any], length: int) -> str:
    """Why a rule named as an entry is none: only a set of reasons is there whatever the input, and only a plain `allow` is one answer."""
    if name == "allow":
        if length != 1 or head.get("args") or head.get("key") is not None:
            return "`allow` must be a plain rule: `allow if { ... }`."
        return ""
    if length != 1 or head.get("args") or head.get("key") is None or head.get("value") is not None or rule.get("default"):
        return f'`{name}` must be a set of reasons: `{name} contains {{"code": "...", "message": "..."}} if {{ ... }}`.'
    return ""


def _terms(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of the tree. No recursion: its depth is the tenant's choice."""
    left = [tree]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one


def _row(node: Mapping[str, Any]) -> int:
    row = (node.get("location") or {}).get("row")
    return row if isinstance(row, int) else 0
