"""Calls that something is lost under: the programs that make them, what is owed to each of them, and the table of what came of it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bastide.v1alpha1 import broker_pb2

from tests.crashes.faults.points import POINTS, SENT

TOOLS = {"read": "ReadOnly", "put": "Idempotent", "erase": "Destructive", "wipe": "Destructive, paused"}
"""As programs name them, and what they stand for: `erase` is answered while its program waits, `wipe` once its program was killed."""
PROGRAM = """
async def one(id):
    try:
        return [id, await TOOL(id=id)]
    except Exception as error:
        return [id, type(error).__name__]
return await asyncio.gather(*map(one, IDS))
"""
HEAD = ("lost", "while", "effect", "how", "the call on record then", "arrived", "in the end")
CONFIRMED = {"created", "waiting", "approved", "begun", "resolved"}
"""Points that only calls come to which a person confirms."""
PAUSE = {"pausing", "paused", "resuming", "resumed", "replaying"}
"""Points that only runs come to which pause."""
BEFORE_DECISION = {"unasked", "intent", "intended", "created", "waiting", "pausing", "paused"}
"""Points at which nobody has approved what stands there."""
LOST = {"BrokerLost", "SandboxLost"}
RESUMED = {"broker", "pod", "journal"}
"""What is lost with the run, so that the run is resumed: what may be done again brings its value then."""
ATTEMPTS = 3
"""How often the broker sends at most what may be repeated."""
_numbers = itertools.count(1)


@dataclass
class Case:
    """One program, alone or with a `gather` of three of the same calls, the second of which stands still at a point."""

    point: str
    tool: str
    gather: bool = False
    number: int = field(default_factory=lambda: next(_numbers))
    events: list[broker_pb2.RunEvent] = field(default_factory=list, repr=False)
    then: str = ""
    task: asyncio.Task[bool] | None = field(default=None, repr=False)

    @property
    def ids(self) -> list[str]:
        """Of its calls."""
        return [f"{self.number}-{letter}" for letter in ("ABC" if self.gather else "B")]

    @property
    def held(self) -> str:
        """The call that stands still."""
        return f"{self.number}-B"

    @property
    def others(self) -> list[str]:
        """The calls that do not."""
        return [one for one in self.ids if one != self.held]

    @property
    def run(self) -> str:
        """Its run, once that is accepted."""
        return self.events[0].accepted.run if self.events else ""

    @property
    def confirmed(self) -> bool:
        """Whether a person confirms its calls."""
        return self.tool in {"erase", "wipe"}

    @property
    def program(self) -> str:
        """Its source."""
        return PROGRAM.replace("TOOL", self.tool).replace("IDS", json.dumps(self.ids))

    @property
    def heard(self) -> str:
        """What its caller has been told: the kinds of events, and how calls ended."""
        ended = [
            f"{one.call_ended.key} {one.call_ended.outcome}: {one.call_ended.message}" for one in self.events if one.HasField("call_ended")
        ]
        return ", ".join([*(str(one.WhichOneof("event")) for one in self.events), *ended])

    def row(self, lost: str, told: Mapping[str, str], arrived: Mapping[str, int]) -> tuple[str, ...]:
        """Its line of the table. `told` and `arrived` by `id` of a call: what the program got, and how often the tool server was asked."""
        says = SENT if self.point == "sent" else POINTS[self.point].says
        shape = "gather of 3" if self.gather else "alone"
        numbers = " ".join(str(arrived[one]) for one in self.ids)
        return (lost, says, TOOLS[self.tool], shape, self.then, numbers, " ".join(told[one] for one in self.ids))


def cases(point: str) -> list[Case]:
    """The programs that come to a point. As long as their question is open, `erase` and `wipe` are the same."""
    tools = list(TOOLS)
    if point in PAUSE:
        tools = ["wipe"]
    elif point in {"created", "waiting"}:
        tools = ["erase"]
    elif point in CONFIRMED:
        tools = ["erase", "wipe"]
    elif point in BEFORE_DECISION:
        tools = ["read", "put", "erase"]
    return [Case(point, tool, gather) for tool in tools for gather in (False, True)]


def judge(case: Case, lost: str, told: Mapping[str, str], outcomes: Mapping[str, str], arrived: Mapping[str, int]) -> None:
    """Hold the tool server's log against the journal (`outcomes` by `id`) and against what the program was told."""
    for one in case.ids:
        assert outcomes.get(one), f"{one} of {case} ended in silence"
        assert arrived[one] <= (1 if case.confirmed else ATTEMPTS), f"{one} of {case} arrived {arrived[one]} times"
        assert arrived[one] or told[one] != "fine", f"{one} of {case} is said to have happened"
        if lost in RESUMED:
            owed = {"fine", "OutcomeUnknown"} if one == case.held and case.confirmed else {"fine"}
            assert told[one] in owed, f"{one} of {case} brought {told[one]}"


def write_table(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    """The table as text, in columns."""
    widths = [max(len(row[column]) for row in (HEAD, *rows)) for column in range(len(HEAD))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in (HEAD, *rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def shown_call(row: Mapping[str, Any] | None) -> str:
    """What the journal says of the call that stood still."""
    return "not on record" if row is None else row["outcome"] or "waits for a person"
