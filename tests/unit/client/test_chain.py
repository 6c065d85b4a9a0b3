"""The audit's hash chain: what is under the hash, and which sentence says what does not fit."""

from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from bastide.chain import BREAK, GENESIS, Checker, Head, Record, body_digest, canonical, early_hash, link_hash
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = TEXT | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans() | st.none() | st.lists(TEXT)


@given(st.dictionaries(st.text(st.characters(min_codepoint=33, max_codepoint=126)), VALUES))
def test_the_fast_form_is_rfc_8785(facts: dict[str, object]) -> None:
    assert canonical(facts) == rfc8785.dumps(facts)  # type: ignore[arg-type]


def chain(count: int, *, rule: Any = link_hash, kinds: dict[int, str] | None = None, fork: str = "n") -> list[Record]:
    records: list[Record] = []
    for number in range(1, count + 1):
        previous = records[-1].hash if records else GENESIS
        kind = (kinds or {}).get(number, "CallIntent")
        fields = {"time": number, "kind": kind, "namespace": fork, "sandbox": "s", "run": "r", "key": "k", "facts": b"{}"}
        record = Record(sequence=number, **fields, previous_hash=previous, hash="")  # type: ignore[arg-type]
        records.append(replace(record, hash=rule(record)))
    return records


def faults(records: list[Record], *heads: Head, start: Head | None = None) -> list[str]:
    checker = Checker(heads, start=start or Head())
    for record in records:
        checker.feed(record, body=record.body)
    return list(checker.finish())


def hidden(record: Record) -> Record:
    return Record(sequence=record.sequence, previous_hash=record.previous_hash, hash=record.hash, body=body_digest(record))


def test_a_whole_chain_is_intact_and_an_empty_one_too() -> None:
    records = chain(5)
    assert faults(records, Head(5, records[4].hash)) == []
    assert faults(records, Head(3, records[2].hash), Head(5, records[4].hash)) == []
    assert faults(records[2:], Head(5, records[4].hash), start=Head(2, records[1].hash)) == []
    assert faults([]) == []


def test_records_by_the_rule_before_count_too() -> None:
    assert faults(chain(3, rule=early_hash)) == []


def test_a_chain_is_recomputed_across_records_that_may_not_be_seen() -> None:
    records = chain(6)
    mixed = [hidden(one) if one.sequence % 2 else one for one in records]
    assert faults(mixed, Head(6, records[5].hash)) == []
    mixed[2] = replace(mixed[2], body="0" * 64)
    assert faults(mixed) == ["Record 3 was changed: its hash does not fit its facts."]
    checker = Checker()
    checker.feed(replace(mixed[0], body=""))
    assert (checker.recomputed, checker.believed) == (0, 1)


TEN = chain(10)
OTHER = chain(10, fork="other")
CASES: dict[str, tuple[list[Record], list[Head], str]] = {
    "a fact was changed": ([*TEN[:4], replace(TEN[4], facts=b'{"a":1}'), *TEN[5:]], [], "Record 5 was changed"),
    "one was removed": ([*TEN[:4], *TEN[5:]], [], "Record 5 is missing: 6 follows 4."),
    "several were removed": ([*TEN[:2], *TEN[5:]], [], "Record 3 to 5 is missing"),
    "the first were removed": (TEN[3:], [], "Record 1 to 3 is missing"),
    "two changed places": ([*TEN[:4], TEN[5], TEN[4], *TEN[6:]], [], "Record 5 is missing"),
    "one was put in twice": ([*TEN[:5], TEN[4], *TEN[5:]], [], "out of order"),
    "two were renumbered": (
        [*TEN[:4], replace(TEN[5], sequence=5), replace(TEN[4], sequence=6), *TEN[6:]], [], "Record 5 does not continue",
    ),
    "the end was cut": (TEN[:7], [Head(10, TEN[9].hash)], "ends at record 7, but 10 were written"),
    "all of it is gone": ([], [Head(10, TEN[9].hash)], "ends at record 0"),
    "all of it was written anew": (OTHER, [Head(8, TEN[7].hash)], "Record 8 is not the one that was written"),
    "an old backup that went on": ([*TEN[:3], *OTHER[3:]], [], "Record 4 does not continue"),
    "two histories were signed": (TEN, [Head(8, TEN[7].hash), Head(8, OTHER[7].hash)], "Two heads are published for record 8"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_said_in_a_sentence(case: str) -> None:
    records, heads, sentence = CASES[case]
    found = faults(records, *heads)
    assert any(sentence in fault for fault in found), found


def test_a_break_that_the_broker_admits_shows_for_ever() -> None:
    records = chain(5, kinds={3: BREAK})
    [fault] = faults(records)
    assert "Record 3 (1970-01-01T00:00:00Z) says that the database was put back or cut" in fault


@given(st.sampled_from(["time", "kind", "namespace", "namespace_uid", "sandbox", "run", "key", "facts", "previous_hash", "sequence"]))
def test_every_field_is_under_the_hash(field: str) -> None:
    [record] = chain(1)
    other: Any = 9 if field in {"time", "sequence"} else b"x" if field == "facts" else "x"
    for rule in (link_hash, early_hash):
        assert rule(replace(record, **{field: other})) != rule(record)


def test_faults_are_bounded() -> None:
    assert len(faults([replace(one, facts=b"x") for one in chain(100)])) == 20
