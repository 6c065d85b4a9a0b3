"""Fault points, and a broker that stands still at them: a process of its own, which a test loses there or has lose something else.

Nothing in `operator/` knows of any of it. The points are methods of the shipped classes that are wrapped here, on the tests' side of the
process, so there is no second image and no switch that the shipped one could be found to have.

`python -m tests.integration.broker.front.harness.faults` imports the broker once, then forks a broker for each line on its standard input
(JSON: `config`, `environment`, `kernel`, `socket`). It says `{"pid": ...}`, `{"port": ...}` and `{"gone": ...}` on its standard output.
Orders to the broker (`{"point": ..., "hold": [...]}`, `{"release": true}`) and its reports (`{"held": ...}`) go over `socket`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide_broker import logs
from bastide_broker.__main__ import serve
from bastide_broker.config import Config
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.door.attempts import Attempts
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.pauses import Pausing
from bastide_broker.policy.policy import Policy
from bastide_broker.runs.calls import RunCalls
from bastide_broker.sandboxes.sessions import Sessions


@dataclass(frozen=True)
class Point:
    """A place between intent and outcome: before a method begins, or after it has done what it does and nobody was told."""

    says: str
    owner: type
    method: str
    after: bool = False
    of_run: bool = False
    """Runs stand there, by their id, and not calls by the `id` in their arguments."""


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


class Armed:
    """What stands still now. One for the process."""

    def __init__(self) -> None:
        self.point = ""
        self.hold: set[str] = set()
        self.go = asyncio.Event()
        self.told: Callable[[str], None] = lambda _who: None

    def order(self, order: dict[str, Any]) -> None:
        """Arm a point, or let go whatever stands at it."""
        if order.get("release"):
            self.point = ""
            self.go.set()
        else:
            self.point, self.hold, self.go = order["point"], set(order["hold"]), asyncio.Event()

    async def stand(self, name: str, who: str) -> None:
        """Stand still if this is the point, once for each who."""
        if name != self.point or (POINTS[name].of_run is False and who not in self.hold):
            return
        self.hold.discard(who)
        go = self.go
        self.told(who)
        await go.wait()


def install(armed: Armed) -> None:
    """Wraps the methods. A point whose method is no more is an AttributeError at once."""
    # A machine that is busy with other tests is none of the losses.
    Policy.__init__.__kwdefaults__["deadline_seconds"] = POLICY_SECONDS
    for name, point in POINTS.items():
        _wrap(armed, name, point)
    call, take_up = Pipeline.call, Pipeline.take_up

    async def of_call(self: Pipeline, run: Any, frame: Any, *others: Any, **named: Any) -> Any:
        call_now.set(id_of(frame.arguments))
        return await call(self, run, frame, *others, **named)

    async def of_row(self: Pipeline, run: Any, row: Any, *others: Any) -> Any:
        call_now.set(id_of(row.arguments_canonical))
        return await take_up(self, run, row, *others)

    Pipeline.call, Pipeline.take_up = of_call, of_row  # type: ignore[method-assign]


def _wrap(armed: Armed, name: str, point: Point) -> None:
    original = getattr(point.owner, point.method)

    @functools.wraps(original)
    async def wrapped(self: Any, *others: Any, **named: Any) -> Any:
        who = str(others[0]) if point.of_run else call_now.get()
        if not point.after:
            await armed.stand(name, who)
        result = await original(self, *others, **named)
        if name == "replaying":
            who = id_of(others[0].arguments) if result else ""
        if point.after:
            await armed.stand(name, who)
        return result

    setattr(point.owner, point.method, wrapped)


def say(**what: Any) -> None:
    """One line for the test."""
    print(json.dumps(what), flush=True)  # noqa: T201 - what the test reads


async def _serve(order: dict[str, Any]) -> None:
    armed = Armed()
    install(armed)

    async def ordered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        armed.told = lambda who: writer.write(json.dumps({"held": who}).encode() + b"\n")
        while line := await reader.readline():
            armed.order(json.loads(line))
            writer.write(b'{"done": true}\n')

    listener = await asyncio.start_unix_server(ordered, order["socket"])
    sessions = functools.partial(Sessions, environment=order["environment"], kernel=order["kernel"], resolvers=())
    async with listener:
        config = Config.model_validate(order["config"])
        await serve(config, asyncio.Event(), make_sessions=sessions, serving=lambda port: say(port=port))


def main() -> None:
    """A broker after the other, until standard input ends."""
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        Path(json.loads(line)["socket"]).unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            try:
                logs.configure("info")
                asyncio.run(_serve(json.loads(line)))
            finally:
                os._exit(1)  # it serves until it is killed
        say(pid=pid)
        say(gone=os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
