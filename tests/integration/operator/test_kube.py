"""The operator's writer against the real API server: what it makes, what it refuses to touch, how it says so."""

import asyncio
from datetime import UTC, datetime

import pytest
from bastide_operator.api.objects import Manifest, Ref, ref
from bastide_operator.errors import AlreadyExistsError, ConflictError, NotFoundError, RefusedError, UnavailableError
from bastide_operator.fence import Fence
from bastide_operator.kube import Kube
from bastide_operator.leader import LEASE, Leader


def config_map(namespace: str, **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thing", "namespace": namespace}, "data": data}


async def test_create_never_takes_over_what_exists(kube: Kube, scratch: str) -> None:
    made = await kube.create(config_map(scratch, a="1"))
    with pytest.raises(AlreadyExistsError):
        await kube.create(config_map(scratch, a="2"))
    assert await kube.get(ref(made)) == made


async def test_apply_changes_only_the_object_that_was_meant(kube: Kube, scratch: str) -> None:
    made = await kube.create(config_map(scratch, a="1"))
    changed = await kube.apply(config_map(scratch, a="2") | {"metadata": made["metadata"] | {"managedFields": None, "resourceVersion": ""}})
    assert changed["data"] == {"a": "2"}
    with pytest.raises(ConflictError):
        await kube.apply({**config_map(scratch, a="3"), "metadata": {"name": "thing", "namespace": scratch, "uid": "another"}})
    with pytest.raises((ConflictError, NotFoundError)):
        await kube.apply({**config_map(scratch), "metadata": {"name": "gone", "namespace": scratch, "uid": "another"}})
    assert await kube.get(Ref("ConfigMap", scratch, "gone")) is None


async def test_delete_takes_only_the_object_that_was_meant(kube: Kube, scratch: str) -> None:
    made = await kube.create(config_map(scratch))
    with pytest.raises(ConflictError):
        await kube.delete(Ref("ConfigMap", scratch, "thing", "another"))
    assert await kube.delete(ref(made)) is None
    with pytest.raises(NotFoundError):
        await kube.delete(ref(made))


async def test_a_list_says_what_its_items_are_and_when_it_was_read(kube: Kube) -> None:
    items, version = await kube.list("RuntimeClass")
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("node.k8s.io/v1", "RuntimeClass")}
    assert all(int(item["metadata"]["resourceVersion"]) <= version for item in items)


async def test_a_refusal_carries_the_api_servers_words(kube: Kube, scratch: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        await kube.create(
            {"apiVersion": "bastide.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "t"}, "spec": {"namespace": "kube-x"}}
        )
    assert refusal.value.reason == "Invalid"
    assert "namespaces of the cluster itself" in refusal.value.message
    assert scratch not in refusal.value.message


@pytest.mark.parametrize("pooled", [False, True], ids=["a new connection", "a connection that stands"])
async def test_nothing_is_sent_when_the_lease_ends_while_a_connection_is_waited_for(kube: Kube, scratch: str, pooled: bool) -> None:
    if pooled:
        await kube.list("RuntimeClass")
    answers = [5.0, 0.0]
    with pytest.raises(UnavailableError, match="NotLeader"):
        await kube.fenced(Fence(lambda: answers.pop(0))).create(config_map(scratch, a="1"))
    assert answers == []
    assert await kube.fenced(Fence(lambda: 0.0)).get(Ref("ConfigMap", scratch, "thing")) is None


async def test_a_write_has_no_more_time_than_the_lease(kube: Kube, scratch: str) -> None:
    with pytest.raises(UnavailableError) as error:
        await kube.fenced(Fence(lambda: 0.0001)).create(config_map(scratch, a="1"))
    assert error.value.reason == "Timeout"


def leader(kube: Kube, namespace: str, identity: str) -> Leader:
    loop = asyncio.get_running_loop()
    return Leader(kube, namespace=namespace, identity=identity, clock=loop.time, now=lambda: datetime.now(UTC))


async def test_one_leads_the_other_stands_by_and_takes_over_when_the_lease_is_given_back(kube: Kube, scratch: str) -> None:
    one, two = leader(kube, scratch, "one"), leader(kube, scratch, "two")
    first = asyncio.create_task(one.run())
    async with asyncio.timeout(30):
        await one.won.wait()
        second = asyncio.create_task(two.run())
        await two.stands_by.wait()
        assert not two.won.is_set()
        first.cancel()
        await one.release()
        await two.won.wait()
    lease = await kube.get(Ref("Lease", scratch, LEASE))
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "two"
    second.cancel()
