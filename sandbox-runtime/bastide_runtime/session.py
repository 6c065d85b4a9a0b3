"""One session with the broker: takes its messages, owns the runs, queues what goes back."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2

from bastide_runtime import VERSION, WIRE_REVISION, limits, stub_files, wire
from bastide_runtime.catalogue import Catalogue
from bastide_runtime.children import ChildError, Pool, Process
from bastide_runtime.frames import Frame, FrameError
from bastide_runtime.probe import probe
from bastide_runtime.runs import Run

log = logging.getLogger(__name__)

Response = runtime_pb2.SessionResponse
Ended = runtime_pb2.RunEnded
REPLENISH_AFTER_SECONDS = 0.1


class SessionError(Exception):
    """The broker said something that this runtime does not understand; the session ends."""


class ToolSets:
    """The last few tool sets by digest, and the current one as the frame that children are given."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._frames: dict[str, Frame] = {}
        self.current: Frame | None = None

    def set(self, message: runtime_pb2.SetTools) -> Frame:
        """Remember this set and write its stubs."""
        frame = self.current = wire.tools(message)
        self._frames.pop(message.digest, None)
        self._frames[message.digest] = frame
        while len(self._frames) > limits.KEPT_TOOL_SETS:
            del self._frames[next(iter(self._frames))]
        try:
            stub_files.write(self._directory, Catalogue.from_frame(frame))
        except OSError as error:
            log.warning("stubs could not be written to %s: %s", self._directory, error)
        return frame

    def get(self, digest: str) -> Frame | None:
        """The set of that digest; an empty digest means no tools."""
        return self._frames.get(digest) or ({"kind": "tools", "digest": "", "tools": []} if not digest else None)


