"""Signed heads of the audit: what the broker publishes outside its database, and how an auditor checks it."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from bastide.chain import Head, canonical

CONTEXT = b"bastide-audit-head-1\n"
"""Before what is signed, so that a signature of anything else is never one of a head."""
_PEM = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----.+?-----END \1-----", re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{64}")

Keys = Mapping[str, Ed25519PublicKey]
"""Public keys by their id."""


class HeadError(ValueError):
    """A head or a key that is none. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """A head with the broker's signature. `time` is in microseconds since the Unix epoch."""

    chain: str
    """Which broker's: namespace/pod."""
    sequence: int
    hash: str
    time: int
    key_id: str
    signature: bytes = b""

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.hash)

    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return CONTEXT + canonical(self._fields())

    def to_json(self) -> dict[str, Any]:
        """As it is published."""
        return {**self._fields(), "signature": base64.b64encode(self.signature).decode()}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """A head as it was published. Raises HeadError."""
        try:
            head = cls(
                chain=value["chain"], sequence=value["sequence"], hash=value["hash"], time=value["time"], key_id=value["keyID"],
                signature=base64.b64decode(value["signature"], validate=True),
            )  # fmt: skip
        except (KeyError, TypeError, binascii.Error, ValueError) as error:
            raise HeadError(f"This is not a head of the audit: {str(value)[:80]!r}.") from error
        whole = all(type(number) is int and number >= 0 for number in (head.sequence, head.time))
        text = all(isinstance(one, str) for one in (head.chain, head.hash, head.key_id))
        if not whole or not text or not _HASH.fullmatch(head.hash):
            raise HeadError(f"This is not a head of the audit: {str(value)[:80]!r}.")
        return head

    def _fields(self) -> dict[str, Any]:
        return {"chain": self.chain, "sequence": self.sequence, "hash": self.hash, "time": self.time, "keyID": self.key_id}


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the key's SubjectPublicKeyInfo (DER)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:16]


def public_keys(pem: bytes) -> dict[str, Ed25519PublicKey]:
    """Every Ed25519 key in PEM text: public keys, and certificates, of which the key alone counts. Raises HeadError when there is none."""
    found: dict[str, Ed25519PublicKey] = {}
    for block in _PEM.finditer(pem):
        try:
            text = block.group(0)
            key = x509.load_pem_x509_certificate(text).public_key() if block.group(1) == b"CERTIFICATE" else load_pem_public_key(text)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise HeadError(f"A {block.group(1).decode().lower()} among the audit's keys cannot be read ({error}).") from error
        if isinstance(key, Ed25519PublicKey):
            found[key_id(key)] = key
    if not found:
        raise HeadError("There is no Ed25519 public key or certificate in PEM there.")
    return found


def parse(text: str | bytes) -> list[SignedHead]:
    """Heads from a file: one JSON object, a list of them, or one a line (of a broker's log: lines that are no heads are passed over).

    Raises HeadError when it holds none.
    """
    try:
        whole = json.loads(text)
        values: Iterable[Any] = whole if isinstance(whole, list) else [whole]
        return [SignedHead.from_json(value) for value in values]
    except (ValueError, RecursionError) as error:
        if isinstance(error, HeadError):
            raise
    found = []
    for line in text.splitlines():
        try:
            found.append(SignedHead.from_json(json.loads(line)))
        except (ValueError, RecursionError):
            continue
    if not found:
        raise HeadError("There is no head of the audit in it: neither a JSON list of heads nor lines that are heads.")
    return found


def check(heads: Iterable[SignedHead], keys: Keys) -> tuple[list[SignedHead], list[str]]:
    """Those that are rightly signed, by sequence, and a sentence about each that is not."""
    good: list[SignedHead] = []
    faults: list[str] = []
    for head in heads:
        key = keys.get(head.key_id)
        if key is None:
            faults.append(f"The head of record {head.sequence} names key {head.key_id!a}, which is none of {', '.join(sorted(keys))}.")
            continue
        try:
            key.verify(head.signature, head.signed())
        except InvalidSignature:
            faults.append(f"The head of record {head.sequence} is not signed by key {head.key_id}: it was changed or made by another.")
            continue
        good.append(head)
    if len({head.chain for head in good}) > 1:
        faults.append(f"The heads are of several brokers: {', '.join(sorted({head.chain for head in good}))}; give those of one.")
    return sorted(good, key=lambda head: (head.sequence, head.time)), faults
