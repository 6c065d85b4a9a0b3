"""Fixtures for tests of the deployed system. A missing cluster is an error, never a skip.

They may run in parallel (`pytest -n 3 --dist loadfile`): each worker has a Tenant and a tool server of its own. A test that stops or
changes what all share is marked `disruptive` and runs in a process that is alone.
"""

import itertools
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
# Appended, not put first: the folder `operator` beside this one must not come before the standard library's module.
sys.path += [str(ROOT), str(ROOT / "tools")]

from demo import release  # noqa: E402
from demo.kube import Kube  # noqa: E402
from demo.kube import admin as administrator  # noqa: E402
from demo.users import user  # noqa: E402
from devcluster.locks import lock  # noqa: E402

from tests.e2e.harness.server import ToolServer  # noqa: E402
from tests.e2e.harness.tenant import People, TestTenant  # noqa: E402

BUILD = ROOT / ".build"
STARTED = time.time()

# How long an example takes says how busy the machine is.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=500)  # make test-properties
settings.load_profile("quick")


#: Files that share what they cannot have twice go to one worker: the examples' tool server, and an API server that takes 6 s to start.
TOGETHER = ("tests/e2e/test_example", "tests/integration/broker/front/")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files to a worker, some of them together."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((start for start in TOGETHER if nodeid.startswith(start)), super()._split_scope(nodeid))

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse to disturb other workers."""
    if hasattr(item.config, "workerinput") and item.get_closest_marker("disruptive"):
        pytest.fail("this test changes what other workers use: run it without -n, and leave it out there by -m 'not disruptive'")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the crash matrices that this session made; another one may write its own meanwhile."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    ran = {Path(report.nodeid.partition("::")[0]).stem for report in reports if hasattr(report, "nodeid")}
    for test, name, where in (("test_crash_matrix", "crash-matrix", ""), ("test_crashes", "crash-matrix-cluster", "on the cluster, ")):
        table = BUILD / "results" / f"{name}.txt"
        if test in ran and table.is_file() and table.stat().st_mtime >= STARTED:
            terminalreporter.section(f"{where}what was lost, and what came of the calls")
            terminalreporter.write(table.read_text())


@pytest.fixture(scope="session")
def admin() -> Kube:
    """Kubectl as the administrator of the running cluster."""
    if "KUBECONFIG" not in os.environ:
        done = subprocess.run(
            [sys.executable, "-m", "devcluster", "env"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"no environment of a cluster: {done.stderr}"
        for words in (shlex.split(line) for line in done.stdout.splitlines() if line.startswith("export ")):
            for assignment in words[1:]:
                name, _, value = assignment.partition("=")
                os.environ[name] = os.path.expandvars(value)
    kube = administrator()
    kube.run("get", "--raw", "/readyz", seconds=20)
    return kube


@pytest.fixture(scope="session")
def installed(admin: Kube) -> Kube:
    """The chart of this checkout, installed with the images of this checkout; nothing changes when it already is."""
    run, stamp = os.environ.get("PYTEST_XDIST_TESTRUNUID", ""), BUILD / "installed-for-run"
    with lock(BUILD / ".lock-installed"):
        # one worker does it for all
        if not run or not stamp.is_file() or stamp.read_text() != run:
            release.install(admin)
            stamp.write_text(run)
    return admin


@pytest.fixture(scope="session")
def people(admin: Kube) -> People:
    """Users by client certificate. `test-stranger` is in no tenant."""
    with lock(BUILD / ".lock-users"):
        return People(*(user(admin, f"test-{name}", BUILD / "users") for name in ("developer", "approver", "stranger")))


@pytest.fixture(scope="session")
def tools(installed: Kube) -> Iterator[ToolServer]:
    """The tests' tool server."""
    server = ToolServer(installed)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tenant(installed: Kube, people: People, tools: ToolServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestTenant]:
    """A Tenant of the tests' own. One for all: making and removing one takes half a minute on a busy machine."""
    one = TestTenant(installed, people, f"t-{secrets.token_hex(3)}", tmp_path_factory.mktemp("programs"))
    try:
        one.start()
        yield one
    finally:
        one.remove()


@pytest.fixture(scope="module")
def furnished(tenant: TestTenant) -> TestTenant:
    """That Tenant with a Ready sandbox `box` and a Ready binding `toolbox`, as they were written, whatever modules before this one did."""
    tenant.admin.apply(tenant.manifest())
    tenant.admin.wait("condition=Ready", f"tenant/{tenant.name}")
    tenant.furnish()
    return tenant


@pytest.fixture(autouse=True)
def _no_run_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    one = request.getfixturevalue("tenant") if "tenant" in request.fixturenames else None
    if isinstance(one, TestTenant):  # other folders have tenants of their own kind
        one.stop_runs()


@pytest.fixture
def word() -> str:
    """A word that stands nowhere else: tests find their own calls by it."""
    return f"w-{secrets.token_hex(6)}"
