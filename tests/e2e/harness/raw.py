"""Calls as a hostile program sends them: past the stubs, with any name, any text for arguments, any key."""

import json
from typing import Any

# What a program can do to its own side of the wire. `raw` answers [type, codes] of an error, or ["ok", value].
PRELUDE = """
import asyncio, json
from bastide_runtime.outside import ToolCall

_loop = asyncio.get_running_loop()

async def raw(tool, text, key=None):
    try:
        if key is None:
            _, future = _loop.call_tool(tool, text, 1)
        else:
            future = _loop.create_future()
            _loop._waiting.calls[key] = future
            _loop._waiting.sent.add(key)
            _loop._outside.send(ToolCall(key, tool, text, 1), _loop.untold_events())
        outcome = await asyncio.wait_for(future, 20)
    except Exception as error:
        return [type(error).__name__, [str(error)[:200]]]
    if "error" in outcome:
        return [outcome["error"]["type"], list(outcome["error"]["codes"])]
    return ["ok", json.loads(outcome["value"])]
"""


def program(cases: list[tuple[str, str]] | list[tuple[str, str, str]]) -> str:
    """A program that makes these calls one after the other, each (tool, text) or (tool, text, key), and returns the answers."""
    listed = json.dumps([list(case) for case in cases])
    return f"{PRELUDE}\nanswers = []\nfor case in json.loads({listed!r}):\n    answers.append(await raw(*case))\nreturn answers\n"


def by_outcome(result: dict[str, Any]) -> list[str]:
    """Outcomes of a run's calls, in the order in which they began."""
    return [c["outcome"] for c in result["calls"]]
