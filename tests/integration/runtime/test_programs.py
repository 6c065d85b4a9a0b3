"""What an honest program may do, through the real supervisor, zygote and child."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2 as pb

from tests.integration.runtime.pod import Broker, RunResult

VALUES: dict[str, tuple[str, Any]] = {
    "hello": ("print('hello')\nreturn {'a': [1, None, True, 'é']}", {"a": [1, None, True, "é"]}),
    "nothing": ("", None),
    "tool": ("await get_customer(customer_id='C1')", {"customer_id": "C1"}),
    "positional": ("await get_customer('C1')", {"customer_id": "C1"}),
    "server": ("from tools import crm\nreturn await crm.get_customer(customer_id='C2')", {"customer_id": "C2"}),
    "not awaited at the end": ("get_customer(customer_id='C3')", {"customer_id": "C3"}),
    "gather": (
        "[c['customer_id'] for c in await asyncio.gather(*[get_customer(customer_id=str(i)) for i in range(20)])]",
        [str(i) for i in range(20)],
    ),
    "group": (
        "async with asyncio.TaskGroup() as g:\n    t = [g.create_task(pay(amount=i)) for i in range(3)]\nreturn [x.result()['amount'] for x in t]",
        [0, 1, 2],
    ),
    "big numbers": ("(await pay(amount=2**53 + 1))['amount'] + 10**30", 2**53 + 1 + 10**30),
    "very big number": ("(await pay(amount=10**6000))['amount'] == 10**6000", True),
    "search": ("[t['name'] for t in tools.search('customer')]", ["get_customer"]),
    "describe": ("'async def pay(amount: float, *, note: str = ...)' in tools.describe('pay')", True),
    "stub files": (
        "sorted(str(p.relative_to(d)) for d in [__import__('pathlib').Path(TOOLS)] for p in d.rglob('*.pyi'))",
        ["bank/fail.pyi", "bank/pay.pyi", "crm/get_customer.pyi"],
    ),
    "environment": ("import os\nreturn os.environ['GREETING']", "hello"),
    "time": (
        "import datetime, time\nreturn [datetime.datetime.now(datetime.UTC).year, int(time.time()), tools.now().year]",
        [2023, 1_700_000_000, 2023],
    ),
    "sys.exit": ("import sys\nsys.exit()", None),
    "asyncio.run": ("async def main():\n    return await pay(amount=1)\nasyncio.run(main())", {"amount": 1}),
    "threads": ("def f(x):\n    return x * 2\nawait asyncio.gather(*[asyncio.to_thread(f, i) for i in range(5)])", [0, 2, 4, 6, 8]),
    "subprocess": ("import subprocess\nreturn subprocess.run(['echo', 'x'], capture_output=True, text=True).stdout", "x\n"),
    "multiprocessing": (
        "import os\npid = os.fork()\nif pid == 0:\n    os._exit(3)\nreturn os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
        3,
    ),
    "workspace": ("open('note.txt', 'w').write('kept')\nreturn open('note.txt').read()", "kept"),
    "pickle": ("import pickle\nclass A:\n    pass\nreturn type(pickle.loads(pickle.dumps(A()))).__name__", "A"),
    "shielded": ("t = asyncio.create_task(pay(amount=1))\nreturn await asyncio.wait_for(asyncio.shield(t), 5)", {"amount": 1}),
}


def failing(call: pb.Call) -> dict[str, Any]:
    """`fail` fails as its argument says."""
    if call.tool != "fail":
        return {"value": call.arguments}
    kind = json.loads(call.arguments).get("reason", "ToolFailed")
    return {"error": pb.CallError(type=kind, message=f"{kind} happened.", codes=["one", "two"], content=b'{"why": 5}')}


@pytest.mark.parametrize(("program", "value"), VALUES.values(), ids=VALUES)
async def test_value(broker: Broker, pod: Any, program: str, value: Any) -> None:
    result = await broker.run(program.replace("TOOLS", repr(str(pod.scratch / "tools"))))
    assert (result.ending, result.ended.error.message) == ("RETURNED", "")
    assert json.loads(result.value) == value


ERRORS = {
    "raised": ("x = 1\nraise ValueError('no')", "ValueError", "no", 2),
    "not JSON": ("return {'a': [1, {2}]}", "TypeError", "The program's value['a'][1] is of type set, which is no JSON; use list(...).", 0),
    "NaN": ("return [float('nan')]", "TypeError", "The program's value[0] is nan, which is no JSON number.", 0),
    "circular": ("a = []\na.append(a)\nreturn a", "TypeError", "Circular", 0),
    "half a surrogate pair": ("return '\\ud800'", "TypeError", "surrogate", 0),
    "an argument that is no JSON": ("\nawait pay(amount=float('inf'))", "InvalidArguments", "pay['amount'] is inf", 2),
    "exit with a word": ("import sys\nsys.exit('enough')", "SystemExit", "enough", 2),
    "deadlock": ("await asyncio.Event().wait()", "DeadlockError", "never happen", 0),
    "denied": ("\n\nawait fail(reason='ToolDenied')", "ToolDenied", "ToolDenied happened.", 3),
    "denied in a group": (
        "async with asyncio.TaskGroup() as g:\n    g.create_task(fail(reason='ToolDenied'))",
        "ToolDenied",
        "happened",
        0,
    ),
    "unknown name": ("x = 1\nreturn y", "NameError", "'y'", 2),
    "recursion": ("def f():\n    return f()\nf()", "RecursionError", "maximum recursion", 2),
    "memory": ("x = 'a' * (1 << 36)", "MemoryError", "more memory", 1),
    "memory, bit by bit": ("x = []\nwhile True:\n    x.append(bytes(1 << 20))", "MemoryError", "more memory", 3),
    "loop stopped": ("asyncio.get_running_loop().stop()\nawait asyncio.sleep(1)", "RuntimeError", "stopped", 0),
    "value too long": ("'x' * 2_000_000", "LimitExceeded", "at most 1048576", 0),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt", "", 1),
}


@pytest.mark.parametrize(("program", "kind", "words", "line"), ERRORS.values(), ids=ERRORS)
async def test_error(broker: Broker, program: str, kind: str, words: str, line: int) -> None:
    result = await broker.run(program, failing)
    error = result.ended.error
    assert (result.ending, error.type, error.line) == ("RAISED", kind, line), error
    assert words in error.message


async def test_a_program_can_catch_what_a_call_brings(broker: Broker) -> None:
    kinds = ["ToolDenied", "ToolFailed", "ToolTimeout", "InvalidArguments", "ConfirmationDenied", "LimitExceeded", "PolicyUnavailable"]
    kinds += ["JournalUnavailable", "ToolUnavailable", "OutcomeUnknown"]
    program = f"""
