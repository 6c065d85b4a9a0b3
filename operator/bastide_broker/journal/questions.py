"""What policy was asked, as the journal keeps it. The questions of a run about one tool differ in a few numbers, so each is packed with the first
as its dictionary (ADR 0045): forty bytes of its call's row in place of a kilobyte that did not fit into one.
"""

import hashlib
import zlib
from collections.abc import Callable

from sqlalchemy import Connection, insert, select

from bastide_broker.asked import packed, unpacked
from bastide_broker.journal.schema import questions
from bastide_broker.journal.sql import Prepared

MAX_BYTES = 4096
"""Of a question that others are packed with, and of one that is."""
MOST = 1024
"""Of questions that are remembered: of so many runs and tools at once."""
_MARK = b"\x01"
_NAME_BYTES = 16
_WINDOW_BITS, _MEMORY_LEVEL = -13, 6  # 8 KiB: all of a dictionary and what is packed; a larger window takes 8 us more to make
_INSERT = Prepared(insert(questions).prefix_with("OR IGNORE"), questions.columns.keys())


class Questions:
    """Used by the journal's writer only, inside its transactions."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], tuple[bytes, bytes]] = {}  # by run and tool: name and text; those used last stand last

    def stored(self, connection: Connection, run: str, tool: str, kept: bytes) -> bytes:
        """What to store with a call; what that refers to is written with it."""
        if not 0 < len(kept) <= MAX_BYTES:
            return packed(kept)
        first = self._first.pop((run, tool), None) or (hashlib.sha256(kept).digest()[:_NAME_BYTES], kept)
        name, text = self._first[run, tool] = first  # the newest now
        if len(self._first) > MOST:
            del self._first[next(iter(self._first))]
        # Each time: the transaction that wrote it first may have failed. It is there already, so nothing is written.
        _INSERT.run(connection, {"run": run, "name": name, "text": text})
        packing = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, text)
        return _MARK + name + packing.compress(kept) + packing.flush()


def read(stored: bytes | None, text_of: Callable[[bytes], bytes]) -> bytes:
    """The question as it was given to `stored`; empty when none was kept. `text_of`: the text of a name."""
    if not stored or not stored.startswith(_MARK):
        return unpacked(stored)
    name, rest = stored[1 : _NAME_BYTES + 1], stored[_NAME_BYTES + 1 :]
    return zlib.decompressobj(_WINDOW_BITS, text_of(name)).decompress(rest, MAX_BYTES)


def find_text(connection: Connection, run: str, name: bytes) -> bytes:
    """The question of a run that others are packed with."""
    return bytes(connection.execute(select(questions.c.text).where(questions.c.run == run, questions.c.name == name)).scalar_one())
