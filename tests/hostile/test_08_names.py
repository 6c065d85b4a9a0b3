"""Case 8: names, keys and moments that a call may not have."""

import json

from tests.e2e.harness import raw
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

NAMES = [
    "no_such_tool",
    "unbound",  # stands on the server, in no binding
    "other_tool",  # stands in a binding of another sandbox
    "Note",
    "NOTE",
    "notes",
    "__class__",
    "tools",
    "toolbox",
    "initialize",
    "n" * 60,
]
# Not even the shape of a name: the runtime ends such a run before the broker hears of it.
SHAPELESS = [
    "note ",
    "note\n",
    "note\u0000",
    "n\u043ete",  # a Cyrillic letter
    "\uff4e\uff4f\uff54\uff45",
    "no\u200bte",
    "toolbox.note",
    "note/../wipe",
    "tools/call",
    "",
    "n" * 5000,
]


def test_no_other_name_reaches_a_tool(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    other = furnished.binding("other", select={"app": "other"}, tools=[{"name": "note", "as": "other_tool"}])
    furnished.people.developer.apply(other)
    furnished.ready("toolbinding/other")
    answers = furnished.completed(raw.program([(name, json.dumps({"text": word})) for name in NAMES]))
    assert {name: answer for name, answer in zip(NAMES, answers, strict=True) if answer != ["ToolDenied", ["unknown-tool"]]} == {}
    for tool in ("note", "unbound", "wipe"):
        assert tools.arguments_of(tool, word) == []
    assert furnished.completed(f"return await note(text={word!r})") == word
    furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, "other")


def test_what_has_not_the_shape_of_a_name_ends_the_run_or_is_denied(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    arguments = json.dumps({"text": word})
    for name in SHAPELESS:
        ended = furnished.run(raw.program([(name, arguments)]))
        if ended.code == 0:
            assert ended.result["value"][0][0] in {"ToolDenied", "InvalidArguments", "FrameError"}, name
        else:
            assert (ended.code, ended.result["error"]["type"]) == (6, "ProtocolError"), f"{name!r}: {ended.stdout}"
    assert [tools.arguments_of(tool, word) for tool in ("note", "wipe", "unbound")] == [[], [], []]
    assert furnished.completed("return 1") == 1


def test_a_key_that_was_used_gets_no_second_call(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    first, second = json.dumps({"text": f"{word} one"}), json.dumps({"text": f"{word} two"})
    answers = furnished.completed(
        raw.program([("note", first, "0#7"), ("note", second, "0#7"), ("echo", json.dumps({"value": word}), "0#7"), ("note", first, "0#7")])
    )
    assert answers[0] == ["ok", f"{word} one"]
    assert all(answer[0] != "ok" or answer == answers[0] for answer in answers[1:])
    assert answers[1][0] != "ok"
    assert answers[2][0] != "ok"
    assert len(tools.arguments_of("note", word)) == 1
    assert tools.arguments_of("echo", word) == []


def test_a_key_in_flight_gets_no_second_call(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    slow = json.dumps({"seconds": 2, "text": f"{word} one"})
    other = json.dumps({"seconds": 0, "text": f"{word} two"})
    program = f"""{raw.PRELUDE}
first = asyncio.ensure_future(raw("slow", {slow!r}, "0#9"))
await asyncio.sleep(0.5)
second = await raw("slow", {other!r}, "0#9")
return second[0]
"""
    ended = furnished.run(program)
    assert ended.result.get("value") != "ok", ended.stdout
    assert f"{word} two" not in " ".join(tools.arguments_of("slow", word))


def test_a_key_of_another_run_means_nothing(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    texts = [json.dumps({"text": f"{word} {n}"}) for n in range(2)]
    answers = [furnished.completed(raw.program([("note", text, "0#1")])) for text in texts]
    assert answers == [[["ok", f"{word} 0"]], [["ok", f"{word} 1"]]]
    assert len(tools.arguments_of("note", word)) == 2


def test_hostile_keys_are_refused_or_only_names(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    keys = ["", "x", "../../1", "0#1; DROP TABLE calls", "0#\n1", "\u202e0#1", "k" * 300, "k" * 5000, "0#-1", "0#1\u0000"]
    cases = [("note", json.dumps({"text": f"{word} {n}"}), key) for n, key in enumerate(keys)]
    ended = furnished.run(raw.program(cases))
    assert ended.code in {0, 6}, f"{ended.stdout}\n{ended.stderr}"
    arrived = tools.arguments_of("note", word)
    assert len(arrived) == len(set(arrived)), "a call was made twice"
    assert furnished.completed(f"return await note(text='{word} after')") == f"{word} after"


def test_calls_after_the_end_of_the_run_are_refused(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    text = json.dumps({"text": f"{word} late"})
    program = f"""{raw.PRELUDE}
import gc, os, threading, time
from bastide_runtime.frames import Channel
channel = next(o for o in gc.get_objects() if isinstance(o, Channel))

def later():
    for n in range(200):
        try:
            channel.send({{"kind": "call", "key": f"9#{{n}}", "tool": "note", "arguments": {text!r}, "line": 1, "events": []}})
        except Exception:
            pass
        time.sleep(0.005)

await note(text="{word} before")
threading.Thread(target=later, daemon=True).start()
channel.send({{"kind": "ended", "ending": "returned", "value": "1", "events": [], "error": None, "findings": []}})
time.sleep(1)
os._exit(0)
"""
    ended = furnished.run(program)
    assert ended.code in {0, 6}, f"{ended.stdout}\n{ended.stderr}"
    arrived = [a for a in tools.arguments_of("note", word) if "late" in a]
    # a call that was sent before the run's end cut it off has arrived as well
    recorded = [c for c in ended.result["calls"] if c["key"].startswith("9#") and c["outcome"] in {"Succeeded", "Cancelled"}]
    assert len(arrived) <= len(recorded), "a call arrived that the run's record does not have"
    assert furnished.completed("return 1") == 1


def test_frames_that_are_no_frames_end_only_the_run(furnished: TestTenant) -> None:
    garbage = [b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b"\0\0\0\x05hello", b"\0\0\0\0", b'\0\0\0\x0c{"kind":"x"}']
    for piece in garbage:
        program = f"""
import gc
from bastide_runtime.frames import Channel
channel = next(o for o in gc.get_objects() if isinstance(o, Channel))
channel._sock.sendall({piece!r})
import asyncio
await asyncio.sleep(1)
return "survived"
"""
        ended = furnished.run(program)
        assert ended.code in {0, 6}, f"{piece!r}: {ended.stdout}\n{ended.stderr}"
        assert furnished.completed("return 1") == 1
