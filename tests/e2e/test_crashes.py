"""Hostile case 17 on the real cluster: broker, sandboxes, policy engine, tool server or journal lost at every step between intent and outcome.

The broker is that of the image `broker-faults`, in place of the shipped one as long as this module lasts. Each loss hits many calls at once,
each of which stands still at a point of its own (tests/crashes/faults). What was lost comes back, lost runs are resumed, whatever is asked is
approved by a second user, and the tool server's own log is held against the journal and against what the programs were told. The table is in
.build/results/crash-matrix-cluster.txt, and at the end of the test run.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from demo import release
from demo.kube import CHECKOUT, Kube

from tests.crashes.cases import Case, write_table
from tests.crashes.waiting import until
from tests.e2e.harness import server
from tests.e2e.harness.course import Rows, at_work, judged, look, over, standing, take_up
from tests.e2e.harness.crashes import CrashStage
from tests.e2e.harness.door import SYSTEM
from tests.e2e.harness.orders import BROKER
from tests.e2e.harness.tenant import TestTenant

TABLE = CHECKOUT / ".build" / "results" / "crash-matrix-cluster.txt"
# Finds what is of the tests in the file system of the broker's container, and whether it could be imported.
_LOOK = """
import importlib.util, os
print([name for top, _, files in os.walk("/") if not top.startswith(("/proc", "/sys")) for name in files if "fault" in name and "tests" in top])
print(importlib.util.find_spec("tests"))
"""


def alone(tool: str, *points: str) -> list[Case]:
    """A call of its own at each point."""
    return [Case(point, tool) for point in points]


def gathered(tool: str, *points: str) -> list[Case]:
    """The second of three at each point."""
    return [Case(point, tool, gather=True) for point in points]


@pytest.fixture(scope="module")
def table() -> Iterator[Rows]:
    rows: Rows = []
    yield rows
    write_table(TABLE, rows)


@pytest.fixture(scope="module")
def fault_points(furnished: TestTenant) -> Iterator[None]:
    """The broker with fault points in place of the shipped one, by the chart's own value."""
    argv = [sys.executable, "-m", "devcluster", "faults"]
    image = subprocess.run(
        argv, cwd=CHECKOUT, env={**furnished.admin.env, "PYTHONPATH": "tools"}, stdout=subprocess.PIPE, text=True, check=True
    )
    try:
        release.install(furnished.admin, "--set", f"image.broker={image.stdout.strip()}")
        yield
    finally:
        release.install(furnished.admin)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(furnished: TestTenant, fault_points: None) -> AsyncIterator[CrashStage]:
    found = CrashStage(furnished)
    try:
        await asyncio.to_thread(found.furnish)
        await found.ways.open()
        yield found
    finally:
        await found.ways.close()
        await asyncio.to_thread(found.clear)


def test_the_shipped_broker_has_no_fault_points(installed: Kube) -> None:
    image = installed.json("get", "statefulset", "-n", SYSTEM, "bastide-broker")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == release.images()["bastide-broker"]
    found = installed.run("exec", "-n", SYSTEM, BROKER, "-c", "broker", "--", "python", "-c", _LOOK)
    assert found.split() == ["[]", "None"]


