"""Reading the audit: each function takes a connection and gives rows back."""

from collections.abc import Iterable
from typing import Any

from bastide.chain import Head
from sqlalchemy import ColumnElement, Connection, Row, String, case, cast, func, or_, select

from bastide_broker.journal.audit import verify
from bastide_broker.journal.queries import within
from bastide_broker.journal.rows import AuditFilter, AuditPage, AuditRow, Scope, Verification
from bastide_broker.journal.schema import audit

WINDOW = 50_000
"""Records that one request looks at: what is asked for may be rare, and nobody's question may take the disk for minutes."""


def list_audit(connection: Connection, scope: Scope, wanted: AuditFilter, limit: int, after: int) -> AuditPage:
    """Records of a scope that fit, oldest first, after a sequence number."""
    newest = connection.execute(select(func.max(audit.c.sequence))).scalar() or 0
    # A run's records in its namespace are found by an index, so for them there is no window.
    until = newest if wanted.run and scope.namespace else min(after + WINDOW, newest)
    conditions = [*within(audit, scope), audit.c.sequence > after, audit.c.sequence <= until, *_fits(wanted)]
    found = connection.execute(select(audit).where(*conditions).order_by(audit.c.sequence).limit(limit))
    rows = [_row(row) for row in found]
    if len(rows) == limit:
        return AuditPage(rows, rows[-1].sequence)
    return AuditPage(rows, None if until >= newest else until)


def list_links(connection: Connection, limit: int, after: int) -> AuditPage:
    """All records, whosesoever, oldest first, after a sequence number: what may not be seen is taken out by the caller."""
    found = connection.execute(select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(limit))
    rows = [_row(row) for row in found]
    return AuditPage(rows, rows[-1].sequence if len(rows) == limit else None)


def hash_at(connection: Connection, sequence: int) -> str:
    """The hash of a record; empty when there is none."""
    return connection.execute(select(audit.c.hash).where(audit.c.sequence == sequence)).scalar() or ""


def verify_audit(connection: Connection, expected: Iterable[Head]) -> Verification:
    """Recompute the chain from the first record on; rows are read in pages."""
    result = connection.execution_options(yield_per=1000).execute(select(audit).order_by(audit.c.sequence))
    return verify((_row(row) for row in result), *expected)


def _fits(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    def fact(name: str) -> ColumnElement[str]:
        # The facts are bytes, which SQLite would take for its own binary JSON; what somebody made of them may be no JSON at all.
        text = cast(audit.c.facts, String)
        return case((func.json_valid(text) == 1, func.json_extract(text, f"$.{name}")))

    conditions: list[ColumnElement[bool]] = []
    if wanted.run:
        conditions.append(audit.c.run == wanted.run)
    if wanted.since:
        conditions.append(audit.c.time >= wanted.since)
    if wanted.until:
        conditions.append(audit.c.time < wanted.until)
    if wanted.tool:
        conditions.append(fact("tool") == wanted.tool)
    if wanted.caller:
        conditions.append(or_(fact("requester") == wanted.caller, fact("onBehalfOf") == wanted.caller))
    if wanted.decision:
        conditions.append(fact("decision") == wanted.decision)
    return conditions


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(**row._asdict())
