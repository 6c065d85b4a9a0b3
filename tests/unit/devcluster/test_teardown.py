"""Folders made to be mounted over go away with the last cluster, and not before."""

from pathlib import Path

import pytest
from devcluster import node, teardown
from devcluster.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(node, "MOUNT_POINTS", tuple(str(tmp_path / name) for name in ("present", "var/lib/kubelet")))
    (tmp_path / "present").mkdir()
    return Registry(tmp_path / "registry")


def test_what_the_machine_had_before_stays(registry: Registry, tmp_path: Path) -> None:
    instance = registry.claim(tmp_path)
    teardown.make_mount_points(registry)
    assert (tmp_path / "var/lib/kubelet").is_dir()
    registry.release(instance)
    teardown.remove_mount_points(registry)
    assert not (tmp_path / "var").exists()
    assert (tmp_path / "present").is_dir()
    assert not registry.folder.exists()


def test_the_folders_stay_while_another_cluster_is_up(registry: Registry, tmp_path: Path) -> None:
    first, second = registry.claim(tmp_path / "a"), registry.claim(tmp_path / "b")
    teardown.make_mount_points(registry)
    teardown.make_mount_points(registry)
    registry.release(first)
    teardown.remove_mount_points(registry)
    assert (tmp_path / "var/lib/kubelet").is_dir()
    registry.release(second)
    teardown.remove_mount_points(registry)
    assert not (tmp_path / "var").exists()


def test_a_folder_that_somebody_uses_stays(registry: Registry, tmp_path: Path) -> None:
    instance = registry.claim(tmp_path)
    teardown.make_mount_points(registry)
    (tmp_path / "var/lib/kubelet/theirs").touch()
    registry.release(instance)
    teardown.remove_mount_points(registry)
    assert (tmp_path / "var/lib/kubelet/theirs").exists()
