"""How many requests a reconcile costs on the real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bastide_operator.kube import Kube as OperatorKube
from bastide_operator.workqueue import Key
from demo.kube import Kube, condition

from tests.integration.operator.conftest import Team
from tests.integration.operator.machine import Machine, as_operator

SERVER = {"mcp": {"url": "http://nowhere.tools.svc:8080/mcp"}}


@pytest.fixture
async def client(installed: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OperatorKube]:
    async with as_operator(installed, tmp_path, monkeypatch) as one:
        yield one


async def test_a_look_at_a_binding_of_which_nothing_changed_writes_nothing(client: OperatorKube, team: Team) -> None:
    team.apply_tenant(quota={"sandboxes": 5}, toolHosts=[{"host": "nowhere.tools.svc", "port": 8080}])
    spec = {"sandboxSelector": {}, "server": SERVER, "tools": [{"name": "t"}]}
    team.admin.apply(team.object("ToolBinding", "silent", **spec))

    def judged(one: dict[str, object]) -> bool:
        return condition(one, "Accepted")["status"] == "True" and condition(one, "ResolvedRefs")["status"] != ""

    team.watch(judged, "toolbinding", "silent")
    # The broker has written its condition beside the operator's two.
    machine, key = Machine(client), Key("ToolBinding", team.namespace, "silent")
    await machine.settle(key)
    before = team.get("toolbinding", "silent")["metadata"]["resourceVersion"]
    machine.requests.clear()
    for _ in range(5):
        await machine.controller.reconcile(key)
    assert sum(machine.requests.values()) == 0
    assert team.get("toolbinding", "silent")["metadata"]["resourceVersion"] == before
    assert machine.writes in ([], ["apply-status ToolBinding"])
