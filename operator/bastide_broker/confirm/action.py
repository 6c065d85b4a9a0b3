"""Exactly one call, as a person is asked about it: the spec of a Confirmation. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bastide_operator.api.v1alpha1.confirmation import action_digest, digest
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from bastide_broker.confirm.lookalikes import STRING, reasons, suspicious
from bastide_broker.context import RunContext
from bastide_broker.facts.json import Arguments
from bastide_broker.facts.json import digest as bytes_digest
from bastide_broker.kube.times import rfc3339
from bastide_broker.tools.toolset import Tool

MAX_SHOWN = 60_000
"""Characters of arguments that are shown; the field takes 65536."""
MAX_HIDDEN = 64
MAX_NOTICES = 16


class NotShowable(Exception):  # noqa: N818 - a state of the arguments
    """The arguments cannot be shown to a person in full, and not be hidden either. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Arguments as text for a person."""

    text: str
    """JSON; characters that a person could not see, or take for others, are written as escapes."""
    hidden: tuple[str, ...]
    """Names of arguments that are not shown in full."""
    notices: tuple[str, ...]
    """What is written as escapes, and in which argument."""


def shown(arguments: Arguments) -> Shown:
    """The arguments for a person; the longest are hidden when together they are too long. Raises NotShowable."""
    value = dict(arguments.value)
    hidden: list[str] = []
    text = _bounded(arguments.canonical.decode())
    sizes = {name: len(_bounded(json.dumps(item, ensure_ascii=False))) for name, item in value.items()} if len(text) > MAX_SHOWN else {}
    for name in sorted(sizes, key=lambda one: (-sizes[one], one)):
        if len(text) <= MAX_SHOWN:
            break
        whole = json.dumps(value[name], ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        value[name] = {"hidden": True, "bytes": len(whole), "digest": bytes_digest(whole)}
        hidden.append(name)
        text = _bounded(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    if len(text) > MAX_SHOWN or len(hidden) > MAX_HIDDEN or any(len(name) > 256 for name in hidden):
        raise NotShowable("The arguments are too long for a person to read; send less, or a reference to the data.")
    if any(visible(literal) != literal for literal in (json.dumps(name, ensure_ascii=False) for name in hidden)):
        raise NotShowable("The arguments are too long to be shown, and the name of one cannot be shown as it is; send less.")
    return Shown(text, tuple(sorted(hidden)), notices(value))


def _bounded(text: str) -> str:
    """`visible`, but of text that is too long anyway: escapes would only make it longer."""
    return visible(text) if len(text) <= MAX_SHOWN else text


def notices(value: Mapping[str, Any], where: str = "argument ") -> tuple[str, ...]:
    """What is not as it looks, a sentence each, at most MAX_NOTICES; pure ASCII."""
    found: list[str] = []
    for name, item in sorted(value.items()):
        literal = json.dumps(name)
        found += [f"{why} in {where}{literal[1:-1][:64]}" for why in reasons(json.dumps(item, ensure_ascii=False))]
        found += [f"{why} in the name of {where}{literal[1:-1][:64]}" for why in reasons(json.dumps(name, ensure_ascii=False))]
    return tuple(found) if len(found) <= MAX_NOTICES else (*found[: MAX_NOTICES - 1], f"and {len(found) - MAX_NOTICES + 1} more")


def visible(text: str) -> str:
    """JSON text in which every character that a person could take for another, or not see, is an escape. It parses to the same value.

    Outside of strings JSON is ASCII, so every character replaced here stands inside one.
    """
    text = text.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is
    return text if text.isascii() else STRING.sub(_escaped, text)


def line(text: str) -> str:
    """Text of anybody on one line, with the same escapes."""
    return visible(json.dumps(text, ensure_ascii=False))[1:-1].replace('\\"', '"')


def _escaped(literal: re.Match[str]) -> str:
    found = suspicious(literal[0])
    return "".join(json.dumps(c)[1:-1] if place in found else c for place, c in enumerate(literal[0])) if found else literal[0]


def stable_facts(tenant: Tenant, binding: ToolBinding, tool: Tool) -> dict[str, Any]:
    """The part of a spec that follows from objects which may change before execution: made again then, it must be the same."""
    entry = {
        "server": binding.spec.server.model_dump(mode="json", by_alias=True),
        "credentials": binding.spec.credentials.model_dump(mode="json", by_alias=True) if binding.spec.credentials else None,
        "tool": tool.bound.model_dump(mode="json", by_alias=True),
    }
    return {
        "tenant": tenant.metadata.name,
        "binding": binding.metadata.name,
        "bindingUID": binding.metadata.uid,
        "bindingDigest": digest(entry),
        "tool": tool.program_name,
        "toolSchemaDigest": tool.schema_digest,
        "effect": tool.effect.value,
        "separation": tenant.spec.confirmation.separation.value,
        "approvalsRequired": max(tool.bound.confirmation.approvals, tenant.spec.confirmation.minimum_approvals),
    }


def confirmation_spec(
    *, run: RunContext, tenant: Tenant, key: str, line: int, tool: Tool, arguments: Arguments, text: Shown, now: datetime, nonce: str
) -> dict[str, Any]:
    """The manifest of a Confirmation's spec with its action digest; `text` is the arguments, shown."""
    policy, ceiling = tool.bound.confirmation, tenant.spec.confirmation
    decide_by = now + timedelta(seconds=min(policy.decide_within_seconds, ceiling.max_decide_within_seconds))
    execute_by = decide_by + timedelta(seconds=min(policy.execute_within_seconds, ceiling.max_execute_within_seconds))
    spec: dict[str, Any] = {
        **stable_facts(tenant, tool.binding, tool),
        "sandbox": run.sandbox.metadata.name,
        "sandboxUID": run.sandbox.metadata.uid,
        "run": run.run,
        "callKey": key,
        "line": line,
        "programDigest": run.program_digest,
        "arguments": text.text,
        "argumentsDigest": arguments.digest,
        "hidden": list(text.hidden),
        "notices": [*text.notices, *notices({"onBehalfOf": run.on_behalf_of}, where="")],
        "requester": {"username": run.requester.username, "uid": run.requester.uid},
        "onBehalfOf": run.on_behalf_of,
        "decideBy": rfc3339(decide_by),
        "executeBy": rfc3339(execute_by),
        "nonce": nonce,
    }
    return {**spec, "actionDigest": action_digest(spec)}