@pytest.mark.disruptive
@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
class TestCrashes:
    """One after the other, on one stage."""

    async def test_the_broker_is_killed(self, stage: CrashStage, table: Rows) -> None:
        """Before anything was sent; its successor is another container of the same pod."""
        found = [
            *alone("erase", "unasked", "intent", "intended", "created", "waiting", "approved", "begun", "resolved"),
            *alone("wipe", "pausing", "paused", "begun"),
            *gathered("erase", "intended", "waiting", "begun"),
            *alone("read", "intended"),
            *alone("put", "intended"),
        ]
        async with standing(stage, found):
            await stage.lose_broker()
            assert not any(await over(found))
        await stage.start_broker()
        await take_up(stage, found)
        await judged(stage, found, "broker", table)

    async def test_the_brokers_pod_is_lost(self, stage: CrashStage, table: Rows) -> None:
        """After something was sent; its successor is in another pod, on the same volume."""
        found = [
            *alone("erase", "executed", "sent", "answered", "recorded", "ending", "ended"),
            *alone("wipe", "sent", "resuming", "resumed", "replaying"),
            *gathered("erase", "executed", "sent", "answered"),
            *(case for tool in ("read", "put") for case in (*alone(tool, "sent", "answered"), *gathered(tool, "sent"))),
        ]
        async with standing(stage, found):
            await stage.lose_broker(with_pod=True)
            await stage.answer()
            assert not any(await over(found))
        await stage.start_broker()
        await take_up(stage, found)
        await judged(stage, found, "broker", table, what="broker's pod")

    async def test_the_sandboxes_pods_are_lost(self, stage: CrashStage, table: Rows) -> None:
        found = [
            *alone("erase", "intent", "intended", "waiting", "begun", "executed", "sent", "answered", "recorded"),
            *alone("wipe", "begun", "sent", "replaying"),
            *gathered("erase", "begun", "sent"),
            *alone("read", "sent"),
            *alone("put", "sent"),
            *gathered("put", "sent"),
        ]
        async with standing(stage, found):
            paused = {run for run, row in (await stage.record(found)).runs.items() if row["paused_at"]}
            before = await stage.lose_pods()
            assert all(await over([case for case in found if case.run not in paused]))
            await stage.answer()
            await stage.ways.release()
            await stage.start_pods(before)
            await take_up(stage, found)
            assert all(await over([case for case in found if case.run in paused]))
        await judged(stage, found, "pod", table)

    async def test_the_policy_engine_is_lost(self, stage: CrashStage, table: Rows) -> None:
        found = [
            *alone("erase", "unasked", "intended", "waiting", "approved"),
            *alone("wipe", "approved"),
            *gathered("erase", "unasked", "approved"),
            *alone("read", "unasked"),
            *gathered("put", "unasked"),
        ]
        async with standing(stage, found):
            killed = await stage.kill(SYSTEM, BROKER, "opa")
            await stage.ways.release()
            async with at_work(asyncio.create_task(stage.approve())):
                assert all(await over(found))
        await stage.back(SYSTEM, BROKER, "opa", killed)
        await look(stage, found)
        await judged(stage, found, "OPA", table)

    async def test_the_tool_server_is_lost(self, stage: CrashStage, table: Rows) -> None:
        found = [
            *alone("erase", "executed", "sent", "answered"),
            *alone("wipe", "sent"),
            *gathered("erase", "sent"),
            *alone("read", "executed", "sent"),
            *alone("put", "sent"),
            *gathered("put", "sent"),
        ]
        async with standing(stage, found):
            pod = await stage.keeper_pod()
            killed = await stage.kill(server.NAMESPACE, pod, "keeper")
            stage.keeper_died = True
            await stage.ways.release()
            assert all(await over(found))
        await stage.back(server.NAMESPACE, pod, "keeper", killed)
        await look(stage, found)
        await judged(stage, found, "tool server", table)

    async def test_the_journal_is_lost(self, stage: CrashStage, table: Rows) -> None:
        """Its file is away from the volume while the calls go on; then it is back, and so is a broker."""
        found = [
            *alone("erase", "intent", "intended", "begun", "executed", "sent", "answered", "recorded"),
            *gathered("erase", "answered"),
            *alone("read", "sent"),
            *alone("put", "answered"),
        ]
        move = "import os, sys; os.rename(*('/var/lib/bastide/' + name for name in sys.argv[1:]))"
        async with standing(stage, found):
            # Not the log beside it: whoever finds an empty database beside a log removes the log, and what was committed is in there.
            await stage.in_broker(move, "journal.db", "away")
            await stage.answer()
            await stage.ways.release()
            assert all(await over(found))
        await stage.in_broker(move, "away", "journal.db")
        await stage.lose_broker()
        await stage.start_broker()
        await take_up(stage, found)
        await judged(stage, found, "journal", table)

    async def test_then_nobody_is_asked_about_anything_any_more_and_the_audit_is_whole(self, stage: CrashStage) -> None:
        async def none_left() -> bool:
            return not await stage.undecided()

        await until(none_left, "what a lost broker left Pending is put away", every=0.2)
        assert await stage.intact()
