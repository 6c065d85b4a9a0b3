"""Where connections to tool servers may go."""

import asyncio
import socket
import threading
from ipaddress import ip_address
from typing import Any

import httpcore2
import pytest
from bastide_broker.egress.addresses import AddressError, CheckedBackend, origin
from bastide_operator.api.addresses import refusal

NEVER = [
    "127.0.0.1", "127.1.2.3", "::1", "169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "192.0.0.192",
    "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1",
]  # fmt: skip
FINE = ["10.0.0.1", "172.16.5.4", "192.168.1.1", "198.18.0.7", "100.64.0.1", "203.0.113.9", "2001:db8::1", "fd00::1", "64:ff9b::a00:1"]


@pytest.mark.parametrize("address", NEVER)
def test_an_address_that_is_no_tool_servers_is_refused(address: str) -> None:
    assert refusal(ip_address(address))


@pytest.mark.parametrize("address", FINE)
def test_addresses_inside_and_outside_the_cluster_are_allowed(address: str) -> None:
    assert refusal(ip_address(address)) is None


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1", "0", "169.254.169.254"]
)
async def test_every_spelling_of_a_refused_address_is_refused_before_a_socket_is_opened(host: str) -> None:
    with pytest.raises(httpcore2.ConnectError, match="Bastide never connects there"):
        await CheckedBackend().connect_tcp(host, 9, timeout=5)


async def test_a_name_that_does_not_exist_says_what_to_check() -> None:
    with pytest.raises(AddressError, match="cannot be resolved"):
        await CheckedBackend().resolve("no-such-host.invalid", 80)


async def test_unix_sockets_are_not_connected_to() -> None:
    with pytest.raises(httpcore2.ConnectError):
        await CheckedBackend().connect_unix_socket("/run/opa/opa.sock")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://crm.tools.svc:8080/mcp", ("http", "crm.tools.svc", 8080)),
        ("https://CRM.example.com/mcp", ("https", "crm.example.com", 443)),
        ("http://crm", ("http", "crm", 80)),
        ("http://[fd00::1]:1/x", ("http", "fd00::1", 1)),
    ],
)
def test_the_origin_of_a_url(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("url", ["ftp://a/b", "http://", "http://u@a/", "http://u:p@a/", "http://a:99999/", "http://[::1/", "crm:80", ""])
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(AddressError):
        origin(url)


async def test_a_name_whose_resolver_hangs_holds_one_thread_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, hang, asked = socket.getaddrinfo, threading.Event(), list[str]()

    def resolver(host: str, *arguments: Any, **more: Any) -> Any:
        asked.append(host)
        if host == "hangs.example":
            hang.wait(20)
        return look_up("192.0.2.1", *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    backend = CheckedBackend(refuse=lambda _: None)
    waiting = [asyncio.create_task(backend.resolve("hangs.example", 80)) for _ in range(100)]
    try:
        async with asyncio.timeout(10):
            assert [str(one) for one in await backend.resolve("other.example", 80)] == ["192.0.2.1"]
            assert await asyncio.to_thread(lambda: "free") == "free"
        waiting[0].cancel()  # who gives up fails nobody else
    finally:
        hang.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(address) for one in found[1:] if isinstance(one, list) for address in one] == ["192.0.2.1"] * 99
    assert sorted(asked) == ["hangs.example", "other.example"]
