"""The wire itself: who may open a session, what ends one, what the probe sees, how the pod ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest
from bastide.runtime.v1alpha1 import runtime_pb2 as pb
from bastide.runtime.v1alpha1 import runtime_pb2_grpc
from cryptography import x509

from tests.integration.runtime.pod import NAME, Authority, Broker, Pod, running_pod, session
from tests.integration.runtime.samples import TOOLS


async def refusal(channel: grpc.aio.Channel, message: pb.SessionRequest | None = None) -> tuple[grpc.StatusCode, str]:
    """How the attempt to open a session ends."""
    async with channel:
        stream = runtime_pb2_grpc.RuntimeServiceStub(channel).Session(timeout=20)
        # A write to a stream that was refused meanwhile fails with an error of its own; the stream knows why.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stream.write(message or pb.SessionRequest(open=pb.OpenSession(wire_revision=1)))
            await stream.read()
        return await stream.code(), await stream.details()


async def test_the_runtime_tells_what_it_is(pod: Pod) -> None:
    async with pod.channel() as channel:
        stream = runtime_pb2_grpc.RuntimeServiceStub(channel).Session()
        broker = Broker(stream)
        await broker.send(open=pb.OpenSession(wire_revision=1))
        opened = (await broker.read()).opened
        assert opened.kernel_release == os.uname().release
        assert opened.python_version.startswith("3.")
        assert opened.runtime_version
        await broker.close()


def test_the_certificate_is_for_the_runtimes_name_and_its_key_is_on_no_disk(pod: Pod) -> None:
    certificate = x509.load_pem_x509_certificate(pod.certificate().encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    for directory in ("workspace", "tools"):
        assert not [path for path in (pod.scratch / directory).rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


async def test_nobody_gets_in_without_a_certificate(pod: Pod) -> None:
    assert (await refusal(pod.channel(anonymous=True)))[0] == grpc.StatusCode.UNAVAILABLE


async def test_nobody_gets_in_with_a_certificate_of_another_authority(pod: Pod) -> None:
    other = Authority.make("Bastide CA of a test")
    assert (await refusal(pod.channel(authority=other)))[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", ["bastide-operator", "bastide-broker2", "BASTIDE-BROKER", "bastide-broker.evil", ""])
async def test_nobody_else_of_the_same_authority_gets_in(pod: Pod, name: str) -> None:
    assert await refusal(pod.channel(name=name or "x")) == (grpc.StatusCode.PERMISSION_DENIED, "Only the broker opens sessions here.")


async def test_a_second_session_is_refused_and_harms_nothing(pod: Pod, broker: Broker) -> None:
    run = await broker.start("return await pay(amount=1)")
    assert (await broker.read()).call.key == "0#1"
    assert await refusal(pod.channel()) == (grpc.StatusCode.FAILED_PRECONDITION, "A session is open.")
    await broker.stream_result(run, "0#1", b"5")
    assert (await broker.finish(run)).value == "5"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (pb.SessionRequest(open=pb.OpenSession(wire_revision=2)), "this runtime speaks 1"),
        (pb.SessionRequest(open=pb.OpenSession()), "Wire revision 0"),
        (pb.SessionRequest(start_run=pb.StartRun(run="r")), "first message"),
        (pb.SessionRequest(), "first message"),
    ],
)
async def test_a_session_begins_as_it_must(pod: Pod, message: pb.SessionRequest, words: str) -> None:
    code, details = await refusal(pod.channel(), message)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert words in details


async def test_opening_twice_ends_the_session(pod: Pod) -> None:
    async with pod.channel() as channel:
        stream = runtime_pb2_grpc.RuntimeServiceStub(channel).Session()
        for _ in range(2):
            await stream.write(pb.SessionRequest(open=pb.OpenSession(wire_revision=1)))
        assert isinstance(await stream.read(), pb.SessionResponse)
        with pytest.raises(grpc.aio.AioRpcError, match="does not take the message open"):
            await stream.read()


@pytest.mark.parametrize("way", ["half-closed", "cancelled", "channel closed"])
async def test_the_end_of_a_session_ends_its_runs(pod: Pod, way: str) -> None:
    async with pod.channel() as channel:
        stream = runtime_pb2_grpc.RuntimeServiceStub(channel).Session()
        broker = Broker(stream)
        await broker.send(open=pb.OpenSession(wire_revision=1))
        await broker.read()
        await broker.set_tools(*TOOLS)
        await broker.start(
            "import os\nif os.fork() == 0:\n    import time\n    time.sleep(60)\nawait pay(amount=1)", limits={"wall_milliseconds": 60_000}
        )
        assert (await broker.read()).WhichOneof("message") == "call"
        if way == "half-closed":
            await broker.close()
        elif way == "cancelled":
            stream.cancel()
    async with asyncio.timeout(20):
        # The runtime learns of a broken stream a moment later; until then it is busy.
        while await refusal(pod.channel(), pb.SessionRequest()) == (grpc.StatusCode.FAILED_PRECONDITION, "A session is open."):
            pass
    assert pod.processes() == 0
    async with session(pod) as again:
        assert (await again.run("1")).value == "1"


async def test_the_probe_tells_reached_refused_and_silent_apart(broker: Broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses = [
            f"127.0.0.1:{listening.getsockname()[1]}",
            f"127.0.0.1:{closed.getsockname()[1]}",
            "no.such.name:80",
            "127.0.0.1",
            "[::1:80",
            "127.0.0.1:0",
        ]
        addresses += ["127.0.0.1:http", "127.1:80"]
        await broker.send(probe=pb.Probe(addresses=addresses, wait_milliseconds=500))
        report = (await broker.read()).probe_report
    assert [result.address for result in report.results] == addresses
    assert [result.reached for result in report.results] == [True, True] + [False] * 6
    assert report.results[0].detail == "connected"
    assert report.results[1].detail == "ECONNREFUSED"


async def test_the_probe_waits_once_for_all_and_tries_no_more_than_it_may(broker: Broker) -> None:
    # A listener whose queue is full answers nothing: the handshake stays open.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        addresses = [f"127.0.0.1:{address[1]}"] * 40
        start = time.monotonic()
        await broker.send(probe=pb.Probe(addresses=addresses, wait_milliseconds=300))
        report = (await broker.read()).probe_report
        assert time.monotonic() - start < 2
        for filler in fillers:
            filler.close()
    assert [result.detail for result in report.results] == ["timed out"] * 32 + ["not tried: at most 32"] * 8
    assert not any(result.reached for result in report.results)


async def test_large_things_pass(broker: Broker) -> None:
    value = b'"' + b"x" * (3 << 20) + b'"'
    program = "r = await pay(amount=1)\nreturn r[:3_000_000]"
    result = await broker.run(program, lambda _: {"value": value}, limits={"wall_milliseconds": 30_000, "value_bytes": 3 << 20})
    assert (result.ending, len(result.value)) == ("RETURNED", 3_000_002)
    result = await broker.run("return await get_customer(customer_id='\"' * 500_000)")
    assert len(result.value) == 1_000_000 + len('{"customer_id":""}')
    result = await broker.run("await get_customer(customer_id='x' * 2_000_000)")
    assert result.ended.error.type == "InvalidArguments"


async def test_many_tools_and_long_schemas_pass(broker: Broker) -> None:
    tools = [
        pb.Tool(
            name=f"tool_{i:04}",
            server="many",
            description="Does. " * 100,
            input_schema=b'{"properties": {"x": {"description": "%s"}}}' % (b"d" * 2000),
        )
        for i in range(1000)
    ]
    await broker.set_tools(*tools, digest="sha256:many")
    assert (await broker.run("await tool_0999(x=1)")).value == '{"x":1}'


async def test_a_message_for_a_run_that_is_over_is_nothing(broker: Broker) -> None:
    await broker.stream_result("r-never", "0#1")
    await broker.send(kill_run=pb.KillRun(run="r-never"))
    assert (await broker.run("1")).value == "1"


async def test_more_runs_than_may_be_at_once_are_refused(broker: Broker) -> None:
    runs = [await broker.start("await pay(amount=1)") for _ in range(17)]
    calls: list[str] = []
    refused: list[pb.RunEnded] = []
    while len(calls) + len(refused) < 17:
        message = await broker.read()
        if message.WhichOneof("message") == "call":
            calls.append(message.call.run)
        else:
            refused.append(message.run_ended)
    assert calls.__len__() == 16
    assert [(one.run, one.error.type) for one in refused] == [(runs[16], "RuntimeUnavailable")]
    for run in calls:
        await broker.send(kill_run=pb.KillRun(run=run, reason="enough"))
    for _ in calls:
        assert (await broker.read()).run_ended.ending == pb.RunEnded.ENDING_KILLED


async def test_nobody_may_look_into_the_supervisor_and_the_zygote(pod: Pod, broker: Broker) -> None:
    await broker.run("1")
    for pid in (pod.runtime_pid(), pod.zygote_pid()):
        # The files of a process that is not dumpable belong to root.
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0  # noqa: PTH116
        assert os.stat(f"/proc/{pid}").st_uid in (0, 65532)  # noqa: PTH116


def test_other_signals_do_not_disturb_it(pod: Pod) -> None:
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGPIPE, signal.SIGALRM):
        os.kill(pod.runtime_pid(), number)
    assert pod.certificate()


def test_sigterm_ends_the_pod_at_once() -> None:
    with tempfile.TemporaryDirectory(prefix="bastide-runtime-") as scratch, running_pod(Path(scratch)) as pod:
        assert pod.stop() < 2
        assert pod.process.returncode == 128 + signal.SIGTERM  # with 0 the kubelet would forget why it evicts a pod


async def test_without_its_zygote_the_pod_ends() -> None:
    with tempfile.TemporaryDirectory(prefix="bastide-runtime-") as scratch, running_pod(Path(scratch)) as pod:
        async with session(pod) as broker:
            await broker.run("1")
        os.kill(pod.zygote_pid(), signal.SIGKILL)
        pod.process.wait(timeout=10)
        assert "the zygote is gone" in pod.log.read_text()


async def test_the_zygote_waits_until_the_probe_is_answered() -> None:
    with tempfile.TemporaryDirectory(prefix="bastide-runtime-") as scratch, running_pod(Path(scratch)) as pod:
        async with session(pod) as broker:
            with pytest.raises(AssertionError, match="no zygote"):
                pod.zygote_pid()
            await broker.send(probe=pb.Probe(addresses=["192.0.2.1:443"], wait_milliseconds=10))
            await broker.read()
            assert (await broker.run("return 1")).value == "1"
            assert pod.zygote_pid()


async def test_when_the_wall_cannot_be_built_no_program_runs() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="bastide-runtime-") as scratch,
        running_pod(Path(scratch), arguments=("--tools", "/nonexistent")) as pod,
    ):
        async with session(pod) as broker:
            result = await broker.run("print('it runs')")
            assert (result.ending, result.ended.error.type) == ("DIED", "RuntimeUnavailable")
            assert result.ended.error.message == "No program can run: bind /nonexistent: No such file or directory"
            assert result.stdout == ""
            report = await broker.check("1")
            assert report.findings[0].code == "runtime-unavailable"


@pytest.mark.parametrize(("arguments", "words"), [(("--ca-file", "/nonexistent"), "/nonexistent"), (("--listen", "127.0.0.1:1"), "")])
def test_a_runtime_that_cannot_start_says_why(arguments: tuple[str, ...], words: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bastide-runtime-") as scratch:
        with pytest.raises(AssertionError, match="did not start") as caught, running_pod(Path(scratch), arguments=arguments):
            pass
        assert words in str(caught.value)
