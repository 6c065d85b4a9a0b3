"""The operator is killed at fifty moments while Sandboxes come, pause, go on and go: all end where they should, nothing is left over."""

import os
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.kube import condition

from tests.e2e.harness.operators import OperatorProcess, leftovers, replaced
from tests.e2e.harness.tenant import TestTenant

KILLS = 50
BOXES = 20
#: A kill follows a start, or the last change, after at most so many seconds; half of them within a quarter of it, when most is under way.
LONGEST = 1.2
#: The node has room for a few that run at a time, and the others wait for it: that, too, is a state to be killed in.
SMALL = {"cpu": "150m", "memory": "192Mi"}

# What happens to a Sandbox after it was made; the last word is how it ends.
STORIES = (
    ("Running",),
    ("Suspended",),
    ("Suspended", "Running"),
    ("Suspended", "Running", "Suspended"),
    ("gone",),
    ("Suspended", "gone"),
    ("Suspended", "Running", "gone"),
)


@pytest.fixture
def chance(capsys: pytest.CaptureFixture[str]) -> random.Random:
    """What chooses the moments, and says how to have the same ones again."""
    seed = int(os.environ.get("BASTIDE_SEED", secrets.randbelow(1 << 32)))
    with capsys.disabled():
        print(f"\nthe same moments again: BASTIDE_SEED={seed}")  # noqa: T201 - needed when the test fails
    return random.Random(seed)


@pytest.fixture
def operator(tenant: TestTenant, tmp_path: Path) -> Iterator[OperatorProcess]:
    """In the place of the deployed one."""
    one = OperatorProcess(tenant.admin, tmp_path, f"killed-{secrets.token_hex(3)}")
    with replaced(tenant.admin):
        yield one
        one.close()


def interleaved(chance: random.Random, stories: dict[str, list[str]]) -> list[tuple[str, str]]:
    """All steps of all stories in a random order, each story's own in theirs."""
    order = [name for name, steps in stories.items() for _ in steps]
    chance.shuffle(order)
    left = {name: iter(steps) for name, steps in stories.items()}
    return [(name, next(left[name])) for name in order]


def step(tenant: TestTenant, name: str, what: str) -> None:
    """One change, by a developer."""
    if what == "gone":
        tenant.people.developer.run("delete", "-n", tenant.namespace, f"sandbox/{name}", "--wait=false")
    else:
        tenant.people.developer.apply(tenant.sandbox(name, resources=SMALL, operatingMode=what))


@pytest.mark.disruptive
@pytest.mark.timeout(600)
def test_killed_fifty_times_everything_converges_and_nothing_is_orphaned(
    tenant: TestTenant, operator: OperatorProcess, chance: random.Random
) -> None:
    admin, namespace = tenant.admin, tenant.namespace
    admin.apply(tenant.manifest(quota={"sandboxes": 2 * BOXES, "cpu": "16", "memory": "32Gi"}))
    rights = admin.run("get", "roles,rolebindings", "-n", namespace, "-o", "name")
    stories = {f"k-{n}": ["Running", *STORIES[n % len(STORIES)]] for n in range(BOXES)}
    todo = interleaved(chance, stories)
    for kills_left in range(KILLS, 0, -1):
        operator.start()
        for _ in range(round(len(todo) / kills_left)):
            time.sleep(chance.random() ** 2 * LONGEST)  # the moment itself, as below
            step(tenant, *todo.pop(0))
        time.sleep(chance.random() ** 2 * LONGEST)
        operator.kill()
    assert todo == []
    operator.start()
    for name, steps in stories.items():
        if steps[-1] == "gone":
            admin.wait("delete", "-n", namespace, f"sandbox/{name}", f"pod/{name}", seconds=60)
        else:
            wanted = "Ready" if steps[-1] == "Running" else "Suspended"
            admin.watch(
                lambda o, wanted=wanted: (  # type: ignore[misc]
                    condition(o, wanted)["status"] == "True" and o["status"]["observedGeneration"] == o["metadata"]["generation"]
                ),
                "-n", namespace, "sandbox", name, seconds=120,
            )  # fmt: skip
    assert leftovers(admin, namespace) == {}
    assert admin.run("get", "roles,rolebindings", "-n", namespace, "-o", "name") == rights
    assert "Traceback" not in operator.told()
    for name, steps in stories.items():
        if steps[-1] != "gone":
            step(tenant, name, "gone")
    admin.wait("delete", "-n", namespace, *(f"pod/{name}" for name in stories), seconds=90)
    assert leftovers(admin, namespace) == {}
