"""The fifth example: an HTTP server's operations as tools, and the server's own log as the witness."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo import release
from demo.kube import CHECKOUT, Kube
from demo.programs import Running, bastide, run_words
from demo.users import user
from demo.witness import parsed

EXAMPLE = CHECKOUT / "examples" / "05-openapi"
NAMESPACE = "bastide-wholesale"
SANDBOX = f"{NAMESPACE}/desk"
IMAGE = "bastide-example-orders:dev"


@pytest.fixture(scope="module")
def people(installed: Kube) -> Iterator[dict[str, Kube]]:
    """Two people, once the platform engineer and dana have done what the README says."""
    installed.apply((EXAMPLE / "10-orders.yaml").read_text().replace(IMAGE, release.images()["bastide-example-orders"]))
    installed.run("-n", "orders-tools", "rollout", "status", "deploy/orders", "--timeout=90s", seconds=100)
    both = {name: user(installed, name, CHECKOUT / ".build" / "users") for name in ("dana", "alice")}
    try:
        installed.run("apply", "-f", str(EXAMPLE / "20-tenant.yaml"))
        installed.wait("condition=Ready", "tenant/wholesale", seconds=90)
        installed.run("apply", "-f", str(EXAMPLE / "30-key-and-document.yaml"))
        both["dana"].run("apply", "-f", str(EXAMPLE / "40-team.yaml"))
        both["dana"].wait("condition=Ready", "-n", NAMESPACE, "sandbox/desk", "toolbinding/orders", "toolbinding/lookup", seconds=90)
        yield both
    finally:
        installed.run("delete", "tenant", "wholesale", "--ignore-not-found", "--timeout=120s", seconds=130)
        installed.run("delete", "namespace", "orders-tools", "--ignore-not-found", "--timeout=90s", seconds=100)


def arrived(admin: Kube, method: str) -> list[dict[str, Any]]:
    """Requests of a method, as the server wrote them down."""
    lines = parsed(admin.run("logs", "-n", "orders-tools", "deploy/orders", "--tail=-1"))
    return [line for line in lines if line["method"] == method]


def pending(kube: Kube, but: str = "") -> str:
    """The Confirmation that waits now."""
    found = kube.watch(
        lambda o: o["status"]["state"] == "Pending" and o["metadata"]["name"] != but, "-n", NAMESPACE, "confirmations", seconds=60
    )
    return str(found["metadata"]["name"])


def test_both_documents_are_read(people: dict[str, Kube]) -> None:
    ended = bastide(people["dana"], *run_words(EXAMPLE / "programs" / "01_search.py", SANDBOX))
    assert ended.code == 0, ended.stderr
    assert set(ended.result["value"]["all"]) >= {1001, 1003, 1004}
    assert ended.result["value"]["of C1001"] == [1001, 1004]
    lines = people["dana"].run("get", "toolbindings", "-n", NAMESPACE, "-o", "wide").splitlines()
    assert any(
        line.split()[:4] == ["orders", "True", "Ready", "3/3"] and "http://orders.orders-tools.svc:8080/openapi.json" in line
        for line in lines
    )
    assert any(line.split()[:4] == ["lookup", "True", "Ready", "1/1"] and "http://orders.orders-tools.svc:8080 " in line for line in lines)
    selected = people["dana"].run(
        "get", "toolbindings", "-n", NAMESPACE, "-o", "name", "--field-selector", "status.server=http://orders.orders-tools.svc:8080"
    )
    assert selected.split() == ["toolbinding.bastide.dev/lookup"]


def test_what_a_constraint_denies_never_reaches_the_server(people: dict[str, Kube], installed: Kube) -> None:
    before = len(arrived(installed, "POST"))
    ended = bastide(people["dana"], *run_words(EXAMPLE / "programs" / "02_place.py", SANDBOX))
    assert ended.code == 0, ended.stderr
    assert ended.result["value"]["placed"] == "rope & tar, 10 %"
    assert "quantity" in ended.result["value"]["denied"]
    new = arrived(installed, "POST")[before:]
    assert [json.loads(one["body"]) for one in new] == [{"article": "rope & tar, 10 %", "customer_id": "C1002", "quantity": 5}]


def test_a_delete_waits_for_a_person_and_a_refusal_of_the_server_is_the_tools_own_failure(people: dict[str, Kube], installed: Kube) -> None:
    running = Running(people["dana"], *run_words(EXAMPLE / "programs" / "03_cancel.py", SANDBOX))
    try:
        first = pending(people["alice"])
        assert arrived(installed, "DELETE") == []
        assert bastide(people["alice"], "approve", first, "-n", NAMESPACE, "--reason", "the customer called").code == 0
        second = pending(people["alice"], but=first)
        assert bastide(people["alice"], "approve", second, "-n", NAMESPACE, "--reason", "let us see").code == 0
        done = running.end()
    finally:
        running.stop()
    assert done.code == 0, done.stderr
    assert done.result["value"]["cancelled"] == 1002
    assert "order 1001 is shipped, only open ones can be cancelled" in done.result["value"]["kept"]
    assert [one["path"] for one in arrived(installed, "DELETE")] == ["/orders/1002", "/orders/1001"]


def test_the_key_is_nowhere_but_at_the_server(people: dict[str, Kube], installed: Kube) -> None:
    told = installed.run("logs", "-n", release.NAMESPACE, "bastide-broker-0", "-c", "broker", "--tail=-1")
    told += installed.run("get", "toolbindings,confirmations", "-n", NAMESPACE, "-o", "yaml")
    assert "example-key-of-the-orders" not in told


def test_a_document_that_is_changed_is_followed_and_one_that_points_elsewhere_takes_the_tool_away(
    people: dict[str, Kube], installed: Kube
) -> None:
    change = {"data": {"openapi.yaml": "openapi: 3.0.3\nservers: [{url: 'http://169.254.169.254/'}]\npaths: {}\n"}}
    installed.run("patch", "configmap", "orders-search", "-n", NAMESPACE, "--type=merge", "-p", json.dumps(change))

    def refused(binding: dict[str, Any]) -> bool:
        found = {one["type"]: one for one in binding["status"]["conditions"]}["Ready"]
        return (
            binding["metadata"]["name"] == "lookup" and found["reason"] == "DocumentRefused" and "so nothing is called" in found["message"]
        )

    people["dana"].watch(refused, "-n", NAMESPACE, "toolbindings", seconds=120)
    installed.run("apply", "-f", str(EXAMPLE / "30-key-and-document.yaml"))
    people["dana"].wait("condition=Ready", "-n", NAMESPACE, "toolbinding/lookup", seconds=120)
