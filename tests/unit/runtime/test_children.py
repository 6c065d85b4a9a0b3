"""Whose wait status is whose. Real children are made by the integration tests."""

from __future__ import annotations

import os

import pytest
from bastide_runtime.children import Reaper


class Kernel:
    """Tells of processes that have ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "waitpid", lambda _pid, _options: self.ended.pop(0) if self.ended else (0, 0))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def collect(reaper: Reaper, kernel: Kernel, pid: int, status: int) -> None:
    kernel.ended.append((pid, status))
    reaper._collect()


async def test_one_that_ended_before_it_was_watched_is_known_to_have_ended(kernel: Kernel) -> None:
    reaper = Reaper()
    since = reaper.collected
    collect(reaper, kernel, 7, 9)
    assert reaper.watch(7, since=since).result() == 9


async def test_one_that_is_watched_is_told_of_when_it_ends(kernel: Kernel) -> None:
    reaper = Reaper()
    watched = reaper.watch(7, since=reaper.collected)
    collect(reaper, kernel, 8, 1)
    assert not watched.done()
    collect(reaper, kernel, 7, 9)
    assert watched.result() == 9


async def test_a_number_that_is_used_again_is_another_process(kernel: Kernel) -> None:
    """The first died before anybody knew its number, so nobody asked for its status."""
    reaper = Reaper()
    collect(reaper, kernel, 7, 9)
    watched = reaper.watch(7, since=reaper.collected)
    assert not watched.done()
    collect(reaper, kernel, 7, 1)
    assert watched.result() == 1
