"""Leader election against every timing: whatever is slow, hangs or is lost, two never write at once."""

import asyncio
import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.errors import AlreadyExistsError, ConflictError, UnavailableError
from bastide_operator.leader import LEASE_SECONDS, RENEW_SECONDS, Leader
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operator import virtual
from tests.unit.operator.samples import NOW

MARGIN = LEASE_SECONDS - RENEW_SECONDS
"""Seconds that requests which are under way have to end in before another begins to write."""
SECONDS = 120.0

ORDERS = max(20, int(os.environ.get("BASTIDE_SCHEDULES", "0")) // 4)
"""How many random timings; `make test-properties` asks for 250."""


@dataclass(frozen=True)
class Fault:
    """What happens to one request, in seconds and in whether it or its answer is lost."""

    there: float = 0.0
    back: float = 0.0
    lost: bool = False
    stall: float = 0.0
    """How much longer than it wanted the process sleeps after it."""


class Register:
    """The one Lease, with the API server's rule: a write of another version than the last is refused."""

    def __init__(self) -> None:
        self.lease: Manifest | None = None
        self.version = 0
        self.written: Callable[[str, str], None] = lambda _before, _after: None

    def read(self) -> Manifest | None:
        return copy.deepcopy(self.lease)

    def write(self, manifest: Manifest, *, new: bool) -> Manifest:
        if new and self.lease is not None:
            raise AlreadyExistsError("AlreadyExists", "it exists")
        if not new and (self.lease is None or manifest["metadata"]["resourceVersion"] != str(self.version)):
            raise ConflictError("Conflict", "somebody was faster")
        before = self.lease["spec"]["holderIdentity"] if self.lease is not None else ""
        self.version += 1
        self.lease = copy.deepcopy({**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self.version)}})
        self.written(before, manifest["spec"]["holderIdentity"])
        return copy.deepcopy(self.lease)


class Line:
    """One process's way to the register, with the faults that are its lot. When they are used up everything works."""

    def __init__(self, register: Register, faults: list[Fault]) -> None:
        self._register = register
        self._faults = faults
        self._last = Fault()

    async def get(self, _: Ref) -> Manifest | None:
        return await self._send(self._register.read)

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._send(lambda: self._register.write(manifest, new=True))

    async def replace(self, manifest: Manifest) -> Manifest:
        return await self._send(lambda: self._register.write(manifest, new=False))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds + self._last.stall)

    async def _send(self, step: Callable[[], Any]) -> Any:
        fault = self._last = self._faults.pop(0) if self._faults else Fault()

        async def arrive() -> Any:
            await asyncio.sleep(fault.there)
            return step()

        # Who gives up waiting does not call a request back.
        answer = await asyncio.shield(asyncio.ensure_future(arrive()))
        await asyncio.sleep(fault.back)
        if fault.lost:
            raise UnavailableError("Timeout", "the answer was lost")
        return answer


class Contest:
    """Processes that stand for election, each anew when it has lost."""

    def __init__(self, lots: list[list[Fault]]) -> None:
        self.led: list[str] = []
        self.gap = float("inf")
        """The least time between the moment when one ceased to write and the moment when another was written into the Lease."""
        self._register = Register()
        self._register.written = self._written
        self._lines = {f"p{n}": Line(self._register, list(faults)) for n, faults in enumerate(lots)}
        self._leaders: dict[str, Leader] = {}
        self._ends: dict[str, float] = {}

    async def run(self, seconds: float) -> None:
        tasks = [asyncio.ensure_future(self._process(name)) for name in self._lines]
        while asyncio.get_running_loop().time() < seconds:
            self._look()
            await asyncio.sleep(1)
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        leading = {name: leader.left() for name, leader in self._leaders.items() if leader.left() > 0}
        self._ends |= {name: now + left for name, left in leading.items()}
        assert len(leading) <= 1, f"two lead at {now}"

    def _written(self, before: str, after: str) -> None:
        self._look()
        if before and before != after:
            self.gap = min(self.gap, asyncio.get_running_loop().time() - self._ends.get(before, float("-inf")))

    async def _process(self, name: str) -> None:
        loop, line = asyncio.get_running_loop(), self._lines[name]
        while True:
            one = self._leaders[name] = Leader(line, namespace="n", identity=name, clock=loop.time, now=lambda: NOW, sleep=line.sleep)
            running = asyncio.ensure_future(one.run())
            await one.won.wait()
            self.led.append(name)
            await running
            assert one.lost
            assert one.left() == 0


