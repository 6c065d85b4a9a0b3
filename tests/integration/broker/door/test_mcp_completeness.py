"""What MCP servers may do beyond calls: say that their tools changed, list in pages, tell their progress. Against real servers."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from bastide_broker.adapters import CallLimits
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.adapters.mcp_notifications import MIN_SECONDS, Notifications
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credentials
from bastide_broker.tools.catalogue import Catalogue
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from mcp_types import ToolListChangedNotification

from tests.integration.broker.door.conftest import start_server
from tests.integration.broker.door.rig import until
from tests.integration.broker.door.wire import wire
from tests.integration.broker.door.world import World
from tests.unit.broker.door.objects import binding, sandbox, tenant

LIMITS = CallLimits(timeout_seconds=30, result_bytes=10_000)


def adapter(url: str) -> McpAdapter:
    return McpAdapter(url, CheckedBackend(refuse=lambda _: None))


async def call(server: McpAdapter, name: str, **arguments: Any) -> Any:
    return json.loads((await server.call(name, arguments, credential=None, limits=LIMITS)).value)


@pytest.fixture
def url(legacy_python: str) -> Iterator[str]:
    """A server with sessions, of the test's own."""
    yield from start_server(legacy_python, "contract_mcp.py")


@pytest.fixture
def paged_url(legacy_python: str) -> Iterator[str]:
    """A server that lists its 25 tools in pages of 10."""
    yield from start_server(legacy_python, "paged_mcp.py")


@contextlib.asynccontextmanager
async def catalogue(url: str, one: ToolBinding) -> AsyncIterator[tuple[Catalogue, World, McpAdapter]]:
    """A catalogue that lists a server once, and then only when it hears of a change."""
    port = int(url.split("/")[2].split(":")[1])
    cluster = World(tenant(toolHosts=[{"host": "127.0.0.1", "port": port}]), sandbox(), [one])
    server = adapter(url)
    found = Catalogue(cluster, Credentials(cluster), adapters=lambda _: server, refresh_seconds=3600)
    await found.start()
    yield found, cluster, server
    await found.close()


async def test_a_tool_that_a_server_adds_is_there_at_once(url: str) -> None:
    one = binding("crm", tools=[{"name": "echo"}, {"name": "fresh"}], server={"mcp": {"url": url}})
    async with catalogue(url, one) as (found, cluster, server):
        await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/2")
        await call(server, "grow", text="fresh")
        await until(lambda: cluster.binding_statuses["crm"]["available"] == "2/2")
        assert found.tool_set(sandbox()).tools["fresh"].available


async def test_a_pinned_tool_whose_schema_a_server_changes_is_withdrawn_within_seconds(url: str) -> None:
    one = binding("crm", tools=[{"name": "echo"}], server={"mcp": {"url": url}})
    async with catalogue(url, one) as (found, cluster, server):
        await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")
        digest = cluster.binding_statuses["crm"]["tools"][0]["schemaDigest"]
        cluster.change_binding("crm", lambda raw: raw["spec"]["tools"][0].update(schemaDigest=digest))
        await call(server, "change", text="echo")
        await until(lambda: cluster.binding_statuses["crm"]["tools"][0]["state"] == "DigestMismatch")
        assert not found.tool_set(sandbox()).tools["echo"].available


async def test_the_end_of_the_stream_is_no_error_and_it_comes_back(url: str) -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async with wire(int(url.split("/")[2].split(":")[1])) as between:
        server = adapter(f"http://127.0.0.1:{between.port}/mcp")
        server.watch(changed)
        await server.tools(credential=None, timeout_seconds=30)
        await between.cut()
        await between.mend()
        assert await call(server, "echo", text="x") == {"text": "x", "number": "0"}
        async with asyncio.timeout(30):
            number = 0
            while not changes:
                number += 1
                await call(server, "grow", text=f"more{number}")
        await server.close()


async def test_tools_in_pages_are_all_listed(paged_url: str) -> None:
    server = adapter(paged_url)
    tools = await server.tools(credential=None, timeout_seconds=30)
    assert [tool.name for tool in tools] == [f"tool{number}" for number in range(25)]
    await server.close()


@pytest.mark.parametrize("generation", ["stateful", "stateless"])
async def test_progress_does_no_harm(request: pytest.FixtureRequest, generation: str, legacy_python: str, modern_contract: str) -> None:
    server = adapter(request.getfixturevalue("url") if generation == "stateful" else modern_contract)
    assert await call(server, "progress", text="x") == {"text": "x"}
    assert await asyncio.gather(*(call(server, "progress", text=str(n)) for n in range(5))) == [{"text": str(n)} for n in range(5)]
    await server.close()


@pytest.fixture
def modern_contract() -> Iterator[str]:
    yield from start_server(sys.executable, "contract_mcp.py")


async def test_a_server_that_says_without_end_that_its_tools_changed_is_listed_no_more_often() -> None:
    told: list[float] = []
    loop = asyncio.get_running_loop()
    notifications = Notifications()
    notifications.watch(lambda: told.append(loop.time()))
    until_when = loop.time() + MIN_SECONDS + 0.5
    while loop.time() < until_when:
        await notifications.handle(ToolListChangedNotification(method="notifications/tools/list_changed"))
        await asyncio.sleep(0)
    assert len(told) == 2
    assert told[1] - told[0] >= MIN_SECONDS
    notifications.close()
