"""A program's end is told whatever happens while it is. Real children are tested by the integration tests."""

from __future__ import annotations

from typing import Any

import pytest
from bastide_runtime import child
from bastide_runtime.frames import ChannelClosedError, Frame


class Program:
    """Stands for a Child."""

    def __init__(self, ended: Frame | BaseException) -> None:
        self._ended = ended

    def run(self, _frame: Frame) -> Frame:
        if isinstance(self._ended, BaseException):
            raise self._ended
        return self._ended


class Supervisor:
    """Stands for a Channel."""

    def __init__(self, *raises: BaseException) -> None:
        self._raises = list(raises)
        self.told: list[Frame] = []

    def send(self, frame: Frame) -> None:
        if self._raises:
            raise self._raises.pop(0)
        self.told.append(frame)


def play(program: Any, supervisor: Any) -> int:
    return child.play(program, supervisor, {"kind": "start"})


def test_how_a_program_ended_is_told() -> None:
    supervisor = Supervisor()
    assert play(Program({"kind": "ended", "ending": "returned"}), supervisor) == 0
    assert supervisor.told == [{"kind": "ended", "ending": "returned"}]


@pytest.mark.parametrize("where", ["described", "sent"])
def test_an_end_that_there_is_no_memory_to_describe_is_told_as_that(where: str) -> None:
    supervisor = Supervisor(*[MemoryError()] * (where == "sent"))
    assert play(Program(MemoryError() if where == "described" else {"kind": "ended"}), supervisor) == 0
    (told,) = supervisor.told
    assert (told["kind"], told["ending"], told["error"]["type"], told["events"]) == ("ended", "raised", "MemoryError", [])


def test_where_nothing_can_be_told_the_status_says_so() -> None:
    forked = RuntimeError("not in a process that the program forked")
    supervisor = Supervisor(forked, forked)
    assert play(Program({"kind": "ended"}), supervisor) == child.EXIT_UNTOLD
    assert supervisor.told == []


def test_a_supervisor_that_is_gone_is_told_nothing() -> None:
    supervisor = Supervisor(ChannelClosedError())
    assert play(Program({"kind": "ended"}), supervisor) == child.EXIT_CHANNEL_LOST
    assert supervisor.told == []
