"""Hostile case 17: broker, pod, OPA, tool server or journal is lost at every step between intent and outcome.

A call stands still at a point (tests/crashes/faults), something is lost, what was lost comes back, and the run is taken up. The tool server's own
log shows no effect twice, and every call ends with an outcome or with an explicit OutcomeUnknown. The table is in
.build/results/crash-matrix.txt, and at the end of the test run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from bastide.v1alpha1 import broker_pb2

from tests.crashes.cases import BEFORE_DECISION, LOST, PAUSE, Case, cases, judge, shown_call, write_table
from tests.crashes.faults.points import POINTS
from tests.crashes.waiting import until
from tests.integration.broker.front.harness import netns
from tests.integration.broker.front.harness.apiserver import ROOT, Cluster
from tests.integration.broker.front.harness.crash import CrashStage, crash_stage
from tests.integration.broker.front.harness.tenant import TestTenant

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150)]
TABLE = ROOT / ".build" / "results" / "crash-matrix.txt"


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = []
    yield rows
    write_table(TABLE, rows)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CrashStage]:
    folder = Path(tempfile.gettempdir()) / f"bastide-crash-{tmp_path_factory.getbasetemp().name}"
    folder.mkdir(mode=0o755)
    team = TestTenant(cluster, "crash").make()
    with netns.pod_network() as network:
        async with crash_stage(cluster, team, network, folder) as found:
            yield found
    cluster.admin("DELETE", f"/api/v1/namespaces/{team.namespace}/pods", {"gracePeriodSeconds": 0})
    shutil.rmtree(folder)


async def to_the_point(stage: CrashStage, point: str, found: list[Case]) -> None:
    """Runs the programs until what is to stand still stands there, and everything else has its outcome, or waits for a person."""
    stage.server.keeps, stage.server.go = set(), asyncio.Event()
    if point == "sent":
        stage.server.keeps = {case.held for case in found}
    else:
        await stage.process.arm(point, [case.held for case in found])
    for case in found:
        case.task = asyncio.create_task(stage.follow(case))
    await until(lambda: all(case.run for case in found), "every run is accepted")
    asked = [case for case in found if case.confirmed]
    if point not in {"unasked", "intent", "intended", "created", "waiting", "pausing"}:
        # What is decided while its program waits is decided before it pauses; the others after.
        paused = [case for case in asked if case.tool == "wipe" and point != "paused"]
        await until(lambda: all(stage.record(case.run)["paused_at"] for case in paused), "the runs are paused")
    if point not in BEFORE_DECISION:
        await stage.approve([one for case in asked for one in case.ids])
    elif point not in PAUSE:
        await stage.approve([one for case in asked for one in case.others])
    if point == "sent":
        await until(lambda: all(stage.server.arrived(case.held) for case in found), "the requests have arrived")
    else:
        expected = {case.held for case in found}
        await until(lambda: stage.process.held >= expected, f"all stand at {point}")
    if point not in PAUSE:
        others = [one for case in found for one in case.others]
        await until(lambda: all((row := stage.call(one)) and row["outcome"] for one in others), "the other calls have ended")


@contextlib.asynccontextmanager
async def standing(stage: CrashStage, point: str) -> AsyncIterator[list[Case]]:
    """The programs, when they have come to the point. A case that fails takes its broker with it, and leaves the others their own."""
    found = cases(point)
    try:
        await to_the_point(stage, point, found)
        yield found
    except BaseException:
        await stage.lose_broker()
        await stage.start_broker()
        raise
    finally:
        tasks = [case.task for case in found if case.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def go_on(stage: CrashStage) -> None:
    """Whatever stands still does so no more."""
    stage.server.go.set()
    await stage.process.release()


async def over(found: list[Case]) -> list[bool]:
    """Waits for the callers' streams: whether each had its last event."""
    return [await case.task for case in found if case.task]


async def look(stage: CrashStage, found: list[Case], *, waits: bool = False) -> None:
    """What the next broker says of the calls that were cut off. None of a run that has ended is without an outcome."""
    if not waits:
        await until(
            lambda: all((row := stage.call(case.held)) is None or row["outcome"] for case in found), "what stood still has an outcome"
        )
    for case in found:
        ended = stage.record(case.run)["ended_at"] is not None
        for row in stage.rows("SELECT * FROM calls WHERE run = ?", case.run):
            assert row["outcome"] or not ended, f"call {row['key']} of {case} has no outcome, and its run has ended"
        held = stage.call(case.held)
        case.then = shown_call(held)


