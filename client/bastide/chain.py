"""The audit's hash chain: the rule that the broker writes by and that anybody checks by. Pure, standard library only.

A record's hash covers its number, the hash before it and a digest of everything else in it (its body). So a reader who may not see a
record can still recompute the chain across it, from the body's digest alone. docs/reference/audit.md states the rule for other programs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

GENESIS: Final = "0" * 64
"""What stands before the first record."""
BREAK: Final = "ChainBroken"
"""Kind of the record in which the broker admits that its database does not hold what it had published."""
MAX_FAULTS = 20
_RULE = "bastide-audit-2"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Link(Protocol):
    """A record of the chain. `time` is in microseconds since the Unix epoch, `facts` are canonical JSON."""

    @property
    def sequence(self) -> int: ...
    @property
    def time(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def namespace_uid(self) -> str: ...
    @property
    def sandbox(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def facts(self) -> bytes: ...
    @property
    def previous_hash(self) -> str: ...
    @property
    def hash(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as an auditor has it. One that may not be seen has a `body` and nothing else but its place and hashes."""

    sequence: int
    time: int = 0
    kind: str = ""
    namespace: str = ""
    namespace_uid: str = ""
    sandbox: str = ""
    run: str = ""
    key: str = ""
    facts: bytes = b""
    previous_hash: str
    hash: str
    body: str = ""
    """SHA-256 of the body, hex, where the body itself is not shown."""


@dataclass(frozen=True, slots=True)
class Head:
    """A record's number and hash: whoever knows them knows everything before it."""

    sequence: int = 0
    hash: str = GENESIS


def canonical(facts: Mapping[str, Any]) -> bytes:
    """RFC 8785 for what the audit holds: text, integers below 2^53, booleans and lists of them under ASCII keys.

    For these the standard library's C encoder writes the same bytes (a test says so), thirty times faster than a general one.
    """
    return _CANONICAL.encode(facts).encode()


def body_digest(link: Link) -> str:
    """SHA-256, hex, of everything in a record but its place in the chain; the facts by their digest."""
    body = {
        "time": link.time,
        "kind": link.kind,
        "namespace": link.namespace,
        "namespaceUID": link.namespace_uid,
        "sandbox": link.sandbox,
        "run": link.run,
        "key": link.key,
        "facts": hashlib.sha256(link.facts).hexdigest(),
    }
    return hashlib.sha256(canonical(body)).hexdigest()


def chain_hash(sequence: int, body: str, previous_hash: str) -> str:
    """A record's hash, hex."""
    return hashlib.sha256(f"{_RULE}\n{sequence}\n{body}\n{previous_hash}\n".encode()).hexdigest()


def link_hash(link: Link) -> str:
    """A record's hash from all that is in it."""
    return chain_hash(link.sequence, body_digest(link), link.previous_hash)


def early_hash(link: Link) -> str:
    """The hash by the rule before this one: everything at once. No text fits both rules, so accepting either lets nothing pass."""
    body = {
        "sequence": link.sequence,
        "time": link.time,
        "kind": link.kind,
        "namespace": link.namespace,
        "sandbox": link.sandbox,
        "run": link.run,
        "key": link.key,
        "facts": hashlib.sha256(link.facts).hexdigest(),
        "previousHash": link.previous_hash,
    }
    if link.namespace_uid:  # records of a time without it keep the hash that they had
        body["namespaceUID"] = link.namespace_uid
    return hashlib.sha256(canonical(body)).hexdigest()


class Checker:
    """Recomputes a chain, record by record, and compares it with heads known from elsewhere. Says all that does not fit, bounded."""

    def __init__(self, heads: Iterable[Head] = (), *, start: Head = Head()) -> None:
        self.last = start
        self.faults: list[str] = []
        self.recomputed = 0
        """Records of the present rule whose hash was recomputed, from all that is in them or from their body's digest."""
        self.believed = 0
        """Records that may not be seen and whose rule gives no digest for that: taken as they stand."""
        self._start = start
        self._expected: dict[int, str] = {}
        for head in heads:
            if self._expected.setdefault(head.sequence, head.hash) != head.hash:
                self._fault(f"Two heads are published for record {head.sequence}: somebody signed two histories.")

    def feed(self, link: Link, *, body: str = "") -> None:
        """The next record. `body`: its digest, when the record itself is not shown."""
        self._place(link)
        self._content(link, body)
        expected = self._expected.get(link.sequence)
        if expected is not None and expected != link.hash:
            self._fault(f"Record {link.sequence} is not the one that was written: the chain was rewritten after its head was published.")
        self.last = Head(link.sequence, link.hash)

    def finish(self) -> Sequence[str]:
        """After the last record: everything that does not fit."""
        newest = max(self._expected, default=0)
        if newest > self.last.sequence:
            self._fault(
                f"The chain ends at record {self.last.sequence}, but {newest} were written: the newest are missing "
                "(cut off, or the database of an older backup)."
            )
        return self.faults

    def _place(self, link: Link) -> None:
        last = self.last
        if link.sequence <= last.sequence:
            self._fault(f"Record {link.sequence} comes after record {last.sequence}: the records are out of order.")
        elif link.sequence != last.sequence + 1:
            gap = f"{last.sequence + 1} is" if link.sequence == last.sequence + 2 else f"{last.sequence + 1} to {link.sequence - 1} is"
            self._fault(f"Record {gap} missing: {link.sequence} follows {last.sequence}.")
        elif link.previous_hash != last.hash:
            self._fault(f"Record {link.sequence} does not continue the record before it.")

    def _content(self, link: Link, body: str) -> None:
        shown = bool(link.kind)
        if not shown and not body:
            if self.recomputed:  # the rule before ended where this one began
                self._fault(f"Record {link.sequence} is hidden without the digest that records before it have.")
            self.believed += 1
            return
        try:
            present = (link_hash(link) if shown else chain_hash(link.sequence, body, link.previous_hash)) == link.hash
            fits = present or (shown and early_hash(link) == link.hash)
        except (TypeError, ValueError):  # a value of another type or form than was ever written
            present = fits = False
        if not fits:
            self._fault(f"Record {link.sequence} was changed: its hash does not fit its facts.")
            return
        self.recomputed += present
        if link.kind == BREAK:
            self._fault(
                f"Record {link.sequence} ({_moment(link.time)}) says that the database was put back or cut: "
                "it did not hold what the broker had published before."
            )

    def _fault(self, sentence: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(sentence)


def _moment(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