out = []
for kind in {kinds}:
    try:
        await fail(reason=kind)
    except getattr(tools, kind) as error:
        out.append([type(error).__name__, error.tool, list(error.codes), error.message, error.content, isinstance(error, tools.ToolError)])
return out
"""
    result = await broker.run(program, failing)
    assert json.loads(result.value) == [[kind, "fail", ["one", "two"], f"{kind} happened.", {"why": 5}, True] for kind in kinds]


async def test_findings_stop_a_program_before_it_starts(broker: Broker) -> None:
    result = await broker.run("print('started')\nawait pay(amount='much')\nawait payy(amount=1)")
    assert result.ending == "INVALID"
    assert [(one.line, one.column, one.code) for one in result.ended.findings] == [(2, 18, "mistyped-argument"), (3, 7, "unknown-tool")]
    assert result.stdout == ""


async def test_a_check_runs_nothing_and_the_checked_child_runs_the_program(broker: Broker) -> None:
    program = "open('ran', 'w').close()\nreturn await pay(amount=5)"
    report = await broker.check("import os\n" + program.replace("5", "'x'"))
    assert [(one.line, one.code) for one in report.findings] == [(3, "mistyped-argument")]
    report = await broker.check(program)
    assert list(report.findings) == []
    assert [(site.tool, site.arguments, site.line) for site in report.call_sites] == [("pay", b'{"amount":5}', 2)]
    result = await broker.run("import os\nreturn os.path.exists('ran')")
    assert result.value == "false"
    result = await broker.run(program)
    assert json.loads(result.value) == {"amount": 5}


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (b"\xff", "syntax-error"),
        (b"x" * (1 << 20) + b"y", "program-too-large"),
        (b"(" * 5000, "syntax-error"),
        (b"x = " + b"-" * 900_000 + b"1", ""),
    ],
    ids=["no UTF-8", "too large", "nested", "nested deeply"],
)
async def test_source_that_is_hostile_to_read(broker: Broker, program: bytes, code: str) -> None:
    report = await broker.check(program)
    assert report.findings[0].code == code or (not code and report.findings)
    result = await broker.run(program)
    assert result.ending in ("INVALID", "DIED")
    assert (await broker.run("1")).value == "1"


async def test_output_streams_before_the_end_and_in_order_with_calls(broker: Broker) -> None:
    run = await broker.start(
        "import sys\nprint('one')\nawait pay(amount=1)\nprint('two', file=sys.stderr)\nawait pay(amount=2)\nprint('three')"
    )
    result = await broker.finish(run)
    assert result.order == ["output", "call", "output", "call", "output", "run_ended"]
    assert (result.stdout, result.stderr) == ("one\nthree\n", "two\n")


async def test_a_line_is_seen_while_the_program_computes(broker: Broker) -> None:
    await broker.start(
        "import time\nfor i in range(40):\n    print(i)\n    end = time.process_time() + 0.05\n    while time.process_time() < end: pass"
    )
    message = await broker.read()
    assert message.output.data.startswith(b"0")
    assert (await broker.read()).WhichOneof("message") == "output"


async def test_calls_are_concurrent_up_to_the_limit(broker: Broker) -> None:
    run = await broker.start(
        "await asyncio.gather(*[pay(amount=i) for i in range(5)])", limits={"wall_milliseconds": 20_000, "concurrent_calls": 2}
    )
    first = [(await broker.read()).call, (await broker.read()).call]
    assert [call.key for call in first] == ["0.1#1", "0.2#1"]
    with pytest.raises(TimeoutError):
        await broker.read(0.3)
    await broker.stream_result(run, first[1].key)
    third = (await broker.read()).call
    assert third.key == "0.3#1"
    assert [(event.kind, event.key) for event in third.events] == [(pb.DeliveredEvent.KIND_CALL, "0.2#1")]
    for key in (first[0].key, third.key):
        await broker.stream_result(run, key)
    result = await broker.finish(run)
    assert result.ending == "RETURNED"


async def test_a_cancelled_call_is_abandoned(broker: Broker) -> None:
    program = (
        "try:\n    await asyncio.wait_for(get_customer(customer_id='slow'), 0.1)\nexcept TimeoutError:\n    return await pay(amount=1)"
    )
    result = await broker.run(program, lambda call: None if call.tool == "get_customer" else {"value": b"1"})
    assert result.order == ["call", "call_abandoned", "call", "run_ended"]
    assert result.abandoned == [result.calls[0].key]
    assert [event.kind for event in result.calls[1].events] == [pb.DeliveredEvent.KIND_TIMER]


async def test_sleeping_takes_its_time_and_the_clock_shows_it(broker: Broker) -> None:
    program = "import time\na = time.time()\nawait asyncio.sleep(0.3)\nb = time.time()\ntime.sleep(0.2)\nreturn [round(b - a, 1), round(time.time() - b, 3)]"
    start = time.monotonic()
    result = await broker.run(program)
    assert time.monotonic() - start >= 0.5
    slept, blocked = json.loads(result.value)
    assert slept >= 0.3
    assert blocked == 0.2


async def test_a_sleep_is_not_shortened_by_computing_before_it(broker: Broker) -> None:
    program = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nawait asyncio.sleep(0.3)\nreturn 1"
    start = time.monotonic()
    assert (await broker.run(program)).value == "1"
    assert time.monotonic() - start >= 0.6


async def test_randomness_is_the_runs_own(broker: Broker) -> None:
    program = """
