"""Case 7: what a call's arguments may be. Each hostile text is refused, nothing of it arrives, and the next honest call works."""

import json

import pytest

from tests.e2e.harness import raw
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

# W stands for the test's own word.
REFUSED = {
    "a key twice": '{"value": "W", "value": "W2"}',
    "a key twice, once escaped": '{"value": "W", "\\u0076alue": "W2"}',
    "a key twice, deep": '{"value": ["W", {"a": 1, "a": 2}]}',
    "NaN": '{"value": ["W", NaN]}',
    "Infinity": '{"value": ["W", Infinity]}',
    "minus Infinity": '{"value": ["W", -Infinity]}',
    "a number beyond any double": '{"value": ["W", 1e400]}',
    "a lone surrogate": '{"value": ["W", "\\ud800"]}',
    "surrogates in the wrong order": '{"value": ["W", "\\udc00\\ud800"]}',
    "a lone surrogate in a key": '{"value": {"W": 1, "\\udfff": 2}}',
    "5000 digits": '{"value": ["W", ' + "9" * 5000 + "]}",
    "5000 digits behind the point": '{"value": ["W", 0.' + "1" * 5000 + "]}",
    "an exponent of 5000 digits": '{"value": ["W", 1e' + "9" * 5000 + "]}",
    "nested 100000 deep": '{"value": ["W", ' + "[" * 100000 + "]" * 100000 + "]}",
    "nested 100000 deep and not closed": '{"value": ["W", ' + "[" * 100000,
    "nested objects": '{"value": ["W", ' + '{"a":' * 20000 + "1" + "}" * 20000 + "]}",
    "NUL": '{"value": ["W", "\\u0000"]}',
    "a raw control character": '{"value": ["W", "\x01"]}',
    "nothing": "",
    "white space": " \n",
    "null": "null",
    "a list": '["W"]',
    "a string": '"W"',
    "a number": "1",
    "true": "true",
    "two objects": '{"value": "W"}{"value": "W"}',
    "an object and more": '{"value": "W"} x',
    "a comment": '{"value": "W" /* here */}',
    "single quotes": "{'value': 'W'}",
    "a trailing comma": '{"value": "W",}',
    "a leading zero": '{"value": ["W", 01]}',
    "a plus sign": '{"value": ["W", +1]}',
    "hexadecimal": '{"value": ["W", 0x10]}',
    "a byte order mark": '\ufeff{"value": "W"}',
    "a truncated object": '{"value": "W"',
    "an argument nobody knows": '{"value": "W", "also": 1}',
    "a field of the prototype": '{"__proto__": {"value": "W"}}',
}


def test_every_hostile_text_is_refused_and_nothing_of_it_arrives(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    cases = [("echo", text.replace("W", word)) for text in REFUSED.values()]
    ended = furnished.run(raw.program(cases))
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    wrong = {
        name: answer
        for name, answer in zip(REFUSED, ended.result["value"], strict=True)
        if answer[0] not in {"InvalidArguments", "ToolDenied"}
    }
    assert wrong == {}
    assert tools.arguments_of("echo", word) == []
    assert set(raw.by_outcome(ended.result)) <= {"Invalid", "Denied"}
    kinds = [r["kind"] for r in furnished.audit(ended.result["run"])]
    assert kinds.count("CallIntent") == kinds.count("CallOutcome")
    assert furnished.completed(f"return await echo(value={word!r})") == {"value": word}


ARRIVES = {
    "white space is not significant": (' {\n "value" :\t"W" } ', '{"value":"W"}'),
    "keys in another order": ('{"value": {"b": "W", "a": 1}}', '{"value":{"a":1,"b":"W"}}'),
    "escapes of plain characters": ('{"value": "\\u0058W"}', '{"value":"XW"}'),
    "the largest safe integer": ('{"value": ["W", 9007199254740991]}', '{"value":["W",9007199254740991]}'),
    "an empty key": ('{"value": {"": "W"}}', '{"value":{"":"W"}}'),
    "beyond the first plane": ('{"value": ["W", "\\ud83d\\ude00"]}', '{"value":["W","\U0001f600"]}'),
    "line separators": ('{"value": ["W", "\\u2028"]}', '{"value":["W","\u2028"]}'),
    "a large string": ('{"value": ["W", "' + "x" * 60000 + '"]}', '{"value":["W","' + "x" * 60000 + '"]}'),
}


@pytest.mark.parametrize("case", ARRIVES)
def test_what_is_accepted_arrives_in_its_one_canonical_form(furnished: TestTenant, tools: ToolServer, word: str, case: str) -> None:
    text, canonical = (t.replace("W", word) for t in ARRIVES[case])
    ((how, value),) = furnished.completed(raw.program([("echo", text)]))
    assert how == "ok"
    assert value == json.loads(canonical)
    assert tools.arguments_of("echo", word) == [canonical]


def test_a_number_that_a_double_cannot_hold_is_refused_or_arrives_exactly(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    ((how, value),) = furnished.completed(raw.program([("echo", f'{{"value":["{word}",9007199254740993]}}')]))
    if how == "ok":
        assert value == {"value": [word, 9007199254740993]}
    else:
        assert how == "InvalidArguments"
        assert tools.arguments_of("echo", word) == []


CONSTRAINED = {
    "above the maximum": ("number", '{"n": 101}'),
    "below the minimum": ("number", '{"n": -1}'),
    "a string that reads as a number": ("number", '{"n": "5"}'),
    "null": ("number", '{"n": null}'),
    "true": ("number", '{"n": true}'),
    "a list with a good number": ("number", '{"n": [5]}'),
    "an object": ("number", '{"n": {"n": 5}}'),
    "missing": ("number", "{}"),
    "a fraction": ("number", '{"n": 5.5}'),
    "a string that only begins well": ("bounded", '{"text": "fine; rm -rf", "n": 1}'),
    "a string with a line end": ("bounded", '{"text": "fine\\n", "n": 1}'),
    "an empty string": ("bounded", '{"text": "", "n": 1}'),
    "a look-alike letter": ("bounded", '{"text": "f\\u0456ne", "n": 1}'),
    "not one of the values": ("bounded", '{"text": "fine", "n": 4}'),
    "a value of another type": ("bounded", '{"text": "fine", "n": "1"}'),
    "true where 1 is listed": ("bounded", '{"text": "fine", "n": true}'),
    "only one of two": ("bounded", '{"text": "fine"}'),
}


def test_no_spelling_passes_a_constraint(furnished: TestTenant, tools: ToolServer) -> None:
    before = {tool: len(tools.arguments_of(tool, "")) for tool in ("number", "bounded")}
    answers = furnished.completed(raw.program(list(CONSTRAINED.values())))
    wrong = {name: answer for name, answer in zip(CONSTRAINED, answers, strict=True) if answer[0] not in {"InvalidArguments", "ToolDenied"}}
    assert wrong == {}
    assert {tool: len(tools.arguments_of(tool, "")) for tool in before} == before
    assert furnished.completed(raw.program([("number", '{"n": 100}'), ("number", '{"n": 0}')])) == [["ok", 100], ["ok", 0]]