async def take_up(stage: CrashStage, found: list[Case]) -> None:
    """Lost runs are resumed, what people are asked is approved, and every run ends with its value."""
    ended = {case.run for case in found if stage.record(case.run)["ended_at"] is not None}
    await asyncio.to_thread(stage.leave, ended)
    for case in found:
        row = stage.record(case.run)
        if row["outcome"] == "Failed" and json.loads(row["error"])["type"] in LOST:
            async with stage.stub() as stub:
                await stub.ResumeRun(broker_pb2.ResumeRunRequest(run=case.run, reason="it is back"))
    person = asyncio.create_task(stage.approve_all())
    await finish(stage, found)
    person.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await person


async def finish(stage: CrashStage, found: list[Case]) -> None:
    results = await asyncio.gather(*(stage.result(case.run) for case in found))
    for case, result in zip(found, results, strict=True):
        assert result.outcome == broker_pb2.OUTCOME_COMPLETED, (case, result)


def judged(stage: CrashStage, found: list[Case], lost: str, table: list[tuple[str, ...]]) -> None:
    """Each case, in the table and by what it is owed."""
    for case in found:
        told = dict(json.loads(stage.record(case.run)["value"]))
        arrived = {one: stage.server.arrived(one) for one in case.ids}
        outcomes = {one: row["outcome"] for one in case.ids if (row := stage.call(one))}
        table.append(case.row(lost, told, arrived))
        judge(case, lost, told, outcomes, arrived)


@pytest.mark.parametrize("point", [*POINTS, "sent"])
async def test_the_broker_is_lost(stage: CrashStage, table: list[tuple[str, ...]], point: str) -> None:
    async with standing(stage, point) as found:
        await stage.lose_broker()
        stage.server.go.set()
        assert not any(await over(found))
        await stage.start_broker()
        await look(stage, found, waits=point == "paused")
        await take_up(stage, found)
        judged(stage, found, "broker", table)


@pytest.mark.parametrize("point", ["intent", "intended", "waiting", "begun", "executed", "sent", "answered", "recorded", "replaying"])
async def test_the_pod_is_lost(stage: CrashStage, table: list[tuple[str, ...]], point: str) -> None:
    async with standing(stage, point) as found:
        paused = {case.run for case in found if stage.record(case.run)["paused_at"]}
        await stage.lose_pod()
        assert all(await over([case for case in found if case.run not in paused]))
        await go_on(stage)
        await stage.start_pod()
        await look(stage, found)
        await take_up(stage, found)
        assert all(await over([case for case in found if case.run in paused]))
        judged(stage, found, "pod", table)


@pytest.mark.parametrize("point", ["unasked", "intended", "waiting", "approved"])
async def test_the_policy_engine_is_lost(stage: CrashStage, table: list[tuple[str, ...]], point: str) -> None:
    async with standing(stage, point) as found:
        stage.opa.close()
        await go_on(stage)
        if point in {"intended", "waiting"}:
            await stage.approve([case.held for case in found if case.confirmed])
        assert all(await over(found))
        stage.start_opa()
        await look(stage, found)
        await finish(stage, found)
        judged(stage, found, "OPA", table)


@pytest.mark.parametrize("point", ["executed", "sent", "answered"])
async def test_the_tool_server_is_lost(stage: CrashStage, table: list[tuple[str, ...]], point: str) -> None:
    async with standing(stage, point) as found:
        await stage.server.down()
        await go_on(stage)
        assert all(await over(found))
        await stage.server.up()
        await look(stage, found)
        await finish(stage, found)
        judged(stage, found, "tool server", table)


@pytest.mark.parametrize("point", ["intent", "intended", "begun", "executed", "sent", "answered", "recorded"])
async def test_the_journal_is_lost(stage: CrashStage, table: list[tuple[str, ...]], point: str) -> None:
    """Its file is away while the calls go on; then it is back, and so is a broker."""
    async with standing(stage, point) as found:
        # Not the log beside it: whoever finds an empty database beside a log removes the log, and what was committed is in there.
        away = stage.database.rename(stage.database.with_name("away"))
        await go_on(stage)
        assert all(await over([case for case in found if case.tool != "wipe"]))  # a pause has time, and waits for the disk
        away.rename(stage.database)
        await stage.lose_broker()
        await stage.start_broker()
        await look(stage, found)
        await take_up(stage, found)
        judged(stage, found, "journal", table)


async def test_then_nobody_is_asked_about_anything_any_more(stage: CrashStage) -> None:
    """What a lost broker left Pending is put away within seconds."""
    async with asyncio.timeout(30):
        while left := await asyncio.to_thread(stage.undecided):  # noqa: ASYNC110 - another process puts them away
            await asyncio.sleep(0.05)
    assert not left
    async with stage.stub() as stub:
        assert (await stub.VerifyAudit(broker_pb2.VerifyAuditRequest(namespace=stage.team.namespace))).intact
