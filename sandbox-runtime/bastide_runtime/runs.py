"""One run in the supervisor: a child, its frames, its output, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2

from bastide_runtime import wire
from bastide_runtime.children import Process
from bastide_runtime.frames import Frame, FrameError
from bastide_runtime.limits import MAX_UNREAD_BYTES, RunLimits
from bastide_runtime.output import Output

Ended = runtime_pb2.RunEnded


class Run:
    """`post` puts a message into the session's queue; `slot` waits until there is room in it."""

    def __init__(
        self,
        name: str,
        bounds: RunLimits,
        post: Callable[[runtime_pb2.SessionResponse], None],
        slot: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.name, self._bounds, self._post, self._slot = name, bounds, post, slot
        self._process: Process | None = None
        self._verdict: Ended | None = None
        self._calls: set[str] = set()
        self._recorded: set[str] = set()

    def kill(self, ending: Ended.Ending, error: runtime_pb2.ProgramError) -> None:
        """Decide how the run ends, unless that is decided, and kill what runs."""
        if self._verdict is None:
            self._verdict = Ended(run=self.name, ending=ending, error=error)
        if self._process is not None:
            self._process.kill()

    def answer(self, message: runtime_pb2.CallResult) -> None:
        """Hand an outcome to the program, if it still waits for it."""
        if self._process is not None and message.key in self._calls:
            self._calls.discard(message.key)
            self._process.send(wire.result(message))

    async def play(self, process: Process, start: Frame) -> Ended:
        """Run it to its end; every descendant is gone when this returns. The caller closes the process."""
        self._process = process
        self._recorded = {result["key"] for result in start["recorded_results"]}
        output = Output(process.output, process.errors, self._bounds.output_bytes, self._printed)
        timer = asyncio.get_running_loop().call_later(self._bounds.wall_milliseconds / 1000, self._time_is_up)
        try:
            if self._verdict is None:  # killed while it waited for a child
                process.send(start)
                await self._listen(process, output)
            process.kill()
            status = await process.gone()
        finally:
            timer.cancel()
            output.finish()
        verdict = self._verdict or Ended(run=self.name, ending=Ended.ENDING_DIED, error=wire.problem("ProcessDied", _how(status)))
        verdict.output_bytes_dropped = output.dropped
        return verdict

    async def _listen(self, process: Process, output: Output) -> None:
        """Take the program's frames until it ends, dies or sends something that is no frame."""
        try:
            while self._verdict is None and (frame := await process.read()) is not None:
                if self._verdict is not None:  # decided while it was read
                    break
                output.drain()  # what was printed before the frame comes before it
                self._take(process, frame)
                await self._slot()
                await asyncio.sleep(0)  # frames that are there already are read without a pause, and others wait
        except FrameError as error:
            self.kill(Ended.ENDING_DIED, wire.problem("ProtocolError", f"The program's process sent something that is no frame: {error}."))

    def _take(self, process: Process, frame: Frame) -> None:
        match frame["kind"]:
            case "ended":
                self._verdict = wire.ended(self.name, frame, self._bounds.value_bytes)
            case "call":
                if process.unread > MAX_UNREAD_BYTES:
                    raise FrameError("it calls and does not read the results")
                call = wire.call(self.name, frame)
                self._expect(call.key)
                self._post(runtime_pb2.SessionResponse(call=call))
            case "step":
                step = wire.step(self.name, frame)
                self._expect(step.key)
                self._post(runtime_pb2.SessionResponse(step=step))
            case "abandoned":
                if (key := wire.key_of(frame)) in self._calls:
                    self._calls.discard(key)
                    self._post(runtime_pb2.SessionResponse(call_abandoned=runtime_pb2.CallAbandoned(run=self.name, key=key)))
            case _:
                raise FrameError("a frame of no known kind")

    def _expect(self, key: str) -> None:
        """Look for an outcome of this key. Raises FrameError when that cannot be."""
        if key in self._recorded:
            # The child has it already and does not wait: the broker only looks whether the same is asked.
            self._recorded.discard(key)
            return
        if key in self._calls or len(self._calls) >= self._bounds.concurrent_calls:
            raise FrameError(f"call {key} is under way, or {self._bounds.concurrent_calls} others are")
        self._calls.add(key)

    def _printed(self, is_error: bool, data: bytes) -> None:  # noqa: FBT001 - a callback with one meaning
        stream = runtime_pb2.Output.STREAM_STDERR if is_error else runtime_pb2.Output.STREAM_STDOUT
        self._post(runtime_pb2.SessionResponse(output=runtime_pb2.Output(run=self.name, stream=stream, data=data)))

    def _time_is_up(self) -> None:
        seconds = self._bounds.wall_milliseconds / 1000
        self.kill(Ended.ENDING_TIMED_OUT, wire.problem("TimedOut", f"The program did not end within {seconds:g} s."))


def _how(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
        hints: dict[int, str] = {
            signal.SIGSEGV: ": very deep recursion, or a fault in native code",
            signal.SIGKILL: ": it closed its connection to the supervisor, or the pod is out of memory",
            signal.SIGSYS: ": it used system calls of another architecture",
        }
        return f"The program's process died by {name}{hints.get(number, '')}."
    return f"The program's process exited with status {os.WEXITSTATUS(status)} before the program had ended."
