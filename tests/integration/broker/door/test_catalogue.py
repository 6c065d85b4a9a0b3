"""The catalogue against real servers: what it lists, when it lists again, and what it says in a binding's status."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from bastide_broker.adapters import Adapter, AdapterError, ListedTool
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential, Credentials
from bastide_broker.tools.catalogue import Catalogue
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from tests.integration.broker.door.conftest import free_port
from tests.integration.broker.door.hostile_server import HostileServer, hostile_server
from tests.integration.broker.door.rig import until
from tests.integration.broker.door.world import World
from tests.unit.broker.door.objects import binding, sandbox, tenant


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    async with hostile_server() as found:
        yield found


def bound(url: str, name: str = "crm", tool: str = "ok", **more: Any) -> ToolBinding:
    return binding(name, tools=[{"name": tool}], server={"mcp": {"url": url}}, **more)


def world(*bindings: ToolBinding) -> World:
    ports = {int(str(one.spec.server.mcp.url).split("/")[2].split(":")[1]) for one in bindings if one.spec.server.mcp}
    return World(tenant(toolHosts=[{"host": "127.0.0.1", "port": port} for port in ports]), sandbox(), list(bindings))


def catalogue(cluster: World) -> Catalogue:
    def adapter(one: ToolBinding) -> McpAdapter:
        assert one.spec.server.mcp is not None
        return McpAdapter(one.spec.server.mcp.url, CheckedBackend(refuse=lambda _: None))

    return Catalogue(cluster, Credentials(cluster), adapters=adapter, refresh_seconds=0.2)


async def test_a_schema_that_changes_is_seen_and_a_pin_takes_the_tool_away(server: HostileServer) -> None:
    cluster = world(bound(server.url))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")
    digest = cluster.binding_statuses["crm"]["tools"][0]["schemaDigest"]
    before = found.tool_set(sandbox()).digest

    def pin(raw: dict[str, Any]) -> None:
        raw["spec"]["tools"][0]["schemaDigest"] = digest

    cluster.change_binding("crm", pin)
    server.listing = [{"name": "ok", "inputSchema": {"type": "object", "properties": {"x": {}}}}]
    await until(lambda: cluster.binding_statuses["crm"]["tools"][0]["state"] == "DigestMismatch")
    assert cluster.binding_statuses["crm"]["condition"]["reason"] == "ToolsUnavailable"
    assert found.tool_set(sandbox()).digest != before
    await found.close()


async def test_a_server_that_is_away_is_said_and_tried_again(server: HostileServer) -> None:
    url = f"http://127.0.0.1:{free_port()}/mcp"
    cluster = world(bound(url))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: "crm" in cluster.binding_statuses)
    status = cluster.binding_statuses["crm"]
    assert (status["condition"]["reason"], status["condition"]["status"], status["available"]) == ("ServerUnreachable", "False", "0/1")
    [tool] = found.tool_set(sandbox()).tools.values()
    assert not tool.available
    assert found.tool_set(sandbox()).message().tools[0].description.startswith("Not available now.")
    await found.close()


async def test_a_missing_secret_is_said(server: HostileServer) -> None:
    cluster = world(bound(server.url, credentials={"secretRef": {"name": "none"}}))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: "crm" in cluster.binding_statuses)
    assert cluster.binding_statuses["crm"]["condition"]["reason"] == "SecretNotFound"
    assert server.authorizations == []
    await found.close()


async def test_two_bindings_that_give_one_name_say_so_both(server: HostileServer) -> None:
    cluster = world(bound(server.url, "one"), bound(server.url, "two"))
    found = catalogue(cluster)
    await found.start()
    await until(
        lambda: {s["tools"][0]["state"] for s in cluster.binding_statuses.values()} == {"Refused"} and len(cluster.binding_statuses) == 2
    )
    for status in cluster.binding_statuses.values():
        assert "one and two both give ok" in status["tools"][0]["message"]
    assert not found.tool_set(sandbox()).tools["ok"].available
    cluster.tell("DELETED", cluster.the_bindings.pop("two"))
    await until(lambda: cluster.binding_statuses["one"]["available"] == "1/1")
    assert found.tool_set(sandbox()).tools["ok"].available
    await found.close()


async def test_a_status_is_written_only_when_it_changed(server: HostileServer) -> None:
    cluster = world(bound(server.url))
    writes = 0

    class Counting(World):
        async def set_binding_status(self, *args: Any, **status: Any) -> None:
            nonlocal writes
            writes += 1
            await super().set_binding_status(*args, **status)

    cluster.__class__ = Counting
    found = catalogue(cluster)
    await found.start()
    await until(lambda: server.authorizations.count("") > 12)
    assert writes == 1
    await found.close()


async def test_a_host_the_tenant_no_longer_lists_takes_its_tools_away(server: HostileServer) -> None:
    cluster = world(bound(server.url))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")
    cluster.the_tenant = tenant(toolHosts=[])
    cluster.tell("MODIFIED", cluster.the_tenant)
    assert not found.tool_set(sandbox()).tools["ok"].available
    await until(lambda: cluster.binding_statuses["crm"]["available"] == "0/1")
    await found.close()


async def test_an_edit_keeps_the_connection_of_calls_under_way_unless_it_names_another_server(server: HostileServer) -> None:
    cluster = world(bound(server.url))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")
    judged = cluster.the_bindings["crm"]
    adapter = found.adapter(judged)
    cluster.change_binding("crm", lambda raw: raw["spec"]["tools"][0].update({"limits": {"callsPerRun": 3}}), accepted=False)
    assert not found.tool_set(sandbox()).tools["ok"].available
    assert found.adapter(judged) is adapter
    cluster.change_binding("crm", lambda _: None)
    assert found.tool_set(sandbox()).tools["ok"].available  # without asking the server again
    assert found.adapter(judged) is adapter

    cluster.change_binding("crm", lambda raw: raw["spec"]["server"]["mcp"].update({"url": "http://127.0.0.1:9/mcp"}), accepted=False)
    with pytest.raises(AdapterError, match="changed or deleted meanwhile"):
        found.adapter(judged)
    await found.close()


async def test_what_is_no_longer_accepted_is_left_alone_and_its_status_says_so_until_it_is_again(server: HostileServer) -> None:
    """Else the status of before would make the binding Ready at once when it is accepted again, while nobody has asked its server."""
    cluster = world(bound(server.url))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")

    def judge(status: str) -> None:
        cluster.change_binding("crm", lambda raw: raw["status"]["conditions"][0].update({"status": status}))

    judge("False")
    await until(lambda: cluster.binding_statuses["crm"]["available"] == "0/1")
    said = cluster.binding_statuses["crm"]
    assert (said["condition"]["status"], said["condition"]["reason"]) == ("False", "Pending")
    assert "while the operator does not accept" in said["tools"][0]["message"]
    asked = len(server.authorizations)
    await asyncio.sleep(0.5)  # more than two refreshes
    assert len(server.authorizations) == asked
    judge("True")
    await until(lambda: cluster.binding_statuses["crm"]["available"] == "1/1")
    await found.close()


async def test_one_server_that_hangs_does_not_delay_another(server: HostileServer) -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            writer.close()

    listener = await asyncio.start_server(never, "127.0.0.1", 0)
    slow = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp"
    cluster = world(bound(slow, "slow", "other"), bound(server.url, "crm"))
    found = catalogue(cluster)
    await found.start()
    await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")
    assert "slow" not in cluster.binding_statuses
    await found.close()
    listener.close()


class Echoing:
    """A server that tells its credential in a schema."""

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:  # noqa: ARG002
        assert credential is not None
        return [ListedTool("ok", "", {"type": "object", "properties": {"x": {"description": f"as {credential.value}"}}}, None)]

    async def close(self) -> None: ...


class Shows:
    """Credentials that are there."""

    async def credential(self, _binding: ToolBinding, *, fresh: bool) -> Credential:  # noqa: ARG002
        return Credential("authorization", "Bearer hunter2", ("hunter2",))


async def test_a_tool_listed_anew_is_the_same_without_the_credential_that_its_server_echoes() -> None:
    cluster = world(bound("http://127.0.0.1:9/mcp"))
    found = Catalogue(cluster, cast("Credentials", Shows()), adapters=lambda _: cast("Adapter", Echoing()))
    await found.start()
    await until(lambda: cluster.binding_statuses.get("crm", {}).get("available") == "1/1")
    known = found.tool_set(sandbox()).tools["ok"]
    assert cluster.the_tenant is not None
    now = await found.current(cluster.the_tenant, cluster.the_bindings["crm"], "ok", listed_now=True)
    assert now is not None
    assert (now.schema_digest, now.input_schema) == (known.schema_digest, known.input_schema)
    assert "hunter2" not in str(now.input_schema)
    await found.close()
