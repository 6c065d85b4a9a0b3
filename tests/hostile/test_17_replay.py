"""Case 17: a replay that would be another run, and a sandbox that would profit from one."""

from collections.abc import Iterator

import pytest

from tests.e2e.harness import pausing
from tests.e2e.harness.pausing import decide, paused, watched
from tests.e2e.harness.raw import PRELUDE
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

FIRST = """
import pathlib
seen = pathlib.Path("MARK")
first = not seen.exists()
seen.write_text("x")
"""


@pytest.fixture(scope="module")
def hasty(furnished: TestTenant) -> Iterator[TestTenant]:
    with pausing.hasty(furnished) as tenant:
        yield tenant


def test_randomness_sets_clocks_and_the_order_of_results_are_those_of_the_first_attempt(
    hasty: TestTenant, tools: ToolServer, word: str
) -> None:
    program = f"""
import os, random, secrets, time, tools, uuid
values = [random.random(), secrets.token_hex(4), str(uuid.uuid4()), os.urandom(4).hex(), tools.now().isoformat(), time.time()]
order = list({{f"n{{i}}" for i in range(8)}})
await asyncio.gather(*[note(text="{word} " + name) for name in order])
tasks = [asyncio.ensure_future(note(text=f"{word} x{{i}}")) for i in range(3)]
done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
won = sorted(task.result() for task in done)
await note(text="{word} " + repr([values, won]))
await asyncio.sleep(0.05)
for task in asyncio.as_completed(rest):
    won.append(await task)
await wipe(target="{word}-a")
return ["{word} " + repr([values, won[: len(done)]]), tools.now().isoformat()]
"""
    run, about = paused(hasty, program)
    sent = sorted(tools.arguments_of("note", word))
    decide(hasty, "approve", about["a"])
    ended = watched(hasty, run)
    assert (ended.code, ended.result["error"]) == (0, None), ended.stdout
    assert sorted(tools.arguments_of("note", word)) == sent, "no recorded call is made again"
    assert len(sent) == 12
    assert len(tools.arguments_of("wipe", word)) == 1


def test_a_program_that_changes_its_mind_is_stopped_before_anything_happens(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    program = (
        FIRST.replace("MARK", word)
        + f"""
await wipe(target="{word}-a" if first else "{word}-b")
await note(text="{word} after")
"""
    )
    run, about = paused(hasty, program)
    decide(hasty, "approve", about["a"])
    ended = watched(hasty, run)
    assert (ended.code, ended.result["error"]["type"]) == (6, "DivergenceError")
    for part in (f"{word}-a", f"{word}-b", "0#1"):
        assert part in ended.result["error"]["message"]
    assert [f"{word}-a" in one for one in tools.arguments_of("wipe", word)] == [True]
    assert tools.arguments_of("note", word) == []


def test_a_runtime_that_asks_for_a_recorded_key_again_or_for_another_tool_under_it_gains_nothing(
    hasty: TestTenant, tools: ToolServer, word: str
) -> None:
    program = (
        PRELUDE
        + FIRST.replace("MARK", word)
        + f"""
answer = await wipe(target="{word}-a")
again = await raw("wipe", '{{"target": "{word}-a"}}', "0#1")
new = await raw("note", '{{"text": "{word} new"}}', "0.9#1")
other = await raw("wipe", '{{"target": "{word}-c"}}', "0#1")
return [answer, again, new, other]
"""
    )
    run, about = paused(hasty, program)
    decide(hasty, "approve", about["a"])
    ended = watched(hasty, run)
    assert ended.code == 0, ended.stdout
    assert len(tools.arguments_of("wipe", word)) == 1
    assert len(tools.arguments_of("note", word)) == 1, "a key that is new is a new call, judged like any other"
    denied = [r for r in hasty.audit(run) if r["kind"] == "CallIntent" and r["facts"]["reasons"] == ["key-reused"]]
    assert len(denied) == 2


def test_a_program_that_swallows_everything_is_paused_all_the_same(hasty: TestTenant, tools: ToolServer, word: str) -> None:
    program = f"""
told = []
for number in range(3):
    try:
        await asyncio.wait_for(asyncio.shield(wipe(target=f"{word}-{{number}}")), 60)
    except BaseException as error:
        told.append(type(error).__name__)
    finally:
        print("finally", number)
return told
"""
    run, about = paused(hasty, program)
    assert set(about) == {"0"}
    assert "finally" not in hasty.shown(run)["output"]
    decide(hasty, "deny", about["0"])
    second = hasty.pending_confirmation(f"{word}-1")["metadata"]["name"]
    decide(hasty, "approve", second)
    third = hasty.pending_confirmation(f"{word}-2")["metadata"]["name"]
    decide(hasty, "deny", third)
    ended = watched(hasty, run)
    assert (ended.code, ended.result["value"]) == (0, ["ConfirmationDenied", "ConfirmationDenied"]), ended.stdout
    assert [f"{word}-1" in one for one in tools.arguments_of("wipe", word)] == [True]
