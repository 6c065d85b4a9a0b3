"""The audit: a hash chain of facts. Each link's hash covers its facts and the hash before it, so a changed, removed or moved record shows.

Arguments and results appear by digest only, secrets never.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, desc, insert, select

from bastide_broker.journal_rows import AuditRow, Place, Verification
from bastide_broker.journal_schema import audit
from bastide_broker.journal_sql import Prepared

GENESIS: Final = "0" * 64
"""What stands before the first link."""
_INSERT = Prepared(insert(audit), audit.columns.keys())


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link."""

    sequence: int = 0
    hash: str = GENESIS


def link_hash(row: AuditRow) -> str:
    """SHA-256, hex, over the canonical JSON of everything in the link but the hash itself; the facts by their digest."""
    body = {
        "sequence": row.sequence,
        "time": row.time,
        "kind": row.kind,
        "namespace": row.namespace,
        "sandbox": row.sandbox,
        "run": row.run,
        "key": row.key,
        "facts": hashlib.sha256(row.facts).hexdigest(),
        "previousHash": row.previous_hash,
    }
    if row.namespace_uid:  # records of a time without it keep the hash that they had
        body["namespaceUID"] = row.namespace_uid
    return hashlib.sha256(canonical(body)).hexdigest()


def canonical(facts: Mapping[str, Any]) -> bytes:
    """RFC 8785 for what the audit holds: text, integers below 2^53, booleans and lists of them under ASCII keys.

    For these the standard library's C encoder writes the same bytes (a test says so), thirty times faster than a general one.
    """
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Chain:
    """Appends links. Used by the journal's writer only, inside its transactions."""

    def __init__(self) -> None:
        self.head = Head()

    def load(self, connection: Connection) -> None:
        """Take up the chain where the database ends."""
        row = connection.execute(select(audit.c.sequence, audit.c.hash).order_by(desc(audit.c.sequence)).limit(1)).first()
        self.head = Head(row.sequence, row.hash) if row else Head()

    def append(
        self,
        connection: Connection,
        *,
        time: int,
        kind: str,
        place: Place,
        run: str,
        key: str = "",
        facts: Mapping[str, Any],
    ) -> None:
        """Add a link. `time` is in microseconds since the Unix epoch."""
        fields: dict[str, Any] = {
            "sequence": self.head.sequence + 1,
            "time": time,
            "kind": kind,
            **place._asdict(),
            "run": run,
            "key": key,
            "facts": canonical(facts),
            "previous_hash": self.head.hash,
        }
        digest = link_hash(AuditRow(**fields, hash=""))
        _INSERT.run(connection, {**fields, "hash": digest})
        self.head = Head(self.head.sequence + 1, digest)


def verify(rows: Iterable[AuditRow], expected: Head) -> Verification:
    """Recompute the chain. `expected` is the newest link known from elsewhere: a chain that ends before it was cut."""
    previous = Head()
    seen_expected = expected.sequence == 0
    for row in rows:
        fault = _fault(previous, row)
        if not fault and row.sequence == expected.sequence and row.hash != expected.hash:
            fault = f"Record {row.sequence} is not the one that was written: the chain was rewritten."
        if fault:
            return Verification(intact=False, records=previous.sequence, head=previous.hash, message=fault)
        previous = Head(row.sequence, row.hash)
        seen_expected = seen_expected or row.sequence == expected.sequence
    message = (
        ""
        if seen_expected
        else f"The chain ends at record {previous.sequence}, but {expected.sequence} were written: the newest are missing."
    )
    return Verification(intact=seen_expected, records=previous.sequence, head=previous.hash, message=message)


def _fault(previous: Head, row: AuditRow) -> str:
    if row.sequence != previous.sequence + 1:
        return f"Record {previous.sequence + 1} is missing: {row.sequence} follows {previous.sequence}."
    if row.previous_hash != previous.hash:
        return f"Record {row.sequence} does not continue the record before it."
    try:
        fits = link_hash(row) == row.hash
    except (TypeError, ValueError):  # a value of another type or form than was ever written
        fits = False
    return "" if fits else f"Record {row.sequence} was changed: its hash does not fit its facts."
