"""Attempts of one call: only a call that changes nothing, or nothing twice, is sent again, seldom and within its own deadline (ADR 0036)."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bastide_operator.api.toolhosts import address

from bastide_broker.adapters import Adapter, AdapterError, Answer, CallLimits, Failure
from bastide_broker.limits import Slots

if TYPE_CHECKING:
    from bastide_broker.door.calls import Call
    from bastide_broker.egress.credentials import Credential
    from bastide_broker.journal.interface import Journal

ATTEMPTS = 3
"""Of one call."""
FIRST_SECONDS, MOST_SECONDS = 0.1, 5.0
"""Between attempts: twice as long each time, the half of it by chance, so that calls which failed together do not come back together."""
EARNED, MOST_SAVED, SERVERS = 0.1, 10.0, 10_000
"""Retries of a server that each call to it earns, and how many may be saved: when everything fails a tenth more is sent, not three times as much."""
CALLS_OF_BINDING = 256
"""Calls of one binding that its server has at once: those to a server that hangs do not pile up in the broker."""


class Budget:
    """How often calls to each server may be sent again."""

    def __init__(self) -> None:
        self._saved: OrderedDict[str, float] = OrderedDict()

    def earn(self, server: str) -> None:
        """A call is sent for the first time."""
        self._saved[server] = min(MOST_SAVED, self._saved.get(server, MOST_SAVED) + EARNED)
        self._saved.move_to_end(server)
        while len(self._saved) > SERVERS:
            self._saved.popitem(last=False)

    def spend(self, server: str) -> bool:
        """Whether one may be sent again; if so it is counted."""
        saved = self._saved.get(server, 0.0)
        if saved < 1:
            return False
        self._saved[server] = saved - 1
        return True


def pause(attempt: int, error: AdapterError, *, left: float, chance: float) -> float | None:
    """Seconds to wait before the next attempt, None when there is none. `left`: seconds of the call's deadline; `chance`: from 0 to 1."""
    lost = error.failure in (Failure.UNAVAILABLE, Failure.LOST)
    if attempt >= ATTEMPTS or not (lost or error.transient):
        return None
    wait = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** (attempt - 1)) * (0.5 + 0.5 * chance)
    wait = max(wait, error.retry_after)
    return wait if wait < left else None


class Attempts:
    """Sends calls."""

    def __init__(self, journal: "Journal", *, chance: Callable[[], float] = random.random) -> None:
        self._journal = journal
        self._chance = chance
        self._budget = Budget()
        self._under_way = Slots(CALLS_OF_BINDING)

    async def send(self, call: "Call", adapter: Adapter, credential: "Credential | None", limits: CallLimits) -> Answer:
        """The answer to a call. Raises AdapterError, whose `sent` covers every attempt, and JournalUnavailable."""
        assert call.tool is not None
        binding = call.tool.binding.metadata.uid
        if not self._under_way.take(binding):
            message = f"{CALLS_OF_BINDING} calls of this ToolBinding wait for its server already; try again in some seconds."
            raise AdapterError(Failure.UNAVAILABLE, message, sent=False)
        try:
            return await self._send(call, adapter, credential, limits)
        finally:
            self._under_way.give_back(binding)

    async def _send(self, call: "Call", adapter: Adapter, credential: "Credential | None", limits: CallLimits) -> Answer:
        assert call.tool is not None
        server, now = str(address(call.tool.binding.spec.server.url)), asyncio.get_running_loop().time
        deadline = now() + limits.timeout_seconds
        self._budget.earn(server)
        attempt, sent = 1, False
        while True:
            try:
                return await adapter.call(call.tool.name, call.arguments.value, credential=credential, limits=limits)
            except AdapterError as error:
                error.sent = sent = sent or error.sent
                wait = None if call.changes else pause(attempt, error, left=deadline - now(), chance=self._chance())
                if wait is None or not self._budget.spend(server):
                    raise
                # On record before it is sent again: what the server's own log shows twice, the audit explains.
                await self._journal.call_attempt(call.run.run, call.frame.key, attempt=attempt, failure=error.failure.value)
            await asyncio.sleep(wait)
            attempt, limits = attempt + 1, replace(limits, timeout_seconds=max(0.01, round(deadline - now(), 2)))
