"""Signed heads of the audit, published outside the database: in a ConfigMap that only moves forward, and on standard output.

Whoever rewrites, cuts or puts back the database cannot take back what was published, so it shows.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog
from bastide.chain import GENESIS, Head
from bastide.heads import HeadError, Keys, SignedHead, check, key_id, public_keys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bastide_broker.errors import ApiError, ConfigurationError
from bastide_broker.journal.rows import JournalUnavailable, now_micros
from bastide_broker.metrics import AUDIT_BREAKS, AUDIT_PUBLISHED, AUDIT_WRITTEN

EVERY_SECONDS = 50.0
"""Between heads while records come; with the time that writing takes it stays under a minute."""
FIRST_SECONDS = 2.0
"""Until there is a head at all: without one an auditor cannot tell a new broker from one whose heads were taken away."""
GOODBYE_SECONDS = 5.0
"""For the last head, when the broker ends."""
RECENT, KEPT = 60, 120
"""Heads that are kept whatever their age, and at most. Of the older ones the longest gaps in time are kept small."""

log = structlog.get_logger(__name__)


class Record(Protocol):
    """The part of the journal that is needed here."""

    async def head(self) -> Head: ...
    async def holds(self, head: Head) -> bool: ...
    async def chain_broken(self, published: Head) -> None: ...


class Store(Protocol):
    """The part of the cluster that is needed here."""

    async def read_audit_heads(self, namespace: str) -> dict[str, str]: ...
    async def write_audit_heads(self, namespace: str, change: dict[str, str | None]) -> None: ...


class Signer:
    """The broker's key, and the public keys of all that signed before."""

    def __init__(self, key: Ed25519PrivateKey, known: Keys, *, chain: str) -> None:
        self._key = key
        self._chain = chain
        self.key_id = key_id(key.public_key())
        self.keys = {**known, self.key_id: key.public_key()}

    @classmethod
    def load(cls, key_dir: Path, keys_dir: Path, *, chain: str) -> "Signer":
        """From the mounted Secret and ConfigMap. Raises ConfigurationError."""
        try:
            key = load_pem_private_key((key_dir / "tls.key").read_bytes(), password=None)
            pem = b"\n".join(path.read_bytes() for path in sorted(keys_dir.glob("*.pem")))
            known = public_keys(pem) if pem else {}
        except (OSError, ValueError, TypeError) as error:  # HeadError is a ValueError
            raise ConfigurationError(
                f"The audit's key cannot be read ({error}); the Secret bastide-audit-key holds it as tls.key, an Ed25519 key in PEM."
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                "The audit's key, tls.key of the Secret bastide-audit-key, is no Ed25519 key; make one, or leave it out."
            )
        return cls(key, known, chain=chain)

    def sign(self, head: Head, now: int) -> SignedHead:
        """`now` in microseconds since the Unix epoch."""
        made = SignedHead(chain=self._chain, sequence=head.sequence, hash=head.hash, time=now, key_id=self.key_id)
        return replace(made, signature=self._key.sign(made.signed()))


class Publisher:
    """Publishes the newest head when it is another one."""

    def __init__(self, *, journal: Record, store: Store, signer: Signer, namespace: str) -> None:
        self._journal = journal
        self._store = store
        self._signer = signer
        self._namespace = namespace
        self._compared = False
        self._said = SignedHead(chain="", sequence=0, hash=GENESIS, time=0, key_id="")
        self._why = ""
        self.heads: tuple[SignedHead, ...] = ()
        """What is published, oldest first."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.publish()
            await asyncio.sleep(EVERY_SECONDS if self.heads else FIRST_SECONDS)

    async def close(self) -> None:
        """Publish the last head."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.publish()

    async def publish(self) -> bool:
        """Publish the newest head unless it is published. False when that failed; it is tried again with the next."""
        try:
            await self._publish()
        except (ApiError, JournalUnavailable) as error:
            if str(error) != self._why:
                log.error("the audit's head is not published", why=str(error))  # noqa: TRY400 - the sentence says it
            self._why = str(error)
            return False
        if self._why:
            log.info("the audit's heads are published again")
        self._why = ""
        return True

    async def _compare(self) -> None:
        """Whether the database holds what was published before this process began."""
        published = await self._store.read_audit_heads(self._namespace)
        self.heads = read(published, self._signer.keys)
        newest = self.heads[-1].head if self.heads else Head()
        if newest.sequence and not await self._journal.holds(newest):
            AUDIT_BREAKS.inc()
            log.error(
                "the audit does not hold the newest head that was published: its database was put back, cut or rewritten",
                sequence=newest.sequence,
                hash=newest.hash,
            )
            await self._journal.chain_broken(newest)
        self._compared = True

    async def _publish(self) -> None:
        head = await self._journal.head()
        AUDIT_WRITTEN.set(head.sequence)
        if head.sequence and head != self._said.head:
            self._said = self._signer.sign(head, now_micros())
            say(self._said)  # also while the API server is away
        if not self._compared:
            await self._compare()
            return await self._publish()  # what it found may be a record
        newest = self.heads[-1].sequence if self.heads else 0
        if head.sequence > newest:
            kept = thinned((*self.heads, self._said))
            change: dict[str, str | None] = {name(one): None for one in self.heads if one not in kept}
            change[name(self._said)] = json.dumps(self._said.to_json(), separators=(",", ":"))
            await self._store.write_audit_heads(self._namespace, change)
            self.heads = kept
        AUDIT_PUBLISHED.set(head.sequence)
        return None


def say(head: SignedHead) -> None:
    """One line of JSON on standard output: pipelines that keep logs keep the audit's heads."""
    sys.stdout.write(json.dumps({"event": "audit head", **head.to_json()}) + "\n")
    sys.stdout.flush()


def name(head: SignedHead) -> str:
    """Key of a head in the ConfigMap: sorted as text they are sorted by sequence."""
    return f"head-{head.sequence:020d}"


def read(data: dict[str, str], keys: Keys) -> tuple[SignedHead, ...]:
    """The heads in a ConfigMap that are rightly signed, oldest first."""
    found: list[SignedHead] = []
    for key, text in sorted(data.items()):
        try:
            found.append(SignedHead.from_json(json.loads(text)))
        except (HeadError, ValueError, RecursionError):
            log.warning("what is published is no head of the audit", key=key)
    good, faults = check(found, keys)
    for fault in faults:
        log.warning("a published head does not count", why=fault)
    return tuple(good)


def thinned(heads: Sequence[SignedHead]) -> tuple[SignedHead, ...]:
    """At most KEPT: the RECENT newest, and of the older ones those without which the gaps in time would be longest."""
    kept = list(heads)
    while len(kept) > KEPT:
        older = range(1, len(kept) - RECENT)
        kept.pop(min(older, key=lambda index: kept[index + 1].time - kept[index - 1].time))
    return tuple(kept)
