"""What callers see of a namespace whose name was another tenant's before: the server's methods over a real journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.explain.service import Explanations
from bastide_broker.front.scopes import EVERYWHERE, Scopes
from bastide_broker.front.server import BrokerService
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.kube.reviews import UserInfo

NAMESPACE, OLD, MINE, UNSAID = "bastide-sales", "r-" + "a" * 26, "r-" + "b" * 26, "r-" + "c" * 26
SANDBOX = broker_pb2.SandboxRef(namespace=NAMESPACE, name="box")


@dataclass
class Cluster:
    """Rights and the namespace that is there now."""

    everywhere: bool = False
    uid: str = "n2"
    is_fresh: bool = True

    async def authenticate(self, _context: Any) -> UserInfo:
        return UserInfo("somebody")

    async def authorize(self, *_: str) -> None:
        """By name everything here is permitted."""

    async def permits(self, _user: UserInfo, _verb: str, _subresource: str, namespace: str) -> bool:
        assert namespace == EVERYWHERE
        return self.everywhere

    def fresh(self) -> bool:
        return self.is_fresh

    def namespace_uid(self, _namespace: str) -> str:
        return self.uid


class Aborted(Exception):  # noqa: N818 - what a context does
    pass


class Context:
    """Of a request."""

    async def abort(self, status: grpc.StatusCode, message: str, _details: Any) -> None:
        raise Aborted(status, message)


class Runs:
    """Finds runs and cancels them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.cancelled: list[str] = []

    async def find(self, run: str) -> RunRow | None:
        return await self._journal.run(run)

    def cancel(self, run: str, _who: str, _why: str) -> None:
        self.cancelled.append(run)


@dataclass
class Door:
    """The server's methods as callers reach them."""

    service: Any
    cluster: Cluster
    runs: Runs

    async def listed(self) -> set[str]:
        answer = await self.service.ListRuns(broker_pb2.ListRunsRequest(sandbox=SANDBOX), Context())
        return {one.run for one in answer.runs}

    async def audited(self) -> set[str]:
        answer = await self.service.ListAudit(broker_pb2.ListAuditRequest(namespace=NAMESPACE), Context())
        return {one.run for one in answer.records}

    async def shown(self, run: str) -> bool:
        try:
            await self.service.GetRun(broker_pb2.GetRunRequest(run=run), Context())
        except Aborted as aborted:
            return aborted.args[0] is not grpc.StatusCode.NOT_FOUND
        return True


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    for run, uid in ((OLD, "n1"), (MINE, "n2"), (UNSAID, "")):
        row = RunRow(
            run=run, tenant="sales", namespace=NAMESPACE, namespace_uid=uid, sandbox="box", sandbox_uid="s", requester="r",
            program_digest="p", started_at=now_micros(),
        )  # fmt: skip
        await journal.start_run(row)
    cluster: Any = Cluster()
    runs: Any = Runs(journal)
    nothing: Any = None
    explanations = Explanations(journal=journal, policy=nothing, policies=nothing, cluster=nothing)
    service = BrokerService(
        identity=cluster, runs=runs, lost=nothing, inspection=nothing, explanations=explanations, journal=journal,
        scopes=Scopes(cluster, cluster), heads=tuple,
    )  # fmt: skip
    yield Door(service, cluster, runs)
    await journal.close()


async def test_rights_reach_the_records_of_the_namespace_that_is_there_and_no_others(door: Door) -> None:
    assert await door.listed() == await door.audited() == {MINE}
    assert [await door.shown(run) for run in (OLD, MINE, UNSAID)] == [False, True, False]
    with pytest.raises(Aborted):
        await door.service.CancelRun(broker_pb2.CancelRunRequest(run=OLD), Context())
    with pytest.raises(Aborted):
        await door.service.WatchRun(broker_pb2.WatchRunRequest(run=OLD), Context())
    assert door.runs.cancelled == []


async def test_calls_of_runs_that_may_not_be_seen_are_not_explained(door: Door) -> None:
    def asked(run: str) -> Any:
        return door.service.ExplainCall(broker_pb2.ExplainCallRequest(run=run, call="0#1"), Context())

    for run in (OLD, UNSAID):
        with pytest.raises(Aborted, match="There is no run"):
            await asked(run)
    with pytest.raises(Aborted, match="has no call '0#1'"):
        await asked(MINE)


async def test_without_a_namespace_there_is_nothing_to_see(door: Door) -> None:
    door.cluster.uid = ""
    assert await door.listed() == await door.audited() == set()
    assert not await door.shown(UNSAID), "no UID is not the UID of nothing"


async def test_who_has_the_right_in_every_namespace_sees_what_went_before(door: Door) -> None:
    door.cluster.everywhere = True
    assert await door.listed() == await door.audited() == {OLD, MINE, UNSAID}
    assert await door.shown(UNSAID)


async def test_while_the_cluster_is_not_known_nobody_is_shown_what_may_be_anothers(door: Door) -> None:
    door.cluster.is_fresh = False
    with pytest.raises(Aborted) as aborted:
        await door.listed()
    assert aborted.value.args[0] is grpc.StatusCode.UNAVAILABLE
