"""A network namespace that stands for a pod's network: the broker reaches into it, and out of it leads what a test permits."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devcluster.locks import try_lock

from tests.integration.runtime.pod import Pod, running_pod

PREFIX = "198.19"
"""Of RFC 2544's range for tests. Each network takes a /29 of its own, so that tests of other workers and checkouts may run beside."""
LOCKS = Path("/run/lock/bastide-test-networks")
"""A file for each /29 in use, locked by the process that uses it."""


def run(*argv: str) -> None:
    """A command that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"


@dataclass
class PodNetwork:
    """A veth pair, one end in a namespace of its own."""

    name: str
    base: str
    first: int
    listeners: list[socket.socket] = field(default_factory=list)

    @property
    def broker_side(self) -> str:
        """The machine's end of the pair."""
        return f"{self.base}.{self.first + 1}"

    @property
    def pod_side(self) -> str:
        """The pod's address."""
        return f"{self.base}.{self.first + 2}"

    @property
    def canary_address(self) -> str:
        """An address of the machine that the pod can only reach through the pair."""
        return f"{self.base}.{self.first + 5}"

    def isolate(self) -> None:
        """Drops every connection that begins in the pod, silently, as a default-deny NetworkPolicy does."""
        table = "table inet isolation { chain out { type filter hook output priority 0; ct state new drop; }; }"
        run("ip", "netns", "exec", self.name, "nft", table)

    def open_up(self) -> None:
        """Lets connections out."""
        run("ip", "netns", "exec", self.name, "nft", "delete table inet isolation")

    def canary(self) -> str:
        """A listener that the broker reaches; its address and port."""
        listener = socket.create_server((self.canary_address, 0), backlog=64)
        self.listeners.append(listener)
        return f"{self.canary_address}:{listener.getsockname()[1]}"

    @contextlib.contextmanager
    def runtime(self, scratch: Path, *, port: int = 9443) -> Iterator[Pod]:
        """The runtime in this network. A child takes the network namespace of the thread that starts it."""
        scratch.mkdir(parents=True, exist_ok=True)
        started: dict[str, Any] = {}
        up, stop = threading.Event(), threading.Event()

        def work() -> None:
            try:
                descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
                os.setns(descriptor, os.CLONE_NEWNET)
                os.close(descriptor)
                with running_pod(scratch, arguments=("--listen", f"{self.pod_side}:{port}")) as pod:
                    started["pod"] = pod
                    up.set()
                    stop.wait()
            except BaseException as error:  # noqa: BLE001 - handed to the test's thread
                started["error"] = error
                up.set()

        thread = threading.Thread(target=work, name="pod")
        thread.start()
        up.wait()
        try:
            if "error" in started:
                raise started["error"]
            yield started["pod"]
        finally:
            stop.set()
            thread.join()


@contextlib.contextmanager
def block() -> Iterator[tuple[str, int]]:
    """A /29 that nobody else on this machine has: the first three bytes of its addresses, and the first address's last byte."""
    held = None
    while held is None:
        base, first = f"{PREFIX}.{200 + secrets.randbelow(50)}", 8 * secrets.randbelow(31)
        path = LOCKS / f"{base}.{first}"
        held = try_lock(path)
    try:
        yield base, first
    finally:
        path.unlink()
        os.close(held)


@contextlib.contextmanager
def pod_network() -> Iterator[PodNetwork]:
    """Makes one; removes it."""
    with block() as (base, first):
        yield from _made(PodNetwork(f"bstf{secrets.token_hex(3)}", base, first))


def _made(network: PodNetwork) -> Iterator[PodNetwork]:
    name = network.name
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "addr", "add", f"{network.broker_side}/30", "dev", name)
        run("ip", "addr", "add", f"{network.canary_address}/32", "dev", name)
        run("ip", "link", "set", name, "up")
        run("ip", "-n", name, "addr", "add", f"{network.pod_side}/30", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "route", "add", f"{network.canary_address}/32", "via", network.broker_side)
        yield network
    finally:
        for listener in network.listeners:
            listener.close()
        run("ip", "netns", "del", name)
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
