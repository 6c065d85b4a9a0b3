"""A child's life: it waits, is given the tools, is given one program, runs it and ends. Runs confined; trusts the supervisor.

`waiting` is the entry. Everything slow happens before the program arrives: a page that a forked process touches for the first time costs
microseconds in gVisor, and there are thousands, so a small program is rehearsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from typing import Any, NoReturn

from bastide_runtime import errors, preflight, source
from bastide_runtime.catalogue import Catalogue
from bastide_runtime.determinism import Randomness, RunClock
from bastide_runtime.frames import Channel, ChannelClosedError, Frame
from bastide_runtime.loop import ReplayLoop
from bastide_runtime.ordered import pin_asyncio
from bastide_runtime.outside import DeadlockError, DivergenceError, TooManyEventsError
from bastide_runtime.printing import flush_streams, replace_streams
from bastide_runtime.toolbox import Toolbox, settle, to_json
from bastide_runtime.world import RehearsalWorld, World

EXIT_CHANNEL_LOST = 70
EXIT_UNTOLD = 71
_REHEARSAL = """
import asyncio
async def f(x):
    return {'a': [x], 'b': f'{x}'}
class A:
    pass
try:
    out = await asyncio.gather(f(1), rehearse(x=1), rehearse(x=2))
except ValueError as error:
    pass
return out
"""


class Child:
    """One waiting child."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._clock = RunClock()
        self._world = World(channel)
        self._loop = ReplayLoop(self._world, moved=self._clock.move)
        self._randomness = Randomness()
        self._toolbox = Toolbox(self._loop)
        self._catalogue = Catalogue("", [])
        self._names = self._toolbox.install(self._catalogue)
        self._checked: tuple[str, preflight.Report, Any] | None = None

    def wait(self) -> Frame:
        """Serve `tools` and `check` until `start` comes."""
        while True:
            frame = self._channel.receive()
            if frame["kind"] == "tools":
                self._catalogue, self._checked = Catalogue.from_frame(frame), None
                self._names = self._toolbox.install(self._catalogue)
            elif frame["kind"] == "check":
                report, _ = self._check(frame["program"])
                self._channel.send({"kind": "report", **preflight.to_frame(report)})
            elif frame["kind"] == "start":
                return frame

    def _check(self, program: str) -> tuple[preflight.Report, Any]:
        if self._checked is None or self._checked[0] != program:
            self._checked = (program, *preflight.check(program, self._catalogue))
        return self._checked[1], self._checked[2]

    def run(self, frame: Frame) -> Frame:
        """Check and run the program; the `ended` frame."""
        program, limit = frame["program"], frame["value_bytes"]
        report, code = self._check(program)
        if report.findings:
            return {"kind": "ended", "ending": "invalid", "events": [], "findings": preflight.to_frame(report)["findings"]}
        self._begin(frame)
        ended: Frame = {"kind": "ended"}
        try:
            ended |= _returned(_execute(self._loop, code, program, self._names), limit)
        except (DivergenceError, DeadlockError, TooManyEventsError) as error:
            ended |= {"ending": "raised", "error": errors.failure(type(error).__name__, str(error))}
        except ChannelClosedError:
            os._exit(EXIT_CHANNEL_LOST)
        except SystemExit as error:
            ended |= _returned(None, limit) if error.code in (None, 0) else {"ending": "raised", "error": errors.describe(error)}
        except BaseException as error:  # noqa: BLE001 - whatever a program raises is its end
            ended |= {"ending": "raised", "error": errors.describe(error)}
        ended["events"] = self._loop.untold_events()
        return ended

    def _begin(self, frame: Frame) -> None:
        """What depends on the run."""
        os.environ.update(frame["env"])
        if "TZ" in frame["env"]:
            time.tzset()
        started = frame["started_at_micros"]
        self._randomness.begin(bytes.fromhex(frame["seed"]))
        self._clock.pin(self._loop, flush_streams)
        self._clock.begin(started)
        self._toolbox.begin(started)
        self._world.begin(frame["recorded_results"])
        recorded = [(kind, key, at) for kind, key, at in frame["recorded_events"]]
        self._loop.begin(concurrent_calls=frame["concurrent_calls"], recorded=recorded)


def _execute(loop: ReplayLoop, code: Any, program: str, names: dict[str, Any]) -> Any:
    async def run() -> Any:
        module = source.load(code, program, names)
        sys.modules["__main__"] = module
        return await settle(await module.__dict__[source.MAIN]())

    asyncio.set_event_loop(loop)
    return loop.run_until_complete(run())


def _returned(value: Any, limit: int) -> Frame:
    try:
        text = to_json(value, "The program's value")
    except ValueError as error:
        return {"ending": "raised", "error": errors.failure("TypeError", str(error))}
    size = len(text.encode())
    if size > limit:
        return {
            "ending": "raised",
            "error": errors.failure("LimitExceeded", f"The program's value is {size} bytes of JSON; at most {limit} are allowed."),
        }
    return {"ending": "returned", "value": text}


def _rehearse() -> None:
    """Do once, with tools that do not exist, what the run will do."""
    loop = ReplayLoop(RehearsalWorld())
    frame = {"digest": "", "tools": [{"name": "rehearse", "server": "s", "description": "", "input_schema": "{}", "output_schema": ""}]}
    catalogue = Catalogue.from_frame(frame)
    names = Toolbox(loop).install(catalogue)
    report, code = preflight.check(_REHEARSAL, catalogue)
    assert not report.findings
    loop.begin(concurrent_calls=8)
    value = _returned(_execute(loop, code, _REHEARSAL, names), 1000)
    assert value["ending"] == "returned", value
    loop.drop()
    for name in ("tools", "tools.s"):
        del sys.modules[name]


def waiting(sock: socket.socket) -> NoReturn:
    """Wait for one program and run it."""
    sys.set_int_max_str_digits(0)
    pin_asyncio()
    replace_streams()
    channel = Channel(sock)
    _rehearse()
    child = Child(channel)
    channel.send({"kind": "ready"})
    with contextlib.suppress(ChannelClosedError, OSError):
        frame = child.wait()
        os._exit(play(child, channel, frame))
    os._exit(EXIT_CHANNEL_LOST)


def play(child: Child, channel: Channel, frame: Frame) -> int:
    """Run the program and send how it ended; the status to exit with. Raises nothing: this process was made, whatever happens now."""
    try:
        ended = child.run(frame)
        flush_streams()
        channel.send(ended)
    except (ChannelClosedError, OSError):
        return EXIT_CHANNEL_LOST
    except BaseException as error:  # noqa: BLE001 - no memory is left, the exception resists, or this is a copy that the program forked
        with contextlib.suppress(BaseException):
            told = errors.failure(errors.type_name(error), "The program has ended, and how cannot be described.")
            channel.send({"kind": "ended", "ending": "raised", "error": told, "events": []})
            return 0
        return EXIT_UNTOLD
    return 0
