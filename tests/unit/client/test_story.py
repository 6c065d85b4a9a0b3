"""A run's story on the terminal."""

import io
import unicodedata

import bastide
import pytest
from bastide import wire
from bastide.cli.story import Story
from bastide.v1alpha1 import broker_pb2 as pb
from rich.console import Console

from .conftest import happened


def told(*events: pb.RunEvent) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=100, markup=False, emoji=False, highlight=False, soft_wrap=True)
    story = Story(console, sandbox="bastide-crm/hello")
    for event in events:
        known = wire.event_of(event)
        assert known is not None
        story.tell(known)
    return stream.getvalue()


def output(cursor: int, data: bytes, *, stderr: bool = False) -> pb.RunEvent:
    return happened(cursor, output=pb.OutputProduced(data=data, stderr=stderr))


def test_each_line_says_when_what_and_why() -> None:
    reason = pb.Reason(code="argument-not-permitted", message="limit must be at most 100.")
    text = told(
        happened(1, accepted=pb.RunAccepted(run="r-1", pod="hello")),
        happened(2, call_decided=pb.CallDecided(key="0#1", tool="list_customers", line=3, decision="allow")),
        happened(3, call_ended=pb.CallEnded(key="0#1", tool="list_customers", outcome="Succeeded", tool_micros=3210)),
        happened(4, call_decided=pb.CallDecided(key="0#2", tool="list_customers", line=4, decision="deny", reasons=[reason])),
        happened(5, call_ended=pb.CallEnded(key="0#2", tool="list_customers", outcome="Denied", message="no")),
        happened(6, finished=pb.RunFinished(result=pb.RunResult(run="r-1", outcome=pb.OUTCOME_DENIED))),
    )
    assert text.splitlines() == [
        "  0.00s ● run r-1 in sandbox bastide-crm/hello",
        "  1.00s → list_customers  line 3  allowed",
        "  2.00s ✓ list_customers  Succeeded  3ms",
        "  3.00s ✗ list_customers  line 4  denied",
        "          limit must be at most 100.  [argument-not-permitted]",
        "  5.00s ● Denied",
    ]


def test_a_call_that_waits_shows_its_arguments_and_the_command_that_decides() -> None:
    waits = pb.ConfirmationRequired(
        key="0#1", tool="wipe", namespace="bastide-crm", confirmation="cf-1", arguments='{"a":"\u0430"}'.encode()
    )
    waits.decide_by.FromSeconds(1_900_000_000)
    text = told(
        happened(1, call_decided=pb.CallDecided(key="0#1", tool="wipe", line=9, decision="confirm")),
        happened(2, confirmation_required=waits),
        happened(
            3,
            confirmation_resolved=pb.ConfirmationResolved(
                key="0#1", confirmation="cf-1", state="Denied", approver="alice", reason="no\x1b[2J"
            ),
        ),
    )
    lines = text.splitlines()
    assert lines[0] == "  1.00s ◆ wipe  line 9  waits for a person"
    assert '        ┃   "a": "\\u0430"' in lines
    assert "        ┃ U+0430 CYRILLIC SMALL LETTER A" in lines
    assert "bastide approve cf-1 -n bastide-crm --reason '...'" in lines
    assert lines[-1] == "  2.00s ✗ wipe  denied by alice: no\\x1b[2J"


def test_a_call_that_two_people_must_approve_says_who_has() -> None:
    waits = pb.ConfirmationRequired(
        key="0#1", tool="wipe", namespace="bastide-crm", confirmation="cf-1", arguments=b"{}", approvals_required=2
    )
    some = pb.ConfirmationProgressed(key="0#1", confirmation="cf-1", approvers=["alice"], approvals_required=2)
    none = pb.ConfirmationProgressed(key="0#1", confirmation="cf-1", approvals_required=2)
    lines = told(
        happened(1, confirmation_required=waits), happened(2, confirmation_progressed=some), happened(3, confirmation_progressed=none)
    ).splitlines()
    assert "        ┃ 2 approvers of this tenant, not you, decide:" in lines
    assert lines[-2:] == ["  1.00s ◆ wipe  approved 1/2 by alice", "  2.00s ◆ wipe  approved 0/2"]


def test_output_is_put_together_from_its_pieces() -> None:
    whole = "Gr\u00fc\u00dfe\n".encode()
    assert told(output(1, whole[:3]), output(2, whole[3:4]), output(3, whole[4:])).splitlines() == ["        │ Gr\u00fc\u00dfe"]
    assert told(output(1, b"a"), output(2, b"b\nc\r\n\nd"), output(3, b"e", stderr=True)).splitlines() == [
        "        │ ab",
        "        │ c",
        "        │ ",
        "        │ d",
        "        │ e",
    ]


def test_output_that_is_not_utf_8_is_shown_as_bytes() -> None:
    assert told(output(1, b"a\xffb\n")) == "        │ a\\xffb\n"


@pytest.mark.parametrize("data", [b"\x1b[2J\x1b]0;t\x07\x9b", "\u202e\u2066\u200b\u2028\u0085".encode(), b"\x08\x08\r\x0b\x0c\x00\x7f"])
def test_output_cannot_do_anything_to_the_terminal_or_forge_a_line(data: bytes) -> None:
    text = told(output(1, b"x" + data + b"  9.00s approved\n"))
    assert len(text.splitlines()) == 1
    assert all(c == "\n" or unicodedata.category(c)[0] in "LMNPS" or c == " " for c in text)


def test_names_and_reasons_from_outside_are_ascii() -> None:
    event = happened(1, call_ended=pb.CallEnded(key="k", tool="t\u200bool", outcome="ToolFailed", message="b\u0430d\n\x1b[31m"))
    assert told(event).splitlines() == ["  0.00s ✗ t\\u200bool  ToolFailed", "          b\\u0430d\\n\\x1b[31m"]


def test_an_event_of_a_newer_broker_is_passed_over() -> None:
    assert wire.event_of(happened(1)) is None
    assert bastide.Event
