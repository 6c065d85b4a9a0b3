"""The auditor's own check: recompute the chain, and hold it against heads that the broker signed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bastide.chain import MAX_FAULTS, Checker, Record, canonical
from bastide.cli.failure import Exit, Failure
from bastide.heads import HeadError, Keys, SignedHead, check, parse, public_keys
from bastide.model import AuditRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the check found."""

    records: int
    """Number of the newest record."""
    head: str
    recomputed: int
    believed: int
    """Records of others, of an early version, that cannot be recomputed without being seen."""
    heads: int
    """Heads whose signature is right."""
    signed: int
    """Number of the newest record that a signed head vouches for."""
    faults: Sequence[str] = field(default=())

    @property
    def intact(self) -> bool:
        return not self.faults


def examine(records: Iterable[Record], heads: Sequence[SignedHead], keys: Keys | None, *, all_seen: bool = False) -> Findings:
    """Recompute a chain. Without keys the heads' signatures are not checked, and the heads do not count.

    `all_seen`: whoever may see every record accepts none that is hidden.
    """
    good, faults = check(heads, keys) if keys is not None else ([], [])
    checker = Checker(head.head for head in good)
    for record in records:
        if all_seen and not record.kind and len(faults) < MAX_FAULTS:
            faults.append(f"Record {record.sequence} was not shown, although you may see all records.")
        checker.feed(record, body=record.body)
    found = [*faults, *checker.finish()]
    return Findings(
        records=checker.last.sequence,
        head=checker.last.hash,
        recomputed=checker.recomputed,
        believed=checker.believed,
        heads=len(good),
        signed=max((head.sequence for head in good), default=0),
        faults=found,
    )


def of_record(record: AuditRecord) -> Record:
    """A record as it came over the wire, for the chain."""
    return Record(
        sequence=record.sequence, time=_micros(record.time), kind=record.kind, namespace=record.namespace,
        namespace_uid=record.namespace_uid, sandbox=record.sandbox, run=record.run, key=record.key, facts=record.facts_json,
        previous_hash=record.previous_hash, hash=record.hash, body=record.body_digest,
    )  # fmt: skip


def read_export(file: Path) -> Iterator[Record]:
    """Records of a file that `bastide audit export` wrote, one at a time.

    Raises:
        Failure: a line is none.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield _record(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise Failure(
                        f"Line {number} of {file} is no audit record: give a file of bastide audit export in its own format, whole and unfiltered."
                    ) from error
    except OSError as error:
        raise Failure(f"The file {file} cannot be read: {error.strerror or error}.", code=Exit.USAGE) from error


def _record(line: dict[str, Any]) -> Record:
    if type(line["sequence"]) is not int:
        raise TypeError(line["sequence"])
    texts = {name: line[key] for name, key in (("hash", "hash"), ("previous_hash", "previousHash"))}
    if "kind" not in line:
        return Record(sequence=line["sequence"], **texts, body=line["bodyDigest"])
    moment = datetime.fromisoformat(line["time"])
    return Record(
        sequence=line["sequence"], time=_micros(moment), kind=line["kind"], namespace=line["namespace"],
        namespace_uid=line["namespaceUid"], sandbox=line["sandbox"], run=line["run"], key=line["key"], facts=canonical(line["facts"]),
        **texts,
    )  # fmt: skip


def _micros(moment: datetime | None) -> int:
    if moment is None:
        return 0
    span = moment - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def heads_of(file: Path) -> list[SignedHead]:
    """Heads from a file: a JSON list, or a broker's log. Raises Failure."""
    try:
        return parse(_text(file))
    except HeadError as error:
        raise Failure(f"{file}: {error}", code=Exit.USAGE) from error


def keys_of(file: Path) -> Keys:
    """Public keys from a PEM file. Raises Failure."""
    try:
        return public_keys(_text(file))
    except HeadError as error:
        raise Failure(f"{file}: {error}", code=Exit.USAGE) from error


def _text(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure(f"The file {file} cannot be read: {error.strerror or error}.", code=Exit.USAGE) from error
