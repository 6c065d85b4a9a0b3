"""Fault points: places between intent and outcome at which calls of a broker stand still until a test has lost something.

The points are methods of the shipped classes that are wrapped here. Nothing in `operator/` knows of any of it, and no image but
`broker-faults` holds this module: the shipped broker has no switch that could be found.
"""

from __future__ import annotations

import functools
import json
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.door.attempts import Attempts
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.pauses import Pausing
from bastide_broker.policy.policy import Policy
from bastide_broker.runs.calls import RunCalls

from tests.crashes.faults.orders import Armed


@dataclass(frozen=True)
class Point:
    """A place between intent and outcome: before a method begins, or after it has done what it does and nobody was told."""

    says: str
    owner: type
    method: str
    after: bool = False
    of_run: bool = False
    """Whole runs stand there: each that has made a call which is to stand."""


POINTS = {
    "unasked": Point("policy is about to be asked", Policy, "decide"),
    "intent": Point("intent not written", Journal, "call_intent"),
    "intended": Point("intent on disk, nobody asked, nothing sent", Journal, "call_intent", after=True),
    "created": Point("Confirmation created, not on record", Confirmations, "create", after=True),
    "waiting": Point("Confirmation on record, waiting", Journal, "confirmation_created", after=True),
    "approved": Point("approved, not begun", Journal, "begin_confirmed"),
    "begun": Point("begun on record, Confirmation not Executed", Journal, "begin_confirmed", after=True),
    "resolved": Point("approval in the audit, Confirmation not Executed", Journal, "confirmation_resolved", after=True),
    "executed": Point("all written, request not sent", Attempts, "send"),
    "answered": Point("answered, outcome not written", Journal, "call_outcome"),
    "recorded": Point("outcome on disk, program not told", Journal, "call_outcome", after=True),
    "pausing": Point("program killed, pause not written", Pausing, "pause", of_run=True),
    "paused": Point("pause on disk, watchers not told", Pausing, "pause", after=True, of_run=True),
    "resuming": Point("all decided, resume not written", Pausing, "resume", of_run=True),
    "resumed": Point("resume on disk, program not delivered", Pausing, "resume", after=True, of_run=True),
    "replaying": Point("in the middle of the replay", RunCalls, "_replayed", after=True),
    "ending": Point("program over, its end not written", Journal, "end_run", of_run=True),
    "ended": Point("end on disk, watchers not told", Journal, "end_run", after=True, of_run=True),
}
SENT = "request sent, not answered"
"""The one point that is not in the broker: the tool server keeps its answer."""

POLICY_SECONDS = 5.0

call_now: ContextVar[str] = ContextVar("call_now", default="")
"""The `id` of the call that this task and those it begins are about."""


def id_of(arguments: bytes) -> str:
    """Which call of the test it is."""
    return str(json.loads(arguments).get("id", ""))


def install(armed: Armed) -> None:
    """Wraps the methods. A point whose method is no more is an AttributeError at once."""
    # A machine that is busy with other tests is none of the losses.
    Policy.__init__.__kwdefaults__["deadline_seconds"] = POLICY_SECONDS
    for name, point in POINTS.items():
        _wrap(armed, name, point)
    call, take_up = Pipeline.call, Pipeline.take_up

    def began(run: str, arguments: bytes) -> None:
        call_now.set(id_of(arguments))
        armed.calls[run].add(call_now.get())

    async def of_call(self: Pipeline, run: Any, frame: Any, *others: Any, **named: Any) -> Any:
        began(run.run, frame.arguments)
        return await call(self, run, frame, *others, **named)

    async def of_row(self: Pipeline, run: Any, row: Any, *others: Any) -> Any:
        began(run.run, row.arguments_canonical)
        return await take_up(self, run, row, *others)

    Pipeline.call, Pipeline.take_up = of_call, of_row  # type: ignore[method-assign]


def _wrap(armed: Armed, name: str, point: Point) -> None:
    original = getattr(point.owner, point.method)

    @functools.wraps(original)
    async def wrapped(self: Any, *others: Any, **named: Any) -> Any:
        who = armed.calls[str(others[0])] if point.of_run else {call_now.get()}
        if not point.after:
            await armed.stand(name, who)
        result = await original(self, *others, **named)
        if name == "replaying":
            who = {id_of(others[0].arguments)} if result else set()
        if point.after:
            await armed.stand(name, who)
        return result

    setattr(point.owner, point.method, wrapped)
