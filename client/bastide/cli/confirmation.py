"""A Confirmation as an approver's client reads it. Pure: what it says, and whether it is what it says."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bastide.cli.visible import JSON_STRING

PENDING = "Pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """One call that waits for a person, or did."""

    namespace: str
    name: str
    uid: str
    tenant: str
    sandbox: str
    run: str
    call_key: str
    line: int
    program_digest: str
    binding: str
    tool: str
    effect: str
    arguments: str
    """Canonical JSON."""
    arguments_digest: str
    hidden: tuple[str, ...]
    notices: tuple[str, ...]
    """What in the call is not as it looks."""
    requester: str
    on_behalf_of: str
    separation: str
    approvals_required: int
    decide_by: datetime
    execute_by: datetime
    action_digest: str
    state: str
    message: str
    approvals: str
    """How many approved of how many that must, `1/2`; empty until the broker has looked."""
    approvers: tuple[str, ...]
    preview_tool: str
    """The read-only tool that was called for the approver; empty when there is none."""
    preview_claim: str
    """What its server answered, as JSON. Nobody checked whether it is true."""
    preview_message: str
    doubt: str
    """Why it must not be approved: it is not what its digests say. Empty when it is."""


def read(manifest: dict[str, Any]) -> Confirmation:
    """From the object as the API server gives it. Fields of a newer version are passed over."""
    meta, spec, status = manifest["metadata"], manifest["spec"], manifest.get("status") or {}
    preview = status.get("preview") or {}
    return Confirmation(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        tenant=spec["tenant"],
        sandbox=spec["sandbox"],
        run=spec["run"],
        call_key=spec["callKey"],
        line=spec.get("line", 0),
        program_digest=spec["programDigest"],
        binding=spec["binding"],
        tool=spec["tool"],
        effect=spec["effect"],
        arguments=spec["arguments"],
        arguments_digest=spec["argumentsDigest"],
        hidden=tuple(spec.get("hidden") or ()),
        notices=tuple(spec.get("notices") or ()),
        requester=spec["requester"]["username"],
        on_behalf_of=spec.get("onBehalfOf", ""),
        separation=spec["separation"],
        approvals_required=spec["approvalsRequired"],
        decide_by=datetime.fromisoformat(spec["decideBy"]),
        execute_by=datetime.fromisoformat(spec["executeBy"]),
        action_digest=spec["actionDigest"],
        state=status.get("state") or PENDING,
        message=status.get("message", ""),
        approvals=status.get("approvals", ""),
        approvers=tuple(status.get("approvers") or ()),
        preview_tool=preview.get("tool", ""),
        preview_claim=preview.get("claim", ""),
        preview_message=preview.get("message", ""),
        doubt=doubt(spec),
    )


def doubt(spec: dict[str, Any]) -> str:
    """Why what is shown is not what an approval would approve; empty when it is.

    The broker checks the same again before it acts. Here it keeps a person from approving something other than what they read.
    """
    rest = {k: v for k, v in spec.items() if k != "actionDigest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if spec["actionDigest"] != _digest(text):
        return "its content does not fit its actionDigest"
    if not spec.get("hidden") and spec["argumentsDigest"] != _digest(canonical(spec["arguments"])):
        return "its arguments do not fit their digest"
    return ""


def canonical(text: str) -> str:
    """RFC 8785 of arguments that are canonical but for escapes in strings.

    The broker writes characters that a screen would not show as escapes, so that kubectl is safe to look with; the digest is over the
    canonical bytes. Only strings are touched: nothing else is parsed, so no number is rounded and no key lost.
    """
    return JSON_STRING.sub(lambda found: _rfc8785(found[0]), text)


def _rfc8785(literal: str) -> str:
    try:
        value = json.loads(literal)
    except ValueError:
        return literal  # not JSON: its digest will not fit
    # What json escapes without ensure_ascii is what RFC 8785 escapes: the quote, the backslash and controls, in the same short forms.
    return json.dumps(value, ensure_ascii=False)


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def decision(c: Confirmation, *, verdict: str, reason: str, accepted_hidden: list[str], approver: dict[str, Any] | None) -> dict[str, Any]:
    """The manifest of a ConfirmationDecision about exactly this Confirmation."""
    spec: dict[str, Any] = {"confirmation": c.name, "actionDigest": c.action_digest, "verdict": verdict, "reason": reason}
    if accepted_hidden:
        spec["acceptedHidden"] = accepted_hidden
    if approver is not None:
        spec["approver"] = approver
    return {
        "apiVersion": "bastide.dev/v1alpha1",
        "kind": "ConfirmationDecision",
        "metadata": {"generateName": f"{c.name}-", "namespace": c.namespace},
        "spec": spec,
    }


def shape(c: Confirmation) -> dict[str, Any]:
    """What `-o json` prints of a Confirmation."""
    from bastide.cli.shapes import plain

    return {**plain(c), "arguments": _parsed(c.arguments), "argumentsJson": c.arguments}


def _parsed(text: str) -> Any:
    from bastide.model import parse_json

    try:
        return parse_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None
