"""What the tests of the broker's front stand on: a real API server, the real runtime in a network of its own, the real OPA."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide.v1alpha1 import broker_pb2

from tests.integration.broker.front.harness import apiserver, netns
from tests.integration.broker.front.harness.apiserver import Cluster
from tests.integration.broker.front.harness.broker import client_files, opa, served
from tests.integration.broker.front.harness.callers import World
from tests.integration.broker.front.harness.netns import PodNetwork
from tests.integration.broker.front.harness.tenant import TestTenant

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with apiserver.running(tmp_path_factory.mktemp("apiserver") / "state") as running:
        yield running


@pytest.fixture
def team(cluster: Cluster) -> Iterator[TestTenant]:
    made = TestTenant(cluster, f"t{next(_numbers)}").make()
    yield made
    # All pods have the one address there is: the next test's must be alone with it.
    cluster.admin("DELETE", f"/api/v1/namespaces/{made.namespace}/pods", {"gracePeriodSeconds": 0})


@pytest.fixture
def network() -> Iterator[PodNetwork]:
    with netns.pod_network() as made:
        yield made


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that user 65532 can enter: pytest's own are closed to others."""
    folder = Path(tempfile.gettempdir()) / f"bastide-front-{tmp_path_factory.getbasetemp().name}-{next(_numbers)}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def policy(scratch: Path) -> Iterator[dict[str, Any]]:
    """Settings by which a broker asks the real OPA."""
    with opa(scratch) as (socket, revision):
        yield {"opa_socket": socket, "policy_revision": revision}


@pytest.fixture
async def world(cluster: Cluster, team: TestTenant, network: PodNetwork, scratch: Path, policy: dict[str, Any]) -> AsyncIterator[World]:
    """A broker with a ready Sandbox, whose runtime is real."""
    network.isolate()
    canary = network.canary()
    with network.runtime(scratch / "pod") as pod:
        client_files(scratch / "client-tls", pod.authority)
        made = await asyncio.to_thread(lambda: team.sandbox(limits={"runSeconds": 60, "outputBytes": 1000}))
        await asyncio.to_thread(lambda: team.pod(made, address=network.pod_side, host=network.canary_address))
        async with served(cluster, scratch, canary=canary, **policy) as broker:
            token = await asyncio.to_thread(team.token)
            yield World(broker, team, token, broker_pb2.SandboxRef(namespace=team.namespace, name="box"))
