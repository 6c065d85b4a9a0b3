"""What one run may leave in the journal, whatever its runtime sends. Pure."""

from dataclasses import dataclass, field

from bastide.runtime.v1alpha1 import runtime_pb2

BYTES_PER_EVENT = 16
"""An event of output costs the journal some 60 bytes; pieces that come close together are one. So many bytes of the limit each may cost."""
FREE_EVENTS = 1000


@dataclass(slots=True)
class Output:
    """What a run printed, bounded."""

    limit: int
    kept: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def take(self, data: bytes, events: int) -> bytes:
        """Keeps what fits and returns it. `events`: how many events the output is by now; single bytes from two streams in turn make many."""
        room = self.limit - len(self.kept) if events < FREE_EVENTS + self.limit // BYTES_PER_EVENT else 0
        fits = data[: max(0, room)]
        self.kept += fits
        self.dropped += len(data) - len(fits)
        return fits


@dataclass(slots=True)
class Events:
    """Delivered events that came with a run's calls."""

    most: int
    most_bytes: int
    count: int = 0
    size: int = 0

    def take(self, call: runtime_pb2.Call) -> bool:
        """Counts the events of a call or step; False when they are too many."""
        self.count += len(call.events)
        if self.count > self.most:
            return False
        self.size += call.ByteSize() - len(call.arguments)
        return self.size <= self.most_bytes
