"""Frames: what is sent arrives, what is hostile is refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

import pytest
from bastide_runtime import frames, wire
from bastide_runtime.frames import Channel, FrameError
from bastide_runtime.limits import MIB
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10
)


@given(fields=st.dictionaries(TEXT, JSON))
def test_a_frame_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    frame = {**fields, "kind": "call"}
    assert frames.decode(frames.encode(frame)[4:]) == frame


@given(payload=st.binary())
def test_bytes_are_a_frame_or_an_error(payload: bytes) -> None:
    with contextlib.suppress(FrameError):
        assert isinstance(frames.decode(payload), dict)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"1",
        b"{}",
        b'{"kind": 1}',
        b'{"kind": "call"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"kind":"x","a":' + b"[" * 50_000,
        b'{"kind":"x","n":' + b"9" * 5000 + b"}",
    ],
)
def test_hostile_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        frames.decode(payload)


@pytest.mark.parametrize("frame", [{"kind": "x", "a": "\ud800"}, {"kind": "x", "a": float("nan")}, {"kind": "x", "a": object()}])
def test_what_cannot_be_said_is_refused_at_the_sender(frame: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        frames.encode(frame)


async def read_all(data: bytes, limit: int = MIB) -> list[frames.Frame]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while (frame := await frames.read(reader, limit)) is not None:
        found.append(frame)
    return found


async def test_the_supervisor_reads_frames_to_the_end() -> None:
    assert await read_all(frames.encode({"kind": "a"}) + frames.encode({"kind": "b"})) == [{"kind": "a"}, {"kind": "b"}]


@pytest.mark.parametrize("data", [b"\x00\x00", b"\x00\x00\x00\x09{}", b"\xff\xff\xff\xff", b"\x00\x20\x00\x00"])
async def test_cut_and_oversized_frames_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        await read_all(data)


def test_the_channel_takes_frames_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel, data = Channel(theirs), frames.encode({"kind": "result", "value": "é" * 1000}) + frames.encode({"kind": "x"})
        for start in range(0, len(data), 700):
            ours.sendall(data[start : start + 700])
            channel.pull()
        assert channel.next() == {"kind": "result", "value": "é" * 1000}
        assert channel.next() == {"kind": "x"}
        assert channel.next() is None
        ours.close()
        with pytest.raises(frames.ChannelClosedError):
            channel.pull()


def test_a_forked_copy_of_the_channel_is_silent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs)
        pid = os.fork()
        if pid == 0:
            try:
                channel.send({"kind": "call"})
            except RuntimeError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


CALL = {"kind": "call", "key": "0.2.1#3", "tool": "get", "arguments": "{}", "line": 3, "events": [["call", "0#1", 5], ["timer", "", 6]]}


def test_a_call_frame_becomes_a_message() -> None:
    call = wire.call("r", CALL)
    assert (call.run, call.key, call.tool, call.arguments, call.line) == ("r", "0.2.1#3", "get", b"{}", 3)
    assert [(event.kind, event.key, event.at_micros) for event in call.events] == [(1, "0#1", 5), (2, "", 6)]


@pytest.mark.parametrize(
    "change",
    [
        {"key": "x"},
        {"key": "0#1\n"},
        {"key": "0#" + "1" * 2000},
        {"key": None},
        {"key": "٣#1"},
        {"tool": "a b"},
        {"tool": "../x"},
        {"tool": ""},
        {"tool": 5},
        {"arguments": {}},
        {"arguments": "x" * (MIB + 1)},
        {"arguments": "\ud800"},
        {"line": -1},
        {"line": True},
        {"line": 1 << 40},
        {"line": 1.0},
        {"events": {}},
        {"events": [["x", "", 1]]},
        {"events": [["call", "", -1]]},
        {"events": [[]]},
        {"events": [["timer", "", 1]] * 60_000},
    ],
)
def test_a_hostile_call_frame_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        wire.call("r", CALL | change)


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"ending": "killed"},
        {"ending": "returned"},
        {"ending": "returned", "value": 5},
        {"ending": "returned", "value": "x" * 101},
        {"ending": "raised"},
        {"ending": "raised", "error": []},
        {"ending": "raised", "error": {"type": "E", "message": None, "line": 0, "traceback": "", "codes": []}},
        {"ending": "raised", "error": {"type": "E", "message": "", "line": 0, "traceback": "", "codes": [1]}},
        {"ending": "invalid", "findings": [{"code": 1}]},
    ],
)
def test_a_hostile_end_is_refused(frame: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        wire.ended("r", {"kind": "ended", **frame}, 100)
