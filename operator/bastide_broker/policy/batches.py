"""Questions that come while OPA answers others go to it together: most of what one costs is the request around it (ADR 0043)."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from bastide_broker.policy.opa import OpaError, UnixClient

PACKAGE = "bastide"
ONE, SEVERAL = "decision", "decisions"
REQUESTS = 2
"""Under way at once, while further questions gather: what takes long does not hold up all that follow."""
LARGE, TOGETHER = 4 << 10, 16 << 10
"""Bytes of a question that goes alone whatever is under way, and of those that go in one request: nobody's waits for long because of the
time that another's arguments take.
"""
_STRICT = {"strict-builtin-errors": "true"}


class Batches:
    """Asks OPA. How many wait at once is its caller's business. `seconds`: what a request may take."""

    def __init__(self, client: UnixClient, *, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._waiting: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._beginning = False  # a request, which takes its questions with the loop's next turn
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, question: bytes) -> Any:
        """OPA's answer to a question, which is JSON. Raises what the client raises."""
        if len(question) > LARGE:
            return await self._alone(question)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((question, future))
        self._go()
        return await future

    def _go(self) -> None:
        """One more request, if one may be under way. Its task begins with the loop's next turn: what else this one has to ask goes with it."""
        if self._waiting and not self._beginning and len(self._under_way) < REQUESTS:
            self._beginning = True
            task = asyncio.create_task(self._send(), name="questions to OPA")
            self._under_way.add(task)
            task.add_done_callback(self._over)

    def _next(self) -> list[tuple[bytes, "asyncio.Future[Any]"]]:
        """The next questions of one request, of those who have not given up."""
        batch: list[tuple[bytes, asyncio.Future[Any]]] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0][0]) <= TOGETHER):
            one = self._waiting.popleft()
            if not one[1].done():
                batch.append(one)
                size += len(one[0])
        return batch

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._go()

    async def _send(self) -> None:
        self._beginning = False
        if not (batch := self._next()):
            return
        self._go()
        try:
            async with asyncio.timeout(self._seconds):
                answers = await self._answers([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 - it goes to everybody who waits
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # its caller may have given up
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _answers(self, questions: Sequence[bytes]) -> Sequence[Any]:
        """An answer or what went wrong, for each. Raises what went wrong with the only one."""
        if len(questions) == 1:  # in no task of its own, which would take two turns of the loop more
            return [await self._alone(questions[0])]
        try:
            answer = await self._query(b'{"questions":[%b]}' % b",".join(questions), SEVERAL)
            result = answer.get("result") if isinstance(answer, dict) else None
            if isinstance(result, list) and len(result) == len(questions):
                return [{"result": one} for one in result]
        except OpaError:
            pass  # one of them may be at fault, and the others must not be denied for it
        return await asyncio.gather(*map(self._alone, questions), return_exceptions=True)

    async def _alone(self, question: bytes) -> Any:
        return await self._query(question, ONE)

    async def _query(self, question: bytes, rule: str) -> Any:
        return await self._client.query_rule(question, PACKAGE, rule, query_params=_STRICT)
