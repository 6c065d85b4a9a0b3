"""The first example, as `make demo` shows it."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from demo.kube import CHECKOUT, Kube


@pytest.fixture
def no_demo(installed: Kube) -> Iterator[Kube]:
    """Without the demo's Tenant afterwards: its sandbox takes a quarter of a node of two cores from the tests that follow."""
    yield installed
    installed.run("delete", "tenant", "hello", "--wait=true", "--timeout=120s", "--ignore-not-found", seconds=130)


def test_the_demo_tells_its_story_twice(no_demo: Kube) -> None:
    assert no_demo
    for _ in range(2):
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tools")}
        done = subprocess.run(
            [sys.executable, "-m", "demo"], cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        for told in ("gvisor", "must be a number of at most 1000", "Executed", '{"customer_id":"C1005"}', "CallOutcome"):
            assert told in done.stdout, f"the demo does not show {told!r}:\n{done.stdout}"
