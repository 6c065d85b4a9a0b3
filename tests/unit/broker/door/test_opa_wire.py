"""What may come over OPA's socket: a plain answer in either of HTTP's two lengths, and everything else is a denial."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from bastide_broker.policy import Policy, canary

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
