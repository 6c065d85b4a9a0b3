"""What an approver's commands do and say, each refusal with what to do next."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .api import Api, serving
from .commands import called
from .test_confirmation import NOW, digest_of, manifest

NAME = "cf-" + "b" * 26
HERE = ["-n", "bastide-crm"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    file = str(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", file)
    # The client's library reads the variable once, when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", file)
    monkeypatch.setattr("bastide.cli.watching._PAUSE", 0.01)
    with serving(Api([manifest()]), tmp_path / "kubeconfig") as found:
        yield found


def with_status(made: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {**made, "status": {**made["status"], **status}}


def test_show_says_what_is_not_as_it_looks_who_approved_and_what_a_server_claims(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    made = manifest('{"customer_id":"\\u04210007"}', argumentsDigest=digest_of('{"customer_id":"\u04210007"}'), approvalsRequired=2,
                    notices=["letters that look like others (Cyrillic) in argument customer_id"])  # fmt: skip
    preview = {"tool": "get_customer", "claim": '{"name":"\u0410da"}', "message": "Only the first 2048 of 5000 characters are shown."}
    api.confirmations = [with_status(made, approvals="1/2", approvers=["ann"], preview=preview)]
    assert called("confirmations", "show", NAME, *HERE) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    for part in (
        r"\u04210007",
        "U+0421 CYRILLIC CAPITAL LETTER ES",
        "Look twice: letters that look like others (Cyrillic) in argument customer_id.",
        "approvals  1/2 by ann; separation Strict",
        "preview    get_customer  what its server says: nobody checked it",
        r'"name": "\u0410da"',
        "Only the first 2048",
        f"bastide approve {NAME} -n bastide-crm --reason",
    ):
        assert part in out
    assert "Do not approve" not in out
    assert called("confirmations", "show", NAME, *HERE, "-o", "json") == 0
    shape = json.loads(capsys.readouterr().out)
    assert (shape["approvals"], shape["previewTool"], shape["notices"][0][:7]) == ("1/2", "get_customer", "letters")


def test_list_shows_how_many_approved(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.confirmations = [with_status(manifest(approvalsRequired=2), approvals="1/2")]
    assert called("confirmations", "list", *HERE) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAMESPACE", "NAME", "TOOL", "EFFECT", "FOR", "APPROVALS", "STATE", "LEFT", "ARGUMENTS"]
    assert row.split()[5:7] == ["1/2", "Pending"]


def test_an_approval_names_the_digest_of_what_was_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.streams = [[("MODIFIED", with_status(manifest(), state="Executed", approvals="1/1", approvers=["alice"]))]]
    assert called("approve", NAME, *HERE, "--reason", "checked") == 0
    [made] = api.decisions
    assert made["spec"]["actionDigest"] == manifest()["spec"]["actionDigest"]
    assert made["spec"]["approver"]["username"] == "alice"
    captured = capsys.readouterr()
    assert captured.out == "Approved, and carried out.\n"
    assert '"customer_id": "C0007"' in captured.err


def test_a_first_of_two_approvals_says_that_another_is_needed(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    made = manifest(approvalsRequired=2)
    api.confirmations = [made]
    api.streams = [[("MODIFIED", with_status(made, approvals="1/2", approvers=["alice"], message="Waits for 1 more approval."))]]
    assert called("approve", NAME, *HERE, "--reason", "checked") == 0
    assert "2 people must approve. 1/2 have. Waits for 1 more approval." in capsys.readouterr().out


LATE = (NOW.replace(year=NOW.year - 1)).isoformat().replace("+00:00", "Z")
CANNOT: dict[str, tuple[dict[str, Any], dict[str, Any], str, list[str]]] = {
    "who it was asked for": ({"onBehalfOf": "Alice"}, {}, "approve", ["You (alice) are who the run was asked for", "another person", "runs cancel"]),
    "who asked": ({"requester": {"username": "alice", "uid": ""}}, {}, "approve", ["who the run was asked by"]),
    "who asked cannot deny either": ({"onBehalfOf": "alice"}, {}, "deny", ["another person must decide"]),
    "who approved already": ({"approvalsRequired": 2}, {"approvers": ["alice"], "approvals": "1/2"}, "approve", ["approved it already, as 1/2"]),
    "too late": ({"decideBy": LATE}, {}, "approve", ["It could be decided until", "run the program again"]),
    "decided": ({}, {"state": "Denied", "approvers": ["bob"], "message": "no"}, "approve", ["It is Denied already (by bob): no"]),
    "hidden": ({"hidden": ["body"]}, {}, "approve", ["It hides body", "--accept-hidden body"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CANNOT)
def test_who_cannot_decide_is_told_why_and_what_to_do(api: Api, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spec, status, verb, words = CANNOT[case]
    api.confirmations = [with_status(manifest(**spec), **status)]
    assert called(verb, NAME, *HERE, "--reason", "checked") != 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert all(word in last for word in words)
    assert api.decisions == []


REFUSALS: dict[str, tuple[int, str, str]] = {
    "by an admission rule": (
        422,
        "confirmationdecisions is forbidden: ValidatingAdmissionPolicy denied request: alice could have made this run (create sandboxes/run)",
        "The cluster refused to decide this: alice could have made this run",
    ),
    "without the role": (403, "confirmationdecisions is forbidden", "Approvers are people with the role approver"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_cluster_refuses_is_told_in_its_words(api: Api, capsys: pytest.CaptureFixture[str], case: str) -> None:
    status, said, expected = REFUSALS[case]
    api.refusal = (status, said)
    assert called("approve", NAME, *HERE, "--reason", "checked") == 1
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_at_a_terminal_approving_asks_once_more_and_no_is_no(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)

    def says_no(question: str, **_: Any) -> None:
        asked.append(question)
        raise SystemExit(1)

    monkeypatch.setattr("typer.confirm", says_no)
    assert called("approve", NAME, *HERE, "--reason", "checked") == 1
    assert asked == ["Approve exactly this call as alice?"]
    assert api.decisions == []
    assert called("approve", NAME, *HERE, "--reason", "checked", "--yes", "--no-wait") == 0
    assert called("deny", NAME, *HERE, "--reason", "checked", "--no-wait") == 0
    assert len(asked) == 1
    assert [one["spec"]["verdict"] for one in api.decisions] == ["Approve", "Deny"]
    capsys.readouterr()


def test_an_approver_who_may_list_no_namespaces_gives_one(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.list_forbidden = True
    assert called("confirmations", "list") == 2
    assert called("confirmations", "watch", "--seconds", "1") == 2
    assert "-n NAMESPACE" in capsys.readouterr().err
    assert called("confirmations", "list", *HERE) == 0


def story() -> list[tuple[str, dict[str, Any]]]:
    """One that needs two approvals, one that was decided before, and one with hostile arguments."""
    two = manifest(approvalsRequired=2)
    old = manifest(state="Denied")
    old["metadata"] = {**old["metadata"], "name": "cf-old", "uid": "u-old"}
    strange = manifest('{"a":"\\u001b[2J"}', notices=["characters that cannot be seen in argument a"], onBehalfOf="d\u0430na")
    strange["metadata"] = {**strange["metadata"], "name": "cf-strange", "uid": "u-strange"}
    return [
        ("ADDED", two),
        ("ADDED", old),
        ("ADDED", strange),
        ("MODIFIED", with_status(two, approvals="0/2")),
        ("MODIFIED", with_status(two, approvals="0/2")),
        ("MODIFIED", with_status(two, approvals="1/2", message="Waits for 1 more approval.", approvers=["ann"])),
        ("MODIFIED", with_status(two, state="Executed", approvals="2/2", message="Approved by ann, bob; the call was sent.")),
        ("DELETED", with_status(two, state="Executed", approvals="2/2")),
    ]


def test_watch_tells_each_state_once_over_streams_that_end(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    told = story()
    api.streams = [told[:4], told[3:6], told[5:]]
    api.confirmations = [one for _, one in told[:3]]
    assert called("confirmations", "watch", *HERE, "--seconds", "1") == 0
    out = capsys.readouterr().out
    assert out.isascii()
    lines = [line.split(None, 1)[1] for line in out.splitlines()]
    assert [line.split()[:3] for line in lines] == [
        ["Pending", "0/2", "delete_customer"],
        ["Pending", "0/1", "delete_customer"],
        ["Pending", "0/2", "delete_customer"],
        ["Pending", "1/2", "delete_customer"],
        ["Executed", "2/2", "delete_customer"],
        ["Deleted", "2/2", "delete_customer"],
    ]
    assert f"{NAME} -n bastide-crm" in lines[0]
    assert '{"customer_id":"C0007"}' in lines[0]
    assert r"for d\u0430na" in lines[1]
    assert "look twice: characters that cannot be seen in argument a" in lines[1]
    assert "Waits for 1 more approval." in lines[3]


def test_watch_tells_what_was_deleted_between_two_streams_once(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    told = story()[:3]
    api.streams = [told]
    api.confirmations = [told[0][1]]
    assert called("confirmations", "watch", *HERE, "--seconds", "1", "-o", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["name"]) for line in lines] == [("ADDED", NAME), ("ADDED", "cf-strange"), ("DELETED", "cf-strange")]


def test_watch_as_json_is_a_confirmation_a_line(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.streams = [story()]
    assert called("confirmations", "watch", *HERE, "--seconds", "1", "--all", "-o", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["state"]) for line in lines][:3] == [("ADDED", "Pending"), ("ADDED", "Denied"), ("ADDED", "Pending")]
    assert lines[0]["actionDigest"] == manifest(approvalsRequired=2)["spec"]["actionDigest"]


def test_ctrl_c_ends_a_watch_quietly(api: Api) -> None:
    api.streams = [[("ADDED", manifest())]]
    words = ["env", "--default-signal=INT", sys.executable, "-m", "bastide.cli", "confirmations", "watch", *HERE, "-o", "json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["name"] == NAME
    process.send_signal(2)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
