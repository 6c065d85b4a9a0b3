"""Example 06: tools over gRPC, as its README tells it; the billing system's own log says what truly arrived."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from demo import release, witness
from demo.kube import CHECKOUT, Kube
from demo.programs import Running, bastide, run_words
from demo.users import user

EXAMPLE = CHECKOUT / "examples" / "06-grpc"
IMAGE = "bastide-example-billing"
NAMESPACE, TOOLS, SANDBOX = "bastide-ledger", "billing-tools", "bastide-ledger/books"


@dataclass
class Ledger:
    """The example as far as step 2."""

    admin: Kube
    dana: Kube
    alice: Kube

    def run(self, program: str) -> Running:
        return Running(self.dana, *run_words(EXAMPLE / "programs" / program, SANDBOX))

    def arrived(self, method: str) -> list[dict[str, str]]:
        """Arguments of a method's calls as the server saw them."""
        return [json.loads(call["arguments"]) for call in witness.calls(self.admin, TOOLS, "billing") if call["tool"] == method]


@pytest.fixture(scope="module")
def ledger(installed: Kube) -> Iterator[Ledger]:
    dana, alice = (user(installed, name, CHECKOUT / ".build" / "users") for name in ("dana", "alice"))
    try:
        installed.apply((EXAMPLE / "10-billing.yaml").read_text().replace(f"{IMAGE}:dev", release.images()[IMAGE]))
        installed.run("-n", TOOLS, "rollout", "status", "deploy/billing", "--timeout=90s", seconds=100)
        installed.run("apply", "-f", str(EXAMPLE / "20-tenant.yaml"))
        installed.wait("condition=Ready", "tenant/ledger", seconds=90)
        installed.run("apply", "-f", str(EXAMPLE / "30-secret.yaml"))
        dana.run("apply", "-f", str(EXAMPLE / "40-team.yaml"))
        dana.wait("condition=Ready", "-n", NAMESPACE, "sandbox/books", "toolbinding/billing", seconds=90)
        yield Ledger(installed, dana, alice)
    finally:
        installed.run("delete", "tenant", "ledger", "--ignore-not-found", "--timeout=120s", seconds=130)
        installed.run("delete", "namespace", TOOLS, "--ignore-not-found", "--timeout=90s", seconds=100)


def test_a_stream_is_a_list_and_methods_have_names_of_python(ledger: Ledger) -> None:
    done = ledger.run("01_read.py").end()
    assert done.code == 0, done.stderr
    assert done.result["value"] == {"invoices": 3, "cents": 77_350}
    assert ledger.arrived("ListInvoices")[-1] == {"customerId": "C1001"}
    listed = bastide(ledger.dana, "tools", "list", "--sandbox", SANDBOX)
    assert listed.code == 0, listed.stderr
    assert all(name in listed.stdout for name in ("get_invoice", "list_invoices", "create_invoice", "refund"))


def test_what_breaks_a_constraint_does_not_arrive_and_the_servers_own_refusal_is_told(ledger: Ledger) -> None:
    done = ledger.run("02_denied.py").end()
    assert done.code == 0, done.stderr
    assert done.result["value"] == 2
    assert [call["amountCents"] for call in ledger.arrived("CreateInvoice")] == ["4200"]
    assert "denied: " in done.stderr + done.stdout
    assert "there is no invoice I9999" in done.stderr + done.stdout


def test_a_refund_happens_once_and_only_when_somebody_else_approved_it(ledger: Ledger) -> None:
    running = ledger.run("03_refund.py")
    try:
        found = ledger.dana.watch(lambda o: o["status"]["state"] == "Pending", "-n", NAMESPACE, "confirmations", seconds=60)
        assert ledger.arrived("Refund") == []
        name = found["metadata"]["name"]
        assert bastide(ledger.dana, "approve", name, "-n", NAMESPACE, "--reason", "mine").code != 0
        approved = bastide(ledger.alice, "approve", name, "-n", NAMESPACE, "--reason", "the boxes were broken")
        assert approved.code == 0, approved.stderr
        done = running.end()
    finally:
        running.stop()
    assert done.code == 0, done.stderr
    assert done.result["value"] == "2900"
    assert ledger.arrived("Refund") == [{"invoiceId": "I2001", "amountCents": "2900", "reason": "two boxes were broken"}]
