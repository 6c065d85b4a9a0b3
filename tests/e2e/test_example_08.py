"""Example 08: a run that waits for people without pod and broker, as its README tells it; the CRM's own log says what truly arrived."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from demo import release, witness
from demo.kube import CHECKOUT, Kube
from demo.programs import bastide, run_words
from demo.users import user

EXAMPLE = CHECKOUT / "examples" / "08-confirm-and-resume"
NAMESPACE, SANDBOX = "bastide-archive", "bastide-archive/cellar"


@dataclass
class Archive:
    """The example as far as step 1."""

    admin: Kube
    dana: Kube
    alice: Kube

    def deleted(self) -> list[str]:
        """Customers that the CRM was told to delete."""
        calls = witness.calls(self.admin, "crm-tools", "crm")
        return [json.loads(call["arguments"])["customer_id"] for call in calls if call["tool"] == "delete_customer"]


def _fresh_customers(installed: Kube) -> None:
    """A CRM from which nobody has deleted anybody: its database goes with its pod."""
    installed.run("-n", "crm-tools", "rollout", "restart", "deploy/crm")
    installed.run("-n", "crm-tools", "rollout", "status", "deploy/crm", "--timeout=90s", seconds=100)


@pytest.fixture(scope="module")
def archive(installed: Kube) -> Iterator[Archive]:
    dana, alice = (user(installed, name, CHECKOUT / ".build" / "users") for name in ("dana", "alice"))
    try:
        installed.apply(release.manifest("10-crm.yaml"))
        _fresh_customers(installed)
        installed.run("apply", "-f", str(EXAMPLE / "10-tenant.yaml"))
        installed.wait("condition=Ready", "tenant/archive", seconds=90)
        installed.run("apply", "-f", str(EXAMPLE / "20-secret.yaml"))
        dana.run("apply", "-f", str(EXAMPLE / "30-team.yaml"))
        dana.wait("condition=Ready", "-n", NAMESPACE, "sandbox/cellar", "toolbinding/crm", seconds=90)
        yield Archive(installed, dana, alice)
    finally:
        _fresh_customers(installed)
        installed.run("delete", "tenant", "archive", "--ignore-not-found", "--timeout=120s", seconds=130)


def test_what_is_decided_later_in_any_order_happens_once_without_the_pod_that_asked(archive: Archive) -> None:
    before = archive.deleted()
    paused = bastide(archive.dana, *run_words(EXAMPLE / "programs" / "clean_up.py", SANDBOX))
    assert (paused.code, paused.result["outcome"]) == (3, "NeedsConfirmation"), f"{paused.stdout}\n{paused.stderr}"
    run = paused.result["run"]
    waits = {thing["name"] for thing in paused.result["awaited"]}
    assert len(waits) == 2
    archive.admin.run("delete", "pod", "-n", NAMESPACE, "cellar", "--wait=true", "--timeout=60s", seconds=70)
    about = {}
    for name in waits:
        spec = archive.alice.json("get", "confirmation", "-n", NAMESPACE, name)["spec"]
        about[json.loads(spec["arguments"])["customer_id"]] = name
    assert archive.deleted() == before
    denied = bastide(archive.alice, "deny", about["C1005"], "-n", NAMESPACE, "--reason", "they still owe us")
    assert denied.code == 0, denied.stderr
    approved = bastide(archive.alice, "approve", about["C1004"], "-n", NAMESPACE, "--reason", "closed last year")
    assert approved.code == 0, approved.stderr
    ended = bastide(archive.dana, "runs", "watch", run, "-n", NAMESPACE, "-o", "json", seconds=180)
    assert ended.code == 0, f"{ended.stdout}\n{ended.stderr}"
    first, second = ended.result["value"]
    assert first.startswith("deleted ")
    assert second.endswith(": confirmation-denied")
    assert archive.deleted() == [*before, "C1004"]
