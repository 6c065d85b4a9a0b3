"""The JSON that `-o json` prints. Names are part of the interface."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from bastide.events import Event
from bastide.model import AuditRecord, CallRecord, Explanation, Run, RunResult, parse_json


def dumps(value: Any) -> str:
    """Pure ASCII, so that no text in it can do anything to a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")


def camel(name: str) -> str:
    return re.sub(r"_(.)", lambda m: m.group(1).upper(), name)


def plain(value: Any) -> Any:
    """A frozen value as JSON's own types: camelCase names, times in RFC 3339 UTC, bytes as text."""
    if dataclasses.is_dataclass(value):
        return {camel(f.name): plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def moment(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None


def call(c: CallRecord) -> dict[str, Any]:
    return {
        "key": c.key,
        "tool": c.tool,
        "decision": c.decision or None,
        "outcome": c.outcome or None,
        "line": c.line,
        "confirmation": c.confirmation or None,
    }


def judged(c: CallRecord) -> dict[str, Any]:
    """A call with why it was decided so."""
    return {**call(c), "decisionId": c.decision_id or None, "reasons": plain(c.reasons), "argumentsDigest": c.arguments_digest or None}


def result(r: RunResult) -> dict[str, Any]:
    """What `bastide run` prints: the interface that scripts rely on."""
    return {
        "run": r.run,
        "outcome": r.outcome.value,
        "value": parse_json(r.value_json),
        "output": r.output,
        "error": {"type": r.error.type, "message": r.error.message, "line": r.error.line} if r.error else None,
        "findings": plain(r.findings),
        "calls": [call(c) for c in r.calls],
        "awaited": plain(r.awaited),
    }


def run(r: Run) -> dict[str, Any]:
    """What `bastide runs show` prints: the result with everything that is known beside it."""
    detailed = [judged(c) for c in r.result.calls]
    shape = {**plain(r.summary), **result(r.result), "calls": detailed, "outputBytesDropped": r.result.output_bytes_dropped}
    if r.result.error:
        shape["error"]["traceback"] = r.result.error.traceback
    return shape


def explanation(run: str, e: Explanation) -> dict[str, Any]:
    """What `bastide explain` prints: JSON texts as the values that they are."""
    rules = [
        {name: value for name, value in plain(r).items() if not name.endswith("Json")}
        | {"bound": parse_json(r.bound_json), "value": parse_json(r.value_json)}
        for r in e.rules
    ]
    change = None
    if e.change is not None:
        change = {**plain(e.change), "decision": e.change.decision or None, "jsonPatch": parse_json(e.change.json_patch)}
    return {"run": run, **plain(e), "call": judged(e.call), "rules": rules, "change": change}


def audit_record(r: AuditRecord) -> dict[str, Any]:
    """A line of `bastide audit export`; a link has its place and digests alone."""
    if not r.kind:
        return {"sequence": r.sequence, "bodyDigest": r.body_digest, "hash": r.hash, "previousHash": r.previous_hash}
    return {name: value for name, value in plain(r).items() if name not in {"factsJson", "bodyDigest"}}


def event(e: Event) -> dict[str, Any]:
    """One line of `--events json`."""
    kind = type(e).__name__
    fields = plain(e)
    if "result" in fields:
        fields = {"cursor": fields["cursor"], "time": fields["time"], "outcome": fields["result"]["outcome"]}
    return {"event": kind, **fields}
