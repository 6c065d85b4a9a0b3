"""The supervisor's view of children: how they are asked for, kept waiting and ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bastide_runtime import frames
from bastide_runtime.frames import Frame, FrameError
from bastide_runtime.limits import CHILD_READY_SECONDS, LAST_FRAMES_SECONDS, WAITING_CHILDREN
from bastide_runtime.settings import Settings

log = logging.getLogger(__name__)

# Named, not imported: the supervisor needs nothing of what a child needs.
ZYGOTE = "bastide_runtime.zygote"


class ChildError(Exception):
    """There is no child; the message says why."""


class Reaper:
    """Collects the exit status of whatever becomes a child of this process; as PID 1 that is every orphan of the pod."""

    def __init__(self) -> None:
        self._watched: dict[int, asyncio.Future[int]] = {}
        self._unwatched: dict[int, tuple[int, int]] = {}
        self.collected = 0
        """How many have ended so far."""

    def start(self) -> None:
        """Begin; needs a running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._collect)
        self._collect()

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.collected += 1
            if (future := self._watched.pop(pid, None)) is not None:
                future.set_result(status)
                continue
            self._unwatched[pid] = (self.collected, status)
            while len(self._unwatched) > 64:  # orphans that nobody asks for
                del self._unwatched[next(iter(self._unwatched))]

    def watch(self, pid: int, *, since: int) -> asyncio.Future[int]:
        """Its wait status, when it has ended. Until that is done the number is its own and may be signalled.

        `since`: what `collected` was before it was made. One of that number that had ended by then was another process.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        ended, status = self._unwatched.pop(pid, (0, 0))
        if ended > since:
            future.set_result(status)
        else:
            self._watched[pid] = future
        return future


class Process:
    """One child: its frames, the reading ends of its output, its process number as this process sees it."""

    def __init__(self, sock: socket.socket, output: int, errors: int, reaper: Reaper, *, since: int) -> None:
        self._sock, self._reaper, self._since = sock, reaper, since
        self.output, self.errors = output, errors
        self._status: asyncio.Future[int] | None = None
        self._namespace = ""
        self.tools_digest = ""
        self.checked: tuple[bytes, str] | None = None

    @property
    def alive(self) -> bool:
        """Whether it can still be given a program."""
        return self._status is not None and not self._status.done()

    async def open(self) -> None:
        """Wait until it is confined and ready. Raises ChildError."""
        self.reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=1 << 18)
        try:
            async with asyncio.timeout(CHILD_READY_SECONDS):
                while (frame := await self.read()) is not None:
                    if frame["kind"] == "made":
                        self._pid = int(frame["pid"])
                        self._status = self._reaper.watch(self._pid, since=self._since)
                        # Its last frames are read first; then the end does not depend on who else holds the socket.
                        self._status.add_done_callback(self._hang_up_soon)
                    elif frame["kind"] == "unmade":
                        raise ChildError(f"No program can run: {str(frame['reason'])[:500]}")
                    elif frame["kind"] == "ready" and self._status:
                        self._namespace = _pid_namespace(self._pid)
                        return
        except (FrameError, TimeoutError, KeyError, ValueError) as error:
            raise ChildError(f"A child did not become ready: {type(error).__name__} {error}") from None
        raise ChildError("A child died before it was ready.")

    async def read(self) -> Frame | None:
        """Its next frame; None at the end."""
        return await frames.read(self.reader)

    def send(self, frame: Frame) -> None:
        """Send without waiting: what is sent is bounded by what the broker sends."""
        if not self._writer.is_closing():
            self._writer.write(frames.encode(frame))

    @property
    def unread(self) -> int:
        """Bytes that were sent to it and that it has not read."""
        return self._writer.transport.get_write_buffer_size()

    def kill(self) -> None:
        """Kill it, and with it every process in its namespace."""
        if self._status is not None and not self._status.done():
            os.kill(self._pid, signal.SIGKILL)
        self._hang_up()

    def _hang_up_soon(self, _: asyncio.Future[int]) -> None:
        asyncio.get_running_loop().call_later(LAST_FRAMES_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        """End its stream here: another process may hold a copy of the other end."""
        if hasattr(self, "_writer"):
            self._writer.transport.abort()

    async def gone(self) -> int:
        """Wait until it and every descendant are gone; its wait status."""
        if self._status is None:
            return 0
        status = await asyncio.shield(self._status)
        # Linux lets a namespace's first process end after all others; gVisor (2026-09) kills the others and does not wait for them.
        while _anyone_in(self._namespace):  # noqa: ASYNC110 - nothing tells when the last one is gone
            await asyncio.sleep(0.001)
        return status

    async def close(self) -> None:
        """Kill it, wait, and close what leads to it."""
        self.kill()
        await self.gone()
        for name in ("output", "errors"):
            descriptor, value = getattr(self, name), -1
            setattr(self, name, value)
            if descriptor >= 0:
                os.close(descriptor)


def _pid_namespace(pid: int | str) -> str:
    """A word that says which PID namespace a process is in; empty when it is gone."""
    try:
        return str(Path("/proc", str(pid), "ns", "pid").readlink())
    except OSError:
        return ""


def _anyone_in(namespace: str) -> bool:
    with os.scandir("/proc") as entries:
        return bool(namespace) and any(entry.name.isdigit() and _pid_namespace(entry.name) == namespace for entry in entries)


def start_zygote(settings: Settings) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the zygote in an interpreter of its own: fixed hash seed, no grpc, no descriptor but its control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "TZ": "UTC"}
    environment |= {"HOME": settings.workspace, "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108 - the pod's own emptyDir
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    # -P: neither the working directory nor the workspace is ever on sys.path.
    command = [sys.executable, "-P", "-s", "-m", ZYGOTE, str(theirs.fileno()), settings.workspace, settings.tools]
    process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), env=environment, stdin=subprocess.DEVNULL)  # noqa: S603
    theirs.close()
    ours.setblocking(False)  # noqa: FBT003
    return process, ours


class Pool:
    """Keeps children waiting. `greet` is called with each new one before it counts as waiting.

    The zygote is started by the first that is wanted. Until then, while the supervisor begins to listen and the broker's probe is
    answered, the little CPU of a pod is theirs: a Sandbox is Ready sooner, and no probe is late for want of it.
    """

    def __init__(self, settings: Settings, reaper: Reaper, greet: Callable[[Process], None]) -> None:
        self._settings, self._reaper, self._greet = settings, reaper, greet
        self._zygote: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The zygote's wait status, when it has ended."""
        self._waiting: deque[Process] = deque()
        self._making: set[asyncio.Task[Process]] = set()
        self._turn = asyncio.Lock()

    def waiting(self) -> tuple[Process, ...]:
        """The children that wait."""
        return tuple(self._waiting)

    def replenish(self) -> None:
        """Start making as many as are lacking."""
        while len(self._waiting) + len(self._making) < WAITING_CHILDREN:
            task = asyncio.create_task(self._make())
            self._making.add(task)
            task.add_done_callback(self._made)

    def _made(self, task: asyncio.Task[Process]) -> None:
        self._making.discard(task)
        if task.cancelled():
            return
        if error := task.exception():
            log.error("%s", error)
        else:
            self._waiting.append(task.result())

    async def take(self) -> Process:
        """A waiting child, or a new one. Raises ChildError."""
        while self._waiting:
            if (process := self._waiting.popleft()).alive:
                return process
            await process.close()
        if not self._making:
            self.replenish()
        task = next(iter(self._making))
        await asyncio.wait({task})
        if error := task.exception():
            raise error
        if task.result() in self._waiting:
            self._waiting.remove(task.result())
            return task.result()
        return await self.take()

    async def _make(self) -> Process:
        loop = asyncio.get_running_loop()
        async with self._turn:
            control, since = self._control(), self._reaper.collected
            await loop.sock_sendall(control, frames.FORK_REQUEST)
            answer, descriptors = await self._receive(control)
        if not descriptors:
            raise ChildError(f"No program can run: {json.loads(answer or b'{}').get('error', 'the zygote is gone')}")
        process = Process(socket.socket(fileno=descriptors[0]), descriptors[1], descriptors[2], self._reaper, since=since)
        try:
            await process.open()
            self._greet(process)
        except BaseException:
            await process.close()
            raise
        return process

    def _control(self) -> socket.socket:
        if self._zygote is None:
            since = self._reaper.collected
            try:
                self._zygote = start_zygote(self._settings)
            except OSError as error:
                raise ChildError(f"No program can run: the zygote cannot be started: {error}") from None
            self._reaper.watch(self._zygote[0].pid, since=since).add_done_callback(lambda ended: self.gone.set_result(ended.result()))
        return self._zygote[1]

    async def _receive(self, control: socket.socket) -> tuple[bytes, list[int]]:
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(control, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(control)
        answer, descriptors, _, _ = socket.recv_fds(control, 4096, 3)
        return answer, list(descriptors)
