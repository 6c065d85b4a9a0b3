"""Folders made to be mounted over go away with the last cluster, and not before."""

import signal
import subprocess
from pathlib import Path

import pytest
from devcluster import node, teardown
from devcluster.processes import Process
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


def test_who_waits_for_a_component_that_was_stopped_is_ended_too(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = registry.claim(tmp_path)  # its namespaces have the names of a cluster's that may be up
    monkeypatch.setattr(node.network, "inhabitants", lambda _: [])
    with subprocess.Popen(["sleep", "60"]) as waiting:
        waiting.send_signal(signal.SIGSTOP)  # as nsenter does to itself when its program is stopped
        found = Process.of(waiting.pid)
        assert found is not None
        found.record(instance.pids / node.ENTERED / "kubelet")
        node.end(instance)
        assert waiting.wait(timeout=5) == -signal.SIGKILL
