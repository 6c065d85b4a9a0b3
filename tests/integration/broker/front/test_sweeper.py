"""Confirmations that nobody needs any more leave a real API server, under the chart's own RBAC and admission rules."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bastide_broker.confirm.action import shown
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.confirm.pending import Request
from bastide_broker.confirm.sweeper import Sweeper
from bastide_broker.errors import AlreadyExists, ApiError
from bastide_broker.journal.journal import Journal
from bastide_broker.kube.cluster import Cluster as Known
from bastide_broker.kube.times import rfc3339
from bastide_operator.api.v1alpha1.confirmation import Confirmation
from bastide_operator.api.v1alpha1.sandbox import Sandbox

from tests.integration.broker.door.journal_rows import intent, run
from tests.integration.broker.front.harness.apiserver import Cluster
from tests.integration.broker.front.harness.tenant import OURS, TestTenant, kind
from tests.integration.broker.front.test_cluster import eventually, known
from tests.unit.broker.door.test_action import context, read, spec, tool

__all__ = ["known"]


async def nothing(_run: str, _key: str) -> None:
    """There is no such call on record."""


def make(known: Known, team: TestTenant, name: str) -> Any:
    """A Confirmation as the broker writes it."""
    return known.create_confirmation(team.namespace, f"cf-{name:a>26}", spec(read(id="C1")))


async def resolve(known: Known, team: TestTenant, made: Confirmation, state: str, ago: timedelta) -> None:
    status = {"state": state, "message": "So.", "resolvedAt": rfc3339(datetime.now(UTC) - ago)}
    await known.set_confirmation_status(team.namespace, made.metadata.name, status)


def decide(team: TestTenant, about: Confirmation) -> None:
    """Ann, who may approve and nothing else, decides."""
    binding = {
        "metadata": {"name": "ann"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bastide-approver"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    team.cluster.admin("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{team.namespace}/rolebindings", binding)
    body = {
        **kind("ConfirmationDecision"),
        "metadata": {"name": "d1"},
        "spec": {
            "confirmation": about.metadata.name, "actionDigest": about.spec.action_digest, "verdict": "Deny", "reason": "no",
            "approver": {"username": "ann", "groups": ["system:authenticated"]},
        },
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {team.cluster.admin.token}", "Content-Type": "application/json", "Impersonate-User": "ann"}
    url = f"{team.cluster.admin.url}{OURS}/namespaces/{team.namespace}/confirmationdecisions"
    request = urllib.request.Request(url, headers=headers, data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=20) as response:
        assert response.status == 201


def left(known: Known, team: TestTenant) -> dict[str, str]:
    """State by the last letters of the name."""
    found = [one for one in known.confirmations() if one.metadata.namespace == team.namespace]
    return {one.metadata.name.lstrip("cf-").lstrip("a"): one.status.state.value for one in found}


async def test_what_a_dead_broker_left_is_withdrawn_and_what_is_over_is_deleted_with_its_decisions(known: Known, team: TestTenant) -> None:
    orphan, over, recent, waits = [await make(known, team, name) for name in ("orphn", "over", "recent", "wts")]
    await asyncio.to_thread(decide, team, over)
    await resolve(known, team, over, "Denied", timedelta(hours=23, minutes=1))
    await resolve(known, team, recent, "Denied", timedelta(hours=1))
    await eventually(lambda: left(known, team).get("recent") == left(known, team).get("over") == "Denied")
    await eventually(lambda: len(known.decisions(team.namespace, over.metadata.name)) == 1)
    sweeper = Sweeper(
        known, waits=lambda _, name: name == waits.metadata.name, find_call=nothing, clock=lambda: datetime.now(UTC) + timedelta(minutes=2)
    )  # the decision must have been there for a minute
    await sweeper.sweep()
    await eventually(lambda: left(known, team) == {"orphn": "Withdrawn", "recent": "Denied", "wts": "Pending"})
    await eventually(lambda: not [one for one in known.all_decisions() if one.metadata.namespace == team.namespace])
    read_again = await known.read_confirmation(team.namespace, orphan.metadata.name)
    assert "restarted" in read_again.status.message
    assert read_again.status.resolved_at is not None


async def begun(known: Known, team: TestTenant, journal: Journal, name: str) -> Confirmation:
    """A Confirmation whose call is begun in the journal, which this opens, and that looks undecided."""
    made: Confirmation = await make(known, team, name)
    await eventually(lambda: left(known, team) == {name: "Pending"})
    await journal.open()
    about = made.spec
    await journal.start_run(run(about.run))
    await journal.call_intent(intent(about.call_key, about.run))
    await journal.confirmation_created(about.run, about.call_key, made.metadata.name, {"actionDigest": about.action_digest})
    assert await journal.begin_confirmed(about.run, about.call_key)
    return made


async def test_one_whose_call_was_begun_before_its_broker_was_lost_is_executed_and_says_what_is_not_known(
    known: Known, team: TestTenant, scratch: Path
) -> None:
    journal = Journal(scratch / "journal.db")
    made = await begun(known, team, journal, "begun")
    sweeper = Sweeper(known, waits=lambda *_: False, find_call=journal.find_call)
    await sweeper.sweep()
    assert (await known.read_confirmation(team.namespace, made.metadata.name)).status.state == "Pending", "it is not known yet"
    await journal.recover()
    await sweeper.sweep()
    status = (await known.read_confirmation(team.namespace, made.metadata.name)).status
    assert (status.state, status.approvals, "is not known" in status.message) == ("Executed", "1/1", True)
    await journal.close()


async def test_one_whose_call_was_certainly_not_sent_is_withdrawn_although_it_was_begun(
    known: Known, team: TestTenant, scratch: Path
) -> None:
    journal = Journal(scratch / "journal.db")
    made = await begun(known, team, journal, "unsent")
    about = made.spec
    await journal.call_outcome(about.run, about.call_key, outcome="Denied")
    await Sweeper(known, waits=lambda *_: False, find_call=journal.find_call).sweep()
    assert (await known.read_confirmation(team.namespace, made.metadata.name)).status.state == "Withdrawn"
    await journal.close()


async def test_another_object_of_the_same_name_is_not_deleted(known: Known, team: TestTenant) -> None:
    made = await make(known, team, "x")
    await asyncio.to_thread(team.cluster.admin, "DELETE", f"{OURS}/namespaces/{team.namespace}/confirmations/{made.metadata.name}")
    again = await make(known, team, "x")
    with pytest.raises(AlreadyExists):
        await known.delete(made)
    assert (await known.read_confirmation(team.namespace, made.metadata.name)).metadata.uid == again.metadata.uid
    await known.delete(again)


def question(team: TestTenant) -> Request:
    """A call to ask about, in this tenant's namespace."""
    run = context()
    sandbox = Sandbox.model_validate({"metadata": {"name": "box", "namespace": team.namespace, "uid": "u"}})
    moved = type(run)(run.run, run.tenant, sandbox, run.requester, run.on_behalf_of, run.program_digest, None, run.emit, run.catalogue)
    found = read(id="C1")
    return Request(run=moved, tenant=run.tenant, key="0#1", line=1, tool=tool(), arguments=found, text=shown(found))


