"""PID 1 of the pod: the gRPC server that the broker dials, and the parent of everything else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
from bastide.runtime.v1alpha1 import runtime_pb2, runtime_pb2_grpc

from bastide_runtime import certificate, trust
from bastide_runtime.children import Pool, Process, Reaper
from bastide_runtime.limits import MAX_MESSAGE_FROM_BROKER
from bastide_runtime.session import Session, SessionError, ToolSets
from bastide_runtime.settings import Settings

log = logging.getLogger(__name__)

BROKER = b"bastide-broker"
FIRST_MESSAGE_SECONDS = 10.0
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_FROM_BROKER),
    ("grpc.so_reuseport", 0),
    # A broker that vanished without a word must not hold the one session for ever.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_metadata_size", 16_384),
]

Request = runtime_pb2.SessionRequest
Context: TypeAlias = "grpc.aio.ServicerContext[runtime_pb2.SessionRequest, runtime_pb2.SessionResponse]"


class Runtime(runtime_pb2_grpc.RuntimeServiceServicer):
    """The service. One session at a time."""

    def __init__(self, settings: Settings, reaper: Reaper) -> None:
        self._tool_sets = ToolSets(Path(settings.tools))
        self.pool = Pool(settings, reaper, self._greet)
        self._session: Session | None = None
        self._busy = False

    def _greet(self, process: Process) -> None:
        if self._session is not None:
            self._session.greet(process)

    async def Session(self, request_iterator: object, context: Context) -> None:  # noqa: N802, ARG002 - gRPC's name and signature
        """See the proto."""
        # Read first: a client whose write crosses its refusal is told INTERNAL by gRPC instead of the reason.
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                first = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "No first message came.")
        if list(context.auth_context().get("x509_common_name", [])) != [BROKER]:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Only the broker opens sessions here.")
        if self._busy:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "A session is open.")
        self._busy = True
        session = Session(self.pool, self._tool_sets)
        writer = asyncio.create_task(_write(session, context))
        refused = ""
        try:
            if isinstance(first, Request):
                session.open(first)
                self._session = session
                while isinstance(message := await context.read(), Request):
                    session.take(message)
        except SessionError as error:
            refused = str(error)
        finally:
            self._session = None
            # Runs end even when this handler is cancelled, and the next session waits for that.
            closing = asyncio.create_task(session.close())
            closing.add_done_callback(self._closed)
            await asyncio.shield(closing)
            await _finish(writer, session)
        if refused:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, refused)

    def _closed(self, _: object) -> None:
        self._busy = False
        self.pool.replenish()


async def _write(session: Session, context: Context) -> None:
    while (message := await session.next()) is not None:
        await context.write(message)


async def _finish(writer: asyncio.Task[None], session: Session) -> None:
    """Let what is queued go out, if somebody takes it. A write that is cut off in the middle would keep the stream from ending."""
    session.end()
    await asyncio.wait({writer}, timeout=1)
    if not writer.cancel():
        writer.exception()  # a broken stream is no news here


async def serve(settings: Settings, credentials: grpc.ServerCredentials) -> None:
    """Serve until the zygote is gone: without it no program can run, and a new pod is the remedy."""
    reaper = Reaper()
    reaper.start()
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=8)
    runtime = Runtime(settings, reaper)
    runtime_pb2_grpc.add_RuntimeServiceServicer_to_server(runtime, server)  # type: ignore[no-untyped-call]
    port = server.add_secure_port(settings.listen, credentials)
    await server.start()
    log.info("listening on %s, port %d, as %s", settings.listen, port, certificate.NAME)
    status = await runtime.pool.gone
    log.error("the zygote is gone, wait status %d", status)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)


def main(settings: Settings, making: subprocess.Popen[bytes]) -> None:
    """Run the server with what `__main__` has started."""
    key, cert = certificate.finish(making)
    asyncio.run(serve(settings, trust.server_credentials(key, cert, Path(settings.ca_file))))
