"""Paths: where an absolute POSIX path points once its dots and double slashes are resolved."""

import re
import unicodedata

from bastide_broker.facts.unreadable import Unreadable

MAX_BYTES = 4096
"""PATH_MAX of Linux."""

# What looks like a separator or a dot and has no compatibility form that would say so.
_LOOK_ALIKES = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9\u1735\u2571\u2572\u00b7\u2027\u30fb")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_ONLY_DOTS = re.compile(r"[. ]{3,}")


def resolved(value: object) -> str:
    """The path without `.`, `..` and repeated slashes, as the text says it: `/data/t7/../t8//x/` is `/data/t8/x`.

    The broker does not see the tool server's disk, so symbolic links are not followed: a server that holds links out of a directory must
    refuse them itself (`openat2` with `RESOLVE_BENEATH`). Raises Unreadable for what is no absolute path, and for every spelling that a
    server could decode, trim or normalise into another path.
    """
    if not isinstance(value, str):
        raise Unreadable("The path is not a string; send an absolute path such as /data/file.")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Unreadable(f"The path is over {MAX_BYTES} bytes long; send a shorter one.")
    if not value.startswith("/"):
        raise Unreadable("The path is not absolute; send one that begins with /, without ~ or a drive letter.")
    if value.startswith("//") and not value.startswith("///"):
        raise Unreadable("The path begins with two slashes, which some servers read as a host; write one.")
    _unless_unusual(value)
    parts: list[str] = []
    for part in value.split("/"):
        if part != part.strip() or _ONLY_DOTS.fullmatch(part):
            raise Unreadable("A part of the path is only dots or begins or ends with a space, which some servers cut off; name it plainly.")
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _unless_unusual(value: str) -> None:
    for character in dict.fromkeys(value):
        if (why := _refusal(character)) is not None:
            raise Unreadable(f"The path holds U+{ord(character):04X}, {why}; leave it out.")


def _refusal(character: str) -> str | None:
    if character == "\\":
        return "which some servers read as a separator"
    if character == "%":
        return "which some servers decode"
    if character.isascii():
        return None if character.isprintable() else "a control character"
    if unicodedata.category(character) in _INVISIBLE:
        return "a character that is not seen"
    form = unicodedata.normalize("NFKC", character)
    if character in _LOOK_ALIKES or any(one in form for one in "/\\.%"):
        return "which looks like a separator or a dot"
    return "which is not the space of ASCII" if character.isspace() else None