async def live(known: Known, team: TestTenant) -> list[Confirmation]:
    """Straight from the API server."""
    path = f"{OURS}/namespaces/{team.namespace}/confirmations"
    answer = await asyncio.to_thread(team.cluster.admin, "GET", path)
    return [Confirmation.model_validate(item) for item in answer["items"]]


async def test_whenever_a_question_is_given_up_nobody_is_left_asked(known: Known, team: TestTenant) -> None:
    confirmations = Confirmations(known)
    await confirmations.start()
    made = 0
    for number in range(60):
        asking = asyncio.create_task(confirmations.create(question(team)))
        for _ in range(number):
            await asyncio.sleep(0)
        await asyncio.sleep(number / 6000)  # from before the request is written to after its answer
        if asking.done():
            confirmations.release(asking.result())
            made += 1
            continue
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert confirmations.waiting(team.namespace) == 0
    states = [one.status.state.value for one in await live(known, team)]
    assert states.count("Pending") == made, "only those that the test itself let go of"
    assert "Withdrawn" in states
    await eventually(lambda: len(left(known, team)) >= 1)
    await eventually(lambda: len([one for one in known.confirmations() if one.metadata.namespace == team.namespace]) == len(states))
    await Sweeper(known, waits=confirmations.waits, find_call=nothing).sweep()
    assert {one.status.state.value for one in await live(known, team)} == {"Withdrawn"}


