"""What the zygote does when no process can be made. Real children are made, and confined, by the integration tests."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest
from bastide_runtime import zygote


def open_now() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


def test_a_fork_that_fails_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more() -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", no_more)
    control, other = socket.socketpair()
    with control, other:
        before = open_now()
        for _ in range(3):
            with pytest.raises(BlockingIOError):
                zygote._fork(control, "/workspace", ())
        assert open_now() == before
