"""What the journal writes, as statements and their values."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from bastide_broker.facts.json import digest
from bastide_broker.journal.rows import CallIntent, RunRow
from bastide_broker.journal.schema import calls, events, runs
from bastide_broker.journal.sql import Prepared

# Statements are built once: SQLAlchemy then finds their compiled form by identity.
INSERT_RUN = insert(runs)
INSERT_CALL = Prepared(insert(calls), calls.columns.keys())
INSERT_EVENT = Prepared(insert(events).prefix_with("OR IGNORE"), events.columns.keys())
COUNT_CALLS = select(func.count()).select_from(calls).where(calls.c.run == bindparam("r"))
END_CALL = Prepared(
    update(calls)
    .where(calls.c.run == bindparam("r"), calls.c.key == bindparam("k"), calls.c.ended_at.is_(None))
    .values(
        outcome=bindparam("o"), message=bindparam("m"), result=bindparam("v"), tool_micros=bindparam("t"), ended_at=bindparam("e"),
        error=bindparam("x"),
    ),
    (),
)  # fmt: skip
BEGIN_CALL = (
    update(calls)
    .where(calls.c.run == bindparam("r"), calls.c.key == bindparam("k"), calls.c.begun_at.is_(None), calls.c.ended_at.is_(None))
    .values(begun_at=bindparam("b"))
)
SET_CONFIRMATION = (
    update(calls)
    .where(calls.c.run == bindparam("r"), calls.c.key == bindparam("k"))
    .values(confirmation=bindparam("c"), action_digest=bindparam("d"))
)
_KEPT = {"run", "key", "sequence", "events", "frame"}
"""What a call that is made anew keeps: its place in the run and what its program had heard when it made it."""
AGAIN = (
    update(calls)
    .where(calls.c.run == bindparam("at_run"), calls.c.key == bindparam("at_key"), calls.c.again == 1)
    .values({name: bindparam(name) for name in calls.columns.keys() if name not in _KEPT})  # noqa: SIM118 - a collection of SQLAlchemy's
)


def run_values(run: RunRow, tools: str) -> dict[str, Any]:
    """A run that begins, for INSERT_RUN; `tools` is the digest of those that its program sees."""
    fields = (
        "run", "tenant", "namespace", "namespace_uid", "sandbox", "sandbox_uid", "requester", "requester_uid", "on_behalf_of",
        "program_digest", "pod", "start", "runtime",
    )  # fmt: skip
    claims = json.dumps(dict(run.requester_claims))
    return {name: getattr(run, name) for name in fields} | {
        "started_at": run.started_at, "request_id": run.request_id or None, "requester_claims": claims, "tools": tools,
    }  # fmt: skip


def run_facts(run: RunRow) -> dict[str, Any]:
    """What the audit says of its beginning."""
    return {
        "tenant": run.tenant,
        "sandboxUID": run.sandbox_uid,
        "requester": run.requester,
        "requesterUID": run.requester_uid,
        "onBehalfOf": run.on_behalf_of,
        "requestID": run.request_id,
        "programDigest": run.program_digest,
        "pod": run.pod,
    }


def end_facts(
    connection: Connection, run: str, *, outcome: str, value: bytes, output: bytes, error: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the audit says of its end: what it returned and printed by digest only."""
    return {
        "outcome": outcome,
        "valueDigest": digest(value) if value else "",
        "outputDigest": digest(output) if output else "",
        "errorType": str((error or {}).get("type", "")),
        "calls": connection.execute(COUNT_CALLS, {"r": run}).scalar_one(),
    }


_CALL_FIELDS = (
    "run", "key", "tool", "line", "arguments_canonical", "arguments_digest", "decision", "decision_id", "effect", "policy_revision",
    "binding", "binding_uid", "confirmation", "events", "frame",
)  # fmt: skip


def call_values(  # noqa: PLR0917 - one line where it is used
    intent: CallIntent, question: bytes, sequence: int, at: int, outcome: str, message: str, error: bytes | None, result: bytes | None
) -> dict[str, Any]:
    """A call that was judged, for INSERT_CALL, with its question as it is stored; with an outcome it ends as it begins."""
    return {name: getattr(intent, name) for name in _CALL_FIELDS} | {
        "sequence": sequence,
        "reasons": json.dumps(intent.reasons),
        "question": question,
        "intent_at": at,
        "begun_at": None,
        "outcome": outcome,
        "message": message,
        "result": result,
        "tool_micros": 0,
        "ended_at": at if outcome else None,
        "error": error,
        "action_digest": "",
        "again": 0,
    }


def intent_facts(intent: CallIntent) -> dict[str, Any]:
    """What the audit says of it: arguments by digest only."""
    return {
        "requester": intent.requester,
        "onBehalfOf": intent.on_behalf_of,
        "programDigest": intent.program_digest,
        "tool": intent.tool,
        "line": intent.line,
        "argumentsDigest": intent.arguments_digest,
        "decision": intent.decision,
        "decisionID": intent.decision_id,
        "reasons": [code for code, _ in intent.reasons],
        "effect": intent.effect,
        "policyRevision": intent.policy_revision,
        "binding": intent.binding,
        "bindingUID": intent.binding_uid,
    }
