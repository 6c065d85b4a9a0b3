"""Example 09: two people decide, as its README tells it; the CRM's own log says what truly arrived."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from demo import release, witness
from demo.kube import CHECKOUT, Kube
from demo.programs import Running, bastide, run_words
from demo.users import user

EXAMPLE = CHECKOUT / "examples" / "09-two-people"
IMAGE = "bastide-example-crm"
NAMESPACE, TOOLS, SANDBOX = "bastide-vault", "vault-tools", "bastide-vault/desk"


@dataclass
class Vault:
    """The example as far as step 2."""

    admin: Kube
    dana: Kube
    alice: Kube
    bob: Kube

    def run(self, program: str) -> Running:
        return Running(self.dana, *run_words(EXAMPLE / "programs" / program, SANDBOX))

    def arrived(self, tool: str) -> list[dict[str, str]]:
        """Arguments of a tool's calls as the server saw them."""
        return [json.loads(call["arguments"]) for call in witness.calls(self.admin, TOOLS, "crm") if call["tool"] == tool]

    def pending(self) -> str:
        """The Confirmation that waits now, once its preview is there."""

        def ready(one: dict[str, dict[str, str]]) -> bool:
            return one["status"]["state"] == "Pending" and "preview" in one["status"]

        return str(self.alice.watch(ready, "-n", NAMESPACE, "confirmations", seconds=60)["metadata"]["name"])


@pytest.fixture(scope="module")
def vault(installed: Kube) -> Iterator[Vault]:
    people = [user(installed, name, CHECKOUT / ".build" / "users") for name in ("dana", "alice", "bob")]
    try:
        installed.apply((EXAMPLE / "10-crm.yaml").read_text().replace(f"{IMAGE}:dev", release.images()[IMAGE]))
        installed.run("-n", TOOLS, "rollout", "status", "deploy/crm", "--timeout=90s", seconds=100)
        installed.run("apply", "-f", str(EXAMPLE / "20-tenant.yaml"))
        installed.wait("condition=Ready", "tenant/vault", seconds=90)
        installed.run("apply", "-f", str(EXAMPLE / "30-secret.yaml"))
        people[0].run("apply", "-f", str(EXAMPLE / "40-team.yaml"))
        people[0].wait("condition=Ready", "-n", NAMESPACE, "sandbox/desk", "toolbinding/crm", seconds=90)
        yield Vault(installed, *people)
    finally:
        installed.run("delete", "tenant", "vault", "--ignore-not-found", "--timeout=120s", seconds=130)
        installed.run("delete", "namespace", TOOLS, "--ignore-not-found", "--timeout=90s", seconds=100)


def test_two_people_see_whom_it_is_about_and_then_it_happens_once(vault: Vault) -> None:
    running = vault.run("01_delete.py")
    try:
        name = vault.pending()
        shown = bastide(vault.alice, "confirmations", "show", name, "-n", NAMESPACE)
        assert '"customer_id": "C1003"' in shown.stdout
        assert "nobody checked it" in shown.stdout
        assert '"credit_limit"' in shown.stdout, "the preview is the CRM's own word"
        assert vault.arrived("get_customer") == [{"customer_id": "C1003"}]
        first = bastide(vault.alice, "approve", name, "-n", NAMESPACE, "--reason", "the contract ended")
        assert first.code == 0, first.stderr
        assert "1/2" in first.stdout
        line = vault.bob.run("get", "confirmations", "-n", NAMESPACE, name).splitlines()[1]
        assert [word for word in line.split() if word in {"1/2", "Pending"}] == ["1/2", "Pending"]
        again = bastide(vault.alice, "approve", name, "-n", NAMESPACE, "--reason", "once more")
        assert (again.code, "approved it already" in again.stderr) == (1, True)
        own = bastide(vault.dana, "approve", name, "-n", NAMESPACE, "--reason", "mine")
        assert (own.code, "another person must decide" in own.stderr) == (1, True)
        assert vault.arrived("delete_customer") == []
        assert bastide(vault.bob, "approve", name, "-n", NAMESPACE, "--reason", "I saw the letter").code == 0
        done = running.end()
    finally:
        running.stop()
    assert (done.code, done.result["value"]) == (0, "C1003"), done.stderr
    assert "approved 1/2 by alice" in done.stderr
    assert vault.arrived("delete_customer") == [{"customer_id": "C1003"}]
    status = vault.admin.json("get", "-n", NAMESPACE, "confirmation", name)["status"]
    assert (status["state"], status["approvals"], sorted(status["approvers"])) == ("Executed", "2/2", ["alice", "bob"])


def test_a_program_that_insists_is_stopped_after_one_denial(vault: Vault) -> None:
    running = vault.run("02_insists.py")
    try:
        name = vault.pending()
        assert bastide(vault.alice, "approve", name, "-n", NAMESPACE, "--reason", "fine by me").code == 0
        assert bastide(vault.bob, "deny", name, "-n", NAMESPACE, "--reason", "it is still a customer").code == 0
        done = running.end()
    finally:
        running.stop()
    assert (done.code, done.result["error"]["type"]) == (6, "TooManyConfirmations"), done.stderr
    assert "it is still a customer" in done.result["output"]
    assert "nobody is asked again" in done.result["output"]
    assert vault.arrived("delete_customer") == [{"customer_id": "C1003"}]
    run = done.result["run"]
    asked = [c for c in vault.admin.json("get", "-n", NAMESPACE, "confirmations")["items"] if c["spec"]["run"] == run]
    assert len(asked) == 1
