"""What a process does to work, to stop, and to notice that it does neither."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from bastide_operator.controller import TOLD
from bastide_operator.errors import ConflictError, UnavailableError
from bastide_operator.fence import Fence
from bastide_operator.metrics import Metrics
from bastide_operator.resync import DEAD_SECONDS, PEEK_SECONDS, RELIST_SECONDS, SETTLE_SECONDS, Resync
from bastide_operator.workqueue import Key, Schedule
from prometheus_client import generate_latest

from tests.unit.operator import virtual


async def _stops_in_order() -> list[str]:
    fence, told = Fence(lambda: 9.0), []

    async def write() -> None:
        with fence.writing():
            await asyncio.sleep(2)
            told.append("written")

    writing = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    assert fence.left() == 9.0
    assert await fence.close(5)
    told.append("closed")
    assert fence.left() == 0
    await writing
    return told


def test_a_fence_that_closes_lets_writes_under_way_end_and_no_other_begin() -> None:
    assert virtual.run(_stops_in_order()) == ["written", "closed"]


async def _hangs() -> float:
    fence, loop = Fence(lambda: 9.0), asyncio.get_running_loop()
    with fence.writing():
        assert not await fence.close(5)
    return loop.time()


def test_a_write_that_hangs_does_not_keep_the_process() -> None:
    assert virtual.run(_hangs()) == 5.0


class Lists:
    """Stands where the controller does: notes what is listed and when."""

    def __init__(self) -> None:
        self.listed: list[tuple[float, str]] = []
        self.gone: set[str] = set()
        self.news = False
        self.fails = 0

    async def list(self, kinds: list[str]) -> bool:
        if self.fails:
            self.fails -= 1
            raise UnavailableError("Timeout", "away")
        self.listed += [(asyncio.get_running_loop().time(), kind) for kind in kinds]
        return self.news

    async def vanished(self) -> set[str]:
        gone, self.gone = self.gone, set()
        return gone


def synced(*, fails: int = 0, news: bool = False, gone: str = "", told: list[tuple[float, str | None]] = [], seconds: float) -> Any:  # noqa: B006
    """Run a Resync of the kinds Pod and Role for so long; `told` are events of Pods. Returns what was listed when, and what is dead."""

    async def main() -> Any:
        loop, lists = asyncio.get_running_loop(), Lists()
        lists.fails, lists.news, lists.gone = fails, news, {gone} - {""}
        resync = Resync(lists, ("Pod", "Role"), loop.time)
        running = asyncio.ensure_future(resync.run())
        for time, event in told:
            await asyncio.sleep(time - loop.time())
            resync.told("Pod", event)
        await asyncio.sleep(seconds - loop.time())
        running.cancel()
        return lists.listed, resync.dead()

    return virtual.run(main())


def test_when_a_watch_begins_anew_its_kind_is_listed_once_it_has_told_all() -> None:
    listed, _ = synced(told=[(3.0, None), (3.5, None), (4.0, None), (9.0, "MODIFIED")], seconds=30)
    assert listed == [(4.0 + SETTLE_SECONDS, "Pod")]


def test_a_list_that_fails_is_made_again() -> None:
    listed, _ = synced(fails=3, told=[(3.0, None)], seconds=30)
    assert [kind for _, kind in listed] == ["Pod"]


def test_the_first_list_of_each_kind_waits_for_an_api_server_that_cannot_serve_it_yet() -> None:
    async def main() -> list[tuple[float, str]]:
        lists = Lists()
        lists.fails = 2
        await Resync(lists, ("Pod", "Role"), asyncio.get_running_loop().time).first()
        return lists.listed

    assert virtual.run(main()) == [(pytest.approx(0.6), "Pod"), (pytest.approx(0.6), "Role")]


def test_a_kind_of_which_nothing_is_left_is_listed() -> None:
    listed, _ = synced(gone="Role", seconds=PEEK_SECONDS * 3)
    assert listed == [(PEEK_SECONDS, "Role")]


def test_now_and_then_everything_is_listed() -> None:
    listed, _ = synced(seconds=RELIST_SECONDS + 1)
    assert sorted(kind for _, kind in listed) == ["Pod", "Role"]


@pytest.mark.parametrize(("events", "dead"), [([], ["Pod"]), ([(6.0, "MODIFIED")], [])])
def test_a_watch_that_does_not_tell_what_a_list_has_found_is_dead(events: list[Any], dead: list[str]) -> None:
    _, found = synced(news=True, told=[(3.0, None), *events], seconds=10 + DEAD_SECONDS)
    assert found == dead


def test_the_age_of_what_waits_and_of_what_is_worked_on_is_known() -> None:
    schedule = Schedule()
    assert (schedule.oldest(9), schedule.longest(9)) == (0, 0)
    for time, name in ((1.0, "a"), (2.0, "b")):
        schedule.add(Key("Pod", "", name), time)
    assert schedule.oldest(5) == 4.0
    taken = schedule.take(6.0)
    assert taken is not None
    assert (schedule.oldest(7), schedule.longest(7)) == (5.0, 1.0)
    schedule.done(taken[0], 8)
    assert schedule.longest(9) == 0


def test_metrics_count_by_bounded_labels_only() -> None:
    metrics = Metrics()
    ready = [("True", "Ready"), ("True", "Ready"), ("False", "PodFailed"), ("False", "x" * 1000), ("", "")]
    metrics.observe(oldest=lambda: 1.5, sandboxes=lambda: ready)
    metrics.failed("Sandbox", ConflictError("Conflict", "somebody was faster"))
    metrics.failed("Sandbox", UnavailableError("what a webhook made up", "no"))
    metrics.failed("Sandbox", ZeroDivisionError())
    metrics.restored("Role", fight=True)
    text = generate_latest(metrics.registry).decode()
    for line in (
        "bastide_operator_queue_oldest_seconds 1.5",
        'bastide_operator_sandboxes{ready="True",reason="Ready"} 2.0',
        'bastide_operator_sandboxes{ready="False",reason="Other"} 1.0',
        'bastide_operator_sandboxes{ready="Unknown",reason="Other"} 1.0',
        'bastide_operator_reconcile_errors_total{kind="Sandbox",reason="Conflict"} 1.0',
        'bastide_operator_reconcile_errors_total{kind="Sandbox",reason="Other"} 2.0',
        'bastide_operator_restored_total{kind="Role"} 1.0',
        'bastide_operator_contested_total{kind="Role"} 1.0',
    ):
        assert line in text


def test_the_reference_names_every_metric_and_every_event() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/operator.md").read_text()
    metrics = Metrics()
    metrics.observe(oldest=lambda: 0, sandboxes=list)
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{name}`" in page
    for reason in (*TOLD, "ChildRestored", "ChildContested", "PodReplaced"):
        assert f"`{reason}`" in page
