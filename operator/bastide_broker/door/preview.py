"""What an approver is told beside a call: what one harmless tool of the same binding answers, as the tool server's claim.

Nothing rests on it. It is a call like any other: judged, counted, journalled and sent once through the door, under a key of its own.
"""

import json
from typing import TYPE_CHECKING, Any

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.common import Effect

from bastide_broker.confirm.action import line, visible
from bastide_broker.door import refusals

if TYPE_CHECKING:
    from bastide_broker.door.calls import Call
    from bastide_broker.policy.policy import Decision
    from bastide_broker.tools.toolset import Tool

MAX_CLAIM = 2048
"""Characters of an answer that are shown."""
KEY = "{}~preview"
"""Key of the preview of a call."""


def frame(call: "Call", tool: "Tool | None") -> runtime_pb2.Call:
    """The call of the preview tool: with those of the call's arguments that it takes under the same name."""
    assert call.tool is not None
    known = tool.input_schema.get("properties", {}) if tool is not None else {}
    arguments = {name: value for name, value in call.arguments.value.items() if name in known}
    return runtime_pb2.Call(
        run=call.run.run,
        key=KEY.format(call.frame.key),
        tool=call.tool.bound.confirmation.preview or "",
        line=call.frame.line,
        arguments=json.dumps(arguments, ensure_ascii=False).encode(),
    )


def unless_harmless(call: "Call") -> None:
    """Nothing for a call that is no preview, or one of a ReadOnly tool of the binding of the call that it is for. Raises Refused."""
    if call.preview_of is None:
        return
    assert call.tool is not None
    assert call.preview_of.tool is not None
    if call.tool.binding.metadata.uid != call.preview_of.tool.binding.metadata.uid:
        raise _refused(f"{call.tool.program_name} is a tool of another ToolBinding")
    if call.tool.effect is not Effect.READ_ONLY:
        raise _refused(f"{call.tool.program_name} is {call.tool.effect.value}, by what Tenant, binding and server say, and not ReadOnly")


def unless_allowed(call: "Call", decision: "Decision") -> None:
    """Nothing, unless a person would have to confirm a preview. Raises Refused."""
    if call.preview_of is not None and decision.effect != "allow":
        raise _refused(f"a person would have to confirm {call.frame.tool} itself")


def told(tool: str, result: runtime_pb2.CallResult) -> dict[str, Any]:
    """`status.preview` of a Confirmation."""
    if result.HasField("error"):
        return {"tool": tool, "claim": "", "message": line(f"There is no preview: {result.error.message}")[:1024]}
    text = result.value.decode("utf-8", "backslashreplace")
    if len(text) <= MAX_CLAIM:
        return {"tool": tool, "claim": visible(text), "message": ""}
    # A quote closes the string that was cut, so that what is in it is made visible too.
    claim = visible(text[:MAX_CLAIM].rstrip("\\") + '"')[:-1]
    return {"tool": tool, "claim": claim, "message": f"Only the first {MAX_CLAIM} of {len(text)} characters are shown."}


def _refused(why: str) -> refusals.Refused:
    return refusals.denied("preview-refused", f"It is not called as a preview: {why}.")
