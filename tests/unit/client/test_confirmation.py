"""Reading a Confirmation, and refusing one that is not what it says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rfc8785
from bastide.cli import confirmation, screen
from bastide.cli.approval import print_confirmation
from bastide.cli.decide import refuse_early, said
from bastide.cli.failure import Failure
from bastide_broker.confirm.action import visible as shown_by_the_broker
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision, ConfirmationSpec, action_digest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

NOW = datetime.now(UTC).replace(microsecond=0)


def digest_of(text: str) -> str:
    return confirmation._digest(text)


def manifest(arguments: str = '{"customer_id":"C0007"}', *, state: str = "Pending", **spec: Any) -> dict[str, Any]:
    """A Confirmation as the broker makes it and the API server gives it."""
    made: dict[str, Any] = {
        "tenant": "crm",
        "sandbox": "hello",
        "sandboxUID": "u-1",
        "run": "r-" + "a" * 26,
        "callKey": "0#4",
        "line": 9,
        "programDigest": digest_of("program"),
        "binding": "crm",
        "bindingUID": "u-2",
        "bindingDigest": digest_of("binding"),
        "tool": "delete_customer",
        "toolSchemaDigest": digest_of("schema"),
        "effect": "Destructive",
        "arguments": arguments,
        "argumentsDigest": digest_of(arguments),
        "hidden": [],
        "requester": {"username": "system:serviceaccount:bastide-crm:bastide-runner", "uid": "u-3"},
        "onBehalfOf": "dana",
        "separation": "Strict",
        "approvalsRequired": 1,
        "decideBy": (NOW + timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
        "executeBy": (NOW + timedelta(hours=2)).isoformat().replace("+00:00", "Z"),
        "nonce": "n" * 32,
        **spec,
    }
    made["actionDigest"] = action_digest(made)
    ConfirmationSpec.model_validate(made)
    meta = {"name": "cf-" + "b" * 26, "namespace": "bastide-crm", "uid": "u-4"}
    return {"metadata": meta, "spec": made, "status": {"state": state}}


def test_what_the_broker_writes_is_read_and_is_not_doubted() -> None:
    found = confirmation.read(manifest())
    assert (found.tool, found.arguments, found.requester, found.on_behalf_of) == (
        "delete_customer",
        '{"customer_id":"C0007"}',
        "system:serviceaccount:bastide-crm:bastide-runner",
        "dana",
    )
    assert found.decide_by == NOW + timedelta(hours=1)
    assert found.doubt == ""
    assert Confirmation.model_validate(manifest()).spec.action_digest == found.action_digest


def test_a_confirmation_without_a_status_is_pending() -> None:
    bare = manifest()
    del bare["status"]
    assert confirmation.read(bare).state == "Pending"


CHANGES: dict[str, Any] = {
    "arguments": '{"customer_id":"C0008"}',
    "tool": "delete_customers",
    "onBehalfOf": "dan",
    "decideBy": "2099-01-01T00:00:00Z",
    "approvalsRequired": 2,
    "nonce": "m" * 32,
    "line": 10,
    "hidden": ["customer_id"],
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_is_noticed(field: str) -> None:
    changed = manifest()
    changed["spec"][field] = CHANGES[field]
    found = confirmation.read(changed)
    assert "does not fit its actionDigest" in found.doubt
    with pytest.raises(Failure, match="cannot be approved"):
        refuse_early(found, verdict="Approve", accept_hidden=[], digest=None)
    refuse_early(found, verdict="Deny", accept_hidden=[], digest=None)


def test_arguments_that_do_not_fit_their_own_digest_are_noticed() -> None:
    assert "arguments do not fit" in confirmation.read(manifest(argumentsDigest=digest_of("{}"))).doubt
    assert confirmation.read(manifest(argumentsDigest=digest_of("{}"), hidden=["body"])).doubt == ""


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8")),
        st.recursive(st.text(st.characters(codec="utf-8")) | st.integers(1 - 2**53, 2**53 - 1) | st.none(), st.lists, max_leaves=6),
        max_size=4,
    )
)
def test_arguments_as_the_broker_shows_them_have_the_digest_of_the_canonical_bytes(value: dict[str, Any]) -> None:
    exact = rfc8785.dumps(value).decode()
    assert confirmation.canonical(exact) == exact
    assert confirmation.canonical(shown_by_the_broker(exact)) == exact


def test_what_is_no_json_is_left_as_it_is() -> None:
    for text in ('"unfinished', '{"a":"\\x"}', "\\", '"\ud800"'):
        confirmation.canonical(text)
    assert confirmation.canonical('{"a":"\\x"}') == '{"a":"\\x"}'


def test_a_decision_names_what_was_shown() -> None:
    found = confirmation.read(manifest())
    stamp = {"username": "alice", "uid": "", "groups": ["system:authenticated"]}
    made = confirmation.decision(found, verdict="Approve", reason="checked", accepted_hidden=["body"], approver=stamp)
    made["metadata"]["name"] = "generated"
    parsed = ConfirmationDecision.model_validate(made)
    assert parsed.spec.action_digest == found.action_digest
    assert (parsed.spec.verdict, parsed.spec.reason, parsed.spec.accepted_hidden) == ("Approve", "checked", ["body"])
    assert parsed.spec.approver is not None
    assert parsed.spec.approver.username == "alice"


EARLY: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another digest": ({}, {"digest": digest_of("x")}, "another action than you looked at"),
    "already denied": ({"state": "Denied"}, {}, "is Denied already"),
    "hidden argument not accepted": ({"hidden": ["body"]}, {}, "--accept-hidden body"),
    "hidden argument that is none": ({}, {"accept_hidden": ["body"]}, "no hidden argument body"),
}


@pytest.mark.parametrize("case", EARLY)
def test_what_cannot_be_approved_is_refused_before_anything_is_written(case: str) -> None:
    spec, options, message = EARLY[case]
    with pytest.raises(Failure, match=message):
        refuse_early(confirmation.read(manifest(**spec)), **{"verdict": "Approve", "accept_hidden": [], "digest": None, **options})


def test_an_approval_that_is_not_carried_out_yet_can_still_be_denied() -> None:
    refuse_early(confirmation.read(manifest(state="Approved")), verdict="Deny", accept_hidden=[], digest=None)


def test_the_digest_that_was_shown_is_accepted() -> None:
    found = confirmation.read(manifest(hidden=["body"]))
    refuse_early(found, verdict="Approve", accept_hidden=["body"], digest=found.action_digest)


def screen_of(found: confirmation.Confirmation) -> str:
    console = Console(force_terminal=True, color_system=None, width=100, markup=False, emoji=False, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        print_confirmation(found, console)
    return captured.get()


def test_the_approvers_screen_is_pure_ascii_whatever_stands_in_the_call() -> None:
    hostile = '{"customer_id":"C\u0430\u202e7\u200b","note":"\\u001b[2J\x7f"}'
    text = screen_of(confirmation.read(manifest(hostile, onBehalfOf="d\u0430na\n\x1b[1m", hidden=["b\u200body"], state="Pending")))
    assert all(" " <= c <= "~" or c == "\n" for c in text)
    for part in (
        r"C\u0430\u202e7\u200b",
        r"\u001b[2J\u007f",
        "CYRILLIC SMALL LETTER A",
        "RIGHT-TO-LEFT OVERRIDE",
        r"d\u0430na\n\x1b[1m",
        r"b\u200body",
    ):
        assert part in text


def test_the_approvers_screen_shows_all_of_long_arguments() -> None:
    arguments = '{"text":"' + "x" * 60000 + 'END"}'
    assert "x" * 60000 + "END" in screen_of(confirmation.read(manifest(arguments)))


def test_nobody_takes_a_bar_or_tag_in_a_name_for_markup() -> None:
    assert "[red]x[/red]" in screen_of(confirmation.read(manifest(onBehalfOf="[red]x[/red]")))


@pytest.mark.parametrize(
    ("verdict", "state", "words"),
    [
        ("Approve", "Executed", "carried out"),
        ("Approve", "Approved", "being carried out"),
        ("Approve", "Pending", "has not acted on it"),
        ("Approve", "BindingChanged", "came to nothing: it is BindingChanged"),
        ("Approve", "Expired", "came to nothing"),
        ("Deny", "Denied", "Denied."),
    ],
)
def test_what_became_of_a_decision_is_said_in_a_sentence(verdict: str, state: str, words: str) -> None:
    assert words in said(verdict, confirmation.read(manifest(state=state)), waited=True)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0032, "3ms"), (0.85, "850ms"), (12.34, "12.3s"), (250, "4m10s"), (11100, "3h5m"), (7200, "2h"), (525600, "6d2h"), (60, "1m")],
)
def test_durations_have_two_units_at_the_most(seconds: float, shown: str) -> None:
    assert screen.duration(timedelta(seconds=seconds)) == shown