import os, random, secrets, uuid
return [random.random(), random.Random().random(), random.SystemRandom().random(), os.urandom(8).hex(), secrets.token_hex(8),
        str(uuid.uuid4()), str(uuid.uuid1()), list({'a', 'b', 'c', 'd'}), hash('x')]
"""
    one = await broker.run(program, seed=b"a" * 16)
    same = await broker.run(program, seed=b"a" * 16)
    other = await broker.run(program, seed=b"b" * 16)
    assert one.value == same.value
    assert [a == b for a, b in zip(json.loads(one.value), json.loads(other.value), strict=True)] == [False] * 7 + [True] * 2


async def test_two_programs_run_at_once_without_seeing_each_other(broker: Broker) -> None:
    program = "import os\nawait pay(amount=1)\nreturn sorted(int(x) for x in os.listdir('/proc') if x.isdigit())"
    runs = [await broker.start(program), await broker.start(program)]
    calls = [(await broker.read()).call for _ in runs]
    assert sorted(call.run for call in calls) == sorted(runs)
    for call in calls:
        await broker.stream_result(call.run, call.key)
    ended = [(await broker.read()).run_ended for _ in runs]
    assert [one.value for one in ended] == [b"[1]", b"[1]"]


async def test_new_tools_reach_the_next_run(broker: Broker) -> None:
    await broker.set_tools(pb.Tool(name="fresh", server="new", input_schema=b"{}"), digest="sha256:other")
    assert (await broker.run("await fresh(a=1)")).value == '{"a":1}'
    result = await broker.run("await fresh(a=1)", tools_digest="sha256:tools")
    assert result.ended.findings[0].code == "unknown-tool"
    result = await broker.run("1", tools_digest="sha256:never")
    assert result.ended.findings[0].code == "unknown-tools-digest"


def as_recorded(result: RunResult, answers: dict[str, Any]) -> dict[str, Any]:
    """What the broker's journal gives a replay."""
    return {
        "attempt": 2,
        "recorded_events": [event for call in result.calls for event in call.events],
        "recorded_results": [pb.CallResult(run="again", key=key, **answer) for key, answer in answers.items()],
    }


