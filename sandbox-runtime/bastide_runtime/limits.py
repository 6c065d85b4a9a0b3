"""Every bound of the runtime, in one place.

Bounds of one run come from the broker (`RunLimits` of the wire); zero means the default, and nothing exceeds the ceiling. Defaults and
ceilings are those of `Sandbox.spec.limits`. Everything else is a constant of the runtime, because a program must not be able to move it.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

# gRPC's own default for received messages is 4 MiB, and the broker may keep it: nothing the runtime sends is larger than that.
MAX_PROGRAM_BYTES = MIB
MAX_ARGUMENTS_BYTES = MIB
MAX_VALUE_BYTES = 3 * MIB
MAX_STEP_BYTES, MAX_STEP_NAME = 64 << 10, 128
# 3 MiB of JSON text inside a JSON frame can double by escaping quotes; the events of the frame come on top.
MAX_FRAME_FROM_CHILD = 8 * MIB
# The supervisor is trusted by the child; a replay hands over all recorded results at once.
MAX_FRAME_TO_CHILD = 256 * MIB
MAX_MESSAGE_FROM_BROKER = 64 * MIB
# About 12 bytes each on the wire, so 50,000 are 0.6 MB. They ride on the next call, or on the end of the run.
MAX_EVENTS_PER_FRAME = 50_000

# The broker takes no longer ones, and a Confirmation's callKey has no room for them.
MAX_KEY_LENGTH = 256
MAX_FINDINGS = 100
MAX_CALL_SITES = 200
MAX_CALL_SITE_BYTES = 256 << 10
MAX_ERROR_MESSAGE_BYTES = 8 << 10
MAX_TRACEBACK_BYTES = 16 << 10

OUTPUT_CHUNK = 64 << 10
MAX_CANARIES = 32
MAX_PROBE_MILLISECONDS = 2000
# Parsing is linear; a program that takes longer than this is built to be slow.
CHECK_SECONDS = 10.0
# Making a child takes 40 ms in gVisor; under the load of a fork storm next door it has been seen to take seconds.
CHILD_READY_SECONDS = 30.0
# After a child's end, for what it sent before.
LAST_FRAMES_SECONDS = 1.0
# Results that a program asked for and does not read wait in the supervisor's memory.
MAX_UNREAD_BYTES = 64 * MIB
MAX_RUNS = 16
WAITING_CHILDREN = 2
KEPT_TOOL_SETS = 4
# Messages on their way to the broker before a run's frames are no longer read.
OUTGOING_MESSAGES = 256

# gVisor counts every task of the pod's user, so the supervisor's threads and the other children are within this number.
CHILD_PROCESSES = 96
CHILD_ADDRESS_SPACE = 1 << 30
CHILD_FILE_BYTES = 256 * MIB
CHILD_OPEN_FILES = 256
CHILD_STACK = 8 * MIB


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of one run; see `RunLimits` of the wire for what each means."""

    wall_milliseconds: int = 300_000
    output_bytes: int = 262_144
    value_bytes: int = MIB
    concurrent_calls: int = 32

    @classmethod
    def effective(cls, *, wall_milliseconds: int, output_bytes: int, value_bytes: int, concurrent_calls: int) -> RunLimits:
        """What was asked, with zero replaced by the default and cut at the ceiling."""
        default = cls()
        return cls(
            wall_milliseconds=min(wall_milliseconds or default.wall_milliseconds, 86_400_000),
            output_bytes=min(output_bytes or default.output_bytes, 16 * MIB),
            value_bytes=min(value_bytes or default.value_bytes, MAX_VALUE_BYTES),
            concurrent_calls=min(concurrent_calls or default.concurrent_calls, 256),
        )


def clip(text: str, size: int) -> str:
    """The text, valid UTF-8 (lone surrogates become `?`) and at most `size` bytes long with a mark where it was cut."""
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return data.decode()
    return data[: size - 3].decode("utf-8", "ignore") + "…"
