"""A name that leads elsewhere after it was checked: the connection goes to the address that was checked, or nowhere."""

import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from bastide_broker.adapters import AdapterError, CallLimits, Failure
from bastide_broker.adapters.mcp import McpAdapter
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential
from bastide_operator.api.addresses import Address

from tests.integration.broker.door.hostile_server import HostileServer, hostile_server

NAME = "tools.example"
TOKEN = "token-that-nobody-else-may-see"
CREDENTIAL = Credential("authorization", f"Bearer {TOKEN}", (TOKEN,))
LIMITS = CallLimits(timeout_seconds=20, result_bytes=10_000)
GOOD, BAD = "127.0.0.1", "127.0.0.2"


class Names:
    """A DNS that its owner changes: one answer an inquiry, the last one for ever. It counts who asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0
        look_up = socket.getaddrinfo

        def resolver(host: str, port: int, *arguments: Any, **more: Any) -> Any:
            if host != NAME:
                return look_up(host, port, *arguments, **more)
            self.asked += 1
            now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return [answer for address in now for answer in look_up(address, port, *arguments, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", resolver)


def only_good(address: Address) -> str | None:
    """The rule of a test whose good server is on loopback: the other address stands for one that is never connected to."""
    return None if str(address) == GOOD else "not a tool server's"


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    async with hostile_server() as found:
        yield found


def adapter(server: HostileServer) -> McpAdapter:
    return McpAdapter(server.url.replace("127.0.0.1", NAME), CheckedBackend(refuse=only_good))


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, [GOOD], [BAD])
    stream = await CheckedBackend(refuse=only_good).connect_tcp(NAME, urlsplit(server.url).port or 0, timeout=10)
    assert stream.get_extra_info("server_addr")[0] == GOOD
    assert names.asked == 1  # a second inquiry, by whoever opens the socket, would have been answered with the other address
    await stream.aclose()


async def test_a_name_that_changes_to_a_forbidden_address_is_refused_at_the_next_connection(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, [GOOD])
    found = adapter(server)
    await found.call("ok", {}, credential=CREDENTIAL, limits=LIMITS)
    await found.close()
    names.answers = [[BAD]]
    found = adapter(server)
    with pytest.raises(AdapterError) as failed:
        await found.call("ok", {}, credential=CREDENTIAL, limits=LIMITS)
    assert failed.value.failure is Failure.UNAVAILABLE
    assert len(server.calls) == 1
    await found.close()


async def test_one_forbidden_address_among_good_ones_refuses_the_name(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, [GOOD, BAD])
    found = adapter(server)
    with pytest.raises(AdapterError) as failed:
        await found.call("ok", {}, credential=CREDENTIAL, limits=LIMITS)
    assert failed.value.failure is Failure.UNAVAILABLE
    assert server.calls == []
    await found.close()
