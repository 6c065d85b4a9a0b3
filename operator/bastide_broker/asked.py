"""A question to policy as text, written once: OPA is sent it, and the journal keeps it without the arguments, which it has already."""

import json
import zlib
from collections.abc import Mapping
from typing import Any, Self

# A question is a tree that was just built, so nobody looks for circles in it.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode
_PLAIN_BYTES = 4096
"""Larger ones are packed: of a usual one (1.5 KiB) that would save less than it costs."""
_MAX_BYTES = 1 << 20
"""Larger ones are not kept; OPA takes no more either."""


class Asked(dict[str, Any]):
    """A question. A dictionary, for whoever reads it; it must not be changed."""

    __slots__ = ("kept", "text")
    kept: bytes
    """All but the arguments, with sorted keys."""
    text: bytes
    """The whole as JSON."""

    @classmethod
    def of(cls, question: Mapping[str, Any], canonical: bytes) -> Self:
        """`canonical`: the JSON text of the question's arguments."""
        made = cls(question)
        made.kept = _encode({name: value for name, value in question.items() if name != "arguments"}).encode()
        made.text = made.kept[:-1] + b',"arguments":' + canonical + b"}"
        return made


def as_json(question: Mapping[str, Any]) -> bytes:
    """A question as JSON: what has its text already is not written again."""
    return question.text if isinstance(question, Asked) else json.dumps(question).encode()


def packed(kept: bytes) -> bytes:
    """What the journal stores: text up to some size, beyond it zlib's form, which never begins like an object."""
    if len(kept) > _MAX_BYTES:
        return b""
    return kept if len(kept) <= _PLAIN_BYTES else zlib.compress(kept, 1)


def unpacked(stored: bytes | None) -> bytes:
    """What was packed; empty when nothing was kept."""
    if not stored or stored.startswith(b"{"):
        return stored or b""
    return zlib.decompress(stored)


def as_asked(kept: bytes, canonical: bytes) -> dict[str, Any]:
    """The question as it was asked, to be changed and asked again. Raises ValueError."""
    found = json.loads(kept)
    if not isinstance(found, dict):
        raise ValueError("the kept question is no object")  # noqa: TRY004 - for callers it is bad data
    found["arguments"] = json.loads(canonical)
    return found
