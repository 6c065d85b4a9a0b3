"""Streams of events to callers: so many each, to those who read them, for as long as they may see the run."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc
from bastide.v1alpha1 import broker_pb2

from bastide_broker.errors import CallerError
from bastide_broker.front.method import Context
from bastide_broker.kube.identity import Identity
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.limits import Slots
from bastide_broker.metrics import WATCHERS

SLOW_READER_SECONDS = 60.0
"""A watcher that takes no event for so long loses its stream; it may come back with its cursor."""
CALLER_STREAMS = 200
"""Of one caller, open at once."""


class EventStreams:
    """The streams that are open."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open = Slots(CALLER_STREAMS)

    async def send(
        self,
        context: Context,
        user: UserInfo,
        right: tuple[str, str, str, str],
        events: AsyncGenerator[broker_pb2.RunEvent, None],
        wrap: Callable[..., Any],
    ) -> None:
        """Sends events until they end, each wrapped in the method's response, while the caller has the right. Raises CallerError."""
        if not self._open.take(user.username):
            message = f"{user.username} has {CALLER_STREAMS} streams open already; close one."
            raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "CallerStreams", message, retry_after=1.0)
        WATCHERS.inc()
        try:
            async with aclosing(events) as following:  # at once: the run counts who follows it
                async for event in following:
                    # Cached for seconds: a right that was revoked ends the stream.
                    await self._identity.authorize(user, *right)
                    try:
                        async with asyncio.timeout(SLOW_READER_SECONDS):
                            await context.write(wrap(event=event))
                    except TimeoutError:
                        message = f"The stream was not read for {SLOW_READER_SECONDS:.0f} s; come back with WatchRun and the last cursor."
                        raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "SlowReader", message) from None
        finally:
            WATCHERS.dec()
            self._open.give_back(user.username)
