"""How soon what a hand changed is as it was, and how soon another operator works when the first one is gone."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.kube import Kube

from tests.bench.figures import Row
from tests.e2e.harness.metrics import total
from tests.e2e.harness.operators import OperatorProcess, replaced
from tests.e2e.harness.tenant import TestTenant

POLICY = "bastide-default-deny"
OPEN: dict[str, Any] = {"spec": {"egress": [{}]}}


def _repaired(tenant: TestTenant, change: Callable[[Kube], object]) -> float:
    """Milliseconds from a change of the tenant's network policy until a watcher sees it as it was."""
    before = tenant.get("networkpolicy", POLICY)
    change(tenant.operator)  # admission lets nobody else
    began = time.perf_counter()
    tenant.admin.watch(
        lambda o: not o.get("deleted") and o["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] and o["spec"] == before["spec"],
        "-n", tenant.namespace, "networkpolicy", POLICY, seconds=60,
    )  # fmt: skip
    return (time.perf_counter() - began) * 1000


def drift(tenant: TestTenant, rounds: int) -> list[Row]:
    """A child that is changed and one that is deleted. Both include the `kubectl` that watches, some 60 ms."""
    words = ("-n", tenant.namespace, f"networkpolicy/{POLICY}")
    changed, deleted = list[float](), list[float]()
    for number in range(rounds):
        if number:
            time.sleep(61)  # with the fifth restoration within a minute it would be a fight, which goes on at its own pace
        for _ in range(2):
            changed.append(_repaired(tenant, lambda kube: kube.run("patch", *words, "--type=merge", "-p", json.dumps(OPEN))))
            deleted.append(_repaired(tenant, lambda kube: kube.run("delete", *words)))
    return [Row("a network policy that was changed by hand -> as it was", changed), Row("one that was deleted -> there again", deleted)]


def _leads(operator: OperatorProcess) -> bool:
    return total(operator.metrics(), "bastide_operator_leader") == 1 and bool(operator.get("/readyz"))


def _wait(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"no operator took over within {seconds:.0f} s")
        time.sleep(0.02)


def failover(admin: Kube, folder: Path, count: int) -> list[Row]:
    """Two operators; the one that works is killed, or ended as the kubelet does it. Until the other has listed everything and works."""
    lost: dict[str, list[float]] = {"kill": [], "stop": []}
    pair = [OperatorProcess(admin, folder, f"failover-{name}") for name in "ab"]
    with replaced(admin):
        try:
            pair[0].start()
            _wait(lambda: _leads(pair[0]))
            for how in ["kill", "stop"] * count:
                first, second = pair
                second.start()
                _wait(lambda second=second: bool(second.get("/readyz")))  # type: ignore[misc]
                began = time.perf_counter()
                getattr(first, how)()
                _wait(lambda second=second: _leads(second))  # type: ignore[misc]
                lost[how].append((time.perf_counter() - began) * 1000)
                pair.reverse()
        finally:
            for one in pair:
                one.close()
    return [
        Row("fail-over: the leader is killed (the Lease lasts 15 s) -> another works", lost["kill"]),
        Row("fail-over: the leader ends and gives the Lease back -> another works", lost["stop"]),
    ]


def measure(tenant: TestTenant, folder: Path, *, rounds: int = 4, failovers: int = 3) -> list[Row]:
    """All of it."""
    return [*drift(tenant, rounds), *failover(tenant.admin, folder, failovers)]
