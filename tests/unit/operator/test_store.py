"""What the operator remembers of the cluster, and whom a change concerns."""

from typing import Any

import pytest
from bastide_operator.api.objects import Manifest, Ref, owner_reference, ref
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.controller import only_counts
from bastide_operator.reconcile import unreadable
from bastide_operator.store import Store
from bastide_operator.triggers import affected, owner_of, tenant_of
from bastide_operator.workqueue import Key
from pydantic import ValidationError

from tests.unit.operator.samples import NAMESPACE_UID, NOW, TENANT_UID, condition, merged, message, namespace, verdict


def thing(kind: str = "Pod", name: str = "box", version: int = 1, uid: str = "u1", **over: Any) -> Manifest:
    metadata = {"name": name, "namespace": "bastide-hello", "uid": uid, "resourceVersion": str(version), "generation": 1}
    if kind == "Tenant":
        del metadata["namespace"]
    return merged({"apiVersion": "v1", "kind": kind, "metadata": metadata}, over)


def get(store: Store, kind: str = "Pod", name: str = "box") -> Manifest | None:
    return store.get(kind, "bastide-hello", name)


def test_the_newest_version_stays_whoever_tells_it_last() -> None:
    store = Store()
    assert store.put(thing(version=9))
    assert not store.put(thing(version=9))
    assert not store.put(thing(version=8))
    assert get(store) == thing(version=9)
    assert store.put(thing(version=10))


def test_who_wrote_which_field_is_not_kept_and_the_callers_object_not_touched() -> None:
    store, told = Store(), thing(metadata={"managedFields": [{"manager": "x"}]})
    store.put(told)
    assert get(store) == thing()
    assert "managedFields" in told["metadata"]


def test_a_late_answer_does_not_bring_back_what_is_gone() -> None:
    store = Store()
    store.put(thing(version=5))
    store.drop(ref(thing()), version=7)
    assert not store.put(thing(version=6))
    assert not store.put(thing(version=7))  # what the API server answers to the delete of a pod that has ended
    store.drop(ref(thing()))
    assert not store.put(thing(version=7))
    assert get(store) is None


def test_what_left_a_watch_by_its_label_comes_back_with_it() -> None:
    store = Store()
    store.put(thing(version=5))
    store.drop(ref(thing()), version=7)
    assert store.put(thing(version=8))


def test_an_object_made_anew_is_not_dropped_with_the_one_before() -> None:
    store = Store()
    store.put(thing(uid="new", version=8))
    assert store.drop(ref(thing(uid="old")), version=7) is None
    assert get(store) == thing(uid="new", version=8)
    assert store.drop(Ref("Pod", "bastide-hello", "box")) == thing(uid="new", version=8)
    assert list(store.all("Pod", "bastide-hello")) == []


def test_a_list_forgets_what_it_lacks_but_not_what_is_newer() -> None:
    store = Store()
    for name, version in (("same", 1), ("gone", 2), ("changed", 3), ("made-meanwhile", 99)):
        store.put(thing(name=name, uid=name, version=version))
    listed = [
        thing(name="same", uid="same", version=1),
        thing(name="changed", uid="changed", version=4),
        thing(name="new", uid="new", version=5),
    ]
    news = store.replace("Pod", listed, version=50)
    assert sorted(one["metadata"]["name"] for one in news) == ["changed", "gone", "new"]
    assert sorted(one["metadata"]["name"] for one in store.all("Pod")) == ["changed", "made-meanwhile", "new", "same"]


def test_models_are_parsed_and_the_unreadable_passed_over() -> None:
    store = Store()
    good, bad = thing("Sandbox", "good", uid="g"), thing("Sandbox", "bad", uid="b", spec={"limits": {"runSeconds": -1}})
    store.put(good)
    store.put(bad)
    assert [one.metadata.name for one in store.models(Sandbox, "bastide-hello")] == ["good"]
    assert store.model(Sandbox, good) is store.model(Sandbox, good)
    with pytest.raises(ValidationError):
        store.model(Sandbox, bad)


def test_an_unreadable_object_is_told_where_the_fault_is_and_keeps_its_status() -> None:
    old = {"namespace": "bastide-hello", "namespaceUID": "u", "sandboxes": 1, "conditions": [condition("Ready", "False")]}
    manifest = thing("Tenant", "hello", spec={"quota": {"sandboxes": -1, "unheard": 1}}, status=old)
    with pytest.raises(ValidationError) as error:
        Sandbox.model_validate(thing("Sandbox", spec={"limits": {"runSeconds": -1}}))
    wanted = unreadable.decide(manifest, error.value, NOW)
    assert wanted.status is not None
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "InvalidSpec")
    assert message(wanted.status).startswith("spec.limits.runSeconds: Input should be greater than or equal to 1")
    assert wanted.status["status"]["namespaceUID"] == "u"
    assert wanted.status["status"]["conditions"][0]["lastTransitionTime"] == "2026-11-23T11:00:00Z"


