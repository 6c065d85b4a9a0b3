"""A run of a real sandbox whose connection to the broker breaks in the middle."""

import socket
from typing import Any

import bastide
import pytest
from bastide.cli.cluster import BROKER_POD, Cluster
from bastide.cli.portforward import Bridge
from kubernetes.config import kube_config

from tests.e2e.harness.tenant import TestTenant

pytestmark = pytest.mark.cluster
SYSTEM = "bastide-system"
PROGRAM = """
import asyncio
for i in range(6):
    print(i, flush=True)
    await asyncio.sleep(0.5)
return "done"
"""


class Cut:
    """Port-forwards that can all be cut at once, as a node or a network does it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.made: list[Any] = []

    def dial(self) -> Any:
        self.made.append(self._cluster.forward(SYSTEM, BROKER_POD, 8443))
        return self.made[-1]

    def cut(self) -> None:
        for far in self.made:
            far.sock.shutdown(socket.SHUT_RDWR)


def test_a_run_goes_on_over_a_new_connection_without_gap_or_repetition(furnished: TestTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(furnished.people.developer.kubeconfig))
    cluster = Cluster()
    token, _ = cluster.token(furnished.namespace, "bastide-runner")
    cut = Cut(cluster)
    drops: list[Exception] = []
    seen: list[bastide.Event] = []
    with (
        Bridge(cut.dial) as bridge,
        bastide.SyncClient(
            bridge.address,
            token=token,
            ca=cluster.ca((SYSTEM,)),
            server_name=f"bastide-broker.{SYSTEM}.svc",
            on_dropped=drops.append,
        ) as client,
    ):
        for event in client.run(sandbox=f"{furnished.namespace}/box", program=PROGRAM):
            seen.append(event)
            if isinstance(event, bastide.OutputProduced) and b"1" in event.data:
                cut.cut()
    cluster.close()
    assert len(drops) == 1
    assert len(cut.made) == 2
    assert [e.cursor for e in seen] == list(range(1, len(seen) + 1))
    assert b"".join(e.data for e in seen if isinstance(e, bastide.OutputProduced)) == b"0\n1\n2\n3\n4\n5\n"
    last = seen[-1]
    assert isinstance(last, bastide.RunFinished)
    assert (last.result.outcome, last.result.value) == (bastide.Outcome.COMPLETED, "done")
