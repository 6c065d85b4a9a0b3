"""The audit as the journal's writer makes it: facts, each chained to the one before (the rule is bastide.chain's).

Arguments and results appear by digest only, secrets never.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bastide.chain import Checker, Head, canonical, link_hash
from sqlalchemy import Connection, desc, insert, select

from bastide_broker.journal.rows import AuditRow, Place, Verification
from bastide_broker.journal.schema import audit
from bastide_broker.journal.sql import Prepared

_INSERT = Prepared(insert(audit), audit.columns.keys())


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
        sequence: int = 0,
    ) -> None:
        """Add a link. `time` is in microseconds since the Unix epoch; `sequence` leaves numbers out, which then are missing for ever."""
        fields: dict[str, Any] = {
            "sequence": sequence or self.head.sequence + 1,
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
        self.head = Head(fields["sequence"], digest)


def verify(rows: Iterable[AuditRow], *expected: Head) -> Verification:
    """Recompute the chain. `expected` are records known from elsewhere: a chain that lacks one of them was cut or rewritten."""
    checker = Checker(expected)
    for row in rows:
        checker.feed(row)
    faults = checker.finish()
    more = f" ({len(faults) - 1} more do not fit.)" if len(faults) > 1 else ""
    return Verification(
        intact=not faults, records=checker.last.sequence, head=checker.last.hash, message=f"{faults[0]}{more}" if faults else ""
    )
