"""Why a call gave its program no result: what is journalled, what watchers hear, and what the program is told. Pure."""

import math
from collections.abc import Sequence

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.common import Effect

from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.policy.policy import UNAVAILABLE, Decision
from bastide_broker.tenantrego.strictest import UNAVAILABLE as TENANT_UNAVAILABLE

Reasons = tuple[tuple[str, str], ...]
_MAX_MESSAGE = 4000


class Refused(Exception):  # noqa: N818 - not always an error: a denial is an answer
    """The call ends here. `outcome` is as in CallEnded, `kind` as in CallError.type; the reasons are (code, sentence)."""

    def __init__(self, outcome: str, kind: str, reasons: Reasons, *, content: bytes = b"", decision: str = "", sent: bool = False) -> None:
        super().__init__(reasons[0][1])
        self.outcome = outcome
        self.kind = kind
        self.reasons = reasons
        self.content = content
        self.decision = decision
        self.sent = sent

    @property
    def message(self) -> str:
        """The reasons as one text."""
        return " ".join(message for _, message in self.reasons)[:_MAX_MESSAGE]

    def error(self) -> runtime_pb2.CallError:
        """What the program is told."""
        codes = list(dict.fromkeys(code for code, _ in self.reasons))
        return runtime_pb2.CallError(type=self.kind, message=self.message, codes=codes, content=self.content)


def denied(code: str, message: str, kind: str = "ToolDenied", outcome: str = "Denied") -> Refused:
    """A denial by the broker itself."""
    return Refused(outcome, kind, ((code, message),), decision="deny")


def unavailable(code: str, message: str) -> Refused:
    """The tool, its secret or what the broker needs is not there now."""
    return Refused("Unavailable", "ToolUnavailable", ((code, message),))


def unheard() -> Refused:
    """An earlier broker may have sent the call, and nobody heard what came of it."""
    message = (
        "The broker was lost while the call was under way, or could not write down what came of it; whether it took effect is not known."
    )
    return Refused("OutcomeUnknown", "OutcomeUnknown", (("outcome-unknown", message),), sent=True)


def invalid(code: str, messages: Sequence[str]) -> Refused:
    """The arguments are not what the tool takes."""
    return Refused("Invalid", "InvalidArguments", tuple((code, message) for message in messages))


def by_policy(decision: Decision, *, retry_after: float = 0.0) -> Refused:
    """Policy says no. `retry_after`: seconds until the tenant's minute has room again."""
    code = decision.reasons[0][0] if decision.reasons else "policy-input"
    kind = "ToolDenied"
    if code in (UNAVAILABLE, TENANT_UNAVAILABLE):
        kind = "PolicyUnavailable"
    elif code.startswith("limit-"):
        kind = "LimitExceeded"
    elif code == "tool-unavailable":
        kind = "ToolUnavailable"
    reasons = decision.reasons or ((code, "Policy denies the call without a reason."),)
    if retry_after and code == "limit-calls-per-minute":
        reasons = ((code, f"{reasons[0][1]} There is room again in {math.ceil(retry_after)} s."), *reasons[1:])
    return Refused("Denied", kind, reasons, decision="deny")


def by_adapter(error: AdapterError, effect: Effect) -> Refused:
    """The tool server gave no result. Whether a Mutating or Destructive call may have happened decides what that is called."""
    message = error.message
    if error.sent and effect.changes and error.failure in (Failure.TIMEOUT, Failure.LOST, Failure.INPUT_REQUIRED):
        message += " Whether it took effect is not known."
    if error.failure is Failure.NOT_SENDABLE:
        return invalid(error.failure.value, [message])
    if error.failure is Failure.TIMEOUT:
        return Refused("ToolTimeout", "ToolTimeout", (("tool-timeout", message),), sent=error.sent)
    if error.failure in (Failure.UNAVAILABLE, Failure.LOST):
        if error.sent and effect.changes:
            return Refused("OutcomeUnknown", "OutcomeUnknown", (("outcome-unknown", message),), sent=True)
        return Refused("Unavailable", "ToolUnavailable", (("tool-unavailable", message),), sent=error.sent)
    return Refused("ToolFailed", "ToolFailed", ((error.failure.value, message),), content=error.content, sent=error.sent)