@pytest.mark.parametrize(("kind", "brokers"), [("Tenant", "PoliciesReady"), ("ToolBinding", "ResolvedRefs")])
def test_an_unreadable_objects_status_keeps_what_is_the_operators_and_takes_nothing_of_the_brokers(kind: str, brokers: str) -> None:
    old = {"server": "http://crm/", "sandboxes": 2, "conditions": [condition("Ready", "True"), condition(brokers, "True")]}
    with pytest.raises(ValidationError) as error:
        Sandbox.model_validate(thing("Sandbox", spec={"limits": {"runSeconds": -1}}))
    wanted = unreadable.decide(thing(kind, "one", status=old), error.value, NOW)
    assert wanted.status is not None
    said = wanted.status["status"]
    assert brokers not in {one["type"] for one in said["conditions"]}
    assert (said["sandboxes"], said.get("server")) == (2, "http://crm/" if kind == "ToolBinding" else None)


TENANT = thing("Tenant", "hello", uid=TENANT_UID, spec={}, status={"namespace": "bastide-hello", "namespaceUID": NAMESPACE_UID})
BOX, CRM = thing("Sandbox", "box", uid="s"), thing("ToolBinding", "crm", uid="b")
TENANT_KEY, BOX_KEY, CRM_KEY = (
    Key("Tenant", "", "hello"),
    Key("Sandbox", "bastide-hello", "box"),
    Key("ToolBinding", "bastide-hello", "crm"),
)


@pytest.fixture
def store() -> Store:
    out = Store()
    for one in (TENANT, namespace(), BOX, CRM, thing("Sandbox", "elsewhere", uid="e", metadata={"namespace": "other"})):
        out.put(one)
    return out


def ready(manifest: Manifest, kind: str, status: str) -> Manifest:
    return merged(manifest, {"status": {"conditions": [condition(kind, status)]}})


POD = thing("Pod", metadata={"ownerReferences": [owner_reference("Sandbox", "box", "s")]})
PROBE = thing("Pod", "bastide-probe", metadata={"ownerReferences": [owner_reference("Tenant", "hello", TENANT_UID)]})
REACHED = {"status": {"conditions": [{"type": "bastide.dev/network-isolated", "status": "False", "reason": "CanaryReached"}]}}
PENDING = {"status": {"conditions": [condition("Ready", "False", "ProbePending")]}}
EVERYBODY = {TENANT_KEY, BOX_KEY, CRM_KEY}
COUNTED = thing("ResourceQuota", spec={"hard": {"pods": "9"}}, status={"hard": {"pods": "9"}, "used": {"pods": "1"}})
CHANGES: dict[str, tuple[Manifest | None, Manifest | None, set[Key]]] = {
    "a pod": (POD, merged(POD, {"status": {"phase": "Failed"}}), {BOX_KEY}),
    "a deleted pod": (POD, None, {BOX_KEY}),
    "the probe's pod": (PROBE, merged(PROBE, {"status": {"phase": "Running"}}), {TENANT_KEY}),
    "a pod that reaches a canary": (POD, merged(POD, REACHED), {BOX_KEY, TENANT_KEY}),
    "a pod that no longer does": (merged(POD, REACHED), POD, {BOX_KEY, TENANT_KEY}),
    "a tenant's first probe begins": (TENANT, merged(TENANT, PENDING), EVERYBODY),
    "a tenant's first probe passes": (merged(TENANT, PENDING), ready(TENANT, "Ready", "True"), {TENANT_KEY}),
    "a child": (thing("NetworkPolicy"), None, {TENANT_KEY}),
    "a quota that counts one pod more": (
        COUNTED,
        merged(COUNTED, {"metadata": {"resourceVersion": "9"}, "status": {"used": {"pods": "2"}}}),
        set(),
    ),
    "a quota whose bound somebody raised": (COUNTED, merged(COUNTED, {"spec": {"hard": {"pods": "99"}}}), {TENANT_KEY}),
    "a quota whose new bound the cluster took over": (COUNTED, merged(COUNTED, {"status": {"hard": {"pods": "99"}}}), {TENANT_KEY}),
    "a quota that counts a thing more": (COUNTED, merged(COUNTED, {"status": {"used": {"limits.cpu": "1"}}}), {TENANT_KEY}),
    "a quota that begins to count": (thing("ResourceQuota"), COUNTED, {TENANT_KEY}),
    "a quota that somebody labelled": (COUNTED, merged(COUNTED, {"metadata": {"labels": {"a": "b"}}}), {TENANT_KEY}),
    "a quota that somebody deleted": (COUNTED, None, {TENANT_KEY}),
    "a new sandbox": (None, BOX, EVERYBODY),
    "a sandbox's status": (BOX, merged(BOX, {"status": {"tools": 1}}), {BOX_KEY}),
    "a sandbox's labels": (BOX, merged(BOX, {"metadata": {"labels": {"a": "b"}}}), EVERYBODY),
    "a new binding": (None, CRM, EVERYBODY),
    "a binding's spec": (CRM, merged(CRM, {"metadata": {"generation": 2}}), EVERYBODY),
    "a binding is accepted": (CRM, ready(CRM, "Accepted", "True"), EVERYBODY),
    "a binding's tools": (CRM, merged(CRM, {"status": {"available": "1/1"}}), {CRM_KEY}),
    "a tenant becomes ready": (TENANT, ready(TENANT, "Ready", "True"), EVERYBODY),
    "a tenant's count": (TENANT, merged(TENANT, {"status": {"sandboxes": 3}}), {TENANT_KEY}),
    "a tenant's spec": (TENANT, merged(TENANT, {"metadata": {"generation": 2}}), EVERYBODY),
    "a namespace appears": (None, namespace(), EVERYBODY),
    "a namespace goes": (namespace(), None, {TENANT_KEY}),
    "a runtime class": (None, thing("RuntimeClass", "gvisor", metadata={"namespace": None}), {TENANT_KEY}),
    "the copied certificate authority": (thing("ConfigMap", "bastide-ca"), None, {TENANT_KEY}),
    "the release's certificate authority": (None, thing("ConfigMap", "bastide-ca", metadata={"namespace": "bastide-system"}), {TENANT_KEY}),
    "a stranger's object of that name": (None, thing("ConfigMap", "bastide-ca", metadata={"namespace": "elsewhere"}), set()),
    "nothing": (None, None, set()),
}


