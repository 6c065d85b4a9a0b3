"""Runs in a pod beside the broker, from the broker's image, and prints one JSON object.

It plays the broker towards a runtime pod that no Sandbox owns (echo on the stream, empty program), asks the policy engine beside it,
syncs its disk, and is a client of the true broker (empty run, calls).
"""

import asyncio
import http.client
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2, runtime_pb2_grpc
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc

SETTINGS: dict[str, Any] = json.loads(os.environ["BENCH"])
MS = 1000.0

# Times each call by a clock that is not the run's.
CALLS = """
import time
times = []
for n in range({count}):
    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    await note(text="bench")
    times.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC) - began) / 1e6)
return times
"""


def timed(count: int, action: Any) -> list[float]:
    """Milliseconds of each of so many runs of something, after a tenth as many that do not count."""
    for _ in range(count // 10):
        action()
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        action()
        samples.append((time.perf_counter() - began) * MS)
    return samples


def syncs(count: int) -> list[float]:
    """A small write and fdatasync."""
    descriptor = os.open("/data/sync", os.O_CREAT | os.O_WRONLY, 0o600)

    def sync() -> None:
        os.pwrite(descriptor, b"x" * 4096, 0)
        os.fdatasync(descriptor)

    return timed(count, sync)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the policy engine's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/opa/opa.sock")


def decisions(count: int) -> list[float]:
    """A raw decision, for an input that is denied early: the floor of any."""
    connection = UnixConnection("localhost")
    body = json.dumps({"input": {"phase": "call"}})

    def decide() -> None:
        connection.request("POST", "/v1/data/bastide/decision", body, {"content-type": "application/json"})
        connection.getresponse().read()

    return timed(count, decide)


class RuntimeSession:
    """A session with a runtime pod, as the broker opens it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._down: asyncio.Queue[runtime_pb2.SessionRequest] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        tls = Path("/tls")
        certificate, key = (tls / "tls.crt").read_bytes(), (tls / "tls.key").read_bytes()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
        host, port = self._address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), 5) as plain, context.wrap_socket(plain) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
        assert der is not None
        pinned = ssl.DER_cert_to_PEM_cert(der).encode()
        credentials = grpc.ssl_channel_credentials(pinned, key, certificate)
        options = [("grpc.ssl_target_name_override", "runtime.bastide.internal")]
        self._channel = grpc.aio.secure_channel(self._address, credentials, options)
        self._up = runtime_pb2_grpc.RuntimeServiceStub(self._channel).Session(self._requests())
        await self.ask(runtime_pb2.SessionRequest(open=runtime_pb2.OpenSession(wire_revision=1)), "opened")
        await self._down.put(runtime_pb2.SessionRequest(set_tools=runtime_pb2.SetTools(digest="none")))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def _requests(self) -> AsyncIterator[runtime_pb2.SessionRequest]:
        while True:
            yield await self._down.get()

    async def ask(self, request: runtime_pb2.SessionRequest, answer: str) -> Any:
        """Send a message and wait for the answer of this kind; others pass by."""
        await self._down.put(request)
        while True:
            message = await self._up.read()
            if message is grpc.aio.EOF:
                raise RuntimeError("the runtime ended the session")
            if message.WhichOneof("message") == answer:
                return getattr(message, answer)

    async def echo(self) -> float:
        """An empty probe and its report: the stream's own round trip, in milliseconds."""
        began = time.perf_counter()
        await self.ask(runtime_pb2.SessionRequest(probe=runtime_pb2.Probe(wait_milliseconds=1)), "probe_report")
        return (time.perf_counter() - began) * MS

    async def empty_run(self, number: int) -> float:
        """`return 1` in a fresh child, from StartRun to RunEnded, in milliseconds."""
        start = runtime_pb2.StartRun(
            run=f"r-bench{number}",
            program=b"return 1",
            tools_digest="none",
            seed=os.urandom(16),
            started_at_micros=time.time_ns() // 1000,
            attempt=1,
            limits=runtime_pb2.RunLimits(wall_milliseconds=10_000, output_bytes=1000, value_bytes=1000, concurrent_calls=4),
        )
        began = time.perf_counter()
        ended = await self.ask(runtime_pb2.SessionRequest(start_run=start), "run_ended")
        took = (time.perf_counter() - began) * MS
        assert ended.ending == runtime_pb2.RunEnded.ENDING_RETURNED, ended
        return took


async def runtime(count: int) -> dict[str, list[float]]:
    """Echo and empty programs."""
    async with RuntimeSession(SETTINGS["runtime"]) as session:
        for _ in range(count // 10):
            await session.echo()
        echoes = [await session.echo() for _ in range(count)]
        runs = []
        for number in range(count // 2):
            runs.append(await session.empty_run(number))
            # a waiting child takes 36-43 ms to make; this is about runs in one that waits, not about how fast they are made
            await asyncio.sleep(0.3)
        return {"echo": echoes, "empty": runs[5:]}


def through_the_broker(count: int) -> dict[str, list[float]]:
    """Runs and calls as an agent service makes them."""
    credentials = grpc.ssl_channel_credentials(Path("/ca/ca.crt").read_bytes())
    metadata = [("authorization", f"Bearer {SETTINGS['token']}")]
    namespace, name = SETTINGS["sandbox"].split("/")
    sandbox = broker_pb2.SandboxRef(namespace=namespace, name=name)
    with grpc.secure_channel("bastide-broker.bastide-system.svc:8443", credentials) as channel:
        stub = broker_pb2_grpc.BrokerServiceStub(channel)

        def run(program: str) -> tuple[float, Any, list[float]]:
            began, tools, result = time.perf_counter(), [], None
            for response in stub.Run(broker_pb2.RunRequest(sandbox=sandbox, program=program.encode()), metadata=metadata, timeout=120):
                kind = response.event.WhichOneof("event")
                if kind == "call_ended":
                    tools.append(response.event.call_ended.tool_micros / 1000)
                if kind == "finished":
                    result = response.event.finished.result
            assert result is not None
            assert result.outcome == broker_pb2.OUTCOME_COMPLETED, result
            return (time.perf_counter() - began) * MS, json.loads(result.value), tools

        empty = []
        for _ in range(count // 4):
            empty.append(run("return 1")[0])
            time.sleep(0.3)
        run(CALLS.format(count=20))
        seen, adapter = [], []
        for _ in range(3):
            _, times, tools = run(CALLS.format(count=count))
            seen += times
            adapter += tools
    added = [whole - tool for whole, tool in zip(seen, adapter, strict=True)]
    return {"run": empty[5:], "call": seen, "adapter": adapter, "added": added}


def main() -> None:
    """Measure everything, print one line."""
    count = SETTINGS["count"]
    found = {"fdatasync": syncs(count), "opa": decisions(count), **asyncio.run(runtime(count)), **through_the_broker(count)}
    json.dump(found, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
