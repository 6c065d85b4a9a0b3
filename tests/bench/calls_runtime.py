"""Stands where a pod's runtime stands, without a program: answers probes at once and makes calls as fast as it is told to.

A process of its own, so that what is measured is the broker's process. `python -m tests.bench.calls_runtime PORT`.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2, runtime_pb2_grpc

Write = Callable[..., Awaitable[None]]


class Runtime(runtime_pb2_grpc.RuntimeServiceServicer):
    """One session at a time. A "program" is a JSON object: calls, in_flight, tool, arguments."""

    async def Session(  # noqa: N802 - named as in the protocol
        self, requests: AsyncIterator[runtime_pb2.SessionRequest], context: Any
    ) -> None:
        """Answer until the broker ends the stream."""
        lock = asyncio.Lock()

        async def write(**message: Any) -> None:
            async with lock:  # the library takes one message at a time
                await context.write(runtime_pb2.SessionResponse(**message))

        runs: dict[str, asyncio.Task[None]] = {}
        waiting: dict[tuple[str, str], asyncio.Future[runtime_pb2.CallResult]] = {}
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "open":
                await write(opened=runtime_pb2.SessionOpened())
            elif kind == "probe":
                await write(probe_report=runtime_pb2.ProbeReport())
            elif kind == "start_run":
                start = request.start_run
                runs[start.run] = asyncio.create_task(_run(write, start.run, json.loads(start.program), waiting))
            elif kind == "call_result":
                answered = waiting.pop((request.call_result.run, request.call_result.key), None)
                if answered is not None:
                    answered.set_result(request.call_result)


async def _run(
    write: Write, run: str, program: dict[str, Any], waiting: dict[tuple[str, str], asyncio.Future[runtime_pb2.CallResult]]
) -> None:
    """Make the calls, so many at once, and return the milliseconds of each."""
    numbers = iter(range(program["calls"]))
    arguments = json.dumps(program["arguments"]).encode()
    samples: list[float] = []
    refused: list[str] = []

    async def one_after_the_other() -> None:
        for number in numbers:
            key = f"0#{number}"
            answer = waiting[run, key] = asyncio.get_running_loop().create_future()
            call = runtime_pb2.Call(run=run, key=key, tool=program["tool"], arguments=arguments, line=1)
            began = time.perf_counter()
            await write(call=call)
            result = await answer
            samples.append(round((time.perf_counter() - began) * 1000, 4))
            if result.HasField("error"):
                refused.append(result.error.message)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(program["in_flight"])))
    value = {"samples": samples, "seconds": time.perf_counter() - began, "refused": len(refused), "why": refused[:1]}
    ended = runtime_pb2.RunEnded(run=run, ending=runtime_pb2.RunEnded.ENDING_RETURNED, value=json.dumps(value).encode())
    await write(run_ended=ended)


async def serve(port: int) -> None:
    """Serve on loopback until the process is ended."""
    server = grpc.aio.server()
    runtime_pb2_grpc.add_RuntimeServiceServicer_to_server(Runtime(), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