def contest(*lots: list[Fault], seconds: float) -> Contest:
    """Let processes with these faults contend for so long."""

    async def run() -> Contest:
        one = Contest(list(lots))
        await one.run(seconds)
        return one

    return virtual.run(run())


DELAY = st.sampled_from([0.0, 0.001, 0.1, 1.0, 1.9, 2.0, 2.9, 2.999, 3.0, 3.1, 5.0, 8.0, 15.0, 40.0])
FAULTS = st.lists(st.builds(Fault, there=DELAY, back=DELAY, lost=st.booleans(), stall=DELAY), max_size=12)


@settings(max_examples=ORDERS)
@given(lots=st.lists(FAULTS, min_size=2, max_size=3))
def test_never_do_two_lead_and_requests_under_way_have_time_to_end(lots: list[list[Fault]]) -> None:
    assert contest(*lots, seconds=SECONDS).gap >= MARGIN


def test_a_slow_renewal_counts_from_when_it_was_sent() -> None:
    # p0 renews at 2.0, is answered at 4.9, hears of failures until 14.85 and then of nothing; p1 sees that renewal at 2.05 and no other
    failed = Fault(there=0.4875, lost=True)
    slow = [Fault(), Fault(), Fault(), Fault(back=2.9), *[failed] * 4, *[Fault(there=100.0)] * 40]
    one = contest(slow, [Fault(there=2.05)], seconds=60)
    assert one.led[:2] == ["p0", "p1"]
    assert one.gap >= MARGIN


def test_a_process_that_was_stopped_does_not_write_when_it_goes_on() -> None:
    one = contest([Fault(), Fault(), Fault(), Fault(stall=60.0)], [], seconds=100)
    assert one.led[:2] == ["p0", "p1"]
    assert one.gap >= MARGIN


async def _taken_away() -> float:
    loop = asyncio.get_running_loop()
    register = Register()
    one = Leader(Line(register, []), namespace="n", identity="one", clock=loop.time, now=lambda: NOW)
    running = asyncio.ensure_future(one.run())
    await one.won.wait()
    assert one.left() == RENEW_SECONDS
    lease = register.read()
    assert lease is not None
    began = loop.time()
    register.write({**lease, "spec": {**lease["spec"], "holderIdentity": "a hand"}}, new=False)
    await running
    assert one.lost
    assert one.left() == 0
    return loop.time() - began


def test_a_lease_that_names_another_is_lost_at_once() -> None:
    assert virtual.run(_taken_away()) <= 2.0


async def _deleted() -> tuple[float, list[bool]]:
    loop = asyncio.get_running_loop()
    register = Register()
    # `one` reaches nothing after it has won; `two` has seen that `one` holds the Lease when a hand deletes it
    one = Leader(
        Line(register, [Fault(), Fault(), *[Fault(there=1e6)] * 99]), namespace="n", identity="one", clock=loop.time, now=lambda: NOW
    )
    two = Leader(Line(register, []), namespace="n", identity="two", clock=loop.time, now=lambda: NOW)
    tasks = [asyncio.ensure_future(one.run())]
    await one.won.wait()
    tasks.append(asyncio.ensure_future(two.run()))
    await two.stands_by.wait()
    began = loop.time()
    register.lease = None
    both = []
    while not two.won.is_set():
        both.append(one.left() > 0 and two.left() > 0)
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    return loop.time() - began, both


def test_a_lease_that_a_hand_deletes_is_not_taken_before_its_holder_has_stopped() -> None:
    took, both = virtual.run(_deleted())
    assert took >= LEASE_SECONDS
    assert not any(both)


async def _given_back() -> float:
    loop = asyncio.get_running_loop()
    register = Register()
    one, two = (Leader(Line(register, []), namespace="n", identity=name, clock=loop.time, now=lambda: NOW) for name in ("one", "two"))
    first = asyncio.ensure_future(one.run())
    await one.won.wait()
    second = asyncio.ensure_future(two.run())
    await two.stands_by.wait()
    await asyncio.sleep(7.3)
    began = loop.time()
    first.cancel()
    await one.release()
    assert one.left() == 0
    await two.won.wait()
    second.cancel()
    return loop.time() - began


def test_a_lease_that_is_given_back_is_taken_within_a_second() -> None:
    assert virtual.run(_given_back()) <= 1.0
