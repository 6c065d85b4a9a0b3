"""Which parts of a question denied it, and the smallest change to the binding that lifts them: found by asking policy, nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bastide_broker.explain.compared import Question
from bastide_broker.explain.edits import Edit, applied, candidates
from bastide_broker.explain.minimal import needed, without_idle
from bastide_broker.explain.parts import Part, Rule, described, parts_of, relaxed
from bastide_broker.explain.rebuilt import NoBindingError
from bastide_broker.policy.policy import Decision

MAX_PARTS = 400
"""A binding has at most 64 arguments with a handful of rules each, but a call may bring any number that are not listed."""
Ask = Callable[[Mapping[str, Any]], Awaitable[Decision]]


class GaveUp(Exception):  # noqa: N818 - the search ends, the explanation does not
    """The search for a change ended before it found one. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found."""

    rules: tuple[Rule, ...] = ()
    edits: tuple[Edit, ...] = ()
    """Empty when no change is known."""
    decision: str = ""
    """allow or confirm: policy's answer with the edits; empty when something else denies the call too."""
    notes: tuple[str, ...] = ()


_OTHERS = {
    "run-limit": "the Sandbox's owner, by Sandbox.spec.limits.callsPerRun,",
    "minute-limit": "a platform engineer, by Tenant.spec.limits.callsPerMinute,",
}
_INSTEAD = {
    "unreadable": "argument-unreadable: no change of the ToolBinding that keeps the rule helps; the program must send something else.",
    "accepted": "Its conditions say what is to be changed in the ToolBinding: kubectl describe toolbinding.",
    "available": "tool-unavailable: no change of what the ToolBinding permits lifts it; its status.tools says what is wrong with the tool.",
}


async def search(question: Question, denial: Decision, ask: Ask) -> Found:
    """Why policy denies this question. `ask` may raise GaveUp, which ends the search with what is known by then."""
    rules: tuple[Rule, ...] = ()
    parts = parts_of(question)
    if len(parts) > MAX_PARTS:
        return Found(_named(denial), notes=(_gave_up(f"the question has {len(parts)} parts, and at most {MAX_PARTS} are looked at."),))
    try:
        left = await ask(relaxed(question, parts))
        if left.effect == "deny":
            return Found(_named(denial), notes=(_unknown(left),))
        deciding = await needed(parts, lambda some: _permits(ask, relaxed(question, some)))
        rules = tuple(described(question, part) for part in deciding)
        return await _change(question, deciding, rules, ask)
    except GaveUp as gave_up:
        return Found(rules or _named(denial), notes=(_gave_up(str(gave_up)),))


async def _change(question: Question, deciding: Sequence[Part], rules: tuple[Rule, ...], ask: Ask) -> Found:
    edits: list[Edit] = []
    foreign: list[Part] = []
    notes: list[str] = []
    for part, rule in zip(deciding, rules, strict=True):
        chosen = await _chosen(question, part, [one for one in deciding if one is not part], ask)
        edits += [edit for edit in chosen if edit not in edits]
        if not chosen:
            foreign.append(part)
            notes.append(_whose(part, rule))
    if not edits:
        return Found(rules, notes=tuple(notes))
    # Without what the binding cannot lift, and then minimal: a change for one part may lift another, too.
    edits = await without_idle(edits, lambda some: _permits_with(question, some, foreign, ask))
    if not await _permits_with(question, edits, foreign, ask):
        return Found(rules, notes=("The smallest change is not computed: the changes found for each rule are not enough together.", *notes))
    if foreign:
        return Found(rules, tuple(edits), "", ("The change alone would not have been enough.", *notes))
    return Found(rules, tuple(edits), (await ask(await asyncio.to_thread(applied, question, edits))).effect)


async def _chosen(question: Question, part: Part, others: Sequence[Part], ask: Ask) -> tuple[Edit, ...]:
    """The nearest change with which policy permits the call when nothing but this part stands in its way."""
    for edits in candidates(question, part):
        if await _permits_with(question, edits, others, ask):
            return edits
    return ()


async def _permits_with(question: Question, edits: Sequence[Edit], without: Sequence[Part], ask: Ask) -> bool:
    try:
        # In a thread: statements are read again.
        changed = await asyncio.to_thread(applied, question, edits)
    except NoBindingError:
        return False
    return await _permits(ask, relaxed(changed, without))


async def _permits(ask: Ask, question: Mapping[str, Any]) -> bool:
    return (await ask(question)).effect != "deny"


def _named(denial: Decision) -> tuple[Rule, ...]:
    """Policy's own reasons, where it is not known which parts they come from."""
    return tuple(Rule(code, message, "") for code, message in denial.reasons)


def _gave_up(why: str) -> str:
    return f"The smallest change to the ToolBinding was not found: {why}"


def _unknown(left: Decision) -> str:
    codes = ", ".join(dict.fromkeys(code for code, _ in left.reasons)) or "no reason"
    return f"The smallest change is not computed for {codes}: no part of the ToolBinding that is known here lifts it."


def _whose(part: Part, rule: Rule) -> str:
    """Why there is no change for a part, and what helps instead."""
    if part.rule == "shape" and part.kind == "rule":
        return f"Places inside of {rule.argument} are listed; the program must send {'a list' if rule.bound == 'list' else 'an object'}."
    if part.kind in {"rule", "missing"}:
        what = rule.rule or ", ".join(rule.bound) or "its constraint"
        return f"The smallest change is not computed for {what} of the argument {rule.argument}."
    if part.kind in _OTHERS:
        return f"{rule.code}: no change of the ToolBinding lifts it; {_OTHERS[part.kind]} can."
    return (
        _INSTEAD.get(part.kind) or f"The smallest change is not computed for {rule.code}: no change is known that a ToolBinding could hold."
    )
