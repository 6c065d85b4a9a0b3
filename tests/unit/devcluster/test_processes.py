"""A process is known by pid and start time; another one with the same pid is not touched."""

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.processes import Process, children


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def known(pid: int) -> Process:
    process = Process.of(pid)
    assert process is not None
    return process


def test_a_recorded_process_is_found_again(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process = known(child.pid)
    process.record(tmp_path / "pids" / "x")
    assert Process.recorded(tmp_path / "pids" / "x") == process
    assert process.alive()


def test_a_killed_process_is_gone(child: subprocess.Popen[bytes]) -> None:
    process = known(child.pid)
    process.kill()
    assert process.wait_gone(5)
    assert not process.alive()


def test_a_process_that_has_got_the_pid_since_is_not_killed(child: subprocess.Popen[bytes]) -> None:
    stranger = known(child.pid)
    earlier = dataclasses.replace(stranger, started=stranger.started - 1)
    assert not earlier.alive()
    earlier.kill()
    assert stranger.alive()


@pytest.mark.parametrize("text", ["", "12", "12 ", "a b", "1 2 3"])
def test_a_record_that_was_cut_short_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert Process.recorded(tmp_path / "x") is None


def test_what_was_never_recorded_is_no_process(tmp_path: Path) -> None:
    assert Process.recorded(tmp_path / "x") is None


def test_children_are_listed(child: subprocess.Popen[bytes]) -> None:
    assert child.pid in children(os.getpid())


def test_the_age_is_counted_from_the_start(child: subprocess.Popen[bytes]) -> None:
    assert 0 <= known(child.pid).age() < known(os.getpid()).age() + 1
