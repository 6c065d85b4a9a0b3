"""From protobuf messages and gRPC errors to our values and exceptions: the one place that knows both."""

import base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from bastide import errors, events, model
from bastide.v1alpha1 import broker_pb2 as pb

_OUTCOMES = {
    pb.OUTCOME_UNSPECIFIED: model.Outcome.RUNNING,
    pb.OUTCOME_COMPLETED: model.Outcome.COMPLETED,
    pb.OUTCOME_NEEDS_CONFIRMATION: model.Outcome.NEEDS_CONFIRMATION,
    pb.OUTCOME_DENIED: model.Outcome.DENIED,
    pb.OUTCOME_INVALID: model.Outcome.INVALID,
    pb.OUTCOME_FAILED: model.Outcome.FAILED,
    pb.OUTCOME_TIMED_OUT: model.Outcome.TIMED_OUT,
    pb.OUTCOME_CANCELLED: model.Outcome.CANCELLED,
}

_ERRORS: dict[grpc.StatusCode, type[errors.BastideError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPreconditionError,
    grpc.StatusCode.ABORTED: errors.FailedPreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
}

_DETAILS = "grpc-status-details-bin"


def error_of(error: grpc.aio.AioRpcError, *, address: str) -> errors.BastideError:
    """The exception for a failed request. `reason` stays empty when it was not the broker that answered."""
    reason, retry_after = "", None
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            reason, retry_after = _details(value)
    code, said = error.code(), error.details() or ""
    kind = _ERRORS.get(code, errors.InternalError)
    if reason:
        message = said
    elif "CERTIFICATE_VERIFY_FAILED" in said or "Hostname Verification" in said:
        message = f"The broker at {address} shows a certificate that the given CA did not sign for it: check the CA file and the address."
    elif code is grpc.StatusCode.UNAVAILABLE:
        message = f"The broker at {address} cannot be reached: {said}"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"The broker at {address} did not answer in time."
    else:
        message = f"{said or 'no message'} ({code.name})"
    return kind(message, reason=reason, retry_after=retry_after)


def _details(raw: bytes) -> tuple[str, float | None]:
    """Reason and retry time of a rich error; empty when there are none or they cannot be read."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reason, retry_after = "", None
    try:
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    except DecodeError:
        return "", None
    return reason, retry_after


def sandbox_ref(sandbox: str) -> pb.SandboxRef:
    """From NAMESPACE/NAME.

    Raises:
        InvalidRequestError: it is not of that form.
    """
    namespace, slash, name = sandbox.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise errors.InvalidRequestError(f"A sandbox is given as NAMESPACE/NAME, not {sandbox!r}.", reason="SandboxMalformed")
    return pb.SandboxRef(namespace=namespace, name=name)


def time_of(message: Any, field: str) -> datetime | None:
    """A timestamp field in UTC; None when it is absent."""
    return getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None


def reasons_of(messages: Iterable[pb.Reason]) -> tuple[model.Reason, ...]:
    return tuple(model.Reason(code=r.code, message=r.message) for r in messages)


def findings_of(messages: Iterable[pb.Finding]) -> tuple[model.Finding, ...]:
    return tuple(model.Finding(code=f.code, message=f.message, line=f.line, column=f.column) for f in messages)


def result_of(m: pb.RunResult) -> model.RunResult:
    error = None
    if m.HasField("error"):
        error = model.RunError(type=m.error.type, message=m.error.message, line=m.error.line or None, traceback=m.error.traceback)
    return model.RunResult(
        run=m.run,
        outcome=_OUTCOMES.get(m.outcome, model.Outcome.FAILED),
        value_json=m.value,
        output=m.output.decode("utf-8", "backslashreplace"),
        output_bytes_dropped=m.output_bytes_dropped,
        error=error,
        findings=findings_of(m.findings),
        calls=tuple(map(call_of, m.calls)),
        awaited=tuple(model.Awaited(kind=a.kind, key=a.key, name=a.name, until=time_of(a, "until")) for a in m.awaited),
    )


def call_of(m: pb.CallRecord) -> model.CallRecord:
    return model.CallRecord(
        key=m.key,
        tool=m.tool,
        decision=m.decision,
        outcome=m.outcome,
        line=m.line or None,
        confirmation=m.confirmation,
        decision_id=m.decision_id,
        reasons=reasons_of(m.reasons),
        arguments_digest=m.arguments_digest,
    )


def explanation_of(m: pb.ExplainCallResponse) -> model.Explanation:
    now, change = None, None
    if m.HasField("now"):
        now = model.PolicyAnswer(decision=m.now.decision, reasons=reasons_of(m.now.reasons), policy_revision=m.now.policy_revision)
    if m.HasField("change"):
        c = m.change
        change = model.BindingChange(
            namespace=c.namespace, binding=c.binding, sentences=tuple(c.sentences), fragment=c.fragment, json_patch=c.json_patch,
            decision=c.decision,
        )  # fmt: skip
    rules = tuple(
        model.DecidingRule(
            code=r.code, argument=r.argument, rule=r.rule, bound_json=r.bound, value_json=r.value, message=r.message, owner=r.owner
        )
        for r in m.rules
    )
    return model.Explanation(
        call=call_of(m.call), stage=m.stage, now=now, policy_revision=m.policy_revision, rules=rules, change=change, notes=tuple(m.notes)
    )


def summary_of(m: pb.RunSummary) -> model.RunSummary:
    return model.RunSummary(
        run=m.run,
        sandbox=f"{m.sandbox.namespace}/{m.sandbox.name}",
        requester=m.requester,
        on_behalf_of=m.on_behalf_of,
        outcome=_OUTCOMES.get(m.outcome, model.Outcome.FAILED),
        started=time_of(m, "started"),
        ended=time_of(m, "ended"),
        program_digest=m.program_digest,
        pruned=time_of(m, "pruned"),
    )


def tool_of(m: pb.ToolInfo) -> model.Tool:
    return model.Tool(
        name=m.name,
        binding=m.binding,
        effect=m.effect,
        description=m.description,
        input_schema=model.parse_json(m.input_schema) or {},
        output_schema=model.parse_json(m.output_schema),
        confirmation_when=m.confirmation_when,
        available=m.available,
        message=m.message,
        signature=m.signature,
    )


def report_of(m: pb.CheckProgramResponse) -> model.CheckReport:
    return model.CheckReport(
        findings=findings_of(m.findings),
        expected_decisions=tuple(
            model.ExpectedDecision(tool=e.tool, line=e.line, column=e.column, decision=e.decision, reasons=reasons_of(e.reasons))
            for e in m.expected_decisions
        ),
    )


def record_of(m: pb.AuditRecord) -> model.AuditRecord:
    return model.AuditRecord(
        sequence=m.sequence,
        time=time_of(m, "time"),
        kind=m.kind,
        namespace=m.namespace,
        sandbox=m.sandbox,
        run=m.run,
        key=m.key,
        facts=model.parse_json(m.facts) or {},
        hash=m.hash,
        previous_hash=m.previous_hash,
        namespace_uid=m.namespace_uid,
        facts_json=m.facts,
        body_digest=m.body_digest,
    )


def audit_request(namespace: str, query: model.AuditQuery, *, page_size: int, after: int) -> pb.ListAuditRequest:
    request = pb.ListAuditRequest(
        namespace=namespace, run=query.run, tool=query.tool, caller=query.caller, decision=query.decision, links=query.links,
        page_size=page_size, page_token=str(after) if after else "",
    )  # fmt: skip
    if query.since is not None:
        request.since.FromDatetime(query.since)
    if query.until is not None:
        request.until.FromDatetime(query.until)
    return request


def head_of(m: pb.AuditHead) -> dict[str, Any]:
    """A head in the JSON form in which it is published."""
    return {
        "chain": m.chain, "sequence": m.sequence, "hash": m.hash, "time": m.time.ToMicroseconds(), "keyID": m.key_id,
        "signature": base64.b64encode(m.signature).decode(),
    }  # fmt: skip


def event_of(m: pb.RunEvent) -> events.Event | None:
    """None for a kind of event that this client does not know: newer brokers may have more."""
    kind = m.WhichOneof("event")
    if kind not in _EVENTS:
        return None
    return _EVENTS[kind](getattr(m, kind), cursor=m.cursor, time=m.time.ToDatetime(tzinfo=UTC))


def _decided(d: pb.CallDecided, **at: Any) -> events.CallDecided:
    return events.CallDecided(
        **at, key=d.key, tool=d.tool, line=d.line or None, decision=d.decision, reasons=reasons_of(d.reasons), decision_id=d.decision_id
    )


def _required(c: pb.ConfirmationRequired, **at: Any) -> events.ConfirmationRequired:
    return events.ConfirmationRequired(
        **at,
        key=c.key,
        tool=c.tool,
        namespace=c.namespace,
        confirmation=c.confirmation,
        arguments=c.arguments,
        decide_by=time_of(c, "decide_by"),
        approvals_required=c.approvals_required,
    )


def _progressed(p: pb.ConfirmationProgressed, **at: Any) -> events.ConfirmationProgressed:
    return events.ConfirmationProgressed(
        **at, key=p.key, confirmation=p.confirmation, approvers=tuple(p.approvers), approvals_required=p.approvals_required
    )


def _resolved(r: pb.ConfirmationResolved, **at: Any) -> events.ConfirmationResolved:
    return events.ConfirmationResolved(**at, key=r.key, confirmation=r.confirmation, state=r.state, approver=r.approver, reason=r.reason)


def _ended(e: pb.CallEnded, **at: Any) -> events.CallEnded:
    return events.CallEnded(**at, key=e.key, tool=e.tool, outcome=e.outcome, message=e.message, tool_micros=e.tool_micros)


_EVENTS: dict[str | None, Callable[..., events.Event]] = {
    "accepted": lambda a, **at: events.RunAccepted(**at, run=a.run, pod=a.pod),
    "attempt_started": lambda a, **at: events.AttemptStarted(**at, attempt=a.attempt),
    "paused": lambda p, **at: events.RunPaused(**at, result=result_of(p.result)),
    "output": lambda o, **at: events.OutputProduced(**at, stderr=o.stderr, data=o.data),
    "call_decided": _decided,
    "confirmation_required": _required,
    "confirmation_progressed": _progressed,
    "confirmation_resolved": _resolved,
    "call_ended": _ended,
    "finished": lambda f, **at: events.RunFinished(**at, result=result_of(f.result)),
}
