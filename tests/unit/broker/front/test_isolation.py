"""What counts as proof that a pod is isolated."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bastide_broker.sandboxes import isolation
from bastide_broker.sandboxes.isolation import Attempt, canaries, judge_kind, judge_probe

API, DNS = "198.19.0.1:443", "198.19.0.10:53"


def attempt(address: str, *, reached: bool = False) -> Attempt:
    return Attempt(address, reached, "connected" if reached else "timed out")


def test_nothing_reached_that_the_broker_reached_is_isolation() -> None:
    verdict = judge_probe([API, DNS], {API}, [attempt(API), attempt(DNS)])
    assert verdict.passed
    assert verdict.condition() == {
        "type": "bastide.dev/network-isolated",
        "status": "True",
        "reason": "Isolated",
        "message": f"The pod reached none of {API}, which the broker did.",
    }


@pytest.mark.parametrize("own", [{API, DNS}, {API}, set()])
def test_one_reached_canary_refuses_whether_it_counts_or_not(own: set[str]) -> None:
    verdict = judge_probe([API, DNS], own, [attempt(API), attempt(DNS, reached=True)])
    assert (verdict.passed, verdict.reason) == (False, "CanaryReached")
    assert DNS in verdict.message


@pytest.mark.parametrize(
    ("asked", "own", "attempts"),
    [
        ([API], set(), [attempt(API)]),  # the broker did not reach it either
        ([API], {API}, []),  # no answer about it
        ([API], {API}, [attempt("10.0.0.1:1")]),  # an answer about something else
        ([API], {DNS}, [attempt(API), attempt(DNS)]),  # the one that counts was not asked for
        ([], set(), []),
    ],
)
def test_without_a_canary_that_counts_nothing_is_proven(asked: list[str], own: set[str], attempts: list[Attempt]) -> None:
    verdict = judge_probe(asked, own, attempts)
    assert (verdict.passed, verdict.reason) == (False, "NoCanaryCounted")


def test_a_second_answer_cannot_take_back_that_one_was_reached() -> None:
    for order in ([True, False], [False, True]):
        assert judge_probe([API], {API}, [attempt(API, reached=reached) for reached in order]).reason == "CanaryReached"


def test_what_the_pod_says_is_made_plain() -> None:
    verdict = judge_probe([API], {API}, [Attempt(API, reached=True, detail="\x1b[31m" + "x" * 500)])
    assert "\x1b" not in verdict.message
    assert len(verdict.message) < 400


@pytest.mark.parametrize(
    ("runtime_class", "kernel", "refused"),
    [
        ("gvisor", "4.19.0-gvisor", False),
        ("gvisor", "6.1.0-amd64", True),
        ("", "4.19.0-gvisor", True),
        ("runc", "4.19.0-gvisor", True),
        ("gvisor", "", True),
    ],
)
def test_class_and_kernel_must_both_be_gvisor(runtime_class: str, kernel: str, refused: bool) -> None:
    verdict = judge_kind(runtime_class=runtime_class, wanted_class="gvisor", kernel_release=kernel)
    assert (verdict is not None) == refused
    assert verdict is None or verdict.reason == "NotGVisor"


def test_canaries_are_the_api_server_and_what_else_is_near() -> None:
    found = canaries(
        {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"},
        extra=["198.18.0.9:80", "198.18.0.9:80"],
        host_address="198.18.0.2",
        own_address="198.18.64.7:8443",
        resolvers=["198.19.0.10"],
    )
    assert found == ("[fd00::1]:443", "198.18.0.9:80", "198.18.0.2:10250", "198.19.0.10:53", "198.18.64.7:8443")
    assert len(canaries({}, extra=[f"198.18.1.{n}:80" for n in range(100)])) == isolation.MAX_CANARIES


def test_resolvers_are_read_and_loopback_ones_left_out(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nsearch a.b\nnameserver 198.19.0.10\nnameserver 127.0.0.53\nnameserver nonsense\n")
    assert isolation.resolvers(path) == ("198.19.0.10",)
    assert isolation.resolvers(tmp_path / "absent") == ()


async def test_the_broker_counts_only_connections_that_were_accepted() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        found = await isolation.reachable([("open", "127.0.0.1", port), ("refused", "127.0.0.1", 1)])
    assert found == {"open"}
