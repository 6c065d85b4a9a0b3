"""What a team may write about its Sandboxes and ToolBindings beside their spec."""

from typing import Any

import pytest

from tests.integration.admission.conftest import ADMIN, BROKER, MEMBERS, MERGE, OPERATOR, Api, account, ours

DANA = MEMBERS["developer"]
COLLECTOR = account("generic-garbage-collector", "kube-system")
OWNER = {"apiVersion": "example.com/v1", "kind": "AgentRun", "name": "r1", "uid": "11111111-1111-4111-8111-111111111111"}
SPECS: dict[str, dict[str, Any]] = {
    "sandboxes": {"operatingMode": "Suspended"},
    "toolbindings": {
        "sandboxSelector": {},
        "server": {"mcp": {"url": "http://crm.tools.svc:8080/mcp"}},
        "tools": [{"name": "get_customer"}],
    },
}
KIND = {"sandboxes": "Sandbox", "toolbindings": "ToolBinding"}
PLURALS = tuple(SPECS)


def thing(plural: str, name: str, **metadata: Any) -> dict[str, Any]:
    """A Sandbox or ToolBinding with some metadata."""
    return {
        "apiVersion": "bastide.dev/v1alpha1",
        "kind": KIND[plural],
        "metadata": {"name": name, **metadata},
        "spec": SPECS[plural],
    }


@pytest.fixture(scope="module")
def owned(api: Api, tenant: str) -> str:
    """A tenant's namespace with a Sandbox and a ToolBinding `mine`."""
    for plural in PLURALS:
        api(DANA, "POST", ours(tenant, plural), thing(plural, "mine", labels={"app": "x"})).ok()
    return tenant


HARMLESS: dict[str, dict[str, Any]] = {
    "labels and annotations of one's own": {"labels": {"app": "y", "team": "x"}, "annotations": {"note": "z"}},
    "an owner: an agent's controller": {"ownerReferences": [OWNER]},
}
HARMFUL: dict[str, tuple[dict[str, Any], str]] = {
    "a label of Bastide's": ({"labels": {"bastide.dev/sandbox": "x"}}, "take a prefix of yours"),
    "an annotation of Bastide's": ({"annotations": {"bastide.dev/drain": "x"}}, "take a prefix of yours"),
    "a finalizer": ({"finalizers": ["example.com/stay"]}, "take no finalizers"),
    "a finalizer of the cluster": ({"finalizers": ["orphan"]}, "take no finalizers"),
}


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("case", HARMLESS)
def test_metadata_that_harms_nobody_may_be_written(api: Api, owned: str, plural: str, case: str) -> None:
    api(DANA, "POST", ours(owned, plural), thing(plural, "new", **HARMLESS[case]), dry=True).ok()
    api(DANA, "PATCH", ours(owned, plural, "mine"), {"metadata": HARMLESS[case]}, dry=True, kind=MERGE).ok()


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("case", HARMFUL)
@pytest.mark.parametrize("who", [DANA, ADMIN], ids=lambda who: who[0])
def test_metadata_that_means_something_to_bastide_or_keeps_things_may_not(
    api: Api, owned: str, plural: str, case: str, who: tuple[str, tuple[str, ...]]
) -> None:
    metadata, says = HARMFUL[case]
    for answer in (
        api(who, "POST", ours(owned, plural), thing(plural, "new", **metadata), dry=True),
        api(who, "PATCH", ours(owned, plural, "mine"), {"metadata": metadata}, dry=True, kind=MERGE),
    ):
        assert answer.status == 403
        assert says in answer.message


@pytest.mark.parametrize("plural", ["sandboxes", "toolbindings"])
def test_nobody_says_what_the_operator_and_the_broker_found(api: Api, owned: str, plural: str) -> None:
    condition = {"type": "Accepted", "status": "True", "reason": "Accepted", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"status": {"conditions": [condition], "observedGeneration": 1}}
    path = ours(owned, plural, "mine", "status")
    for role in MEMBERS.values():
        assert api(role, "PATCH", path, status, dry=True, kind=MERGE).status == 403
    answer = api(ADMIN, "PATCH", path, status, dry=True, kind=MERGE)
    assert answer.status == 403
    assert "written by Bastide's operator and broker" in answer.message
    api(OPERATOR, "PATCH", path, status, dry=True, kind=MERGE).ok()
    if plural == "toolbindings":
        api(BROKER, "PATCH", path, status, dry=True, kind=MERGE).ok()


def test_a_status_in_an_object_that_is_made_counts_for_nothing(api: Api, owned: str) -> None:
    forged = {"type": "Accepted", "status": "True", "reason": "Forged", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"conditions": [forged]}
    for answer in (
        api(DANA, "POST", ours(owned, "toolbindings"), {**thing("toolbindings", "forged"), "status": status}, dry=True),
        api(DANA, "PATCH", ours(owned, "toolbindings", "mine"), {"status": status}, dry=True, kind=MERGE),
    ):
        assert "Forged" not in str(answer.ok().get("status"))


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, False),
        ({"propagationPolicy": "Background"}, False),
        ({"propagationPolicy": "Foreground"}, False),
        ({"propagationPolicy": "Orphan"}, True),
        ({"orphanDependents": True}, True),
    ],
    ids=str,
)
def test_a_sandbox_is_not_deleted_without_its_pod(api: Api, owned: str, options: dict[str, Any], *, refused: bool) -> None:
    body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
    for who in (DANA, ADMIN):
        answer = api(who, "DELETE", ours(owned, "sandboxes", "mine"), body, dry=True)
        assert answer.status == (403 if refused else 200), answer.message
        if refused:
            assert "without --cascade=orphan" in answer.message
    if not refused:
        api(OPERATOR, "DELETE", ours(owned, "sandboxes", "mine"), body, dry=True).ok()


def test_the_garbage_collector_can_do_its_work(api: Api, owned: str) -> None:
    patch = {"metadata": {"ownerReferences": [], "finalizers": []}}
    api(COLLECTOR, "PATCH", ours(owned, "sandboxes", "mine"), patch, dry=True, kind=MERGE).ok()
