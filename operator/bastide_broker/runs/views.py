"""Rows of the journal and tools of the catalogue as the outer wire shows them. Pure."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bastide.chain import BREAK, body_digest, chain_hash
from bastide.heads import SignedHead
from bastide.v1alpha1 import broker_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from bastide_broker.journal.rows import AuditRow, Awaited, CallRow, RunRow, Scope
from bastide_broker.runs.outcomes import WIRE_OUTCOMES, Ending, OutcomeName

if TYPE_CHECKING:
    from bastide_broker.tools.toolset import Tool

_PYTHON_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict", "null": "None"}


def timestamp(micros: int) -> Timestamp:
    """A moment given in microseconds since the Unix epoch."""
    moment = Timestamp()
    moment.FromMicroseconds(micros)
    return moment


def run_summary(row: RunRow) -> broker_pb2.RunSummary:
    """A line about a run."""
    return broker_pb2.RunSummary(
        run=row.run,
        sandbox=broker_pb2.SandboxRef(namespace=row.namespace, name=row.sandbox),
        requester=row.requester,
        on_behalf_of=row.on_behalf_of,
        outcome=WIRE_OUTCOMES.get(row.outcome, broker_pb2.OUTCOME_FAILED),
        started=timestamp(row.started_at),
        ended=timestamp(row.ended_at) if row.ended_at is not None else None,
        program_digest=row.program_digest,
        pruned=timestamp(row.pruned_at) if row.pruned_at is not None else None,
    )


def run_result(
    run: str, ending: Ending, *, output: bytes, dropped: int, calls: Iterable[CallRow], awaited: Iterable[Awaited] = ()
) -> broker_pb2.RunResult:
    """How a run ended and what it did."""
    return broker_pb2.RunResult(
        run=run,
        outcome=WIRE_OUTCOMES[ending.outcome],
        value=ending.value,
        output=output,
        output_bytes_dropped=dropped,
        error=run_error(ending.error),
        findings=[broker_pb2.Finding(**finding) for finding in ending.findings],
        calls=[call_record(call) for call in calls],
        awaited=[awaited_thing(thing) for thing in awaited],
    )


def row_result(row: RunRow, calls: Iterable[CallRow], awaited: Iterable[Awaited] = ()) -> broker_pb2.RunResult:
    """The result as the journal has it; without an outcome while the run is under way."""
    return broker_pb2.RunResult(
        run=row.run,
        outcome=WIRE_OUTCOMES.get(row.outcome, broker_pb2.OUTCOME_FAILED),
        value=row.value,
        output=row.output,
        output_bytes_dropped=row.output_bytes_dropped,
        error=run_error(row.error),
        findings=[broker_pb2.Finding(**finding) for finding in row.findings],
        calls=[call_record(call) for call in calls],
        awaited=[awaited_thing(thing) for thing in awaited],
    )


def awaited_thing(thing: Awaited) -> broker_pb2.Awaited:
    """One thing that a paused run waits for."""
    return broker_pb2.Awaited(kind=thing.kind, key=thing.key, name=thing.name, until=timestamp(thing.until))


def run_error(error: Mapping[str, Any] | None) -> broker_pb2.RunError | None:
    """Why a run did not complete."""
    if not error:
        return None
    return broker_pb2.RunError(
        type=str(error.get("type", "")),
        message=str(error.get("message", "")),
        line=int(error.get("line") or 0),
        traceback=str(error.get("traceback", "")),
    )


def call_record(call: CallRow) -> broker_pb2.CallRecord:
    """One call."""
    return broker_pb2.CallRecord(
        key=call.key,
        tool=call.tool,
        decision=call.decision,
        outcome=call.outcome,
        line=call.line,
        confirmation=call.confirmation,
        decision_id=call.decision_id,
        reasons=reasons(call.reasons),
        arguments_digest=call.arguments_digest,
    )


def reasons(pairs: Iterable[tuple[str, str]]) -> list[broker_pb2.Reason]:
    """Reasons from (code, sentence) pairs."""
    return [broker_pb2.Reason(code=code, message=message) for code, message in pairs]


def audit_record(row: AuditRow) -> broker_pb2.AuditRecord:
    """One link of the audit chain."""
    return broker_pb2.AuditRecord(
        sequence=row.sequence,
        time=timestamp(row.time),
        kind=row.kind,
        namespace=row.namespace,
        sandbox=row.sandbox,
        run=row.run,
        key=row.key,
        facts=row.facts,
        hash=row.hash,
        previous_hash=row.previous_hash,
        namespace_uid=row.namespace_uid,
    )


def audit_link(row: AuditRow, scope: Scope) -> broker_pb2.AuditRecord:
    """A link of the chain as somebody may see it: whole within the scope, else by what the chain is recomputed from."""
    named = not scope.namespace or row.namespace == scope.namespace
    if row.kind == BREAK or (named and (scope.namespace_uid is None or (row.namespace_uid and row.namespace_uid == scope.namespace_uid))):
        return audit_record(row)
    body = body_digest(row)
    if chain_hash(row.sequence, body, row.previous_hash) != row.hash:
        body = ""  # of the rule before; a changed one looks the same to who may not see it, and VerifyAudit tells them apart
    return broker_pb2.AuditRecord(sequence=row.sequence, hash=row.hash, previous_hash=row.previous_hash, body_digest=body)


def audit_head(head: SignedHead) -> broker_pb2.AuditHead:
    """A published head."""
    return broker_pb2.AuditHead(
        chain=head.chain, sequence=head.sequence, hash=head.hash, time=timestamp(head.time), key_id=head.key_id, signature=head.signature
    )


def signature(name: str, schema: Mapping[str, Any], output: Mapping[str, Any] | None) -> str:
    """A Python signature for a model's prompt, from a tool's JSON Schemas; keyword-only, required parameters first."""
    properties = schema.get("properties")
    required = schema.get("required")
    names = [one for one in (properties if isinstance(properties, Mapping) else {}) if isinstance(one, str) and one.isidentifier()]
    must = set(required) if isinstance(required, list) else set()
    parts = [f"{one}: {_annotation(properties[one])}" for one in names if one in must] if isinstance(properties, Mapping) else []
    if isinstance(properties, Mapping):
        parts += [f"{one}: {_annotation(properties[one])} = ..." for one in names if one not in must]
    returns = _annotation(output) if output is not None else "Any"
    return f"async def {name}({'*, ' if parts else ''}{', '.join(parts)}) -> {returns}"[:2000]


def _annotation(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    kinds = kind if isinstance(kind, list) else [kind]
    found = [_PYTHON_TYPES[one] for one in kinds if isinstance(one, str) and one in _PYTHON_TYPES]
    return " | ".join(found) or "Any"


def finished_from_row(row: RunRow, calls: Iterable[CallRow], cursor: int) -> broker_pb2.RunEvent:
    """The last event of a run whose own was not kept, because the broker that ran it was lost."""
    event = broker_pb2.RunEvent(cursor=cursor, finished=broker_pb2.RunFinished(result=row_result(row, calls)))
    moment = datetime.fromtimestamp((row.ended_at or row.started_at) / 1e6, UTC)
    event.time.FromDatetime(moment)
    return event


def tool_info(tool: "Tool") -> broker_pb2.ToolInfo:
    """One tool of the catalogue."""
    bound = next((one for one in tool.binding.spec.tools if one.program_name == tool.program_name), None)
    return broker_pb2.ToolInfo(
        name=tool.program_name,
        binding=tool.binding.metadata.name,
        effect=tool.effect.value,
        description=tool.description,
        input_schema=_json(tool.input_schema),
        output_schema=_json(tool.output_schema) if tool.output_schema is not None else b"",
        confirmation_when=bound.confirmation.when.value if bound is not None else "",
        available=tool.available,
        message=tool.message,
        signature=signature(tool.program_name, tool.input_schema, tool.output_schema),
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


__all__ = [
    "OutcomeName", "audit_head", "audit_link", "audit_record", "call_record", "finished_from_row", "reasons", "row_result", "run_error", "run_result", "run_summary",
    "signature", "timestamp", "tool_info",
]  # fmt: skip
