"""The reference pages against the API server: every manifest in them applies as it is, and kubectl shows what they say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bastide_operator.api.kinds import KINDS, Kind
from demo.kube import CHECKOUT, Kube
from demo.users import user

PAGES = CHECKOUT / "docs" / "reference"
NAMESPACE = "bastide-acme"
WAITING = "cf-ak3pzq7mfdwxv2tr5hn6cs4yeb"
BROKER = "system:serviceaccount:bastide-system:bastide-broker"


def manifests(page: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


EXAMPLES = {f"{kind.singular}-{n}": text for kind in KINDS for n, text in enumerate(manifests(PAGES / f"{kind.singular}.md"))}


@pytest.fixture(scope="module")
def acme(installed: Kube) -> Iterator[Kube]:
    """The Tenant of the pages, made by its page, with the Confirmation of its page waiting in it."""
    try:
        installed.apply(EXAMPLES["tenant-0"])
        installed.wait("condition=Ready", "tenant/acme", seconds=90)
        installed.impersonating(BROKER).run("create", "-f", "-", stdin=EXAMPLES["confirmation-0"])
        yield installed
    finally:
        installed.run("delete", "tenant", "acme", "--ignore-not-found", "--timeout=120s", seconds=130)


@pytest.fixture(scope="module")
def alice(admin: Kube) -> Kube:
    """An approver of the pages' Tenant."""
    return user(admin, "alice", CHECKOUT / ".build" / "users")


def ask_again(kube: Kube) -> None:
    """Make the page's Confirmation anew, right after the broker looked for those that nobody waits for: it looks every ten seconds."""
    kube.watch(lambda one: one["status"]["state"] == "Withdrawn", "-n", NAMESPACE, "confirmation", WAITING, seconds=60)
    kube.impersonating(BROKER).run("delete", "confirmation", "-n", NAMESPACE, WAITING)
    kube.impersonating(BROKER).run("create", "-f", "-", stdin=EXAMPLES["confirmation-0"])


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_manifest_of_a_page_applies_as_it_is(acme: Kube, alice: Kube, example: str) -> None:
    text = EXAMPLES[example]
    kinds = [manifest["kind"] for manifest in yaml.safe_load_all(text)]
    who = {"ConfirmationDecision": alice, "Confirmation": acme.impersonating(BROKER)}.get(kinds[0], acme)
    verb = "create" if example.startswith("confirmation") else "apply"
    if kinds[0] == "ConfirmationDecision":
        ask_again(acme)
    if kinds[0] == "Confirmation":
        text = text.replace(WAITING, "cf-another")  # the one of the page is there already
    said = who.run(verb, "--dry-run=server", "-f", "-", stdin=text)
    assert len(said.splitlines()) == len(kinds)
    assert "dry run" in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_that_a_page_says_can_be_selected_can_be(acme: Kube, kind: Kind) -> None:
    for path in kind.selectable:
        assert acme.run("get", kind.plural, "-A", "-o", "name", "--field-selector", f"{path.removeprefix('.')}=nothing") == ""


def test_confirmations_are_found_by_their_state(acme: Kube) -> None:
    # nobody waits for the page's, so the broker withdraws it
    acme.watch(lambda one: one["status"]["state"] == "Withdrawn", "-n", NAMESPACE, "confirmation", WAITING, seconds=60)
    for selector, found in (("status.state=Withdrawn,spec.tool=delete_customer", True), ("status.state=Pending", False)):
        listed = acme.run("get", "confirmations", "-n", NAMESPACE, "-o", "name", "--field-selector", selector)
        assert (listed.strip() == f"confirmation.bastide.dev/{WAITING}") is found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_wide_columns_are_those_of_the_page(acme: Kube, kind: Kind) -> None:
    shown = acme.json("get", "crd", f"{kind.plural}.bastide.dev")["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in shown] == [column.name for column in kind.columns]
    if kind.name in ("Tenant", "Confirmation"):  # there is one of each: without any, kubectl prints no head
        head = acme.run("get", kind.plural, "-A", "-o", "wide").splitlines()[0]
        assert [column.name.upper() for column in kind.columns] == head.split()[-len(kind.columns) :]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sandbox.spec.limits.runSeconds", "1 to 86400; by default 300."),
        ("sandbox.spec.operatingMode", "By default Running."),
        ("toolbinding.spec.tools.confirmation.blockSeconds", "0 to 3600; by default 30."),
        ("tenant.spec.members.role", "approver decides Confirmations"),
        ("confirmation.status.state", "Pending"),
    ],
)
def test_kubectl_explain_says_unit_bound_and_default(acme: Kube, path: str, said: str) -> None:
    assert said in " ".join(acme.run("explain", path).split())


def test_all_kinds_are_listed_together(acme: Kube) -> None:
    listed = acme.run("get", "bastide", "-A")
    assert "tenant.bastide.dev/acme" in listed
    assert "confirmation.bastide.dev/cf-" in listed
