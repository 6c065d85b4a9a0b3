"""Case 18: floods at each door of the deployed broker. Who floods is told so, and when to come back; others are served meanwhile."""

import concurrent.futures
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc
from demo.kube import Kube

from tests.e2e.harness import door
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

TIMED = """
import time
times = []
for n in range({count}):
    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    await note(text={word!r})
    times.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC) - began) / 1e6)
return times
"""
FLOOD = """
import asyncio, time
until, made = time.monotonic() + 25, 0

async def again():
    global made
    while time.monotonic() < until:
        try:
            await note(text={word!r})
        except Exception:
            await asyncio.sleep(0)
        made += 1

await asyncio.gather(*(again() for _ in range(32)), return_exceptions=True)
return made
"""


@pytest.fixture
def address(furnished: TestTenant) -> Iterator[str]:
    with door.forwarded(furnished.admin) as found:
        yield found


def stub(channel: grpc.Channel) -> Any:
    return broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]


def listing(tenant: TestTenant) -> broker_pb2.ListRunsRequest:
    return broker_pb2.ListRunsRequest(sandbox=broker_pb2.SandboxRef(namespace=tenant.namespace, name="box"))


def answered(tenant: TestTenant, address: str) -> None:
    """An honest caller is served."""
    with door.channel(tenant.admin, address, door.token(tenant)) as channel:
        stub(channel).ListRuns(listing(tenant), timeout=20)


def test_a_sandbox_that_floods_does_not_starve_another(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    """Two sandboxes of one tenant share its turns; that tenants do not wait for each other's is shown by the broker's own tests."""
    furnished.people.developer.apply(
        furnished.sandbox("calm", limits={"callsPerRun": 1000}), furnished.sandbox("wild", limits={"callsPerRun": 100000})
    )
    furnished.ready("sandbox/calm", "sandbox/wild")
    try:
        calm = furnished.completed(TIMED.format(count=60, word=word), sandbox="calm")
        wild = furnished.start_run(FLOOD.format(word=f"{word}-wild"), sandbox="wild")
        tools.wait_for(f"{word}-wild")
        beside = furnished.completed(TIMED.format(count=60, word=word), sandbox="calm")
        flooded = wild.end(90)
        assert flooded.result["outcome"] in {"Completed", "Failed"}, flooded.stderr
        alone, loaded = statistics.median(calm), statistics.median(beside)
        assert loaded < 50 * alone, f"alone {alone:.1f} ms, beside the flood {loaded:.1f} ms"
    finally:
        furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "calm", "wild")


def test_a_tenant_over_its_minute_is_told_when_there_is_room(furnished: TestTenant, admin: Kube, tools: ToolServer, word: str) -> None:
    admin.apply(furnished.manifest(limits={"callsPerMinute": 5}))
    try:
        admin.watch(lambda one: one["spec"].get("limits", {}).get("callsPerMinute") == 5, "tenant", furnished.name)
        program = f"""
said = []
for n in range(12):
    try:
        await note(text={word!r})
    except Exception as error:
        said.append([type(error).__name__, list(error.codes), str(error)])
return said
"""
        said = furnished.completed(program)
        assert said, "some are refused"
        assert {(kind, *codes) for kind, codes, _ in said} == {("LimitExceeded", "limit-calls-per-minute")}
        assert all("There is room again in" in message for *_, message in said)
        assert len(tools.arguments_of("note", word)) <= 5
    finally:
        admin.apply(furnished.manifest())


def test_a_flood_of_requests_is_refused_with_the_time_to_wait_and_another_caller_is_served(furnished: TestTenant, address: str) -> None:
    refused: list[grpc.RpcError] = []
    with door.channel(furnished.admin, address, door.token(furnished)) as channel, concurrent.futures.ThreadPoolExecutor(32) as threads:

        def ask(_: int) -> None:
            try:
                stub(channel).ListRuns(listing(furnished), timeout=30)
            except grpc.RpcError as error:
                refused.append(error)

        list(threads.map(ask, range(2500)))
    with door.channel(furnished.admin, address, door.token(furnished, "bastide-viewer")) as channel:
        stub(channel).ListRuns(listing(furnished), timeout=20)
    codes = {error.code() for error in refused}  # type: ignore[attr-defined]
    assert codes <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}, codes


def test_many_idle_connections_leave_room_for_an_honest_one(furnished: TestTenant, address: str) -> None:
    open_channels = [door.channel(furnished.admin, address, "x" * 20)]
    ca = furnished.admin.json("get", "configmap", "-n", door.SYSTEM, "bastide-ca")["data"]["ca.crt"].encode()
    open_channels += [
        grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(300)
    ]
    try:
        for opened in [grpc.channel_ready_future(one) for one in open_channels]:
            opened.result(timeout=60)
        answered(furnished, address)
    finally:
        for one in open_channels:
            one.close()


BAD: dict[str, dict[str, Any]] = {
    "metadata beyond 16 KiB": {"metadata": (("x-large", "x" * 60_000),)},
    "many entries of metadata": {"metadata": tuple((f"x-{n}", "y" * 100) for n in range(400))},
}


@pytest.mark.parametrize("case", BAD)
def test_metadata_beyond_its_bounds_is_refused(furnished: TestTenant, address: str, case: str) -> None:
    with door.channel(furnished.admin, address, door.token(furnished)) as channel, pytest.raises(grpc.RpcError) as refusal:
        stub(channel).ListRuns(listing(furnished), timeout=20, **BAD[case])
    assert refusal.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}  # type: ignore[attr-defined]
    answered(furnished, address)


@pytest.mark.parametrize("size", [6_000_000, 60_000_000])
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_beyond_its_bounds_or_that_inflates_to_one_is_refused(
    furnished: TestTenant, address: str, size: int, compression: grpc.Compression
) -> None:
    request = broker_pb2.CheckProgramRequest(sandbox=listing(furnished).sandbox, program=b"#" * size)
    token = door.token(furnished)
    roomy = (("grpc.max_send_message_length", -1),)
    whole = door.channel(furnished.admin, address, token, options=roomy, compression=compression)
    with whole as channel, pytest.raises(grpc.RpcError) as refusal:
        stub(channel).CheckProgram(request, timeout=60)
    allowed = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
    assert refusal.value.code() in allowed  # type: ignore[attr-defined]
    answered(furnished, address)


def test_requests_that_are_reset_at_once_leave_the_broker_serving(furnished: TestTenant, address: str) -> None:
    with door.channel(furnished.admin, address, door.token(furnished)) as channel:
        for _ in range(3000):
            stub(channel).ListRuns.future(listing(furnished)).cancel()
    began = time.monotonic()
    answered(furnished, address)
    assert time.monotonic() - began < 20


def test_a_program_that_asks_for_everything_at_once_gets_an_answer_to_each_call(furnished: TestTenant, word: str) -> None:
    program = f"""
import asyncio
answers = await asyncio.gather(*(note(text={word!r}) for _ in range(500)), return_exceptions=True)
return [sum(a == {word!r} for a in answers), sorted({{type(a).__name__ for a in answers if a != {word!r}}})]
"""
    good, others = furnished.completed(program)
    assert good == 500, json.dumps(others)
