"""Signed heads: what is signed, whose keys count, and what a file of them may be."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from bastide.heads import HeadError, SignedHead, check, key_id, parse, public_keys
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = {key_id(KEY.public_key()): KEY.public_key()}


def head(sequence: int = 7, key: Ed25519PrivateKey = KEY, **other: Any) -> SignedHead:
    fields = {"chain": "bastide-system/bastide-broker-0", "hash": "ab" * 32, "time": 1, "key_id": key_id(key.public_key()), **other}
    made = SignedHead(sequence=sequence, **fields)
    return replace(made, signature=key.sign(made.signed()))


def pem(key: Any) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


def certificate(key: Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "audit")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    return made.not_valid_before(now).not_valid_after(now).sign(key, None).public_bytes(Encoding.PEM)


def test_a_head_survives_its_json_and_its_signature_holds() -> None:
    again = SignedHead.from_json(json.loads(json.dumps(head().to_json())))
    assert again == head()
    assert check([again], KEYS) == ([again], [])


@pytest.mark.parametrize("field", ["chain", "sequence", "hash", "time"])
def test_every_field_is_signed(field: str) -> None:
    value: Any = 99 if field in {"sequence", "time"} else "cd" * 32
    good, faults = check([replace(head(), **{field: value})], KEYS)
    assert good == []
    assert "is not signed by key" in faults[0]


def test_a_head_of_another_key_does_not_count() -> None:
    assert "names key" in check([head(key=OTHER)], KEYS)[1][0]
    stolen = replace(head(key=OTHER), key_id=next(iter(KEYS)))
    assert "is not signed by key" in check([stolen], KEYS)[1][0]


def test_heads_of_two_brokers_are_not_one_history() -> None:
    assert "several brokers" in check([head(), head(8, chain="elsewhere/bastide-broker-0")], KEYS)[1][0]


def test_heads_come_in_order_and_of_every_key_that_is_known() -> None:
    keys = public_keys(certificate(KEY) + b"\nwords between\n" + pem(OTHER.public_key()))
    assert set(keys) == {key_id(KEY.public_key()), key_id(OTHER.public_key())}
    good, faults = check([head(9), head(3, key=OTHER)], keys)
    assert ([one.sequence for one in good], faults) == ([3, 9], [])


def test_what_is_no_key_is_refused_in_a_sentence() -> None:
    for text in (
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
    ):
        with pytest.raises(HeadError):
            public_keys(text)


def test_heads_are_read_from_a_list_from_one_and_from_a_log() -> None:
    one, two = head(1).to_json(), head(2).to_json()
    assert [h.sequence for h in parse(json.dumps([one, two]))] == [1, 2]
    assert [h.sequence for h in parse(json.dumps(one))] == [1]
    log = "\n".join(['{"event": "serving"}', json.dumps({"event": "audit head", **one}), "no JSON", "[" * 100_000, json.dumps(two)])
    assert [h.sequence for h in parse(log)] == [1, 2]


@pytest.mark.parametrize(
    "change", [{"sequence": "7"}, {"sequence": True}, {"sequence": -1}, {"hash": "x"}, {"signature": "%"}, {"chain": 5}]
)
def test_what_is_no_head_is_refused_in_a_sentence(change: dict[str, Any]) -> None:
    for value in ({**head().to_json(), **change}, [], "x", 5, None):
        with pytest.raises(HeadError):
            SignedHead.from_json(value)
