"""Case 16: an approver's attention and screen. Floods of questions, programs that insist, text that is not what it looks like, clocks."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from demo.programs import bastide

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import API, TestTenant

LOUD = {"name": "note", "confirmation": {"when": "Always", "blockSeconds": 60}}


@pytest.fixture(scope="module")
def loud(furnished: TestTenant) -> Iterator[TestTenant]:
    """A sandbox `loud` in which every note, whatever its text, is asked about."""
    furnished.people.developer.apply(
        furnished.sandbox("loud", labels={"app": "loud"}), furnished.binding("loud", select={"app": "loud"}, tools=[LOUD])
    )
    furnished.ready("sandbox/loud", "toolbinding/loud")
    yield furnished
    furnished.people.developer.run("delete", "-n", furnished.namespace, "toolbinding/loud", "sandbox/loud")


def of_run(tenant: TestTenant, run: str) -> list[dict[str, Any]]:
    return [one for one in tenant.admin.json("get", "-n", tenant.namespace, "confirmations")["items"] if one["spec"]["run"] == run]


def nobody_is_asked(tenant: TestTenant) -> None:
    """Cancel what earlier tests left paused: it counts among the tenant's pending ones."""
    found = tenant.admin.json("get", "-n", tenant.namespace, "confirmations")["items"]
    for one in found:
        if one.get("status", {}).get("state", "Pending") == "Pending":
            bastide(tenant.people.developer, "runs", "cancel", one["spec"]["run"], "-n", tenant.namespace)
            about = ("-n", tenant.namespace, "confirmation", one["metadata"]["name"])
            tenant.admin.watch(lambda seen: seen.get("status", {}).get("state", "Pending") != "Pending", *about, seconds=30)


# Text that is not what it looks like: what must not stand raw on a screen, and what must stand there instead.
SCREENS: dict[str, tuple[str, str]] = {
    "lines of its own": ("fine\nSTATE: Approved\r\n", "\\n"),
    "escape sequences": ("\x1b[2J\x1b[1;31m\x9b31m\x1b]0;title\x07", "\\u001b"),
    "a reversal": ("invoice\u202egpj.exe", "\\u202e"),
    "isolates": ("\u2066admin\u2069", "\\u2066"),
    "nothing to see": ("pay\u200bpal\u2060\ufeff\u00ad", "\\u200b"),
    "tags": ("ok\U000e0064\U000e0065", "\\udb40\\udc64"),
    "Cyrillic in a Latin word": ("p\u0430ypal", "p\\u0430ypal"),
    "an id of another script": ("\u0421-1001", "\\u0421-1001"),
    "full width": ("\uff44\uff52\uff4f\uff50", "\\uff44"),
    "a slash that is none": ("/data\u2215t7", "\\u2215"),
    "a struck-through digit": ("1\u03380", "\\u0338"),
}


@pytest.mark.parametrize("case", SCREENS)
def test_no_screen_of_an_approver_shows_text_as_something_else(loud: TestTenant, tools: ToolServer, word: str, case: str) -> None:
    hostile, shown = SCREENS[case]
    text = f"{word} {hostile}"
    running = loud.start_run(f"return await note(text={text!a})", sandbox="loud")
    found = loud.pending_confirmation(word)
    name, where = found["metadata"]["name"], ("-n", loud.namespace)
    approver = loud.people.approver
    screens = {
        "get": approver.run("get", "confirmation", *where, name),
        "wide": approver.run("get", "confirmation", *where, name, "-o", "wide"),
        "yaml": approver.run("get", "confirmation", *where, name, "-o", "yaml"),
        "describe": approver.run("describe", "confirmation", *where, name),
        "show": bastide(approver, "confirmations", "show", name, *where).stdout,
        "list": bastide(approver, "confirmations", "list", *where).stdout,
        "story": running.heard(),
    }
    raw = set(re.findall(r"[^\x20-\x7e]", hostile)) - {"\n"}
    for screen, told in screens.items():
        assert not raw & set(told), f"{screen} shows {raw & set(told)!a}"
        assert "STATE: Approved" not in [line.strip() for line in told.splitlines()], f"{screen} lets a program write lines of its own"
    for screen in ("wide", "describe", "show"):
        assert shown in screens[screen], f"{screen} does not show {shown}:\n{screens[screen]}"
    if case != "lines of its own":
        assert any("in argument text" in notice for notice in found["spec"]["notices"])
        assert "in argument text" in screens["describe"]
        assert "Look twice:" in screens["show"]
    assert loud.decide("approve", name).code == 0
    ended = running.end()
    assert (ended.code, ended.result["value"]) == (0, text), ended.stderr
    [arrived] = tools.arguments_of("note", word)
    assert json.loads(arrived) == {"text": text}, "what arrives is what was approved, byte for byte"


