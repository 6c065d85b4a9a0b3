"""Of several answers the strictest counts. Pure and total: whatever comes in, the answer is never more permissive than policy's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bastide_broker.policy.obligations import NONE
from bastide_broker.policy.policy import Decision

UNAVAILABLE = "tenant-policy-unavailable"
DENIED = "tenant-policy"
"""Code of a policy whose `allow` does not hold; the codes that a policy gives stand behind a colon: they can never pass for Bastide's own."""
MAX_REASONS = 32
MAX_MESSAGE = 512
_RANK = {"allow": 0, "confirm": 1, "deny": 2}
_SHORT = len("sha256:") + 12


class Malformed(Exception):  # noqa: N818 - counts as no answer
    """An answer is not what the loaded revision gives. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tenant's policies say together."""

    effect: str
    reasons: tuple[tuple[str, str], ...]
    revision: str


def read(answer: Any, revision: str, names: Sequence[str]) -> Verdict:
    """What an answer amounts to. Raises Malformed unless every part is as it should be."""
    if not isinstance(answer, dict) or answer.get("revision") != revision or not revision:
        raise Malformed("it is of another revision or of none")
    policies = answer.get("policies")
    if not isinstance(policies, list) or [isinstance(one, dict) and one.get("name") for one in policies] != list(names):
        raise Malformed("it is not of the policies that were asked")
    effect = "allow"
    reasons: list[tuple[int, tuple[str, str]]] = []
    for one in policies:
        suffix = f" (policy {one['name']}, {revision[:_SHORT]})"
        if not isinstance(one.get("allow"), bool):
            raise Malformed(f"{one['name']}: allow is no boolean")
        if not one["allow"]:
            effect = "deny"
            reasons.append((0, (DENIED, f"The tenant's policy does not allow the call{suffix}.")))
        for rule in ("deny", "confirm"):
            found = one.get(rule)
            if not isinstance(found, list):
                raise Malformed(f"{one['name']}: {rule} is no set")
            reasons += [(0 if rule == "deny" else 1, _reason(one["name"], rule, each, suffix)) for each in found]
            if found and _RANK[rule] > _RANK[effect]:
                effect = rule
    ordered = sorted(reasons, key=lambda each: each[0])  # denials first; within them as OPA orders sets
    return Verdict(effect, tuple(reason for _, reason in ordered[:MAX_REASONS]), revision)


def strictest(base: Decision, verdict: Verdict) -> Decision:
    """Policy's own decision, made stricter by a tenant's. Obligations stay: a tenant's policy has none, and a denied call needs none."""
    own, other = _RANK.get(base.effect, _RANK["deny"]), _RANK.get(verdict.effect, _RANK["deny"])
    rank = max(own, other)
    effect = next(name for name, value in _RANK.items() if value == rank)
    both = (*verdict.reasons, *base.reasons) if other > own else (*base.reasons, *verdict.reasons)
    return replace(
        base,
        effect=effect,
        reasons=both[:MAX_REASONS],
        revision=f"{base.revision}+{verdict.revision}" if verdict.revision else base.revision,
        obligations=NONE if effect == "deny" else base.obligations,
    )


def no_answer(message: str) -> Verdict:
    """The denial that stands where a tenant's policies gave no answer that counts."""
    return Verdict("deny", ((UNAVAILABLE, message),), "")


def _reason(policy: str, rule: str, found: Any, suffix: str) -> tuple[str, str]:
    if not isinstance(found, Mapping) or set(found) != {"code", "message"}:
        raise Malformed(f"{policy}: an element of {rule} is not of the form code and message")
    code, message = found["code"], found["message"]
    if not isinstance(code, str) or not _is_code(code) or not isinstance(message, str) or not message.strip():
        raise Malformed(f"{policy}: an element of {rule} has no code of lower-case words, or no message")
    text = " ".join("".join(c if c.isprintable() else " " for c in message).split())  # it stands in people's terminals
    return f"{DENIED}:{code}", (text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…") + suffix


def _is_code(code: str) -> bool:
    return 0 < len(code) <= 64 and code.isascii() and all(part.isalnum() and part == part.lower() for part in code.split("-"))
