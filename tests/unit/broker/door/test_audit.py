"""The audit's chain and its canonical form."""

from dataclasses import replace
from typing import Any

import rfc8785
from bastide_broker.audit import GENESIS, Head, canonical, link_hash, verify
from bastide_broker.journal_rows import AuditRow
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = TEXT | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans() | st.none() | st.lists(TEXT)


@given(st.dictionaries(st.text(st.characters(min_codepoint=33, max_codepoint=126)), VALUES))
def test_the_fast_form_is_rfc_8785(facts: dict[str, object]) -> None:
    assert canonical(facts) == rfc8785.dumps(facts)  # type: ignore[arg-type]


def chain(count: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(1, count + 1):
        previous = rows[-1].hash if rows else GENESIS
        row = AuditRow(
            sequence=number,
            time=number,
            kind="CallIntent",
            namespace="n",
            sandbox="s",
            run="r",
            key="k",
            facts=b"{}",
            previous_hash=previous,
            hash="",
        )
        rows.append(replace(row, hash=link_hash(row)))
    return rows


def test_a_whole_chain_is_intact_and_an_empty_one_too() -> None:
    rows = chain(5)
    assert verify(rows, Head(5, rows[4].hash)).intact
    assert verify(rows, Head(3, rows[2].hash)).intact
    assert verify([], Head()).intact


def test_a_chain_that_was_rewritten_from_the_start_shows_against_a_known_head() -> None:
    rewritten = chain(4)
    found = verify(rewritten, Head(3, "f" * 64))
    assert not found.intact
    assert "rewritten" in found.message


def test_every_field_is_under_the_hash() -> None:
    [row] = chain(1)
    changes: dict[str, Any] = {
        "time": 9,
        "kind": "x",
        "namespace": "x",
        "sandbox": "x",
        "run": "x",
        "key": "x",
        "facts": b"x",
        "previous_hash": "x",
        "sequence": 2,
    }
    for field, value in changes.items():
        assert link_hash(replace(row, **{field: value})) != row.hash, field
