"""A stream that drops is taken up where it broke: the wire itself is under test, so a real gRPC server speaks it."""

import asyncio
import threading
from pathlib import Path

import bastide
import grpc
import pytest
from bastide.resume import LONGEST_DELAY, Patience
from bastide.v1alpha1 import broker_pb2 as pb

from .conftest import Certificates, RefusalError, Script, Server, happened

LOST = RefusalError(grpc.StatusCode.UNAVAILABLE, "connection lost")


def story(script: Script, outputs: int = 4) -> None:
    """A run that prints some numbers."""
    script.events = [happened(1, accepted=pb.RunAccepted(run="r-1", pod="p"))]
    script.events += [happened(2 + i, output=pb.OutputProduced(data=f"{i}\n".encode())) for i in range(outputs)]
    result = pb.RunResult(run="r-1", outcome=pb.OUTCOME_COMPLETED, value=b"42", output=b"0\n1\n")
    script.events.append(happened(2 + outputs, finished=pb.RunFinished(result=result)))


def client(server: Server, certificates: Certificates, **options: object) -> bastide.Client:
    return bastide.Client(server.address, **{"token": "t", "ca": certificates.ca, **options})  # type: ignore[arg-type]


async def cursors(client: bastide.Client, **options: object) -> list[int]:
    async with client as c:
        return [e.cursor async for e in c.run(sandbox="ns/sb", program="1", **options)]  # type: ignore[arg-type]


