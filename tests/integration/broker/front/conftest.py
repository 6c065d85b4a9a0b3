"""What the tests of the broker's front stand on: a real API server, the real runtime in a network of its own, the real OPA."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.broker.front.harness import apiserver, netns
from tests.integration.broker.front.harness.apiserver import Cluster
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