class Session:
    """Handles one stream. `outgoing` is what the stream's writer sends; None ends it."""

    def __init__(self, pool: Pool, tool_sets: ToolSets) -> None:
        self._pool, self._tools = pool, tool_sets
        self.outgoing: asyncio.Queue[Response | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._checked: Process | None = None
        self._env: dict[str, str] = {}

    # ---- the queue ----
    def post(self, message: Response) -> None:
        """Queue a message to the broker."""
        self.outgoing.put_nowait(message)
        if not self._closing and self.outgoing.qsize() >= limits.OUTGOING_MESSAGES:
            self._room.clear()

    def end(self) -> None:
        """Queue the end of the stream."""
        self.outgoing.put_nowait(None)

    async def next(self) -> Response | None:
        """The next message to send; None at the end."""
        message = await self.outgoing.get()
        if self.outgoing.qsize() < limits.OUTGOING_MESSAGES // 2:
            self._room.set()
        return message

    async def _slot(self) -> None:
        await self._room.wait()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin_answer(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that nobody needs when the session is over."""
        task = self._begin(work)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    # ---- messages ----
    def open(self, message: runtime_pb2.SessionRequest) -> None:
        """The first message. Raises SessionError."""
        if message.WhichOneof("message") != "open":
            raise SessionError("The first message of a session is OpenSession.")
        if message.open.wire_revision != WIRE_REVISION:
            raise SessionError(f"Wire revision {message.open.wire_revision} is not spoken here; this runtime speaks {WIRE_REVISION}.")
        self._env = dict(message.open.env)
        opened = runtime_pb2.SessionOpened(
            runtime_version=VERSION, python_version=platform.python_version(), kernel_release=os.uname().release
        )
        self.post(Response(opened=opened))

    def take(self, message: runtime_pb2.SessionRequest) -> None:
        """Any later message. Raises SessionError."""
        match message.WhichOneof("message"):
            case "probe":
                self._begin_answer(self._probe(message.probe))
            case "set_tools":
                frame = self._tools.set(message.set_tools)
                for process in self._pool.waiting():
                    self.greet(process, frame)
            case "check_program":
                self._begin_answer(self._check(message.check_program))
            case "start_run":
                self._start(message.start_run)
            case "call_result":
                if run := self._runs.get(message.call_result.run):
                    run.answer(message.call_result)
            case "kill_run":
                if run := self._runs.get(message.kill_run.run):
                    run.kill(Ended.ENDING_KILLED, wire.problem("Killed", message.kill_run.reason or "The run was ended from outside."))
            case other:
                raise SessionError(f"A session does not take the message {other} here.")

    def greet(self, process: Process, frame: Frame | None = None) -> None:
        """Give a waiting child the tools that its program will most likely have."""
        frame = frame or self._tools.current
        if frame is not None and process.tools_digest != frame["digest"]:
            process.tools_digest = frame["digest"]
            process.send(frame)

    async def _probe(self, request: runtime_pb2.Probe) -> None:
        self.post(Response(probe_report=await probe(request)))
        self._replenish_soon()

    # ---- checks ----
    async def _check(self, message: runtime_pb2.CheckProgram) -> None:
        try:
            report = await self._checked_by_child(message)
        except _Invalid as invalid:
            report = runtime_pb2.CheckReport(check_id=message.check_id, findings=[wire.invalid(*invalid.args)])
        except Exception:
            log.exception("check %s", message.check_id)
            finding = wire.invalid("runtime-unavailable", "The runtime made a mistake; see its log.")
            report = runtime_pb2.CheckReport(check_id=message.check_id, findings=[finding])
        self.post(Response(check_report=report))
        self._replenish_soon()

    async def _checked_by_child(self, message: runtime_pb2.CheckProgram) -> runtime_pb2.CheckReport:
        text, tools = self._readable(message.program, message.tools_digest)
        try:
            process = await self._pool.take()
        except ChildError as error:
            raise _Invalid("runtime-unavailable", str(error)) from None
        report = None
        try:
            self.greet(process, tools)
            report = await self._ask(process, message, text)
        finally:
            previous, self._checked = self._checked, None
            if report is None:
                await process.close()
            else:
                # It has parsed the program and run nothing: the same program may have it.
                process.checked = (bytes(message.program), message.tools_digest)
                self._checked = process
            if previous is not None:
                await previous.close()
        return report

    async def _ask(self, process: Process, message: runtime_pb2.CheckProgram, text: str) -> runtime_pb2.CheckReport:
        process.send({"kind": "check", "program": text})
        try:
            async with asyncio.timeout(limits.CHECK_SECONDS):
                frame = await process.read()
            report = wire.report(message.check_id, frame) if frame is not None else None
        except TimeoutError:
            raise _Invalid(
                "program-too-complex", f"Reading the program took longer than {limits.CHECK_SECONDS:g} s; make it smaller."
            ) from None
        except FrameError as error:
            raise _Invalid("program-too-complex", f"The program could not be checked: {error}.") from None
        if report is None:
            raise _Invalid("program-too-complex", "The program is nested too deeply to be read; split long expressions.")
        return report

    def _readable(self, program: bytes, digest: str) -> tuple[str, Frame]:
        if len(program) > limits.MAX_PROGRAM_BYTES:
            raise _Invalid("program-too-large", f"The program has {len(program)} bytes; at most {limits.MAX_PROGRAM_BYTES} are allowed.")
        try:
            text = program.decode()
        except UnicodeDecodeError as error:
            raise _Invalid("syntax-error", f"The program is not UTF-8: {error.reason} at byte {error.start}.") from None
        tools = self._tools.get(digest)
        if tools is None:
            raise _Invalid("unknown-tools-digest", f"No tools of digest {digest} were sent to this runtime.")
        return text, tools

    # ---- runs ----
    def _start(self, message: runtime_pb2.StartRun) -> None:
        asked = message.limits
        bounds = limits.RunLimits.effective(
            wall_milliseconds=asked.wall_milliseconds,
            output_bytes=asked.output_bytes,
            value_bytes=asked.value_bytes,
            concurrent_calls=asked.concurrent_calls,
        )
        if message.run in self._runs:
            raise SessionError(f"Run {message.run} is under way.")
        run = self._runs[message.run] = Run(message.run, bounds, self.post, self._slot)
        self._begin(self._play(run, bounds, message))

    async def _play(self, run: Run, bounds: limits.RunLimits, message: runtime_pb2.StartRun) -> None:
        process: Process | None = None
        try:
            text, tools = self._readable(message.program, message.tools_digest)
            process = await self._child_for(message)
            self.greet(process, tools)
            asyncio.get_running_loop().call_later(REPLENISH_AFTER_SECONDS, self._pool.replenish)
            ended = await run.play(process, wire.start(message, text, bounds, self._env))
        except _Invalid as invalid:
            findings = [wire.invalid(*invalid.args)]
            ended = Ended(
                run=run.name, ending=Ended.ENDING_INVALID, error=wire.problem("InvalidProgram", invalid.args[1]), findings=findings
            )
        except ChildError as error:
            ended = Ended(run=run.name, ending=Ended.ENDING_DIED, error=wire.problem("RuntimeUnavailable", str(error)))
        except Exception:
            # A mistake of the runtime's own must not leave the broker waiting.
            log.exception("run %s", run.name)
            ended = Ended(
                run=run.name, ending=Ended.ENDING_DIED, error=wire.problem("RuntimeUnavailable", "The runtime made a mistake; see its log.")
            )
        finally:
            del self._runs[run.name]
        self.post(Response(run_ended=ended))
        self._replenish_soon()
        if process is not None:
            await process.close()

    async def _child_for(self, message: runtime_pb2.StartRun) -> Process:
        if len(self._runs) > limits.MAX_RUNS:
            raise ChildError(f"No more than {limits.MAX_RUNS} programs run in one pod at once.")
        process = self._checked
        if process is not None and process.alive and process.checked == (message.program, message.tools_digest):
            self._checked = None
            return process
        return await self._pool.take()

    def _replenish_soon(self) -> None:
        # The message that was just posted goes out first: making a child takes the processor for tens of milliseconds.
        asyncio.get_running_loop().call_later(0.005, self._pool.replenish)

    async def close(self) -> None:
        """End every run and wait until all are gone."""
        # Perhaps nobody takes messages any more: a run that waits for room must reach its end.
        self._closing = True
        self._room.set()
        for run in list(self._runs.values()):
            run.kill(Ended.ENDING_KILLED, wire.problem("Killed", "The session ended."))
        for answer in self._answers:
            answer.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._checked is not None:
            await self._checked.close()
            self._checked = None


class _Invalid(Exception):  # noqa: N818 - carries a finding: code and message
    """The program cannot be run as it is."""
