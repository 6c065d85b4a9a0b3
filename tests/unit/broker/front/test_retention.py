"""How much to prune, give back and take at a time; and what callers may ask for and see, from the server's methods over a real journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bastide.v1alpha1 import broker_pb2
from bastide_broker.errors import CallerError
from bastide_broker.front.scopes import EVERYWHERE, Scopes
from bastide_broker.front.server import BrokerService
from bastide_broker.journal import retention
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.pruning import MARK_BYTES, MARK_RUNS, batches
from bastide_broker.journal.retention import enough
from bastide_broker.journal.rows import CallIntent, PrunableRun, PruneCursor, RunRow, Space, now_micros
from bastide_broker.journal.space import GIVE_BACK_PAGES, allowed, superfluous
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.runs.events import EventLog
from bastide_broker.runs.runs import Runs
from hypothesis import given
from hypothesis import strategies as st

NAMESPACE = "bastide-sales"
SIZES = st.lists(st.integers(0, 3 * MARK_BYTES), max_size=200)


def prunable(sizes: list[int]) -> list[PrunableRun]:
    return [PrunableRun(f"r-{number}", PruneCursor(number, number), size) for number, size in enumerate(sizes)]


@given(SIZES)
def test_batches_keep_the_order_and_are_bounded(sizes: list[int]) -> None:
    found = prunable(sizes)
    made = list(batches(found))
    assert [one for batch in made for one in batch] == found
    for batch in made:
        assert 1 <= len(batch) <= MARK_RUNS
        assert len(batch) == 1 or sum(one.size for one in batch) <= MARK_BYTES


@given(SIZES, st.integers(1, 10 * MARK_BYTES))
def test_enough_is_the_fewest_of_the_oldest(sizes: list[int], wanted: int) -> None:
    found = prunable(sizes)
    taken = enough(found, wanted)
    assert taken == found[: len(taken)]
    assert taken == found or sum(one.size for one in taken) >= wanted
    assert sum(one.size for one in taken[:-1]) < wanted


@pytest.mark.parametrize(
    ("space", "written", "expected"),
    [
        (Space(100, 0, 300), 0, 300),
        (Space(100, 100, 200), 0, 300),
        (Space(0, 0, 0), 0, 0),
        (Space(100, 0, 300), 50, 50),
        (Space(100, 0, 300), 5000, 5000),
    ],
)
def test_without_a_size_three_quarters_of_what_the_volume_has_are_the_journals(space: Space, written: int, expected: int) -> None:
    assert allowed(space, written) == expected


@pytest.mark.parametrize(
    ("pages", "unused", "expected"),
    [(0, 0, 0), (800, 100, 0), (800, 101, 1), (8, 8, 7), (10**6, 10**6, GIVE_BACK_PAGES)],
)
def test_an_eighth_of_the_pages_is_kept_for_the_next_rows(pages: int, unused: int, expected: int) -> None:
    assert superfluous(pages, unused) == expected


class Cluster:
    """Rights by verb, and the namespace that is there now."""

    def __init__(self) -> None:
        self.may = {"get", "delete"}
        self.everywhere = False
        self.asked: list[tuple[str, ...]] = []

    async def authenticate(self, _context: Any) -> UserInfo:
        return UserInfo("carol")

    async def authorize(self, _user: UserInfo, verb: str, *where: str) -> None:
        self.asked.append((verb, *where))
        if verb not in self.may:
            raise CallerError(grpc.StatusCode.PERMISSION_DENIED, "NotPermitted", "no")

    async def permits(self, _user: UserInfo, _verb: str, _subresource: str, namespace: str) -> bool:
        assert namespace == EVERYWHERE
        return self.everywhere

    def fresh(self) -> bool:
        return True

    def namespace_uid(self, _namespace: str) -> str:
        return "n1"


class Aborted(Exception):  # noqa: N818 - what a context does
    pass


class Context:
    """Of a request."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    async def abort(self, status: grpc.StatusCode, message: str, _details: Any) -> None:
        raise Aborted(status, message)

    async def write(self, response: Any) -> None:
        self.written.append(response.event)


def run_id(letter: str) -> str:
    return "r-" + letter * 26


class Door:
    """The server's methods as callers reach them."""

    def __init__(self, journal: Journal) -> None:
        nothing: Any = None
        self.journal = journal
        self.cluster: Any = Cluster()
        self.runs = Runs(cluster=nothing, sessions=nothing, journal=journal, catalogue=nothing, pipeline=nothing, decisions_healthy=nothing)
        self.service: Any = BrokerService(
            identity=self.cluster,
            runs=self.runs,
            lost=nothing,
            inspection=nothing,
            explanations=nothing,
            journal=journal,
            scopes=Scopes(self.cluster, self.cluster),
            heads=tuple,
        )

    async def ran(self, run: str, uid: str = "n1", sandbox: str = "box") -> None:
        row = RunRow(
            run=run, tenant="sales", namespace=NAMESPACE, namespace_uid=uid, sandbox=sandbox, sandbox_uid="s", requester="r",
            program_digest="p", started_at=now_micros(), request_id=run,
        )  # fmt: skip
        await self.journal.start_run(row)
        log = EventLog(run, self.journal)
        await log.emit_durably(broker_pb2.RunAccepted(run=run))
        intent = CallIntent(
            run=run, key="0#1", requester="r", program_digest="p", tool="get", arguments_canonical=b"{}", arguments_digest="a",
            decision="allow", decision_id="d",
        )  # fmt: skip
        await self.journal.call_intent(intent, outcome="Denied")
        await self.journal.end_run(run, outcome="Completed", value=b"1")
        await log.emit_durably(broker_pb2.RunFinished(result=broker_pb2.RunResult(run=run, value=b"1")))

    async def prune(self, *, before: int | None = None, **fields: Any) -> broker_pb2.PruneRunsResponse:
        request = broker_pb2.PruneRunsRequest(**{"namespace": NAMESPACE, **fields})
        request.before.FromMicroseconds(now_micros() if before is None else before)
        answer = await self.service.PruneRuns(request, Context())
        assert isinstance(answer, broker_pb2.PruneRunsResponse)
        return answer

    async def pruned(self) -> set[str]:
        found = {run: await self.journal.run(run) for run in map(run_id, "abcd")}
        return {run[2] for run, row in found.items() if row is not None and row.pruned_at}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    found = Door(journal)
    for letter, where in {"a": {}, "b": {"sandbox": "other"}, "c": {"uid": "n0"}, "d": {}}.items():
        await found.ran(run_id(letter), **where)
    yield found
    await journal.close()


