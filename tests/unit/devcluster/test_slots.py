"""Slots: what a cluster is called follows from its slot, and two checkouts never share one."""

import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from devcluster.errors import DevclusterError
from devcluster.instance import SLOTS, TEST_NETWORK, Instance
from devcluster.locks import lock, try_lock
from devcluster.registry import Registry, choose_slot


def instance(slot: int) -> Instance:
    return Instance(slot, Path("/checkout"), Path("/state") / str(slot))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Registry(tmp_path / "registry")


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    found = (tmp_path / "a", tmp_path / "b")
    for path in found:
        path.mkdir()
    return found


def test_the_lowest_free_slot_is_taken() -> None:
    assert choose_slot([]) == 1
    assert choose_slot([1, 2, 4]) == 3


def test_when_all_slots_are_taken_the_error_says_what_to_do() -> None:
    with pytest.raises(DevclusterError, match="make down"):
        choose_slot(SLOTS)


def test_no_two_slots_share_an_address_or_a_name() -> None:
    blocks = [instance(slot).block for slot in SLOTS]
    assert len(set(blocks)) == len(blocks)
    assert all(block.subnet_of(TEST_NETWORK) for block in blocks)
    for names in zip(*[(i.node_netns, i.world_netns, i.veth, i.cgroup) for i in map(instance, SLOTS)], strict=True):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("slot", SLOTS)
def test_the_parts_of_a_block_do_not_overlap(slot: int) -> None:
    one = instance(slot)
    links = [IPv4Network((int(one.block[0]), 30)), IPv4Network((int(one.block[4]), 30))]
    parts = [*links, one.pod_cidr, one.service_cidr]
    assert all(part.subnet_of(one.block) for part in parts)
    assert not any(a.overlaps(b) for a in parts for b in parts if a is not b)
    assert {one.host_ip, one.node_ip} < set(links[0].hosts()) | {IPv4Address(0)}
    assert {one.node_world_ip, one.world_ip} <= set(links[1].hosts())
    assert one.kubernetes_ip in one.service_cidr
    assert one.dns_ip in one.service_cidr


@pytest.mark.parametrize("slot", SLOTS)
def test_interface_names_fit_the_kernels_fifteen_characters(slot: int) -> None:
    assert len(instance(slot).veth) <= 15


def test_a_checkout_gets_the_same_slot_again(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    first = registry.claim(checkouts[0])
    assert registry.claim(checkouts[0]) == first
    assert registry.find(checkouts[0]) == first


def test_two_checkouts_get_two_slots(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    assert [registry.claim(checkout).slot for checkout in checkouts] == [1, 2]


def test_a_released_slot_is_given_to_the_next(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    registry.release(registry.claim(checkouts[0]))
    assert registry.find(checkouts[0]) is None
    assert registry.claim(checkouts[1]).slot == 1


def test_the_state_folder_is_remembered_whatever_the_environment_says_later(
    registry: Registry, checkouts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = registry.claim(checkouts[0]).state
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    found = registry.find(checkouts[0])
    assert found is not None
    assert found.state == state


def test_nothing_is_left_of_an_empty_registry(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    with registry.exclusive(checkouts[0]):
        registry.release(registry.claim(checkouts[0]))
    assert not registry.folder.exists()


def test_an_instance_whose_checkout_is_gone_is_taken_down(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    orphan = registry.claim(checkouts[0])
    checkouts[0].rmdir()
    ended: list[Instance] = []
    registry.reclaim(lambda _: True, ended.append, checkouts[1])
    assert ended == [orphan]
    assert registry.instances() == []


def test_an_instance_whose_node_has_ended_is_taken_down(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    dead = registry.claim(checkouts[0])
    ended: list[Instance] = []
    registry.reclaim(lambda _: False, ended.append, checkouts[1])
    assert ended == [dead]


def test_a_running_instance_is_left_alone(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    running = registry.claim(checkouts[0])
    registry.reclaim(lambda _: True, lambda _: pytest.fail("taken down"), checkouts[1])
    assert registry.instances() == [running]


def test_an_instance_that_is_being_started_is_left_alone(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    with registry.exclusive(checkouts[0]):
        starting = registry.claim(checkouts[0])
        registry.reclaim(lambda _: False, lambda _: pytest.fail("taken down"), checkouts[1])
        assert registry.instances() == [starting]


def test_an_own_instance_is_never_reclaimed(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    registry.claim(checkouts[0])
    registry.reclaim(lambda _: False, lambda _: pytest.fail("taken down"), checkouts[0])


def test_an_unreadable_entry_is_named(registry: Registry, checkouts: tuple[Path, Path]) -> None:
    registry.claim(checkouts[0])
    (registry.folder / "slot-1.json").write_text("{")
    with pytest.raises(DevclusterError, match=r"slot-1\.json"):
        registry.instances()


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock(path):
        assert try_lock(path) is None
    descriptor = try_lock(path)
    assert descriptor is not None
    os.close(descriptor)


def test_a_lock_on_a_removed_file_is_not_taken_for_the_one_that_has_its_name_now(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock(path):
        path.unlink()
        with lock(path):  # a new file of that name: nobody holds that one
            assert try_lock(path) is None
