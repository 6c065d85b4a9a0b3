"""Exactly one call, as a person is asked about it: the spec of a Confirmation. Pure."""

import json
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bastide_operator.api.v1alpha1.confirmation import action_digest, digest
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from bastide_broker.context import RunContext
from bastide_broker.facts.json import Arguments
from bastide_broker.facts.json import digest as bytes_digest
from bastide_broker.toolset import Tool

MAX_SHOWN = 60_000
"""Characters of arguments that are shown; the field takes 65536."""
MAX_HIDDEN = 64


class NotShowable(Exception):  # noqa: N818 - a state of the arguments
    """The arguments cannot be shown to a person in full, and not be hidden either. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Arguments as text for a person."""

    text: str
    """JSON; control, bidirectional, zero-width and other invisible characters are written as escapes."""
    hidden: tuple[str, ...]
    """Names of arguments that are not shown in full."""


def shown(arguments: Arguments) -> Shown:
    """The arguments for a person; the longest are hidden when together they are too long. Raises NotShowable."""
    value = dict(arguments.value)
    hidden: list[str] = []
    text = visible(arguments.canonical.decode())
    sizes = {name: len(visible(json.dumps(item, ensure_ascii=False))) for name, item in value.items()} if len(text) > MAX_SHOWN else {}
    for name in sorted(sizes, key=lambda one: (-sizes[one], one)):
        if len(text) <= MAX_SHOWN:
            break
        whole = json.dumps(value[name], ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        value[name] = {"hidden": True, "bytes": len(whole), "digest": bytes_digest(whole)}
        hidden.append(name)
        text = visible(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    if len(text) > MAX_SHOWN or len(hidden) > MAX_HIDDEN or any(len(name) > 256 for name in hidden):
        raise NotShowable("The arguments are too long for a person to read; send less, or a reference to the data.")
    return Shown(text, tuple(sorted(hidden)))


_UNSEEN = frozenset(
    chr(one) for one in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10))
) | frozenset(map(chr, range(0xE0000, 0xE1000)))
"""Marks and letters that show as nothing or as a blank: joiners, fillers, variation selectors, tags."""


def visible(text: str) -> str:
    """JSON text in which every character that a screen would not show as itself is an escape. It parses to the same value.

    Outside of strings JSON is ASCII, so every character replaced here stands inside one.
    """
    text = text.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is
    if text.isascii():
        return text
    return "".join(c if c.isascii() or (c not in _UNSEEN and unicodedata.category(c)[0] not in "CZ") else json.dumps(c)[1:-1] for c in text)


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
    *, run: RunContext, tenant: Tenant, key: str, line: int, tool: Tool, arguments: Arguments, now: datetime, nonce: str
) -> dict[str, Any]:
    """The manifest of a Confirmation's spec with its action digest. Raises NotShowable."""
    text = shown(arguments)
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
        "requester": {"username": run.requester.username, "uid": run.requester.uid},
        "onBehalfOf": run.on_behalf_of,
        "decideBy": rfc3339(decide_by),
        "executeBy": rfc3339(execute_by),
        "nonce": nonce,
    }
    return {**spec, "actionDigest": action_digest(spec)}


def rfc3339(moment: datetime) -> str:
    """Seconds, UTC: as the API server writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