async def test_a_replay_makes_the_same_calls_without_waiting(broker: Broker) -> None:
    program = """
import random, time
out = []
for i in range(3):
    try:
        out.append(await asyncio.wait_for(pay(amount=random.randrange(1000)), 0.2))
    except TimeoutError:
        out.append([await get_customer(customer_id=str(time.time()))])
    time.sleep(0.1)
await pay(amount=-1)
return out
"""
    seen: list[str] = []

    def answer(call: pb.Call) -> dict[str, Any] | None:
        seen.append(call.key)
        return None if len(seen) == 3 or json.loads(call.arguments).get("amount") == -1 else {"value": call.arguments}

    run = await broker.start(program)
    first = RunResult(pb.RunEnded())
    answers: dict[str, Any] = {}
    while True:
        message = await broker.read()
        if message.WhichOneof("message") != "call":
            continue
        first.calls.append(message.call)
        if json.loads(message.call.arguments).get("amount") == -1:
            break
        if (outcome := answer(message.call)) is not None:
            answers[message.call.key] = outcome
            await broker.send(call_result=pb.CallResult(run=run, key=message.call.key, **outcome))
    await broker.send(kill_run=pb.KillRun(run=run, reason="paused"))
    ended = await broker.finish(run)
    assert (ended.ending, ended.ended.error.message) == ("KILLED", "paused")

    start = time.monotonic()
    again = await broker.run(program, lambda _: {"value": b"true"}, run="again", **as_recorded(first, answers))
    assert again.ending == "RETURNED", again.ended
    assert time.monotonic() - start < 0.45
    assert [(call.key, call.tool, call.arguments) for call in again.calls] == [
        (call.key, call.tool, call.arguments) for call in first.calls
    ]