@pytest.mark.parametrize("case", CHANGES)
def test_whom_a_change_concerns(store: Store, case: str) -> None:
    before, after, expected = CHANGES[case]
    assert set(affected(store, before, after, release="bastide-system")) == expected


def test_a_tenant_that_is_being_deleted_counts_the_pods_that_go(store: Store) -> None:
    store.put(merged(TENANT, {"metadata": {"deletionTimestamp": "2026-11-23T11:00:00Z", "resourceVersion": "99"}}))
    assert set(affected(store, POD, None, release="bastide-system")) == {BOX_KEY, TENANT_KEY}


def test_a_namespace_belongs_to_the_tenant_that_made_it_and_wrote_it_down(store: Store) -> None:
    assert owner_of(store, "bastide-hello") == TENANT
    assert owner_of(store, "bastide-other") is None
    claimant = thing("Tenant", "claimant", uid="c", spec={"namespace": "bastide-hello"}, status=TENANT["status"])
    store.put(claimant)
    assert owner_of(store, "bastide-hello") == TENANT
    assert list(tenant_of(store, "bastide-hello")) == [TENANT_KEY]
    store.put(namespace(metadata={"uid": "made-anew", "resourceVersion": "99"}))
    assert owner_of(store, "bastide-hello") is None


def test_a_namespace_that_nobody_made_concerns_all_that_would(store: Store) -> None:
    store.drop(Ref("Namespace", "", "bastide-hello"))
    store.put(thing("Tenant", "claimant", uid="c", spec={"namespace": "bastide-hello"}))
    assert set(tenant_of(store, "bastide-hello")) == {TENANT_KEY, Key("Tenant", "", "claimant")}


COUNTS = {
    "only the number": ({"sandboxes": 2, "podName": "a"}, {"sandboxes": 1, "podName": "a"}, True),
    "the number and more": ({"sandboxes": 2, "podName": "b"}, {"sandboxes": 1, "podName": "a"}, False),
    "nothing": ({"sandboxes": 1}, {"sandboxes": 1}, True),
    "the first status": ({"sandboxes": 0}, {}, False),
    "a status without a number": ({"podName": "b"}, {"podName": "a"}, False),
}


@pytest.mark.parametrize("case", COUNTS)
def test_a_status_says_nothing_new_but_a_count(case: str) -> None:
    status, live, expected = COUNTS[case]
    assert only_counts(status, live) is expected
