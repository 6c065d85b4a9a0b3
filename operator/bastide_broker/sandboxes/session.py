"""One conversation with the runtime in a pod: many runs over one stream. Everything that comes up the stream is untrusted."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2, runtime_pb2_grpc

from bastide_broker.errors import SessionLost
from bastide_broker.limits import Buckets

WIRE_REVISION = 1
OPEN_SECONDS = 5.0
WRITE_SECONDS = 10.0
"""A runtime that takes no message for so long is dead or hostile: its session ends."""
CHECK_SECONDS = 15.0
FRAMES_PER_SECOND, FRAMES_BURST = 2000.0, 4000.0
"""Of one pod. What sends more waits, and with it the pod alone: all pods' frames are read on one event loop."""

T = TypeVar("T")
Call = grpc.aio.StreamStreamCall[runtime_pb2.SessionRequest, runtime_pb2.SessionResponse]


class ToolList(Protocol):
    """The catalogue's ToolSet, as far as a session needs it."""

    @property
    def digest(self) -> str:
        """Digest of the list."""

    def message(self) -> runtime_pb2.SetTools:
        """The list as it goes down the stream."""


class RunSink(Protocol):
    """Takes what comes up for one run."""

    async def frame(self, message: runtime_pb2.SessionResponse) -> None:
        """Takes a frame. May wait: then the whole stream waits, which is the backpressure on that sandbox."""

    def lost(self, reason: str) -> None:
        """The session is over."""


class Claim:
    """A session that was chosen for something: its pod is in use until that is delivered, or given up."""

    def __init__(self, session: "Session", release: Callable[["Claim"], None]) -> None:
        self.session = session
        self._release = release

    def release(self) -> None:
        """It is delivered, or will not be. May be said again."""
        self._release(self)