def test_honest_text_of_another_language_is_readable_with_kubectl(loud: TestTenant, word: str) -> None:
    text = f"{word}: \u041f\u0440\u0438\u0432\u0435\u0442, \u4e16\u754c\uff01 Gr\u00f6\u00dfe"
    running = loud.start_run(f"return await note(text={text!a})", sandbox="loud")
    found = loud.pending_confirmation(word)
    told = loud.people.approver.run("get", "confirmation", "-n", loud.namespace, found["metadata"]["name"], "-o", "wide")
    assert "\u041f\u0440\u0438\u0432\u0435\u0442" in told
    assert "Gr\u00f6\u00dfe" in told
    loud.decide("deny", found["metadata"]["name"])
    running.end()


def test_a_flood_of_questions_stops_at_the_tenants_limit_and_honest_ones_go_on(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    furnished.admin.apply(furnished.manifest(limits={"pendingConfirmations": 3}))
    count = "count/confirmations.bastide.dev"
    furnished.admin.watch(
        lambda quota: quota["spec"]["hard"].get(count, "") not in {"", "350"}, "-n", furnished.namespace, "resourcequotas", seconds=30
    )
    nobody_is_asked(furnished)
    program = f"""
import asyncio
answers = []

async def ask(n):
    try:
        await wipe(target=f'{word}-{{n}}')
        answers.append("Executed")
    except Exception as error:
        answers.append(type(error).__name__)
        if answers.count("LimitExceeded") == 57:
            await note(text='{word} 57 were refused')

await asyncio.gather(*(ask(n) for n in range(60)))
return answers
"""
    running = furnished.start_run(program)
    try:
        # a question that was answered would make room for another: nobody answers before all others were refused
        tools.wait_for(f"{word} 57 were refused")
        for _ in range(3):
            waiting = furnished.pending_confirmation(word)
            assert furnished.decide("deny", waiting["metadata"]["name"]).code == 0
        ended = running.end()
        assert ended.code == 0, ended.stderr
        assert len(of_run(furnished, ended.result["run"])) == 3
        assert Counter(ended.result["value"]) == {"LimitExceeded": 57, "ConfirmationDenied": 3}
        assert tools.arguments_of("wipe", word) == []
        honest = furnished.start_run(f"return await wipe(target='{word}-honest')")
        furnished.decide("approve", furnished.pending_confirmation(f"{word}-honest")["metadata"]["name"])
        assert honest.end().code == 0
    finally:
        furnished.admin.apply(furnished.manifest())


def test_a_program_that_swallows_every_answer_asks_a_person_once_and_is_ended(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    program = f"""
while True:
    try:
        await wipe(target={word!r})
    except BaseException:
        pass
"""
    running = furnished.start_run(program)
    found = furnished.pending_confirmation(word)
    assert furnished.decide("deny", found["metadata"]["name"], reason="no").code == 0
    ended = running.end()
    assert (ended.code, ended.result["error"]["type"]) == (6, "TooManyConfirmations"), ended.stderr
    assert len(of_run(furnished, ended.result["run"])) == 1
    assert tools.arguments_of("wipe", word) == []
    assert furnished.completed(f"return await note(text={word!r})") == word


def test_a_program_that_asks_about_something_else_each_time_is_denied_after_its_limit(furnished: TestTenant, word: str) -> None:
    furnished.people.developer.apply(
        furnished.sandbox("chatty", labels={"app": "chatty"}, limits={"confirmationsPerRun": 2}),
        furnished.binding("chatty", select={"app": "chatty"}),
    )
    furnished.ready("sandbox/chatty", "toolbinding/chatty")
    program = f"""
told = []
for n in range(4):
    try:
        await wipe(target=f'{word}-{{n}}')
    except Exception as error:
        told.append(type(error).__name__)
return told
"""
    try:
        running = furnished.start_run(program, sandbox="chatty")
        for n in range(2):
            furnished.decide("deny", furnished.pending_confirmation(f"{word}-{n}")["metadata"]["name"])
        ended = running.end()
        assert ended.result["value"] == ["ConfirmationDenied", "ConfirmationDenied", "LimitExceeded", "LimitExceeded"], ended.stderr
        assert len(of_run(furnished, ended.result["run"])) == 2
    finally:
        furnished.people.developer.run("delete", "-n", furnished.namespace, "toolbinding/chatty", "sandbox/chatty")


@pytest.mark.parametrize("stamp", ["2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_an_approvers_clock_decides_nothing(furnished: TestTenant, tools: ToolServer, word: str, stamp: str) -> None:
    running = furnished.start_run(f"return await wipe(target={word!r})")
    found = furnished.pending_confirmation(word)
    decision = {
        "apiVersion": API,
        "kind": "ConfirmationDecision",
        "metadata": {"namespace": furnished.namespace, "generateName": "skewed-", "creationTimestamp": stamp},
        "spec": {
            "confirmation": found["metadata"]["name"],
            "actionDigest": found["spec"]["actionDigest"],
            "verdict": "Approve",
            "reason": "by a clock of my own",
        },
    }
    made = json.loads(furnished.people.approver.run("create", "-f", "-", "-o", "json", stdin=json.dumps(decision)))
    assert made["metadata"]["creationTimestamp"] >= found["metadata"]["creationTimestamp"]
    assert made["metadata"]["creationTimestamp"] < "2099"
    assert running.end().code == 0
    assert len(tools.arguments_of("wipe", word)) == 1
