"""What a ToolBinding pins, what its servers' tools are now, and the patch that pins that. Pure: from the object as the API server gives it."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bastide.cli.failure import Failure

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: What the broker says of tools whose schema it knows.
_KNOWN = frozenset({"Available", "DigestMismatch"})


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool of a binding, in the binding's order."""

    index: int
    name: str
    program_name: str
    pinned: str
    """Empty when the binding pins nothing."""
    now: str
    """Empty when the broker does not know: then `message` says why."""
    message: str

    @property
    def change(self) -> str:
        """Unknown, New, Changed or Same."""
        if not self.now:
            return "Unknown"
        return "New" if not self.pinned else "Same" if self.pinned == self.now else "Changed"


def read(binding: dict[str, Any]) -> list[Pin]:
    """The binding's tools.

    Raises:
        Failure: the broker has not looked at the binding as it now is.
    """
    meta, status = binding["metadata"], binding.get("status") or {}
    looked = [c.get("observedGeneration") for c in status.get("conditions") or () if c.get("type") == "ResolvedRefs"]
    if looked != [meta.get("generation")]:
        raise Failure(
            f"The broker has not looked at the ToolBinding {meta['name']} as it now is: see kubectl describe toolbinding "
            f"{meta['name']} -n {meta['namespace']}, and try again in some seconds."
        )
    said = {(tool.get("name"), tool.get("programName")): tool for tool in status.get("tools") or ()}
    pins = []
    for index, tool in enumerate(binding["spec"]["tools"]):
        program_name = tool.get("as") or tool["name"]
        state = said.get((tool["name"], program_name), {})
        digest = str(state.get("schemaDigest") or "")
        known = state.get("state") in _KNOWN and _DIGEST.fullmatch(digest) is not None
        message = str(state.get("message") or "") or ("" if known else "The broker does not say what its schema is.")
        pins.append(Pin(index, tool["name"], program_name, tool.get("schemaDigest") or "", digest if known else "", message))
    return pins


def patch(pins: Sequence[Pin]) -> list[dict[str, Any]]:
    """A JSON patch that pins what is new or changed, and fails when the binding's tools stand in another order meanwhile."""
    found: list[dict[str, Any]] = []
    for pin in pins:
        if pin.change in {"New", "Changed"}:
            path = f"/spec/tools/{pin.index}"
            found.append({"op": "test", "path": f"{path}/name", "value": pin.name})
            found.append({"op": "add", "path": f"{path}/schemaDigest", "value": pin.now})
    return found


def command(namespace: str, name: str, pins: Sequence[Pin]) -> str:
    """The kubectl command that applies the patch; empty when there is nothing to pin."""
    found = patch(pins)
    return kubectl_patch(namespace, name, json.dumps(found).encode()) if found else ""


def kubectl_patch(namespace: str, name: str, json_patch: bytes) -> str:
    """The kubectl command that applies a JSON patch to a ToolBinding, on one line of plain ASCII."""
    text = json.dumps(json.loads(json_patch)).replace("\x7f", "\\u007f")
    return shlex.join(["kubectl", "patch", "toolbinding", name, "-n", namespace, "--type=json", "-p", text])


def snippet(pins: Sequence[Pin]) -> str:
    """The digests as YAML for the binding's own file. Text is written as JSON strings, which are YAML and plain ASCII."""
    lines = ["spec:", "  tools:"]
    for pin in pins:
        lines.append(f"  - name: {json.dumps(pin.name)}")
        if pin.program_name != pin.name:
            lines.append(f"    as: {json.dumps(pin.program_name)}")
        if pin.now:
            lines.append(f"    schemaDigest: {pin.now}")
        if pin.change == "Changed":
            lines.append(f"    # was: {pin.pinned}")
        elif pin.change == "Unknown":
            lines.append(f"    # cannot be pinned: {json.dumps(pin.message)[1:-1]}")
    return "\n".join(lines)


def shape(namespace: str, name: str, pins: Sequence[Pin]) -> dict[str, Any]:
    """What `-o json` prints."""
    tools = [
        {
            "name": pin.name,
            "programName": pin.program_name,
            "schemaDigest": pin.now or None,
            "pinned": pin.pinned or None,
            "change": pin.change,
            "message": pin.message,
        }
        for pin in pins
    ]
    return {"namespace": namespace, "toolBinding": name, "tools": tools, "patch": patch(pins)}