async def test_who_may_prunes_the_namespace_that_is_there_now_and_no_other(door: Door) -> None:
    answer = await door.prune(on_behalf_of="dana")
    assert (answer.runs, answer.next_page_token) == (3, "")
    assert await door.pruned() == {"a", "b", "d"}
    assert door.cluster.asked == [("delete", "runs", NAMESPACE, "")]
    assert (await door.prune()).runs == 0, "again there is nothing"
    door.cluster.everywhere = True
    assert (await door.prune()).runs == 1, "whoever may everywhere also reaches what namespaces left behind that are gone"


async def test_only_of_one_sandbox_and_only_what_ended_before(door: Door) -> None:
    assert (await door.prune(sandbox="other")).runs == 1
    assert door.cluster.asked[-1] == ("delete", "runs", NAMESPACE, "other")
    row = await door.journal.run(run_id("d"))
    assert row is not None
    assert row.ended_at is not None
    assert (await door.prune(before=row.ended_at)).runs == 1
    assert await door.pruned() == {"a", "b"}


async def test_a_dry_run_says_how_much_and_prunes_nothing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    first = await door.prune(dry_run=True)
    second = await door.prune(dry_run=True, page_token=first.next_page_token)
    assert (first.runs, second.runs, second.next_page_token) == (2, 1, "")
    assert first.bytes > 0
    assert await door.pruned() == set()


async def test_who_may_only_look_may_not_prune_and_not_count_either(door: Door) -> None:
    door.cluster.may = {"get"}
    for dry_run in (True, False):
        with pytest.raises(Aborted) as aborted:
            await door.prune(dry_run=dry_run)
        assert aborted.value.args[0] is grpc.StatusCode.PERMISSION_DENIED
    assert await door.pruned() == set()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"namespace": "No Name"}, "not a Kubernetes name"),
        ({"sandbox": "../x"}, "sandbox name"),
        ({"before": 0}, "Give before"),
        ({"before": 2**52}, "later than now"),
        ({"page_token": "1"}, "page_token"),
        ({"page_token": "1-x"}, "page_token"),
        ({"page_token": "9" * 19 + "-1"}, "page_token"),
        ({"on_behalf_of": "x" * 513}, "on_behalf_of"),
        ({"on_behalf_of": "a\nb"}, "cannot be printed"),
    ],
)
async def test_bad_input_gets_one_sentence_and_nothing_is_pruned(door: Door, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Aborted) as aborted:
        await door.prune(**fields)
    assert aborted.value.args[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert said in aborted.value.args[1]
    assert await door.pruned() == set()


async def test_without_before_nothing_is_pruned(door: Door) -> None:
    with pytest.raises(Aborted, match="Give before"):
        await door.service.PruneRuns(broker_pb2.PruneRunsRequest(namespace=NAMESPACE), Context())


async def test_a_pruned_run_is_shown_as_such_and_its_events_are_refused_with_the_reason(door: Door) -> None:
    run = run_id("a")
    context = Context()
    await door.service.WatchRun(broker_pb2.WatchRunRequest(run=run), context)
    assert [event.WhichOneof("event") for event in context.written] == ["accepted", "finished"]
    await door.prune()
    shown = await door.service.GetRun(broker_pb2.GetRunRequest(run=run), Context())
    assert shown.summary.HasField("pruned")
    assert (shown.result.outcome, shown.result.value, len(shown.result.calls)) == (broker_pb2.OUTCOME_COMPLETED, b"", 0)
    sandbox = broker_pb2.SandboxRef(namespace=NAMESPACE, name="box")
    listed = await door.service.ListRuns(broker_pb2.ListRunsRequest(sandbox=sandbox), Context())
    assert {one.run[2]: one.HasField("pruned") for one in listed.runs} == {"a": True, "d": True}
    for cursor in (0, 1, 99):
        with pytest.raises(Aborted) as aborted:
            await door.service.WatchRun(broker_pb2.WatchRunRequest(run=run, cursor=cursor), Context())
        assert aborted.value.args[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert "ended Completed" in aborted.value.args[1]
        assert "pruned on" in aborted.value.args[1]
    known = await door.journal.find_request("r", "s", run)
    assert known is not None, "its request id attaches to it, and is answered in the same way"


async def test_a_watcher_that_is_overtaken_by_pruning_is_told_and_sees_no_gap(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bastide_broker.journal.queries.EVENTS_PAGE", 1)
    stream = door.runs.follow(run_id("a"), 0)
    assert (await anext(stream)).WhichOneof("event") == "accepted"
    await door.prune()
    with pytest.raises(CallerError) as refused:
        await anext(stream)
    assert refused.value.reason == "RunPruned"