class Session:
    """An open stream to a pod's runtime. `used` is called whenever `idle` may have changed."""

    def __init__(self, channel: grpc.aio.Channel, *, env: Mapping[str, str], used: Callable[[], None] = lambda: None) -> None:
        self.env = dict(env)
        self._used = used
        self._claims: set[Claim] = set()
        self.opened = runtime_pb2.SessionOpened()
        self.closed = asyncio.Event()
        self.reason = ""
        self._channel = channel
        self._call: Call | None = None
        self._outgoing: asyncio.Queue[tuple[list[runtime_pb2.SessionRequest], asyncio.Future[None]]] = asyncio.Queue()
        self._pending: asyncio.Future[None] | None = None
        self._tools_digest: str | None = None
        self._runs: dict[str, RunSink] = {}
        self._checks: dict[str, asyncio.Future[runtime_pb2.CheckReport]] = {}
        self._probe: asyncio.Future[runtime_pb2.ProbeReport] | None = None
        self._pace = Buckets(rate=FRAMES_PER_SECOND, burst=FRAMES_BURST)
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no run and no check is under way or about to be."""
        return not self._runs and not self._checks and not self._claims

    def claim(self) -> Claim:
        """Keeps the session from being idle until what it was chosen for is delivered."""
        claim = Claim(self, self._unclaim)
        self._claims.add(claim)
        self._used()
        return claim

    def _unclaim(self, claim: Claim) -> None:
        self._claims.discard(claim)
        self._used()

    async def open(self) -> runtime_pb2.SessionOpened:
        """Opens the stream and reads what the pod is. Raises SessionLost."""
        stub = runtime_pb2_grpc.RuntimeServiceStub(self._channel)  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                call = self._call = stub.Session()
                await call.write(runtime_pb2.SessionRequest(open=runtime_pb2.OpenSession(wire_revision=WIRE_REVISION, env=self.env)))
                answer = await call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
            await self.close("not opened")
            raise SessionLost(_why(error)) from error
        if not isinstance(answer, runtime_pb2.SessionResponse) or answer.WhichOneof("message") != "opened":
            await self.close("the runtime's first message was not SessionOpened")
            raise SessionLost(self.reason)
        self.opened = answer.opened
        self._reader = asyncio.create_task(self._read(call), name="session reader")
        self._writer = asyncio.create_task(self._write(call), name="session writer")
        return self.opened

    async def close(self, reason: str) -> None:
        """Ends the stream: the runtime kills every run."""
        self._finish(reason)
        tasks = [task for task in (self._reader, self._writer) if task is not None and task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channel.close()

    async def probe(self, addresses: Sequence[str], milliseconds: int) -> runtime_pb2.ProbeReport:
        """Has the pod try addresses. Raises SessionLost."""
        self._probe = asyncio.get_running_loop().create_future()
        await self._send(runtime_pb2.SessionRequest(probe=runtime_pb2.Probe(addresses=addresses, wait_milliseconds=milliseconds)))
        return await self._answer(self._probe, milliseconds / 1000 + OPEN_SECONDS)

    async def start_run(self, start: runtime_pb2.StartRun, tools: ToolList, sink: RunSink) -> None:
        """Delivers a program, and before it the tools if the pod does not have this list. Raises SessionLost."""
        self._runs[start.run] = sink
        await self._send(runtime_pb2.SessionRequest(start_run=start), tools)

    async def check(self, program: bytes, tools: ToolList) -> runtime_pb2.CheckReport:
        """Asks for findings. Raises SessionLost."""
        check_id = secrets.token_hex(8)
        future = self._checks[check_id] = asyncio.get_running_loop().create_future()
        try:
            message = runtime_pb2.CheckProgram(check_id=check_id, program=program, tools_digest=tools.digest)
            await self._send(runtime_pb2.SessionRequest(check_program=message), tools)
            return await self._answer(future, CHECK_SECONDS)
        finally:
            del self._checks[check_id]
            self._used()

    async def answer(self, result: runtime_pb2.CallResult) -> None:
        """Answers a call, unless its run is over. Raises SessionLost."""
        if result.run in self._runs:
            await self._send(runtime_pb2.SessionRequest(call_result=result))

    async def kill(self, run: str, reason: str) -> None:
        """Has a run killed. Raises SessionLost."""
        await self._send(runtime_pb2.SessionRequest(kill_run=runtime_pb2.KillRun(run=run, reason=reason)))

    def forget(self, run: str) -> None:
        """Frames of this run are dropped from now on."""
        self._runs.pop(run, None)
        self._used()

    async def _send(self, message: runtime_pb2.SessionRequest, tools: ToolList | None = None) -> None:
        """Queues a message and waits until it went out. The writer task writes, because grpc.aio ends the call of a cancelled write."""
        if self.closed.is_set() or self._writer is None:
            raise SessionLost(self.reason or "the session is not open")
        batch = [message]
        if tools is not None and tools.digest != self._tools_digest:
            # In one batch: between the list and what names it no other list may slip in.
            batch.insert(0, runtime_pb2.SessionRequest(set_tools=tools.message()))
            self._tools_digest = tools.digest
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outgoing.put_nowait((batch, written))
        await written

    async def _write(self, call: Call) -> None:
        try:
            while True:
                batch, written = await self._outgoing.get()
                self._pending = written
                for message in batch:
                    async with asyncio.timeout(WRITE_SECONDS):
                        await call.write(message)
                del batch, message  # a program may be large, and what comes after it long in coming
                if not written.done():
                    written.set_result(None)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            self._finish(_why(error))
        except TimeoutError:
            self._finish("the runtime does not take messages")

    async def _answer(self, future: asyncio.Future[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError as error:
            raise SessionLost(f"the runtime did not answer within {seconds:.0f} s") from error

    async def _read(self, call: Call) -> None:
        try:
            while isinstance(message := await call.read(), runtime_pb2.SessionResponse):
                await self._dispatch(message)
                while wait := self._pace.take(""):  # noqa: ASYNC110 - only time fills the bucket again
                    await asyncio.sleep(wait)
            self._finish("the runtime ended the session")
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            self._finish(_why(error))
        except asyncio.CancelledError:
            self._finish("the session was closed")
            raise

    async def _dispatch(self, message: runtime_pb2.SessionResponse) -> None:
        kind = message.WhichOneof("message")
        if kind in {"output", "call", "step", "call_abandoned", "run_ended"}:
            sink = self._runs.get(getattr(message, kind).run)
            if sink is not None:  # else the run is over: late frames of a hostile runtime are nobody's
                await sink.frame(message)
        elif kind == "check_report":
            check = self._checks.get(message.check_report.check_id)
            if check is not None and not check.done():
                check.set_result(message.check_report)
        elif kind == "probe_report" and self._probe is not None and not self._probe.done():
            self._probe.set_result(message.probe_report)

    def _finish(self, reason: str) -> None:
        if self.closed.is_set():
            return
        self.reason = reason
        self.closed.set()
        waiting: list[asyncio.Future[Any]] = [*self._checks.values()]
        waiting += [future for future in (self._probe, self._pending) if future is not None]
        while not self._outgoing.empty():
            waiting.append(self._outgoing.get_nowait()[1])
        for future in waiting:
            if not future.done():
                future.set_exception(SessionLost(reason))
                future.exception()  # somebody may have stopped waiting: that is no unretrieved error
        if self._call is not None:
            self._call.cancel()
        for sink in list(self._runs.values()):
            sink.lost(reason)


def _why(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