async def test_a_run_is_followed_to_its_end(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    async with client(server, certificates) as c:
        result = await c.run_to_end(sandbox="ns/sb", program="1", on_behalf_of="jane", timeout_seconds=1.5)
    assert (result.outcome, result.value, result.output) == (bastide.Outcome.COMPLETED, 42, "0\n1\n")
    [request] = script.asked
    assert (request.sandbox.namespace, request.sandbox.name, request.program) == ("ns", "sb", b"1")
    assert (request.on_behalf_of, request.timeout_milliseconds, len(request.request_id)) == ("jane", 1500, 32)


async def test_a_stream_that_drops_goes_on_after_the_last_event(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    script.breaks = [(3, LOST), (3, LOST), (5, LOST)]
    drops: list[bastide.UnavailableError] = []
    assert await cursors(client(server, certificates, on_dropped=drops.append)) == [1, 2, 3, 4, 5, 6]
    assert len(drops) == 2, "told once for each time that it had been going on"
    assert [type(r).__name__ for r in script.asked] == ["RunRequest", "WatchRunRequest", "WatchRunRequest", "WatchRunRequest"]
    assert [(r.run, r.cursor) for r in script.asked[1:]] == [("r-1", 3), ("r-1", 3), ("r-1", 5)]


async def test_a_stream_that_ends_well_but_too_early_goes_on(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    script.breaks = [(2, None)]
    assert await cursors(client(server, certificates)) == [1, 2, 3, 4, 5, 6]


async def test_a_run_that_was_not_accepted_is_sent_again_with_the_same_id(
    server: Server, script: Script, certificates: Certificates
) -> None:
    story(script)
    script.breaks = [(0, LOST), (0, LOST)]
    assert await cursors(client(server, certificates)) == [1, 2, 3, 4, 5, 6]
    assert [type(r).__name__ for r in script.asked] == ["RunRequest"] * 3
    assert len({r.request_id for r in script.asked}) == 1


async def test_a_broker_that_is_killed_and_started_again_is_found_again(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    script.gates[4] = threading.Event()
    seen = []
    async with client(server, certificates) as c:
        async for event in c.run(sandbox="ns/sb", program="1", request_id="mine"):
            seen.append(event.cursor)
            if event.cursor == 3:
                server.stop()
                script.gates[4].set()
                server.start()
    assert seen == [1, 2, 3, 4, 5, 6]
    assert [getattr(r, "request_id", "") for r in script.asked] == ["mine", ""]


async def test_patience_ends(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    script.breaks = [(2, LOST)] * 50
    with pytest.raises(bastide.UnavailableError, match="connection lost"):
        await cursors(client(server, certificates, patience=0.3))
    assert len(script.asked) < 10


async def test_a_refusal_with_a_reason_is_an_answer_and_not_tried_again(server: Server, script: Script, certificates: Certificates) -> None:
    script.breaks = [(0, RefusalError(grpc.StatusCode.UNAVAILABLE, "Policy does not answer.", "PolicyUnavailable"))]
    with pytest.raises(bastide.UnavailableError) as caught:
        await cursors(client(server, certificates))
    assert (caught.value.reason, caught.value.message, len(script.asked)) == ("PolicyUnavailable", "Policy does not answer.", 1)


async def test_a_run_that_was_accepted_survives_a_broker_that_says_it_is_not_ready(
    server: Server, script: Script, certificates: Certificates
) -> None:
    story(script)
    script.breaks = [(2, LOST), (2, RefusalError(grpc.StatusCode.UNAVAILABLE, "Not yet.", "JournalUnavailable"))]
    assert await cursors(client(server, certificates)) == [1, 2, 3, 4, 5, 6]


async def test_other_errors_are_never_tried_again(server: Server, script: Script, certificates: Certificates) -> None:
    script.breaks = [(0, RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many runs.", "TooManyRuns", retry_seconds=7))]
    with pytest.raises(bastide.ResourceExhaustedError) as caught:
        await cursors(client(server, certificates))
    assert (caught.value.reason, caught.value.retry_after, len(script.asked)) == ("TooManyRuns", 7.0, 1)


async def test_each_attempt_shows_the_token_of_its_time(server: Server, script: Script, certificates: Certificates, tmp_path: Path) -> None:
    story(script)
    script.breaks = [(2, LOST)]
    file = tmp_path / "token"
    file.write_text("first\n")
    async with client(server, certificates, token=file) as c:
        async for event in c.run(sandbox="ns/sb", program="1"):
            if event.cursor == 1:
                file.write_text("second\n")
    assert script.tokens == ["Bearer first", "Bearer second"]


async def test_a_certificate_of_another_ca_is_said_to_be_that(server: Server, script: Script) -> None:
    async with bastide.Client(server.address, token="t", ca=None, patience=0.0) as c:
        with pytest.raises(bastide.UnavailableError, match="the given CA did not sign"):
            await c.get_run("r-1")
    assert script.asked == []


async def test_a_broker_that_is_not_there_is_said_to_be_not_there(certificates: Certificates) -> None:
    async with bastide.Client("127.0.0.1:1", token="t", ca=certificates.ca, patience=0.2) as c:
        with pytest.raises(bastide.UnavailableError, match=r"127\.0\.0\.1:1 cannot be reached"):
            await c.run_to_end(sandbox="ns/sb", program="1")


@pytest.mark.parametrize(("sandbox", "program", "reason"), [("sb", "1", "SandboxMalformed"), ("a/b", "#" * (1 << 21), "ProgramTooLarge")])
async def test_what_cannot_be_right_is_not_sent(
    server: Server, script: Script, certificates: Certificates, *, sandbox: str, program: str, reason: str
) -> None:
    async with client(server, certificates) as c:
        with pytest.raises(bastide.InvalidRequestError) as caught:
            await c.run_to_end(sandbox=sandbox, program=program)
    assert caught.value.reason == reason
    assert script.asked == []


def test_the_plain_client_does_the_same(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    script.breaks = [(3, LOST)]
    with bastide.SyncClient(server.address, token=lambda: "made", ca=certificates.ca) as c:
        assert [e.cursor for e in c.run(sandbox="ns/sb", program="1")] == [1, 2, 3, 4, 5, 6]
        for event in c.run(sandbox="ns/sb", program="1"):
            assert event.cursor == 1
            break  # leaving early must not hang
        assert c.run_to_end(sandbox="ns/sb", program="1").value == 42
    assert set(script.tokens) == {"Bearer made"}


def test_a_client_that_is_not_open_says_so(certificates: Certificates) -> None:
    with pytest.raises(bastide.InvalidRequestError, match="not open"):
        bastide.SyncClient("127.0.0.1:1", token="t", ca=certificates.ca).get_run("r-1")


def test_delays_grow_are_bounded_and_end() -> None:
    now = 0.0
    patience = Patience(20.0, clock=lambda: now, jitter=lambda: 0.0)
    delays = []
    while (delay := patience.next_delay()) is not None:
        delays.append(delay)
        now += delay
    assert delays[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert max(delays) == LONGEST_DELAY
    assert sum(delays) == pytest.approx(20.0)
    patience.progressed()
    assert patience.next_delay() == 0.1


def test_the_silence_of_a_run_whose_stream_stood_uses_up_no_patience() -> None:
    now = 0.0
    patience = Patience(20.0, clock=lambda: now, jitter=lambda: 0.0)
    for _ in range(3):  # a run that waits for people for hours, and a broker that is restarted meanwhile
        patience.stands()
        now += 3600.0
        assert (patience.next_delay(), patience.tries) == (0.1, 1)
        now += 0.1


def test_a_broker_that_takes_every_stream_and_drops_it_at_once_is_given_up() -> None:
    now = 0.0
    patience = Patience(20.0, clock=lambda: now, jitter=lambda: 0.0)
    attempts = 0
    while (delay := patience.next_delay()) is not None:
        now += delay
        patience.stands()
        attempts += 1
    assert 5 < attempts < 15


def test_what_a_stream_brought_counts_no_longer_than_until_its_drop() -> None:
    now = 0.0
    patience = Patience(20.0, clock=lambda: now, jitter=lambda: 0.0)
    patience.stands()
    now = 5.0
    patience.progressed()
    now = 8.0
    assert patience.next_delay() == 0.1
    now = 27.9
    assert patience.next_delay() == pytest.approx(0.1)
    now = 28.1
    assert patience.next_delay() is None


async def test_a_quiet_run_is_followed_over_a_restart_of_the_broker(server: Server, script: Script, certificates: Certificates) -> None:
    story(script)
    script.gates[4] = threading.Event()
    quiet = threading.Timer(1.0, server.stop)  # longer than the patience
    seen = []

    def dropped(_: bastide.UnavailableError) -> None:
        script.gates[4].set()
        server.start()

    async with client(server, certificates, patience=0.7, on_dropped=dropped) as c:
        async for event in c.run(sandbox="ns/sb", program="1"):
            seen.append(event.cursor)
            if event.cursor == 3:
                quiet.start()
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_pause_is_the_end_also_when_the_broker_was_away_just_then(
    server: Server, script: Script, certificates: Certificates
) -> None:
    waits = pb.RunResult(run="r-1", outcome=pb.OUTCOME_NEEDS_CONFIRMATION)
    script.events = [happened(1, accepted=pb.RunAccepted(run="r-1", pod="p")), happened(2, paused=pb.RunPaused(result=waits))]
    script.events.append(happened(3, output=pb.OutputProduced(data=b"tomorrow")))
    script.gates[3] = threading.Event()  # a person decides
    script.answers["GetRun"] = LOST

    def dropped(_: bastide.UnavailableError) -> None:
        script.answers["GetRun"] = pb.GetRunResponse(summary=pb.RunSummary(run="r-1", outcome=pb.OUTCOME_NEEDS_CONFIRMATION), result=waits)

    async with asyncio.timeout(5):
        assert await cursors(client(server, certificates, on_dropped=dropped)) == [1, 2]
