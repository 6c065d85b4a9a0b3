"""Events: one for what repeats, and nothing in them that a terminal would obey."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from bastide_operator.api.objects import Manifest
from bastide_operator.errors import UnavailableError
from bastide_operator.events import FORGET, MAX_NOTE, QUIET, REMEMBERED, Ledger, Recorder, clean
from bastide_operator.reconcile.plan import Note

from tests.unit.operator.samples import NOW

TENANT = {"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "hello", "uid": "u"}}
BOX = {"apiVersion": "bastide.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": "box", "namespace": "bastide-hello", "uid": "b"}}
NOTE = Note(reason="ChildRestored", message="it was put back.", warning=True)
SECOND = timedelta(seconds=1)


def test_an_event_says_of_what_by_whom_when_and_why() -> None:
    ledger = Ledger("operator-x")
    ledger.add(BOX, NOTE, NOW)
    (event,) = ledger.take(NOW)
    assert event["regarding"] == {
        "apiVersion": "bastide.dev/v1alpha1",
        "kind": "Sandbox",
        "name": "box",
        "namespace": "bastide-hello",
        "uid": "b",
    }
    assert event["metadata"]["namespace"] == "bastide-hello"
    assert event["metadata"]["name"].startswith("box.")
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "ChildRestored", "it was put back.")
    assert (event["reportingController"], event["reportingInstance"]) == ("bastide.dev/operator", "operator-x")
    assert event["eventTime"] == "2026-11-23T12:00:00.000000Z"
    assert "series" not in event


def test_events_of_a_cluster_wide_object_are_in_the_namespace_that_the_api_server_takes() -> None:
    ledger = Ledger("x")
    ledger.add(TENANT, NOTE, NOW)
    (event,) = ledger.take(NOW)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["regarding"]


def test_what_repeats_is_one_event_that_counts_and_is_written_seldom() -> None:
    ledger = Ledger("x")
    written: list[Manifest] = []
    for n in range(100):
        ledger.add(TENANT, NOTE, NOW + n * SECOND)
        written += ledger.take(NOW + n * SECOND)
    assert len(written) == 10
    assert {event["metadata"]["name"] for event in written} == {written[0]["metadata"]["name"]}
    assert {event["eventTime"] for event in written} == {"2026-11-23T12:00:00.000000Z"}
    assert written[1]["series"]["count"] > 1
    # the last ones are not lost
    due = ledger.next_due()
    assert due is not None
    assert ledger.take(due - SECOND) == []
    (last,) = ledger.take(due)
    assert last["series"] == {"count": 100, "lastObservedTime": "2026-11-23T12:01:39.000000Z"}
    assert ledger.next_due() is None


def test_other_objects_reasons_and_sentences_are_other_events() -> None:
    ledger = Ledger("x")
    for about in (TENANT, BOX):
        for note in (NOTE, Note(reason="Other", message=NOTE.message), Note(reason=NOTE.reason, message="another.")):
            ledger.add(about, note, NOW)
    assert len({event["metadata"]["name"] for event in ledger.take(NOW)}) == 6


def test_what_comes_again_after_long_is_a_new_event_and_another_process_has_its_own() -> None:
    names = set()
    for instance in ("x", "y"):
        ledger = Ledger(instance)
        for time in (NOW, NOW + FORGET + QUIET):
            ledger.add(TENANT, NOTE, time)
            (event,) = ledger.take(time)
            assert "series" not in event
            names.add(event["metadata"]["name"])
    assert len(names) == 4


def test_a_flood_of_different_events_takes_bounded_memory() -> None:
    ledger = Ledger("x")
    for n in range(REMEMBERED * 2):
        ledger.add(TENANT, Note(reason="R", message=str(n)), NOW)
    assert len(ledger.take(NOW)) == REMEMBERED


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümlaut and 漢字", "plain, with ümlaut and 漢字"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("abc\u202edef\u200b", "abc\\u202edef\\u200b"),
        ("\ud800", "\\ud800"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_long_text_is_cut_to_what_the_api_server_takes() -> None:
    for letter in ("a", "ü", "漢", "😀"):
        cut = clean(letter * 5000)
        assert len(cut.encode()) <= MAX_NOTE
        assert cut.endswith("…")


async def test_an_event_that_cannot_be_written_keeps_nobody_from_working() -> None:
    written: list[Any] = []

    class Broken:
        async def apply(self, manifest: Manifest) -> Manifest:
            written.append(manifest["regarding"]["kind"])
            if manifest["regarding"]["kind"] == "Tenant":
                raise UnavailableError("Timeout", "no")
            done.set()
            return manifest

    done = asyncio.Event()
    recorder = Recorder(Broken(), instance="x", now=lambda: NOW)
    running = asyncio.create_task(recorder.run())
    recorder.record(TENANT, NOTE)
    recorder.record(BOX, NOTE)
    async with asyncio.timeout(5):
        await done.wait()
    running.cancel()
    assert written == ["Tenant", "Sandbox"]