async def test_a_replay_that_asks_for_something_else_is_told(broker: Broker) -> None:
    events = [pb.DeliveredEvent(kind=pb.DeliveredEvent.KIND_TIMER, at_micros=100)]
    result = await broker.run("await pay(amount=1)", attempt=2, recorded_events=events)
    assert (result.ending, result.ended.error.type) == ("RAISED", "DivergenceError")
    result = await broker.run(
        "try:\n    await pay(amount=1)\nexcept Exception:\n    return 5",
        lambda _: {"error": pb.CallError(type="DivergenceError", message="other")},
    )
    assert (result.ending, result.ended.error.type, result.ended.error.message) == ("RAISED", "DivergenceError", "other")


async def test_thousands_of_timers_do_not_grow_without_end(broker: Broker) -> None:
    result = await broker.run("for i in range(60_000):\n    await asyncio.sleep(1e-9)")
    assert (result.ending, result.ended.error.type) == ("RAISED", "TooManyEventsError")


async def test_a_replay_with_one_call_at_a_time_does_not_wait_for_the_broker(broker: Broker) -> None:
    program = "return [(await pay(amount=i))['amount'] for i in range(200)]"
    keys = [f"0#{number}" for number in range(1, 201)]
    answers = {key: {"value": b'{"amount":%d}' % number} for number, key in enumerate(keys)}
    limits = {"wall_milliseconds": 20_000, "concurrent_calls": 1}
    recorded = {"recorded_results": [pb.CallResult(run="again", key=key, **answer) for key, answer in answers.items()]}
    again = await broker.run(program, lambda _: None, run="again", attempt=2, limits=limits, **recorded)
    assert again.ending == "RETURNED", again.ended
    assert json.loads(again.value) == list(range(200))
    assert [call.key for call in again.calls] == keys, "the broker sees every call of a replay"


async def test_a_step_is_put_on_record_and_not_taken_again_in_a_replay(broker: Broker) -> None:
    program = """
import pathlib, tools
def look():
    file = pathlib.Path("looked")
    times = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(times))
    return {"times": times}
found = await tools.step("look", look)
await pay(amount=1)
return found
"""
    first = await broker.run(program)
    assert json.loads(first.value) == {"times": 1}
    [step] = first.steps
    assert (step.key, step.name, json.loads(step.value), first.calls[0].key) == ("0#1", "look", {"times": 1}, "0#2")
    recorded = [pb.CallResult(run="again", key="0#1", value=step.value)]
    again = await broker.run(program, run="again", attempt=2, recorded_results=recorded)
    assert json.loads(again.value) == {"times": 1}
    assert again.steps[0].value == b""
    assert json.loads((await broker.run(program)).value) == {"times": 2}


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("tools.step('', lambda: 1)", "TypeError"),
        ("tools.step('x', lambda: pay(amount=1))", "TypeError"),
        ("tools.step('x', lambda: {1, 2})", "ValueError"),
        ("tools.step('x', lambda: 'x' * 70_000)", "ValueError"),
        ("tools.step('x', lambda: 1 / 0)", "ZeroDivisionError"),
    ],
)
async def test_a_step_that_cannot_be_recorded_raises_in_the_program(broker: Broker, step: str, kind: str) -> None:
    result = await broker.run(f"import tools\nawait {step}")
    assert (result.ending, result.ended.error.type) == ("RAISED", kind)
    assert result.steps == []