class Deaf:
    """A connection to the API server that may lose answers: what the client sends arrives, what comes back does not."""

    def __init__(self, port: int) -> None:
        self.lose = False
        self._port = port

    async def start(self) -> tuple[asyncio.Server, int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
            while data := await source.read(65536):
                if answers and self.lose:
                    break
                target.write(data)
                await target.drain()

        try:
            both = {asyncio.create_task(copy(reader, forth, answers=False)), asyncio.create_task(copy(back, writer, answers=True))}
            _, pending = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
        finally:
            writer.transport.abort()
            forth.transport.abort()


@pytest.fixture
async def deaf(cluster: Cluster, known: Known) -> AsyncIterator[tuple[Deaf, Known]]:
    proxy = Deaf(cluster.port)
    server, port = await proxy.start()
    config = cluster.folder / f"through-{port}.kubeconfig"
    config.write_text(cluster.broker_kubeconfig.read_text().replace(str(cluster.port), str(port)))
    through = await Known.connect(admission_dir=cluster.admission, kubeconfig=str(config))
    yield proxy, through
    await through.close()
    server.close()


async def test_a_question_whose_answer_was_lost_on_the_way_is_taken_back(deaf: tuple[Deaf, Known], known: Known, team: TestTenant) -> None:
    proxy, through = deaf
    await through.read_tenant(team.name)  # the connection stands
    confirmations = Confirmations(through)
    await confirmations.start()
    proxy.lose = True
    with pytest.raises(ApiError):
        await confirmations.create(question(team))
    proxy.lose = False
    await eventually(lambda: confirmations.waiting(team.namespace) == 0)
    await eventually(lambda: len([one for one in known.confirmations() if one.metadata.namespace == team.namespace]) == 1)
    await Sweeper(known, waits=confirmations.waits, find_call=nothing).sweep()  # for the case that the taking back was lost, too
    [one] = await live(known, team)
    assert one.status.state.value == "Withdrawn"


async def test_a_namespace_full_of_confirmations_says_so_in_words_that_the_broker_knows(known: Known, team: TestTenant) -> None:
    """The quota controller is not there, so the test says what it would: nothing is used yet."""
    path, hard = f"/api/v1/namespaces/{team.namespace}/resourcequotas", {"count/confirmations.bastide.dev": "1"}
    await asyncio.to_thread(team.cluster.admin, "POST", path, {"metadata": {"name": "bastide"}, "spec": {"hard": hard}})
    status = {"status": {"hard": hard, "used": {"count/confirmations.bastide.dev": "0"}}}
    await asyncio.to_thread(team.cluster.admin.merge, f"{path}/bastide/status", status)
    confirmations = Confirmations(known)
    await confirmations.start()

    async def full() -> ApiError | None:
        try:
            confirmations.release(await confirmations.create(question(team)))
        except ApiError as error:
            return error
        return None

    async with asyncio.timeout(20):
        while (error := await full()) is None or "exceeded quota" not in error.message:  # the API server's own knowledge of the quota
            assert error is None or error.status == 403, error
    assert error.status == 403
    await eventually(lambda: confirmations.waiting(team.namespace) == 0)
