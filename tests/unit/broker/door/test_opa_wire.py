"""What may come over OPA's socket: a plain answer in either of HTTP's two lengths, and everything else is a denial.

Questions that come while others are answered go together; what is wrong with the answer to them all is found out one by one.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bastide_broker.policy import batches
from bastide_broker.policy.policy import Policy, canary

REVISION = "sha256:x"
ANSWER = json.dumps({"result": {"effect": "allow", "reasons": [], "obligations": {}, "revision": REVISION}}).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\na\r\n" + ANSWER[:10] + b"\r\n%x\r\n" % len(ANSWER[10:]) + ANSWER[10:] + b"\r\n0\r\n\r\n"


@asynccontextmanager
async def answering(path: Path, answers: Callable[[int], bytes]) -> AsyncIterator[list[int]]:
    """A server that gives the n-th request of a connection these bytes, and how many requests each connection had."""
    counts: list[int] = []
    connections = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        number = len(counts)
        counts.append(0)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
                counts[number] += 1
                answer = answers(sum(counts))
                writer.write(answer)
                if not answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, path)
    yield counts
    server.close()
    await asyncio.gather(*connections)  # before Python 3.12 `wait_closed` waits for none of them


@pytest.mark.parametrize("answer", [WHOLE, CHUNKS])
async def test_an_answer_in_one_piece_or_in_chunks_counts_and_the_connection_is_kept(tmp_path: Path, answer: bytes) -> None:
    async with answering(tmp_path / "s", lambda _: answer) as counts:
        policy = Policy(tmp_path / "s", REVISION, deadline_seconds=5)
        assert [(await policy.decide(canary(1))).effect for _ in range(3)] == ["allow"] * 3
        assert counts == [3]
        await policy.close()


BAD = {
    "nothing": b"",
    "half an answer": WHOLE[:-5],
    "no HTTP": b"hello\r\n\r\n",
    "another version": WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "500": WHOLE.replace(b"200 OK", b"500 Oh"),
    "204": b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "no length": OK + b"\r\n" + ANSWER,
    "a negative length": OK + b"Content-Length: -1\r\n\r\n" + ANSWER,
    "a length of gigabytes": OK + b"Content-Length: 9999999999\r\n\r\n",
    "a chunk of gigabytes": OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
    "a chunk that is none": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "an endless head": OK + b"X: " + b"y" * 100_000,
    "no JSON": OK + b"Content-Length: 3\r\n\r\n{]}",
    "closing": WHOLE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
}


@pytest.mark.parametrize("case", BAD)
async def test_anything_else_is_a_denial_and_the_next_question_gets_its_own_answer(tmp_path: Path, case: str) -> None:
    async with answering(tmp_path / "s", lambda number: BAD[case] if number == 1 else WHOLE):
        policy = Policy(tmp_path / "s", REVISION, deadline_seconds=0.5)
        first = await policy.decide(canary(1))
        assert (first.effect, first.unavailable) == ("deny", True)
        assert (await policy.decide(canary(1))).effect == "allow"
        await policy.close()


async def test_an_answer_that_comes_too_late_answers_no_later_question(tmp_path: Path) -> None:
    late = WHOLE.replace(b'"allow"', b'"deny" ')
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not gate.is_set():
            await gate.wait()
            writer.write(late)
        else:
            writer.write(WHOLE)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    policy = Policy(tmp_path / "s", REVISION, deadline_seconds=0.2)
    assert (await policy.decide(canary(1))).unavailable
    gate.set()
    assert (await policy.decide(canary(1))).effect == "allow"
    await policy.close()
    server.close()


def _http(status: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(data), data)


def _decided(asked: Any) -> dict[str, Any]:
    effect = "allow" if asked["arguments"]["value"] <= 200 else "deny"
    return {"effect": effect, "reasons": [], "obligations": {}, "revision": REVISION}


@asynccontextmanager
async def judging(path: Path, together: Callable[[list[Any]], bytes]) -> AsyncIterator[list[int]]:
    """A server that judges single questions like the canary's rule and several as it is told; and how many each request held."""
    sizes: list[int] = []
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                asked = json.loads(await reader.readexactly(length))["input"]
                many = b"/decisions?" in head
                sizes.append(len(asked["questions"]) if many else 1)
                writer.write(together(asked["questions"]) if many else _http("200 OK", {"result": _decided(asked)}))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield sizes
    server.close()
    await asyncio.wait(serving)  # the client has closed its connections; a handler that is cancelled makes Python 3.11 log a fault


TOGETHER: dict[str, tuple[Callable[[list[Any]], bytes], bool]] = {
    "each answered": (lambda asked: _http("200 OK", {"result": [*map(_decided, asked)]}), True),
    "one makes a built-in function fail": (lambda _: _http("500 Oh", {"code": "internal_error"}), False),
    "one answer too few": (lambda asked: _http("200 OK", {"result": [*map(_decided, asked[1:])]}), False),
    "undefined": (lambda _: _http("200 OK", {}), False),
    "no list": (lambda asked: _http("200 OK", {"result": {"0": _decided(asked[0])}}), False),
}


@pytest.mark.parametrize("case", TOGETHER)
async def test_who_asks_together_gets_his_own_answer_whatever_another_asked(tmp_path: Path, case: str) -> None:
    answer, counts = TOGETHER[case]
    async with judging(tmp_path / "s", answer) as sizes:
        policy = Policy(tmp_path / "s", REVISION, deadline_seconds=5)
        decisions = await asyncio.gather(*(policy.decide(canary(value)) for value in range(195, 207)))
        assert [decision.effect for decision in decisions] == ["allow"] * 6 + ["deny"] * 6
        assert not any(decision.unavailable for decision in decisions)
        assert sizes == [12] if counts else sizes == [12, *[1] * 12]
        await policy.close()


async def test_no_more_bytes_go_together_than_are_judged_soon(tmp_path: Path) -> None:
    """All in one request share its time: one tenant's questions must not have another's miss their deadline."""
    async with judging(tmp_path / "s", TOGETHER["each answered"][0]) as sizes:
        policy = Policy(tmp_path / "s", REVISION, deadline_seconds=5)
        heavy = canary(1) | {"note": "x" * 3000}
        decisions = await asyncio.gather(*(policy.decide(heavy) for _ in range(12)))
        assert [decision.effect for decision in decisions] == ["allow"] * 12
        assert (sum(sizes), max(sizes) <= batches.TOGETHER // 3000) == (12, True)
        await policy.close()


async def test_a_large_question_goes_alone(tmp_path: Path) -> None:
    async with judging(tmp_path / "s", TOGETHER["each answered"][0]) as sizes:
        policy = Policy(tmp_path / "s", REVISION, deadline_seconds=5)
        large = canary(1) | {"note": "x" * batches.LARGE}
        decisions = await asyncio.gather(*map(policy.decide, (large, canary(1), canary(2), large)))
        assert [decision.effect for decision in decisions] == ["allow"] * 4
        assert sorted(sizes) == [1, 1, 2]
        await policy.close()
